use std::time::Duration;

use super::*;
use crate::decide::{Api, Mode};
use crate::evidence::NodeName;
use crate::judge::Judge;

const EPOCH: Epoch = Epoch(UnixTime(1_000_000_000_000));

fn header() -> Header {
    Header::new(EPOCH, Policy::default(), Thresholds::default())
}

fn at(seconds: u64) -> Moment {
    Moment::at(Duration::from_secs(seconds))
}

/// Every kind of input that needs no mesh.
fn inputs() -> Vec<Input> {
    vec![
        Input::Mode(Mode::Act),
        Input::Api(Api::Back { since: at(3) }),
        Input::KiloPeers(2),
        Input::NodeGone(NodeName::from("c1")),
        Input::Intent(Location::from(""), Box::default()),
        Input::Memory(Location::from("a/b"), Box::default()),
        Input::LeaderSince(Location::from("c"), NodeName::from("c1"), UnixTime(5)),
        Input::Progress(Location::from("c"), crate::decide::Progress::Idle),
    ]
}

#[test]
fn what_is_written_is_read_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("journal");
    let mut journal = Journal::begin(&file, 1 << 20, header()).expect("begun");
    for (second, input) in inputs().into_iter().enumerate() {
        journal.input(at(second as u64), &input).expect("written");
    }
    journal.round(at(99), &Plan::default()).expect("written");

    let (read_header, entries) = read(&file).expect("readable");
    assert_eq!(read_header, header());
    assert_eq!(entries.len(), inputs().len() + 1);
    for (entry, (second, written)) in entries.iter().zip(inputs().into_iter().enumerate()) {
        assert_eq!(entry.at, at(second as u64));
        let What::In(read) = &entry.what else { panic!("an input, not {entry:?}") };
        assert_eq!(*read, written);
    }
}

#[test]
fn a_full_journal_is_kept_and_the_next_one_stands_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("journal");
    let mut journal = Journal::begin(&file, 1, header()).expect("begun");
    journal.input(at(1), &Input::KiloPeers(7)).expect("written");
    assert!(journal.is_full());

    let mut judge = Judge::new(Policy::default(), Thresholds::default(), EPOCH);
    judge.take(Input::KiloPeers(7), at(1));
    journal.begin_anew(at(2), &judge.standing()).expect("begun anew");
    journal.round(at(3), &Plan::default()).expect("written");

    let (_, entries) = read(&file).expect("readable");
    let stands = |entry: &Entry| matches!(entry.what, What::In(Input::KiloPeers(7)));
    assert!(entries.iter().any(stands), "what stood is in the new file: {entries:?}");
    let (_, kept) = read(&folder.path().join("journal.1")).expect("the full one is kept");
    assert_eq!(kept.len(), 1);
}

#[test]
fn a_last_line_cut_short_is_left_out_and_any_other_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("journal");
    let head = serde_json::to_string(&header()).expect("a header");
    let good = r#"{"at":1,"in":{"kilo-peers":1}}"#;

    std::fs::write(&file, format!("{head}\n{good}\n{}", &good[..20])).expect("written");
    assert_eq!(read(&file).expect("readable").1.len(), 1);

    std::fs::write(&file, format!("{head}\n{}\n{good}\n", &good[..20])).expect("written");
    let error = read(&file).expect_err("a broken line in the middle");
    assert!(error.to_string().contains("line 2"), "{error}");

    std::fs::write(&file, "").expect("written");
    assert!(matches!(read(&file), Err(Error::Empty { .. })));

    std::fs::write(&file, head.replace("\"journal\":1", "\"journal\":9")).expect("written");
    assert!(read(&file).expect_err("another format").to_string().contains("format 9"));
}
