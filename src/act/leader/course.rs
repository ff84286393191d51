//! What to do about a wish, given what is on record: pure.

use crate::cluster::objects::{MoveOutcome, MovePhase, MoveRecord, WrittenBefore};
use crate::decide::{Cause, Move};

use super::steps::Goal;

/// What to do about a wish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Course {
    /// All is written.
    Done(MoveRecord),
    /// It is on record: write what remains.
    Continue(MoveRecord),
    /// It is new. These values of the same incident are to be put back in the end.
    Begin(Vec<WrittenBefore>),
    /// It is new, and a move of another incident stands complete.
    CloseThenBegin,
    /// What the incident wrote is to be undone, since that is the wish.
    Undo(String),
    /// What was written is to be undone first, since nobody wishes for it.
    UndoThenRefuse(String),
}

/// Returns what to do about a wish, given what is on record.
pub(super) fn of(record: Option<&MoveRecord>, wish: &Move) -> Course {
    use MovePhase::{Recorded, Reverted, Reverting, Written};

    let Some(record) = record else { return Course::Begin(Vec::new()) };
    let same_incident = record.incident == wish.incident;
    let goes_back = wish.cause == Cause::Revert;
    let known = || record.clone();
    let reverting = || record.reverting.clone().unwrap_or_else(|| wish.why.clone());

    match (record.phase, same_incident, goes_back) {
        (Reverted, true, true) => Course::Done(known()),
        (Recorded | Written | Reverting, true, true) => Course::Undo(wish.why.clone()),

        (Recorded, true, false) if record.to == wish.to => Course::Continue(known()),
        (Written, true, false) if record.to == wish.to => Course::Done(known()),
        (Recorded | Written, true, false) => Course::Begin(record.nodes.clone()),
        (Reverted, true, false) => Course::CloseThenBegin,

        (Reverting, _, _) => Course::UndoThenRefuse(reverting()),
        (Recorded, false, _) => Course::UndoThenRefuse("another incident followed".to_owned()),
        (Written | Reverted, false, _) => Course::CloseThenBegin,
    }
}

/// Returns what stood before the incident.
pub(super) fn goal(record: &MoveRecord) -> Goal {
    record.nodes.iter().map(|before| (before.node.clone(), before.value.clone())).collect()
}

impl MoveRecord {
    /// Returns how a move ended of which nobody said so.
    pub(super) const fn past_outcome(&self) -> MoveOutcome {
        match self.phase {
            MovePhase::Reverting | MovePhase::Reverted => MoveOutcome::Reverted,
            MovePhase::Recorded | MovePhase::Written => MoveOutcome::Abandoned,
        }
    }
}

#[cfg(test)]
mod tests;
