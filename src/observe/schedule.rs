//! Whom to probe, when, and what came of it. Pure: time and randomness are arguments.

use std::net::IpAddr;
use std::time::Duration;

use crate::evidence::{Assignment, Epoch, Hairpin, Moment, NodeName, Nudge, Path, PathReport};

mod rates;

pub use rates::Rates;

/// Why a flow is opened: decides which of a path's windows counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// The ordinary cadence.
    Steady,
    /// After a first loss, or for an inquest.
    Burst(u64),
    /// To bring up new WireGuard sessions; counts for nothing.
    Nudge,
}

/// One flow to open now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shot {
    /// The path it measures.
    pub path: Path,
    /// Where to send it; the port follows from the flow.
    pub address: IpAddr,
    /// How long to wait for the answer.
    pub timeout: Duration,
    /// Why.
    pub purpose: Purpose,
    /// When the schedule gave it out.
    pub opened: Moment,
}

/// What came of a shot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The far end answered.
    Answered {
        /// The round trip.
        round_trip: Duration,
    },
    /// No answer in time, or the network refused.
    Lost,
    /// This host could not even open it: says nothing about the path.
    Unsent,
}

/// A hairpin test to run now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HairpinShot {
    /// The node asked to forward.
    pub heir: crate::evidence::Target,
    /// The node that counts.
    pub counter: crate::evidence::Target,
}

/// How a path does, by its last flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Condition {
    /// Nothing known yet.
    Unknown,
    /// (Nearly) all pass.
    Well,
    /// Some pass.
    Lossy,
    /// None passes.
    Dark,
}

/// Something that the engine should say or report.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A path's condition changed.
    Changed {
        /// The path.
        path: Path,
        /// What it was.
        from: Condition,
        /// What it is.
        to: Condition,
    },
    /// Four flows of a burst in a row were lost: worth a report before the burst ends.
    BurstDark(Path),
    /// All flows of a burst have their outcome; with the inquest it answers, if any.
    BurstEnded(Option<u64>),
}

/// Whom one node probes, when, and what came of it.
#[derive(Debug, Clone)]
pub struct Schedule {
    me: NodeName,
    rates: Rates,
    assignment: Assignment,
}

impl Schedule {
    /// Returns a schedule with nothing to probe yet.
    #[must_use]
    pub fn new(me: NodeName, rates: Rates, _seed: u64) -> Self {
        Self { me, rates, assignment: Assignment::default() }
    }

    /// Returns the node that probes.
    #[must_use]
    pub const fn node(&self) -> &NodeName {
        &self.me
    }

    /// Returns the cadence it keeps.
    #[must_use]
    pub const fn rates(&self) -> &Rates {
        &self.rates
    }

    /// Takes a new plan.
    pub fn handle_assignment(&mut self, assignment: &Assignment, _now: Moment) {
        self.assignment = assignment.clone();
    }

    /// Takes an inquest: a burst on every class of path at once, if its number is new.
    pub fn handle_inquest(&mut self, _inquest: u64, _now: Moment) {}

    /// Takes the nudges that stand; those for this node are followed.
    pub fn handle_nudge(&mut self, _nudges: &[Nudge], _epoch: Epoch, _now: Moment) {}

    /// Takes what came of a shot.
    pub fn handle_outcome(&mut self, _shot: &Shot, _outcome: Outcome, _now: Moment) {}

    /// Takes what came of a hairpin test.
    pub fn handle_hairpin(&mut self, _result: &Hairpin, _now: Moment) {}

    /// Returns when to poll next, and for what.
    #[must_use]
    pub fn next_deadline(&self) -> Option<(Moment, &'static str)> {
        None
    }

    /// Returns the flows to open now.
    pub fn poll(&mut self, _now: Moment) -> Vec<Shot> {
        Vec::new()
    }

    /// Returns the hairpin tests to run now.
    pub fn poll_hairpins(&mut self, _now: Moment) -> Vec<HairpinShot> {
        Vec::new()
    }

    /// Returns the next thing that happened, oldest first.
    pub fn poll_event(&mut self) -> Option<Event> {
        None
    }

    /// Returns every path probed, with its counts.
    #[must_use]
    pub fn report_paths(&self, _now: Moment) -> Vec<PathReport> {
        Vec::new()
    }

    /// Returns the last result for every heir tested.
    #[must_use]
    pub fn report_hairpins(&self, _now: Moment) -> Vec<Hairpin> {
        Vec::new()
    }
}
