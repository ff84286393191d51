//! From inputs to a plan, one round at a time: gathers, diagnoses, decides.
//!
//! Pure. The arbiter feeds it from the cluster, the replay from a [`journal`](crate::journal); the
//! same inputs at the same moments give the same plan.
//!
//! ```text
//! Input ─▶ Gathered ─▶ Evidence ─▶ diagnose ─▶ findings ─▶ Decider ─▶ Plan
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::decide::{Api, Decider, Intent, Memory, Mode, Plan, Policy, Progress, Situation, Wish};
use crate::diagnose::{Finding, Thresholds, diagnose};
use crate::evidence::{
    Epoch, Evidence, Gathered, Location, Moment, Node, NodeName, Report, UnixTime,
};

/// One thing that came in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Input {
    /// A Node as it is now.
    Node(Box<Node>),
    /// A Node is gone.
    NodeGone(NodeName),
    /// A report that has just been written.
    Report(Box<Report>),
    /// A report that was there when this arbiter began.
    OldReport(Box<Report>),
    /// What the operator wants of a location.
    Intent(Location, Box<Intent>),
    /// What the last arbiter remembered of a location.
    Memory(Location, Box<Memory>),
    /// Since when a leader has led, as the last arbiter knew.
    LeaderSince(Location, NodeName, UnixTime),
    /// What has been done about a location's move.
    Progress(Location, Progress),
    /// Whether the API server answers.
    Api(Api),
    /// How many Kilo Peers exist.
    KiloPeers(usize),
    /// The mode of locations that do not say.
    Mode(Mode),
}

/// What one round came to.
#[derive(Debug, Clone)]
pub struct Judgement {
    /// What could be known.
    pub evidence: Evidence,
    /// Every fault seen.
    pub findings: Vec<Finding>,
    /// What to do.
    pub plan: Plan,
}

/// Everything between the inputs and the plan.
#[derive(Debug)]
pub struct Judge {
    thresholds: Thresholds,
    epoch: Epoch,
    gathered: Gathered,
    decider: Decider,
    intents: BTreeMap<Location, Intent>,
    progress: BTreeMap<Location, Progress>,
    api: Api,
    kilo_peers: usize,
    mode: Mode,
}

impl Judge {
    /// Starts without any input.
    #[must_use]
    pub fn new(policy: Policy, thresholds: Thresholds, epoch: Epoch) -> Self {
        Self {
            thresholds,
            epoch,
            gathered: Gathered::new(epoch),
            decider: Decider::new(policy, epoch),
            intents: BTreeMap::new(),
            progress: BTreeMap::new(),
            api: Api::Steady,
            kilo_peers: 0,
            mode: Mode::Observe,
        }
    }

    /// Takes one input.
    pub fn take(&mut self, input: Input, now: Moment) {
        match input {
            Input::Node(node) => self.gathered.see(*node),
            Input::NodeGone(name) => self.gathered.lose(&name),
            Input::Report(report) => self.gathered.hear(*report, now),
            Input::OldReport(report) => self.gathered.find(*report, now),
            Input::Intent(location, intent) => self.heed(location, *intent),
            Input::Memory(location, memory) => self.decider.resume(location, *memory, now),
            Input::LeaderSince(location, leader, since) => {
                self.gathered.refresh(now);
                self.gathered.remember_leader(&location, &leader, since);
            }
            Input::Progress(location, progress) => {
                self.progress.insert(location, progress);
            }
            Input::Api(api) => self.api = api,
            Input::KiloPeers(count) => self.kilo_peers = count,
            Input::Mode(mode) => self.mode = mode,
        }
    }

    /// Judges all that has been taken so far.
    pub fn round(&mut self, now: Moment) -> Judgement {
        self.gathered.refresh(now);
        let evidence = self.gathered.evidence(now);
        let findings = diagnose(&evidence, &self.thresholds);
        let plan = self.decider.step(&Situation {
            evidence: &evidence,
            findings: &findings,
            thresholds: &self.thresholds,
            intents: &self.intents,
            progress: &self.progress,
            api: self.api,
            kilo_peers: self.kilo_peers,
            default_mode: self.mode,
        });
        // What became of one move says nothing of the next one to the same node.
        self.progress.retain(|location, _| {
            plan.locations.get(location).is_some_and(|plan| plan.wish != Wish::Stay)
        });
        Judgement { evidence, findings, plan }
    }

    /// Keeps what the operator wants also of a location whose nodes are all gone: when they return
    /// nobody says it again.
    fn heed(&mut self, location: Location, intent: Intent) {
        if intent == Intent::default() {
            self.intents.remove(&location);
        } else {
            self.intents.insert(location, intent);
        }
    }

    /// Returns inputs that bring another judge to where this one stands, its windows aside.
    #[must_use]
    pub fn standing(&self) -> Vec<Input> {
        let gathered = &self.gathered;
        let nodes = gathered.mesh().nodes.values().cloned().map(Box::new).map(Input::Node);
        let leaders = gathered.leaders().iter().filter_map(|(location, leadership)| {
            let since = self.epoch.unix(leadership.since);
            Some(Input::LeaderSince(location.clone(), leadership.leader.clone()?, since))
        });
        let memories = gathered.leaders().keys().map(|location| {
            Input::Memory(location.clone(), Box::new(self.decider.memory(location)))
        });
        let intents = self.intents.iter();
        let intents =
            intents.map(|(at, intent)| Input::Intent(at.clone(), Box::new(intent.clone())));
        let progress = self.progress.iter();
        let progress = progress.map(|(at, progress)| Input::Progress(at.clone(), progress.clone()));
        let reports = gathered.reports().cloned().map(Box::new).map(Input::OldReport);

        [Input::Mode(self.mode), Input::Api(self.api), Input::KiloPeers(self.kilo_peers)]
            .into_iter()
            .chain(nodes)
            .chain(leaders)
            .chain(memories)
            .chain(intents)
            .chain(progress)
            .chain(reports)
            .collect()
    }

    /// Returns what is gathered so far.
    #[must_use]
    pub const fn gathered(&self) -> &Gathered {
        &self.gathered
    }

    /// Returns what has to survive this process, for one location.
    #[must_use]
    pub fn memory(&self, location: &Location) -> Memory {
        self.decider.memory(location)
    }
}

#[cfg(test)]
mod tests;
