//! What a sidecar counts.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::evidence::{Abstention, Flow, LocalCause, LocalFinding};
use crate::observe::echo::Counts;
use crate::observe::schedule::{Condition, Outcome, Purpose, Shot};
use crate::observe::tunnel::Peer;

/// From a LAN's round trip to the longest that a probe waits for.
const ROUND_TRIPS: [f64; 10] = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.3, 1.0];

/// What a sidecar counts.
#[derive(Debug, Clone)]
pub struct ObserveMetrics {
    probes: Family<ProbeLabels, Counter>,
    round_trips: Family<FlowLabel, Histogram>,
    bursts: Family<KindLabel, Counter>,
    paths: Family<StateLabel, Gauge>,
    abstaining: Family<ReasonLabel, Gauge>,
    findings: Family<CauseLabel, Gauge>,
    reports: Family<ResultLabel, Counter>,
    report_bytes: Gauge,
    requests: Family<ResultLabel, Counter>,
    tunnels: Gauge,
    handshake_age: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProbeLabels {
    flow: &'static str,
    purpose: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FlowLabel {
    flow: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    condition: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CauseLabel {
    cause: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

impl ObserveMetrics {
    /// Registers what a sidecar counts.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let new = Self {
            probes: Family::default(),
            round_trips: Family::new_with_constructor(|| Histogram::new(ROUND_TRIPS)),
            bursts: Family::default(),
            paths: Family::default(),
            abstaining: Family::default(),
            findings: Family::default(),
            reports: Family::default(),
            report_bytes: Gauge::default(),
            requests: Family::default(),
            tunnels: Gauge::default(),
            handshake_age: Gauge::default(),
        };
        new.enter(registry.sub_registry_with_prefix("sidecar"));
        // One that first appears as 1 has not grown in the eyes of whoever asks for its increase.
        for result in ["written", "failed"] {
            new.reports.get_or_create(&ResultLabel { result }).inc_by(0);
        }
        new.responder(&Counts::default());
        new
    }

    fn enter(&self, registry: &mut Registry) {
        registry.register(
            "probes",
            "Probes by flow, purpose and result; what is late was counted as lost first",
            self.probes.clone(),
        );
        registry.register(
            "round_trip_seconds",
            "Round trips of answered probes",
            self.round_trips.clone(),
        );
        registry.register("bursts", "Bursts begun, by what asked for them", self.bursts.clone());
        registry.register("paths", "Paths by condition", self.paths.clone());
        registry.register(
            "abstaining",
            "1 while this node finds that its own word does not count, by reason",
            self.abstaining.clone(),
        );
        registry.register(
            "local_findings",
            "1 while the cause is found on this node",
            self.findings.clone(),
        );
        registry.register("reports", "Reports written, by result", self.reports.clone());
        registry.register("report_bytes", "Size of the last report", self.report_bytes.clone());
        registry.register("requests", "Packets at the responder, by result", self.requests.clone());
        registry.register("tunnels", "WireGuard peers of Kilo's device", self.tunnels.clone());
        registry.register(
            "oldest_handshake_seconds",
            "Age of the oldest handshake among WireGuard peers: context, no health",
            self.handshake_age.clone(),
        );
    }

    /// Makes every series that there can be.
    pub(super) fn show_all_labels(&self) {
        for each in FLOWS {
            let flow = flow(each);
            drop(self.round_trips.get_or_create(&FlowLabel { flow }));
            for purpose in PURPOSES {
                for result in RESULTS {
                    self.probes.get_or_create(&ProbeLabels { flow, purpose, result }).inc_by(0);
                }
            }
        }
        self.burst(None);
        self.burst(Some(1));
        self.paths(std::iter::empty());
        self.abstaining(None);
        self.findings(&[]);
        self.reported(0);
        self.unreported();
        self.responder(&Counts::default());
        self.tunnels(Some(&[]));
    }

    /// Counts one probe.
    pub fn probed(&self, shot: &Shot, outcome: Outcome) {
        let flow = flow(shot.path.flow);
        let [answered, lost, late, unsent] = RESULTS;
        let result = match outcome {
            Outcome::Answered { .. } => answered,
            Outcome::Lost => lost,
            Outcome::Late { .. } => late,
            Outcome::Unsent => unsent,
        };
        let [steady, burst, nudge] = PURPOSES;
        let purpose = match shot.purpose {
            Purpose::Steady => steady,
            Purpose::Burst(_) => burst,
            Purpose::Nudge => nudge,
        };
        self.probes.get_or_create(&ProbeLabels { flow, purpose, result }).inc();
        if let Outcome::Answered { round_trip } | Outcome::Late { round_trip } = outcome {
            self.round_trips.get_or_create(&FlowLabel { flow }).observe(round_trip.as_secs_f64());
        }
    }

    /// Counts a burst that ended.
    pub fn burst(&self, inquest: Option<u64>) {
        let kind = if inquest.is_some() { "inquest" } else { "first-loss" };
        self.bursts.get_or_create(&KindLabel { kind }).inc();
    }

    /// Shows how the paths do.
    pub fn paths(&self, conditions: impl Iterator<Item = Condition>) {
        let mut counts = [0; 4];
        for condition in conditions {
            counts[condition as usize] += 1;
        }
        for (name, count) in ["unknown", "well", "lossy", "dark"].into_iter().zip(counts) {
            self.paths.get_or_create(&StateLabel { condition: name }).set(count);
        }
    }

    /// Shows whether this node's word counts.
    pub fn abstaining(&self, now: Option<Abstention>) {
        for each in ABSTENTIONS {
            let label = ReasonLabel { reason: reason(each) };
            self.abstaining.get_or_create(&label).set(i64::from(now == Some(each)));
        }
    }

    /// Shows what is wrong on this node.
    pub fn findings(&self, found: &[LocalFinding]) {
        for each in CAUSES {
            let is_found = found.iter().any(|finding| finding.cause == each);
            let label = CauseLabel { cause: cause(each) };
            self.findings.get_or_create(&label).set(i64::from(is_found));
        }
    }

    /// Counts a report written, and shows its size.
    pub fn reported(&self, bytes: usize) {
        self.reports.get_or_create(&ResultLabel { result: "written" }).inc();
        self.report_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Counts a report that could not be written.
    pub fn unreported(&self) {
        self.reports.get_or_create(&ResultLabel { result: "failed" }).inc();
    }

    /// Takes over what the responder counted.
    pub fn responder(&self, counts: &Counts) {
        let all = [
            ("answered", counts.answered),
            ("dropped", counts.dropped),
            ("malformed", counts.malformed),
            ("forged", counts.forged),
            ("repeated", counts.repeated),
            ("stale", counts.stale),
            ("limited", counts.limited),
            ("unsent", counts.unsent),
            ("hung-up", counts.hung_up),
            ("hairpin", counts.hairpins),
        ];
        for (result, count) in all {
            let counter = self.requests.get_or_create(&ResultLabel { result });
            counter.inc_by(count.saturating_sub(counter.get()));
        }
    }

    /// Shows what WireGuard says; nothing changes where that is unknown.
    pub fn tunnels(&self, peers: Option<&[Peer]>) {
        let Some(peers) = peers else { return };
        let oldest = peers.iter().filter_map(|peer| peer.handshake).max();
        let seconds = oldest.unwrap_or(Duration::ZERO).as_secs();
        self.tunnels.set(i64::try_from(peers.len()).unwrap_or(i64::MAX));
        self.handshake_age.set(i64::try_from(seconds).unwrap_or(i64::MAX));
    }
}

/// Why a node may find that its own word does not count. Whether its clock is off others see.
const ABSTENTIONS: [Abstention; 4] = [
    Abstention::JustStarted,
    Abstention::RoundLate,
    Abstention::KiloJustStarted,
    Abstention::NoPlan,
];

const RESULTS: [&str; 4] = ["answered", "lost", "late", "unsent"];

const PURPOSES: [&str; 3] = ["steady", "burst", "nudge"];

const FLOWS: [Flow; 7] = [
    Flow::NewUdp,
    Flow::NewTcp,
    Flow::Ping,
    Flow::KeptUdp,
    Flow::KeptTcp,
    Flow::Large,
    Flow::Control,
];

const CAUSES: [LocalCause; 9] = [
    LocalCause::ConntrackFull,
    LocalCause::ForwardingOff,
    LocalCause::NeighboursFull,
    LocalCause::OverlayMissing,
    LocalCause::ReversePathFilter,
    LocalCause::ResponderUnbound,
    LocalCause::KiloAgentDown,
    LocalCause::KiloAgentCrashLoop,
    LocalCause::SoftirqDrops,
];

const fn cause(cause: LocalCause) -> &'static str {
    match cause {
        LocalCause::ConntrackFull => "conntrack-full",
        LocalCause::ForwardingOff => "forwarding-off",
        LocalCause::NeighboursFull => "neighbours-full",
        LocalCause::OverlayMissing => "overlay-missing",
        LocalCause::ReversePathFilter => "reverse-path-filter",
        LocalCause::ResponderUnbound => "responder-unbound",
        LocalCause::KiloAgentDown => "kilo-agent-down",
        LocalCause::KiloAgentCrashLoop => "kilo-agent-crash-loop",
        LocalCause::SoftirqDrops => "softirq-drops",
    }
}

/// Returns an abstention as labels carry it.
pub(super) const fn reason(reason: Abstention) -> &'static str {
    match reason {
        Abstention::JustStarted => "just-started",
        Abstention::RoundLate => "round-late",
        Abstention::KiloJustStarted => "kilo-just-started",
        Abstention::ClockOff => "clock-off",
        Abstention::NoPlan => "no-plan",
    }
}

const fn flow(flow: Flow) -> &'static str {
    match flow {
        Flow::NewUdp => "new-udp",
        Flow::NewTcp => "new-tcp",
        Flow::Ping => "ping",
        Flow::KeptUdp => "kept-udp",
        Flow::KeptTcp => "kept-tcp",
        Flow::Large => "large",
        Flow::Control => "control",
    }
}
