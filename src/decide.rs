//! Decides who should lead each location, from evidence and findings alone.
//!
//! Pure: no clock, no IO, no errors. [`Decider::step`] folds one round of evidence into a
//! [`Plan`]; what must survive a restart is a [`Memory`] per location. Its parts: [`trust`] is the
//! state machine, [`heirs`] says who is fit and in which order, [`rails`] holds back what the
//! evidence alone would justify, [`intent`] is what the operator wants.

#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::diagnose::{Finding, Thresholds, Verdict, verdict};
use crate::evidence::{Epoch, Evidence, Leadership, Location, Moment};
use outage::Outage;
use turn::{MeshState, Standing, View};

mod assign;
mod case;
pub mod heirs;
pub mod intent;
mod ledger;
pub mod memory;
mod outage;
mod person;
pub mod plan;
pub mod policy;
mod proof;
pub mod rails;
mod readded;
mod told;
pub mod trust;
mod turn;
mod unresolved;
mod vetting;
mod word;

pub use assign::{assign, target};
pub use heirs::{Check, Heir};
pub use intent::{Intent, Mode, MoveRequest, Promotion};
pub use memory::{Answer, Cause, End, Memory, Move, PastMove};
pub use plan::{Health, LocationPlan, Plan, Progress, Wish};
pub use policy::Policy;
pub use rails::Rail;
pub use readded::Readded;
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
    /// It does, and has for long, or was never seen to fail for longer than a few seconds.
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
    standings: BTreeMap<Location, Standing>,
    outage: Outage,
}

impl Decider {
    /// Makes a decider that remembers nothing. `epoch` translates what it stores to wall time.
    #[must_use]
    pub fn new(policy: Policy, epoch: Epoch) -> Self {
        Self { policy, epoch, standings: BTreeMap::new(), outage: Outage::default() }
    }

    /// Goes on where another decider stopped.
    pub fn resume(&mut self, location: Location, memory: Memory, now: Moment) {
        let mut standing = Standing::resume(memory, self.epoch);
        standing.trust = standing.trust.taken_up(now, &self.policy);
        self.standings.insert(location, standing);
    }

    /// Returns what has to survive this process, for one location. It changes only when something
    /// happens.
    #[must_use]
    pub fn memory(&self, location: &Location) -> Memory {
        let standing = self.standings.get(location);
        standing.map(|standing| standing.remember(self.epoch)).unwrap_or_default()
    }

    /// Returns the plan after one round.
    pub fn step(&mut self, situation: &Situation<'_>) -> Plan {
        let leaders = &situation.evidence.leaders;
        let unasked = Intent::default();
        let mut mesh = MeshState {
            api_returns: self.outage.step(situation, &self.policy),
            storm: self.is_storm(situation),
            moving: self.moving(leaders),
        };
        let mut locations = BTreeMap::new();
        for (location, leadership) in leaders {
            let standing = self.standings.entry(location.clone()).or_default();
            let view = View {
                location,
                leadership,
                situation,
                intent: situation.intents.get(location).unwrap_or(&unasked),
                policy: &self.policy,
                epoch: self.epoch,
                mesh: &mesh,
            };
            let plan = standing.turn(&view);
            if matches!(plan.wish, Wish::Move(_)) {
                mesh.moving = Some(location.clone());
            }
            locations.insert(location.clone(), plan);
        }

        Plan { locations }
    }

    /// Tells whether more than half of the leaders, and more than one, were convicted at once or
    /// shortly one after the other: it is us, or what carries everything.
    fn is_storm(&self, situation: &Situation<'_>) -> bool {
        let Situation { evidence, findings, thresholds, .. } = *situation;
        let lately = |location: &Location| {
            let dark_at = self.standings.get(location).and_then(|standing| standing.dark_at);
            dark_at.is_some_and(|at| evidence.now.since(at) < self.policy.storm)
        };
        let now = |location: &Location| {
            matches!(verdict(location, findings, evidence, thresholds), Verdict::Dark(_))
        };
        let leaders = evidence.leaders.keys();
        let convicted = leaders.filter(|location| lately(location) || now(location)).count();
        convicted > (evidence.leaders.len() / 2).max(1)
    }

    /// Whose leader is being moved. A location that is gone holds nobody back.
    fn moving(&self, leaders: &BTreeMap<Location, Leadership>) -> Option<Location> {
        let moving = |location: &&Location| {
            self.standings.get(location).is_some_and(|standing| standing.memory.moving.is_some())
        };
        leaders.keys().find(moving).cloned()
    }
}

#[cfg(test)]
mod tests;
