use super::*;
use crate::evidence::NodeName;

fn record(to: &str, phase: MovePhase) -> MoveRecord {
    MoveRecord {
        incident: "i1".into(),
        from: Some(NodeName::from("a-1")),
        to: NodeName::from(to),
        why: String::new(),
        phase,
        fence: "u/1".into(),
        decided_ms: None,
        started_ms: 5,
        written_ms: None,
        nodes: Vec::new(),
        wish: None,
        reverting: None,
    }
}

#[test]
fn the_next_heir_of_one_incident_is_another_move() {
    let here = Location::from("a");
    let first = record("a-2", MovePhase::Written);
    let second = record("a-3", MovePhase::Recorded);

    let news = progress(&here, Some(&first), &second);

    assert_eq!(news, [What::Move(here, second)]);
}

#[test]
fn a_phase_is_news_once() {
    let here = Location::from("a");
    let recorded = record("a-2", MovePhase::Recorded);
    let written = record("a-2", MovePhase::Written);
    let reverting = record("a-2", MovePhase::Reverting);

    assert_eq!(progress(&here, Some(&recorded), &written), [What::Written(here.clone())]);
    assert_eq!(progress(&here, Some(&written), &written), []);
    let undone = progress(&here, Some(&written), &reverting);
    assert_eq!(undone, [What::Reverting(here, reverting)]);
}
