//! Follows a request through the status of its location, from the answer to the proof.

use std::collections::BTreeSet;

use super::history::took;
use crate::cluster::objects::{MeshLocationStatus, MoveOutcome, MovePhase, MoveRecord, PastMove};
use crate::decide::{self, End};

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// The arbiter said no.
    Refused(String),
    /// There was nothing to do.
    Needless(String),
    /// The arbiter said yes, and gave the move up before anything of it was left.
    GivenUp,
    /// A move was made, and this became of it.
    Moved(Box<PastMove>),
}

/// Follows one request. What is shown to it must be ever newer.
#[derive(Debug, Clone)]
pub struct Follow {
    id: String,
    known: Option<PastMove>,
    remembered: Option<decide::PastMove>,
    said: BTreeSet<String>,
    granted: bool,
}

impl Follow {
    /// Begins to follow a request that is not written yet, from the status as it is.
    #[must_use]
    pub fn begin(id: &str, status: &MeshLocationStatus) -> Self {
        Self {
            id: id.to_owned(),
            known: status.moves.first().cloned(),
            remembered: last_remembered(status),
            said: BTreeSet::new(),
            granted: false,
        }
    }

    /// Tells whether the arbiter has answered.
    #[must_use]
    pub const fn is_granted(&self) -> bool {
        self.granted
    }

    /// Looks at the status; returns what is new in it for a person, and how it ended if it has.
    pub fn look(&mut self, status: &MeshLocationStatus) -> (Vec<String>, Option<Ending>) {
        let mut news = Vec::new();
        if let Some(answer) = status.answered.as_ref().filter(|answer| answer.id == self.id) {
            self.say(&mut news, format!("the arbiter answers: {}", answer.answer));
            if answer.answer.starts_with("refused") {
                return (news, Some(Ending::Refused(answer.answer.clone())));
            }
            if answer.answer == "it leads already" {
                return (news, Some(Ending::Needless(answer.answer.clone())));
            }
            self.granted = true;
        }
        if !self.granted {
            return (news, None);
        }
        if let Some(record) = &status.moving {
            self.say(&mut news, stage(record));
        }
        let remembered = last_remembered(status);
        if remembered != self.remembered && remembered.is_some_and(|it| it.end == End::Refused) {
            return (news, Some(Ending::GivenUp));
        }
        let last = status.moves.first().filter(|last| Some(*last) != self.known.as_ref());
        let over = status.moving.is_none();
        (news, last.filter(|_| over).map(|last| Ending::Moved(Box::new(last.clone()))))
    }

    fn say(&mut self, news: &mut Vec<String>, line: String) {
        if self.said.insert(line.clone()) {
            news.push(line);
        }
    }
}

fn last_remembered(status: &MeshLocationStatus) -> Option<decide::PastMove> {
    status.remembered()?.moves.pop()
}

fn stage(record: &MoveRecord) -> String {
    let to = &record.to;
    match record.phase {
        MovePhase::Recorded => format!("the move to {to} is on record"),
        MovePhase::Written => {
            format!("{to} leads by its annotation; fresh flows have to pass through it now")
        }
        MovePhase::Reverting => {
            let why = record.reverting.as_deref().unwrap_or("it did not prove itself");
            format!("the annotations are being put back: {why}")
        }
        MovePhase::Reverted => "the annotations are as they were".to_owned(),
    }
}

/// Says how a move ended.
#[must_use]
pub fn end(past: &PastMove) -> String {
    let seconds = took(past);
    let note = past.note.as_ref().map_or_else(String::new, |note| format!(": {note}"));
    match past.outcome {
        MoveOutcome::Verified => format!("{} leads, verified after {seconds}", past.to),
        MoveOutcome::Reverted => {
            format!("{} did not prove itself; all is as it was after {seconds}{note}", past.to)
        }
        MoveOutcome::Abandoned => format!("the move to {} was given up{note}", past.to),
    }
}
