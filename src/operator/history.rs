//! What has happened: moves that were made, and moves that would have been made.
//!
//! The second half is what an operator in observe mode decides by: how often Tanist would have
//! moved a leader, and whether that leader came back by itself.

use serde::Serialize;

use super::table::table;
use super::view::View;
use super::words;
use crate::cluster::objects::{IncidentEnd, MoveOutcome, PastIncident, PastMove};
use crate::decide::Cause;
use crate::evidence::{Location, UnixTime};

/// What has happened in the mesh, or in one location of it; newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct History {
    /// Moves that ended.
    pub moves: Vec<MadeMove>,
    /// Convictions, with what became of them.
    pub incidents: Vec<Incident>,
    /// The incidents in figures.
    pub record: Record,
    /// When this was read, Unix milliseconds.
    pub at_ms: i64,
}

/// A move that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MadeMove {
    /// Where.
    pub location: Location,
    /// What called for it, where that is remembered.
    pub cause: Option<Cause>,
    /// The move.
    #[serde(flatten)]
    pub past: PastMove,
}

/// A conviction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Incident {
    /// Where.
    pub location: Location,
    /// How long it lasted, or has lasted, in milliseconds.
    pub lasted_ms: i64,
    /// What is on record of it.
    #[serde(flatten)]
    pub past: PastIncident,
}

/// Incidents in figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Convictions on record.
    pub convictions: usize,
    /// Of these, a guard rail held a move back.
    pub would_have_moved: usize,
    /// Of those, the leader forwarded again by itself.
    pub healed_by_itself: usize,
    /// The longest of those that healed, in milliseconds.
    pub longest_healed_ms: i64,
    /// Of those held back, how many last still.
    pub lasting: usize,
}

impl History {
    /// Returns the history of the mesh, or of one location.
    #[must_use]
    pub fn of(view: &View, only: Option<&Location>) -> Self {
        let wanted = || {
            view.locations.keys().filter(move |location| only.is_none_or(|only| *location == only))
        };
        let mut moves: Vec<_> = wanted().flat_map(|location| moves(view, location)).collect();
        moves.sort_by_key(|made| std::cmp::Reverse(made.past.started.0));
        let mut incidents: Vec<_> = wanted().flat_map(|at| incidents(view, at)).collect();
        incidents.sort_by_key(|incident| std::cmp::Reverse(incident.past.began.0));
        let record = record(&incidents);
        Self { moves, incidents, record, at_ms: view.at.0 }
    }

    /// Returns it for people.
    #[must_use]
    pub fn text(&self, width: u16) -> String {
        let mut parts = vec![if self.moves.is_empty() {
            "No move is on record.".to_owned()
        } else {
            let header = ["WHEN", "LOCATION", "FROM", "TO", "OUTCOME", "TOOK", "WHY"];
            let rows = self.moves.iter().map(MadeMove::row).collect();
            format!("Moves\n{}", table(header, rows, width))
        }];
        if !self.incidents.is_empty() {
            let header =
                ["WHEN", "LOCATION", "LEADER", "LASTED", "END", "WOULD MOVE TO", "HELD BY"];
            let rows = self.incidents.iter().map(Incident::row).collect();
            parts.push(format!("Convictions\n{}", table(header, rows, width)));
        }
        parts.push(self.record.words());
        parts.join("\n\n")
    }
}

impl Record {
    /// Returns what an operator who watches should know before letting Tanist act.
    fn words(&self) -> String {
        let Self { convictions, would_have_moved, healed_by_itself, longest_healed_ms, lasting } =
            *self;
        if convictions == 0 {
            return "No leader was ever convicted.".to_owned();
        }
        let convictions = words::count(convictions, "conviction");
        let mut words = format!(
            "{convictions} on record; in {would_have_moved} of them Tanist would have moved the \
             leader but for a guard rail."
        );
        if healed_by_itself > 0 {
            words.push_str(&format!(
                " Healed without a move: {healed_by_itself} of those, after {} at the longest. Look \
                 whether users felt them; what nobody felt was a false alarm.",
                words::span(longest_healed_ms)
            ));
        }
        if lasting > 0 {
            words.push_str(&format!(" Lasting still: {lasting}."));
        }
        words
    }
}

impl MadeMove {
    fn row(&self) -> [String; 7] {
        let Self { location, past, .. } = self;
        let outcome = match past.outcome {
            MoveOutcome::Verified => "verified",
            MoveOutcome::Reverted => "reverted",
            MoveOutcome::Abandoned => "abandoned",
        };
        let why = match &past.note {
            Some(note) => format!("{}; {note}", past.why),
            None => past.why.clone(),
        };
        [
            words::wall(UnixTime(past.started.0.as_millisecond())),
            words::place(location),
            words::node(past.from.as_ref()).to_owned(),
            past.to.0.clone(),
            outcome.to_owned(),
            took(past),
            why,
        ]
    }
}

/// Returns how long a move took, from the wish to the proof where both parts are known: objects
/// carry times to the second only.
pub(super) fn took(past: &PastMove) -> String {
    let parts = ["write", "verify"].map(|part| past.took_ms.get(part).copied());
    let took = match parts {
        [Some(write), Some(verify)] => write + verify,
        _ => {
            let took = past.ended.0.as_millisecond() - past.started.0.as_millisecond();
            u64::try_from(took).unwrap_or(0)
        }
    };
    format!("{}.{} s", took / 1000, took % 1000 / 100)
}

impl Incident {
    fn row(&self) -> [String; 7] {
        let Self { location, lasted_ms, past } = self;
        let end = match past.end {
            None => "lasts",
            Some(IncidentEnd::Healed) => "healed by itself",
            Some(IncidentEnd::Moved) => "moved",
            Some(IncidentEnd::LedByAnother) => "led by another",
            Some(IncidentEnd::Superseded) => "another followed",
        };
        [
            words::wall(UnixTime(past.began.0.as_millisecond())),
            words::place(location),
            past.leader.0.clone(),
            words::span(*lasted_ms),
            end.to_owned(),
            past.would_move.as_ref().map(|heir| heir.0.clone()).unwrap_or_default(),
            past.held.clone().unwrap_or_default(),
        ]
    }
}

fn moves(view: &View, location: &Location) -> Vec<MadeMove> {
    let Some(status) = view.status(location) else { return Vec::new() };
    let remembered = status.remembered().unwrap_or_default().moves;
    let cause = |past: &PastMove| {
        let same = |known: &&crate::decide::PastMove| {
            known.incident == past.incident && known.to == past.to
        };
        remembered.iter().find(same).map(|known| known.cause)
    };
    let made = |past: &PastMove| MadeMove {
        location: location.clone(),
        cause: cause(past),
        past: past.clone(),
    };
    status.moves.iter().map(made).collect()
}

fn incidents(view: &View, location: &Location) -> Vec<Incident> {
    let Some(status) = view.status(location) else { return Vec::new() };
    let incident = |past: &PastIncident| {
        let ended = past.ended.as_ref().map_or(view.at.0, |ended| ended.0.as_millisecond());
        let lasted_ms = (ended - past.began.0.as_millisecond()).max(0);
        Incident { location: location.clone(), lasted_ms, past: past.clone() }
    };
    status.incidents.iter().map(incident).collect()
}

fn record(incidents: &[Incident]) -> Record {
    let held = || incidents.iter().filter(|incident| incident.past.would_move.is_some());
    let healed = || held().filter(|incident| incident.past.end == Some(IncidentEnd::Healed));
    Record {
        convictions: incidents.len(),
        would_have_moved: held().count(),
        healed_by_itself: healed().count(),
        longest_healed_ms: healed().map(|incident| incident.lasted_ms).max().unwrap_or(0),
        lasting: held().filter(|incident| incident.past.end.is_none()).count(),
    }
}
