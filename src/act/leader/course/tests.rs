use super::*;
use crate::act::tests::bed::{record, wish};

#[test]
fn the_course_follows_from_record_and_wish() {
    use MovePhase::{Recorded, Reverted, Reverting, Written};

    let before = vec![WrittenBefore { node: "b".into(), value: None }];
    let on_record = |incident: &str, phase| MoveRecord {
        nodes: before.clone(),
        ..record(incident, ("a", "b"), phase)
    };
    let same = wish("i", "a", "b");
    let next = wish("i", "b", "c");
    let other = wish("j", "b", "c");
    let back = Move { cause: Cause::Revert, ..wish("i", "b", "a") };
    let done = |phase| Course::Done(on_record("i", phase));
    let undo = || Course::Undo(back.why.clone());
    let refuse = || Course::UndoThenRefuse(back.why.clone());
    let follows = || Course::UndoThenRefuse("another incident followed".to_owned());

    #[rustfmt::skip]
    let table = [
        // on record   wish    course
        (Recorded,     &same,  Course::Continue(on_record("i", Recorded))),
        (Recorded,     &next,  Course::Begin(before.clone())),
        (Recorded,     &back,  undo()),
        (Recorded,     &other, follows()),
        (Written,      &same,  done(Written)),
        (Written,      &next,  Course::Begin(before.clone())),
        (Written,      &back,  undo()),
        (Written,      &other, Course::CloseThenBegin),
        (Reverting,    &same,  refuse()),
        (Reverting,    &next,  refuse()),
        (Reverting,    &back,  undo()),
        (Reverting,    &other, refuse()),
        (Reverted,     &same,  Course::CloseThenBegin),
        (Reverted,     &next,  Course::CloseThenBegin),
        (Reverted,     &back,  done(Reverted)),
        (Reverted,     &other, Course::CloseThenBegin),
    ];
    for (phase, wish, course) in table {
        assert_eq!(of(Some(&on_record("i", phase)), wish), course, "{phase:?} {}", wish.to);
    }
    assert_eq!(of(None, &same), Course::Begin(Vec::new()));
    assert_eq!(of(None, &back), Course::Begin(Vec::new()));
}
