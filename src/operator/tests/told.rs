//! What people are told: status, why, history, costs.

use super::mesh::*;
use crate::cluster::objects::{IncidentEnd, MoveOutcome, MovePhase};
use crate::decide::{Memory, Trust};
use crate::evidence::{Flow, Location, NodeName, UnixTime};
use crate::operator::cost::Cost;
use crate::operator::history::{History, Record};
use crate::operator::status::Status;
use crate::operator::view::{Arbiter, View};
use crate::operator::why::{Shown, Way, Why};

const WIDE: u16 = 200;

#[test]
fn a_location_is_found_by_its_name_or_that_of_its_object() {
    let view = view();
    let table = [("a", "a"), ("", ""), ("none-e3b0c442", ""), ("a-ca978112", "a")];
    for (asked, found) in table {
        assert_eq!(view.find(asked), Ok(Location::from(found)), "{asked:?}");
    }
    let error = view.find("c").expect_err("there is none").to_string();
    assert_eq!(error, "there is no location \"c\"; there are \"\", a");
}

#[test]
fn status_is_a_line_per_location() {
    let expected = "\
LOCATION  LEADER  SINCE  HEALTH    NEXT  SERVED  MODE     NOTE
\"\"        b1      2 h    forwards  b2    3/2     observe
a         a1      2 h    forwards  a2    3/3     observe";
    assert_eq!(Status::of(&view(), None).text(WIDE), expected);
}

#[test]
fn a_mesh_without_tanist_is_shown_by_kilos_rules() {
    let bare =
        View::of(vec![node("a1", "a", &[]), node("a2", "a", &[])], Vec::new(), "region", NOW);
    let status = Status::of(&bare, None);
    assert_eq!(status.locations[0].leader, Some("a1".into()));
    assert_eq!(status.locations[0].health, "unknown");
    assert_eq!(status.locations[0].note, "no arbiter has spoken yet");
}

type Change = fn(&mut View);

#[test]
fn the_note_says_what_goes_on() {
    #[rustfmt::skip]
    let table: [(Change, &str); 10] = [
        (|_| {}, ""),
        (|v| status(v, "a").moving = Some(record(MovePhase::Recorded)), "moving to a2"),
        (|v| status(v, "a").moving = Some(record(MovePhase::Written)), "a2 proves itself"),
        (|v| status(v, "a").moving = Some(record(MovePhase::Reverting)), "back from a2"),
        (|v| annotate(v, "a2", "pause", "hands off"), "paused: hands off (annotation of a2)"),
        (|v| v.locations.get_mut(&"a".into()).unwrap().spec.pause = Some(String::new()), "paused: no reason given"),
        (|v| annotate(v, "a3", "pin", "true"), "a3 is pinned"),
        (|v| { annotate(v, "a3", "pin", "true"); annotate(v, "a2", "pin", "true"); }, "a2, a3 are pinned: none is followed"),
        (|v| status(v, "a").complaints = vec!["argocd put it back".to_owned()], "argocd put it back"),
        (|v| status(v, "a").verdict = Some("dark".to_owned()), "fresh flows pass"),
    ];
    for (change, note) in table {
        let mut view = view();
        change(&mut view);
        assert_eq!(Status::of(&view, Some(&"a".into())).locations[0].note, note);
    }
}

#[test]
fn a_rest_is_told_with_its_end() {
    let mut view = view();
    let trust = Trust::Resting { until: UnixTime(NOW.0 + 300_000) };
    let memory = Memory { trust, ..Memory::default() };
    status(&mut view, "a").memory = Some(serde_json::to_value(memory).unwrap());
    let shown = Status::of(&view, Some(&"a".into()));
    assert_eq!(shown.locations[0].note, "rests for 5 min after a move");
}

#[test]
fn a_status_without_an_arbiter_says_so() {
    let mut view = view();
    view.arbiter = Arbiter::Lapsed { holder: "a2".to_owned(), renewed_ms: NOW.0 - 600_000 };
    let text = Status::of(&view, None).text(WIDE);
    assert!(
        text.ends_with(
            "The lease of a2 was last renewed 10 min ago: what stands here may be as old."
        ),
        "{text}"
    );
    view.arbiter = Arbiter::Nobody;
    assert!(Status::of(&view, None).text(WIDE).contains("No arbiter holds the lease"));
}

#[test]
fn why_tells_ways_apart_and_adds_them_up() {
    let mut view = view();
    let tell = |view: &mut View, from: &str, at: &str, paths| {
        view.reports.insert(NodeName::from(from), told(from, at, paths));
    };
    tell(
        &mut view,
        "a2",
        "a",
        vec![
            path("b1", Flow::NewUdp, (8, 8)),
            path("b2", Flow::NewUdp, (8, 6)),
            path("b1", Flow::KeptUdp, (6, 0)),
            path("a1", Flow::NewUdp, (6, 0)),
        ],
    );
    tell(
        &mut view,
        "b1",
        "",
        vec![path("a3", Flow::NewUdp, (5, 0)), path("a1", Flow::NewTcp, (3, 0))],
    );
    view.reports.remove(&NodeName::from("a3"));
    status(&mut view, "a").complaints = vec!["argocd put it back".to_owned()];

    let why = Why::of(&view, &"a".into(), None).unwrap();
    let tallies: Vec<_> = why
        .evidence
        .iter()
        .map(|tally| (tally.way, tally.flow, tally.paths, tally.losing, tally.passed, tally.sent))
        .collect();
    assert_eq!(
        tallies,
        [
            (Way::In, Flow::NewUdp, 1, 0, 5, 5),
            (Way::Out, Flow::NewUdp, 2, 2, 2, 16),
            (Way::Out, Flow::KeptUdp, 1, 0, 6, 6),
            (Way::Leaders, Flow::NewTcp, 1, 0, 3, 3),
            (Way::Inside, Flow::NewUdp, 1, 0, 6, 6),
        ]
    );
    assert_eq!(why.unheard[&NodeName::from("a3")], "it has never reported");

    let text = why.text(WIDE, Shown::Losing);
    for part in [
        "a is led by a1 for 2 h: annotated, with a public endpoint.",
        "Health: forwards: fresh flows pass.",
        "What a person should know\n  argocd put it back",
        "out of it         new UDP   2      2 of 16  2",
        "a2    b2  pod      new UDP         2/8     1.5 ms",
        "a3    no   3       Hairpin: frames did not arrive",
    ] {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
    assert!(!text.contains("kept UDP        6/6"), "only what loses is listed:\n{text}");
    assert!(why.text(WIDE, Shown::Every).contains("kept UDP         6/6"));
}

#[test]
fn history_tells_what_healed_by_itself() {
    use IncidentEnd::{Healed, LedByAnother};
    let mut view = view();
    status(&mut view, "a").moves = vec![past("a2", MoveOutcome::Verified)];
    status(&mut view, "a").incidents = vec![
        incident(30, None),
        incident(500, Some((470, Healed))),
        incident(900, Some((600, Healed))),
        incident(2000, Some((1900, LedByAnother))),
    ];
    let history = History::of(&view, None);
    let record = Record {
        convictions: 4,
        would_have_moved: 4,
        healed_by_itself: 2,
        longest_healed_ms: 300_000,
        lasting: 1,
    };
    assert_eq!(history.record, record);
    let text = history.text(WIDE);
    for part in [
        "a         a1    a2  verified  12.0 s  it drops new flows",
        "30 s    lasts             a2             the mode is observe",
        "5 min   healed by itself  a2             the mode is observe",
        "Healed without a move: 2 of those, after 5 min at the longest",
    ] {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
    assert!(History::of(&view, Some(&"".into())).moves.is_empty());
}

#[test]
fn a_move_took_what_its_parts_took() {
    let mut moved = past("a2", MoveOutcome::Verified);
    assert_eq!(crate::operator::watch::end(&moved), "a2 leads, verified after 12.0 s");
    moved.took_ms = [("write".to_owned(), 310), ("verify".to_owned(), 1_150)].into();
    assert_eq!(crate::operator::watch::end(&moved), "a2 leads, verified after 1.4 s");
}

#[test]
fn a_cost_counts_sessions_pods_peers_and_routes() {
    let mut view = view();
    view.peers = vec!["laptop".to_owned()];
    let pods = Some(vec!["web/one".to_owned(), "web/two".to_owned()]);
    let cost = Cost::of(&view, &"a".into(), &"a2".into(), pods);
    // One between the leaders, and the peer's to each of them.
    assert_eq!(cost.sessions, 3);
    assert_eq!(cost.left_behind, []);
    let text = cost.to_string();
    for part in [
        "3 WireGuard sessions in the whole mesh must start anew",
        "2 on a1 would be reached through a2 and a1's overlay: web/one, web/two",
        "1 Kilo Peer must be told the new leader, where the configuration names a1: laptop",
        "route tables outside the cluster that name 10.1.0.1 must name 10.1.0.2",
    ] {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }

    status(&mut view, "a").heirs[0].serves = 2;
    let cost = Cost::of(&view, &"a".into(), &"a2".into(), None);
    assert_eq!(cost.left_behind, ["a1".into(), "a3".into()]);
    assert!(cost.to_string().contains("could not be listed"));
}
