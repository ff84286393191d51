//! How long the parts of a move took, as far as this reign saw them.
//!
//! ```text
//! first burst ──detect──▶ verdict ──decide──▶ wish ──write──▶ written ──converge──▶ a fresh flow passes
//!                                                                └─────────verify────────▶ proven
//! ```
//!
//! Detect begins with the oldest flow of the bursts that show the loss, which the first lost probe
//! set off. Converge ends with the newest flow of the first window that passed, so it is rather too
//! long than too short. Write and verify are what the mover noted (`act/leader/record.rs`).

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cluster::objects::{MeshLocationStatus, MoveOutcome, MovePhase, PastMove};
use crate::decide::{Cause, Health, LocationPlan, Move, Wish};
use crate::evidence::{
    Epoch, Evidence, Flow, Location, Moment, NodeName, Observation, Pace, UnixTime,
};
use crate::metrics::Part;

/// How many moves are kept in mind: what the histories of a few locations hold.
const KEPT: usize = 32;

/// Times moves, one at a time in each location.
#[derive(Debug, Default)]
pub(super) struct Stopwatch {
    /// Since when a location is dark and by which loss; no entry where it was so when we came.
    verdicts: BTreeMap<Location, Option<Verdict>>,
    moves: Vec<Timed>,
}

#[derive(Debug, Clone, Copy)]
struct Verdict {
    lost: Option<Moment>,
    at: Moment,
}

/// One move and what it took so far.
#[derive(Debug)]
struct Timed {
    location: Location,
    incident: String,
    to: NodeName,
    wished: Moment,
    written: Option<Moment>,
    took: BTreeMap<Part, Duration>,
}

impl Stopwatch {
    /// Looks at one location after a round, and returns what has become known of its move.
    pub(super) fn look(
        &mut self,
        (location, plan): (&Location, &LocationPlan),
        status: Option<&MeshLocationStatus>,
        (evidence, epoch): (&Evidence, Epoch),
    ) -> Vec<(Part, Duration)> {
        self.judge(location, plan, evidence);
        let begun = match &plan.wish {
            Wish::Move(wanted) => self.begin(location, wanted, epoch),
            Wish::Stay => false,
        };
        let Some(timed) = self.moves.iter_mut().rfind(|timed| timed.location == *location) else {
            return Vec::new();
        };

        let known = if begun { BTreeMap::new() } else { timed.took.clone() };
        if let Some(status) = status {
            timed.follow(status, epoch);
        }
        timed.converge(evidence);
        let news = timed.took.iter().filter(|(part, _)| !known.contains_key(part));
        news.map(|(part, took)| (*part, *took)).collect()
    }

    /// Returns past moves with what we know of them besides: of one that was given up nothing, since
    /// another to the same heir may have followed, which is the one that was timed.
    pub(super) fn timed(&self, location: &Location, moves: &[PastMove]) -> Vec<PastMove> {
        let mut moves = moves.to_vec();
        for past in moves.iter_mut().filter(|past| past.outcome != MoveOutcome::Abandoned) {
            let same = |timed: &&Timed| timed.is(location, &past.incident, &past.to);
            let Some(timed) = self.moves.iter().rfind(same) else { continue };
            for (part, took) in &timed.took {
                past.took_ms.entry(part.as_str().to_owned()).or_insert_with(|| millis(*took));
            }
        }
        moves
    }

    fn judge(&mut self, location: &Location, plan: &LocationPlan, evidence: &Evidence) {
        if plan.health != Health::Dark {
            self.verdicts.insert(location.clone(), None);
        } else if let Some(verdict @ None) = self.verdicts.get_mut(location) {
            let lossy = across(location, evidence)
                .filter(|(seen, _)| seen.pace == Pace::Burst && seen.window.lost > 0);
            let lost = lossy.map(|(seen, _)| seen.window.oldest).min();
            *verdict = Some(Verdict { lost, at: evidence.now });
        }
    }

    /// Begins to time a move, unless it is timed already; tells whether it did. To put a leader
    /// back is part of the move that is undone.
    fn begin(&mut self, location: &Location, wanted: &Move, epoch: Epoch) -> bool {
        let same = |timed: &Timed| timed.is(location, &wanted.incident, &wanted.to);
        if wanted.cause == Cause::Revert || self.moves.iter().any(same) {
            return false;
        }

        let wished = epoch.moment(wanted.at);
        let mut took = BTreeMap::new();
        let verdict = self.verdicts.get(location).copied().flatten();
        if let Some(Verdict { lost, at }) = verdict.filter(|_| wanted.cause == Cause::Verdict) {
            took.extend(lost.map(|lost| (Part::Detect, at.since(lost))));
            took.insert(Part::Decide, wished.since(at));
        }
        let surplus = (self.moves.len() + 1).saturating_sub(KEPT);
        self.moves.drain(..surplus);
        self.moves.push(Timed {
            location: location.clone(),
            incident: wanted.incident.clone(),
            to: wanted.to.clone(),
            wished,
            written: None,
            took,
        });
        true
    }
}

impl Timed {
    fn is(&self, location: &Location, incident: &str, to: &NodeName) -> bool {
        self.location == *location && self.incident == incident && self.to == *to
    }

    /// Reads from the object how far the mover has come.
    fn follow(&mut self, status: &MeshLocationStatus, epoch: Epoch) {
        if let Some(record) = &status.moving
            && record.phase == MovePhase::Written
            && self.is(&self.location, &record.incident, &record.to)
            && let Some(written) = record.written_ms
        {
            let written = epoch.moment(UnixTime(written));
            self.written.get_or_insert(written);
            self.took.entry(Part::Write).or_insert_with(|| written.since(self.wished));
        }
        let mut past = status.moves.iter();
        let past = past.find(|past| self.is(&self.location, &past.incident, &past.to));
        if let Some(millis) = past.and_then(|past| past.took_ms.get(Part::Verify.as_str())) {
            self.took.entry(Part::Verify).or_insert_with(|| Duration::from_millis(*millis));
        }
    }

    /// Looks for a fresh flow that passed through the new leader since it was written.
    fn converge(&mut self, evidence: &Evidence) {
        let Some(written) = self.written.filter(|_| !self.took.contains_key(&Part::Converge))
        else {
            return;
        };
        let passed = across(&self.location, evidence).filter(|(seen, inner)| {
            **inner != self.to && seen.window.oldest >= written && seen.window.passed() > 0
        });
        if let Some(first) = passed.map(|(seen, _)| seen.window.newest).min() {
            self.took.insert(Part::Converge, first.since(written));
        }
    }
}

/// Returns what was seen of fresh UDP flows into and out of a location, each with its inner end.
fn across<'e>(
    location: &'e Location,
    evidence: &'e Evidence,
) -> impl Iterator<Item = (&'e Observation, &'e NodeName)> {
    let inside = move |node: &NodeName| {
        evidence.mesh.nodes.get(node).is_some_and(|node| node.location == *location)
    };
    let fresh = evidence.observations.iter().filter(|seen| seen.path.flow == Flow::NewUdp);
    fresh.filter_map(move |seen| match (inside(&seen.path.from), inside(&seen.path.to)) {
        (true, false) => Some((seen, &seen.path.from)),
        (false, true) => Some((seen, &seen.path.to)),
        (true, true) | (false, false) => None,
    })
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
