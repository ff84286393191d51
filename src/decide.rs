//! Decides who should lead each location, from evidence and findings alone.
//!
//! Pure: no clock, no IO, no errors. [`Decider::step`] folds one round of evidence into a
//! [`Plan`]; what must survive a restart is a [`Memory`] per location. Its parts: [`trust`] is the
//! state machine, [`heirs`] says who is fit and in which order, [`rails`] holds back what the
//! evidence alone would justify, [`intent`] is what the operator wants.

#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::diagnose::{Finding, Thresholds};
use crate::evidence::{Epoch, Evidence, Location, Moment, UnixTime};

pub mod heirs;
pub mod intent;
pub mod memory;
pub mod plan;
pub mod policy;
pub mod rails;
pub mod trust;

pub use heirs::{Check, Heir};
pub use intent::{Intent, Mode, MoveRequest, Promotion};
pub use memory::{Cause, End, Memory, Move, PastMove};
pub use plan::{Health, LocationPlan, Plan, Progress, Wish};
pub use policy::Policy;
pub use rails::Rail;
pub use trust::{Attempt, Trust};

/// All that one round of decision goes by.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// What can be known; its `now` is the time of the decision.
    pub evidence: &'a Evidence,
    /// What the diagnosis says of it.
    pub findings: &'a [Finding],
    /// The figures that it judged by.
    pub thresholds: &'a Thresholds,
    /// What the operator wants, by location; one that is absent wants nothing special.
    pub intents: &'a BTreeMap<Location, Intent>,
    /// What the actor has done about the last plan, by location; absent is idle.
    pub progress: &'a BTreeMap<Location, Progress>,
    /// Whether the API server answers.
    pub api: Api,
    /// How many Kilo Peers exist.
    pub kilo_peers: usize,
    /// The mode of a location that does not say.
    pub default_mode: Mode,
}

/// Whether the API server answers the one who decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Api {
    /// It does, and was never seen to fail for longer than a few seconds.
    Steady,
    /// It does not.
    Away,
    /// It does again.
    Back {
        /// Since when.
        since: Moment,
    },
}

/// Decides for all locations, and remembers.
#[derive(Debug)]
pub struct Decider {
    policy: Policy,
    epoch: Epoch,
    locations: BTreeMap<Location, Memory>,
}

impl Decider {
    /// Makes a decider that remembers nothing. `epoch` translates what it stores to wall time.
    #[must_use]
    pub const fn new(policy: Policy, epoch: Epoch) -> Self {
        Self { policy, epoch, locations: BTreeMap::new() }
    }

    /// Goes on where another decider stopped.
    pub fn resume(&mut self, location: Location, memory: Memory) {
        self.locations.insert(location, memory);
    }

    /// Returns what has to survive this process, for one location.
    #[must_use]
    pub fn memory(&self, location: &Location) -> Memory {
        self.locations.get(location).cloned().unwrap_or_default()
    }

    /// Returns the plan after one round.
    pub fn step(&mut self, situation: &Situation<'_>) -> Plan {
        let _ = (&self.policy, self.unix(situation.evidence.now));
        Plan::default()
    }

    const fn unix(&self, moment: Moment) -> UnixTime {
        self.epoch.unix(moment)
    }
}
