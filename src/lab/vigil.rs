//! Sees every change of a leader, whoever caused it and whenever it came, and tells those that were
//! to be expected from those that were not.
//!
//! Between two faults nobody may move anything. While a fault is watched, Tanist may move the
//! location that is struck, and no other; whether it should, [`expect`](super::expect) says. Kilo
//! may elect another leader where the fault makes it do so.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::chronicle::{Chronicle, Happening, What};
use super::figures::Mover;
use super::timeline::Timeline;
use crate::evidence::{Location, NodeName};

/// A change of leader within so long of the record of a move to it is that move's.
const MOVE: Duration = Duration::from_secs(120);

/// By so much may two watches tell in the wrong order what followed in the right one.
const SKEW: Duration = Duration::from_secs(1);

/// What is going on, and who may change a leader in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Phase {
    /// In words.
    pub name: String,
    /// Where Tanist may move.
    pub tanist: Option<Location>,
    /// Where the lab moves by hand.
    pub hand: Option<Location>,
    /// Whether Kilo may elect another leader by itself.
    pub kilo: bool,
}

/// One change of a leader.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// Seconds since the lab began.
    pub at: f64,
    /// Of which location.
    pub location: Location,
    /// Who led.
    pub from: NodeName,
    /// Who leads.
    pub to: NodeName,
    /// Who caused it.
    pub by: Mover,
    /// What was going on.
    pub during: String,
    /// Whether it was to be expected then.
    pub expected: bool,
}

/// Reads the chronicle, and tells all of it on the timeline.
pub struct Vigil<'a> {
    /// Where it reads.
    pub chronicle: Chronicle,
    timeline: &'a Timeline,
    told: Cell<usize>,
    phases: RefCell<Vec<(Instant, Phase)>>,
}

impl<'a> Vigil<'a> {
    /// Begins a vigil.
    #[must_use]
    pub fn new(chronicle: Chronicle, timeline: &'a Timeline) -> Self {
        Self { chronicle, timeline, told: Cell::new(0), phases: RefCell::default() }
    }

    /// Says what is going on from now on.
    pub fn enter(&self, phase: Phase) {
        self.phases.borrow_mut().push((Instant::now(), phase));
    }

    /// Tells what has happened since it was last called, and returns it.
    pub fn look(&self) -> Vec<Happening> {
        let news = self.chronicle.after(self.told.get());
        self.told.set(self.told.get() + news.len());
        for happening in &news {
            self.timeline.at(happening.at, &happening.what.to_string());
        }

        news
    }

    /// Returns every change of leader so far.
    #[must_use]
    pub fn changes(&self) -> Vec<Change> {
        let since = |at| self.timeline.since_start(at).as_secs_f64();
        changes(&self.chronicle.after(0), &self.phases.borrow(), since)
    }
}

/// Finds the changes of leader among what happened.
fn changes(
    happenings: &[Happening],
    phases: &[(Instant, Phase)],
    since: impl Fn(Instant) -> f64,
) -> Vec<Change> {
    let mut leaders = std::collections::BTreeMap::new();
    let mut changes = Vec::new();

    for Happening { at, what } in happenings {
        let What::Leads(location, node) = what else { continue };
        let Some(from) = leaders.insert(location, node) else { continue };

        let phase = phases.iter().rev().find(|(began, _)| began <= at);
        let phase = phase.map(|(_, phase)| phase.clone()).unwrap_or_default();
        let by = mover(happenings, *at, (location, node), &phase);
        let expected = match by {
            Mover::Tanist => phase.tanist.as_ref() == Some(location),
            Mover::Hand => true,
            Mover::Kilo | Mover::Nobody => phase.kilo,
        };
        changes.push(Change {
            at: since(*at),
            location: location.clone(),
            from: from.clone(),
            to: node.clone(),
            by,
            during: phase.name,
            expected,
        });
    }

    changes
}

/// Tells who caused a change: Tanist, if there is a record of it; the lab, if it said that it
/// would; else Kilo.
fn mover(
    happenings: &[Happening],
    at: Instant,
    (location, node): (&Location, &NodeName),
    phase: &Phase,
) -> Mover {
    let moved = |what: &What| {
        if let What::Move(place, record) = what {
            place == location && record.to == *node
        } else if let What::Reverting(place, record) = what {
            place == location && record.from.as_ref() == Some(node)
        } else {
            false
        }
    };
    let near = |then: Instant| then <= at + SKEW && at <= then + MOVE;

    if happenings.iter().any(|happening| near(happening.at) && moved(&happening.what)) {
        Mover::Tanist
    } else if phase.hand.as_ref() == Some(location) {
        Mover::Hand
    } else {
        Mover::Kilo
    }
}

impl Change {
    /// Says what of it is wrong, if it was not to be expected.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        let who = match self.by {
            Mover::Tanist => "Tanist moved it",
            Mover::Kilo | Mover::Nobody => "Kilo elected it, or somebody else annotated it",
            Mover::Hand => "the lab moved it",
        };
        let Self { at, location, from, to, during, .. } = self;
        (!self.expected)
            .then(|| format!("{location} went from {from} to {to} at {at:.3} s, {during}: {who}"))
    }
}

#[cfg(test)]
mod tests;
