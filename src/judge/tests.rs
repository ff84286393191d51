use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::decide::{Attempt, Cause, Move, Trust};
use crate::evidence::kilo;

const EPOCH: Epoch = Epoch(UnixTime(1_000_000_000_000));

fn at(seconds: u64) -> Moment {
    Moment::at(Duration::from_secs(seconds))
}

fn node(name: &str) -> Input {
    let raw = kilo::RawNode {
        name: name.to_owned(),
        annotations: BTreeMap::from(
            [
                ("kilo.squat.ai/location", "cloud".to_owned()),
                ("kilo.squat.ai/endpoint", "198.51.100.1:51820".to_owned()),
                ("kilo.squat.ai/internal-ip", "10.0.0.1/24".to_owned()),
                ("kilo.squat.ai/key", "vqGgpVDoeB8Q0A37dMQuE7DUCvoegliLCmnBOKUkUR8=".to_owned()),
                ("kilo.squat.ai/last-seen", EPOCH.0.seconds().to_string()),
            ]
            .map(|(key, value)| (key.to_owned(), value)),
        ),
        pod_cidr: Some("10.42.0.0/24".to_owned()),
        ..kilo::RawNode::default()
    };
    Input::Node(Box::new(kilo::read(&raw, kilo::TOPOLOGY_LABEL)))
}

fn judge() -> Judge {
    let mut judge = Judge::new(Policy::default(), Thresholds::default(), EPOCH);
    judge.take(Input::Mode(Mode::Act), at(0));
    for name in ["a", "b"] {
        judge.take(node(name), at(0));
    }
    judge
}

/// A move from `a` to `b` that is in hand.
fn moving(incident: &str) -> Input {
    let moving = Move {
        incident: incident.to_owned(),
        from: "a".into(),
        to: "b".into(),
        origin: "a".into(),
        cause: Cause::Verdict,
        at: EPOCH.0,
        automatic: true,
        why: String::new(),
        cost: String::new(),
        serves: BTreeSet::from(["b".into()]),
        served_before: 0,
    };
    let until = EPOCH.unix(at(40));
    let memory = Memory {
        trust: Trust::Proving { attempt: Attempt::First, until, limit: until },
        moving: Some(moving),
        ..Memory::default()
    };
    Input::Memory("cloud".into(), Box::new(memory))
}

#[test]
fn what_became_of_a_move_is_not_held_against_the_next_one_to_the_same_node() {
    let mut judge = judge();
    let cloud = Location::from("cloud");
    let wish =
        |judge: &mut Judge, second| judge.round(at(second)).plan.locations[&cloud].wish.clone();

    judge.take(moving("first"), at(1));
    let refused =
        Progress::Refused { to: "b".into(), decided: EPOCH.0, why: "a conflict".to_owned() };
    judge.take(Input::Progress(cloud.clone(), refused), at(1));
    assert_eq!(wish(&mut judge, 1), Wish::Stay);

    judge.take(moving("second"), at(20));
    assert!(matches!(wish(&mut judge, 20), Wish::Move(_)), "the next one has only begun");
}
