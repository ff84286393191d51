use super::*;
use crate::act::tests::bed;
use crate::cluster::objects::{MovePhase, MoveRecord};

/// What happened, so many seconds after the start.
fn happenings(start: Instant, what: &[(u64, What)]) -> Vec<Happening> {
    let of = |(at, what): &(u64, What)| Happening {
        at: start + Duration::from_secs(*at),
        what: what.clone(),
    };
    what.iter().map(of).collect()
}

fn leads(node: &str) -> What {
    What::Leads("a".into(), node.into())
}

fn record(from: &str, to: &str) -> MoveRecord {
    bed::record("i1", (from, to), MovePhase::Recorded)
}

fn quiet() -> Phase {
    Phase { name: "between two faults".into(), ..Phase::default() }
}

#[test]
fn a_move_between_two_faults_is_found_whoever_made_it() {
    let start = Instant::now();
    for (before, by) in [
        (None, Mover::Kilo),
        (Some(What::Move("a".into(), record("a-1", "a-2"))), Mover::Tanist),
        (Some(What::Move("b".into(), record("b-1", "a-2"))), Mover::Kilo),
        (Some(What::Reverting("a".into(), record("a-2", "a-1"))), Mover::Tanist),
    ] {
        let mut happened = vec![(0, leads("a-1"))];
        happened.extend(before.map(|what| (9, what)));
        happened.push((10, leads("a-2")));

        let found = changes(&happenings(start, &happened), &[(start, quiet())], |_| 10.0);

        let [found] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((found.by, found.expected), (by, false), "{happened:?}");
        let failure = found.failure().unwrap();
        assert!(failure.starts_with("a went from a-1 to a-2 at 10.000 s, between"), "{failure}");
    }
}

#[test]
fn each_may_do_only_what_the_phase_allows() {
    let start = Instant::now();
    let tanist = vec![
        (0, leads("a-1")),
        (9, What::Move("a".into(), record("a-1", "a-2"))),
        (10, leads("a-2")),
    ];
    let kilo = vec![(0, leads("a-1")), (10, leads("a-2"))];
    let here = Some(Location::from("a"));
    let there = Some(Location::from("b"));

    for (happened, phase, expected) in [
        (&tanist, Phase { tanist: here.clone(), ..quiet() }, true),
        (&tanist, Phase { tanist: there, kilo: true, ..quiet() }, false),
        (&kilo, Phase { kilo: true, ..quiet() }, true),
        (&kilo, Phase { tanist: here.clone(), ..quiet() }, false),
        (&kilo, Phase { hand: here, ..quiet() }, true),
    ] {
        let found = changes(&happenings(start, happened), &[(start, phase.clone())], |_| 0.0);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].expected, expected, "{phase:?} {happened:?}");
    }
}

#[test]
fn the_phase_is_the_one_that_had_begun() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let kilo = Phase { kilo: true, ..quiet() };
    let happened = happenings(start, &[(0, leads("a-1")), (10, leads("a-2")), (20, leads("a-1"))]);

    let found = changes(&happened, &[(at(0), quiet()), (at(5), kilo), (at(15), quiet())], |_| 0.0);

    assert_eq!(found.iter().map(|change| change.expected).collect::<Vec<_>>(), [true, false]);
}
