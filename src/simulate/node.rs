//! One simulated node: its sidecar, which probes by the real schedule and writes reports, and what
//! its Kilo agent has to remember.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use super::chance::Chance;
use crate::evidence::{
    Abstention, Assignment, Epoch, Flow, Heard, LocalCause, LocalFinding, Location, Moment,
    NodeName, Report,
};
use crate::observe::schedule::{Condition, Event, Rates, Role, Schedule};

/// The least time between two reports.
const LEAST: Duration = Duration::from_millis(200);
/// Between reports while something is unwell.
const UNWELL: Duration = Duration::from_secs(1);
/// Between reports of a witness that sees nothing wrong.
const WITNESS: Duration = Duration::from_secs(60);
/// Between reports of any other node.
const OTHER: Duration = Duration::from_secs(600);
/// The span over which requests are counted.
const HEARD: Duration = Duration::from_secs(60);
/// How long a fresh sidecar abstains.
const JUST_STARTED: Duration = Duration::from_secs(10);

/// One simulated node.
#[derive(Debug)]
pub(super) struct SimNode {
    pub(super) name: NodeName,
    pub(super) location: Location,
    pub(super) pod_address: Option<IpAddr>,
    pub(super) schedule: Schedule,
    pub(super) inquest: u64,
    /// When the schedule is polled next.
    pub(super) polled: Moment,
    pub(super) kilo_started: Moment,
    sequence: u64,
    reported: Moment,
    urgent: bool,
    heard: BTreeMap<(NodeName, Flow), VecDeque<Moment>>,
}

/// What a location's sidecars are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) assignment: Assignment,
    pub(super) inquest: u64,
    pub(super) look: BTreeMap<Location, u64>,
}

/// What a node knows of itself when it writes.
#[derive(Debug, Clone, Default)]
pub(super) struct SelfView {
    pub(super) leader_seen: Option<NodeName>,
    pub(super) kilo_nodes: Option<u32>,
    pub(super) kilo_runs: bool,
    pub(super) starved: bool,
}

impl SimNode {
    pub(super) fn new(
        name: NodeName,
        location: Location,
        pod_address: Option<IpAddr>,
        chance: &mut Chance,
    ) -> Self {
        Self {
            schedule: Schedule::new(name.clone(), Rates::default(), chance.next()),
            name,
            location,
            pod_address,
            inquest: 0,
            polled: Moment::START,
            kilo_started: Moment::START - Duration::from_secs(3600),
            sequence: 0,
            reported: Moment::START - OTHER,
            urgent: false,
            heard: BTreeMap::new(),
        }
    }

    /// Takes the plan of its location.
    pub(super) fn follow(&mut self, told: &Told, now: Moment) {
        self.schedule.handle_assignment(&told.assignment, now);
        if told.inquest > self.inquest {
            self.inquest = told.inquest;
            self.schedule.handle_inquest(told.inquest, now);
        }
        self.schedule.handle_look(&told.look, now);
    }

    /// Counts a request that arrived.
    pub(super) fn hear(&mut self, from: &NodeName, flow: Flow, now: Moment) {
        let times = self.heard.entry((from.clone(), flow)).or_default();
        times.push_back(now);
        while times.front().is_some_and(|first| now.since(*first) > HEARD) {
            times.pop_front();
        }
    }

    /// Notes what the schedule has to say; returns when a report is due.
    pub(super) fn report_due(&mut self, now: Moment) -> Moment {
        while let Some(event) = self.schedule.poll_event() {
            self.urgent |= match event {
                Event::Changed { from, to, .. } => from != Condition::Unknown && from != to,
                Event::BurstDark(_) | Event::BurstEnded(_) => true,
            };
        }
        let unwell = self.schedule.conditions().any(|(path, condition)| {
            path.flow.is_fresh() && matches!(condition, Condition::Lossy | Condition::Dark)
        });
        let pause = if self.urgent {
            LEAST
        } else if unwell {
            UNWELL
        } else if matches!(self.schedule.role(), Role::Other(_)) {
            OTHER
        } else {
            WITNESS
        };
        (self.reported + pause).max(now)
    }

    /// Writes a report.
    pub(super) fn report(&mut self, view: &SelfView, epoch: Epoch, now: Moment) -> Report {
        self.sequence += 1;
        self.reported = now;
        self.urgent = false;
        let local = (!view.kilo_runs).then(|| LocalFinding {
            cause: LocalCause::KiloAgentDown,
            detail: "its port does not answer".to_owned(),
        });
        Report {
            node: self.name.clone(),
            location: self.location.clone(),
            version: "simulated".to_owned(),
            incarnation: 1,
            sequence: self.sequence,
            inquest: self.schedule.answered(),
            written_ms: epoch.unix(now).0,
            abstains: self.abstains(view, now),
            pod_address: self.pod_address,
            overlay_mac: Some("02:00:00:00:00:01".to_owned()),
            leader_seen: view.leader_seen.clone(),
            paths: self.schedule.report_paths(now),
            hairpins: self.schedule.report_hairpins(now),
            heard: self.report_heard(now),
            local: local.into_iter().collect(),
            kilo_started: Some(epoch.unix(self.kilo_started).seconds()),
            host: None,
            kilo_nodes: view.kilo_nodes,
        }
    }

    fn abstains(&self, view: &SelfView, now: Moment) -> Option<Abstention> {
        if view.starved {
            Some(Abstention::RoundLate)
        } else if now.since(Moment::START) < JUST_STARTED {
            Some(Abstention::JustStarted)
        } else if now.since(self.kilo_started) < Duration::from_secs(60) {
            Some(Abstention::KiloJustStarted)
        } else {
            None
        }
    }

    fn report_heard(&self, now: Moment) -> Vec<Heard> {
        let millis = |span: Duration| u32::try_from(span.as_millis()).unwrap_or(u32::MAX);
        let entries = self.heard.iter().filter_map(|((from, flow), times)| {
            let within = times.iter().filter(|at| now.since(**at) <= HEARD).count();
            let newest = times.back()?;
            Some(Heard {
                from: from.clone(),
                flow: *flow,
                received: u32::try_from(within).unwrap_or(u32::MAX),
                span_ms: millis(HEARD),
                newest_ms: millis(now.since(*newest)),
            })
        });
        entries.collect()
    }
}
