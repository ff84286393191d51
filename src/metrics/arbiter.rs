//! What the arbiter counts. Locations are labels: there are as many as an operator made.

use std::collections::BTreeMap;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::decide::{Cause, Health, LocationPlan, Plan, Progress, Rail, Wish};
use crate::diagnose::{Class, Finding};
use crate::evidence::{Abstention, Location, NodeName, Reporter};

use super::observe::reason;

/// From a small mesh's round to one that would delay a verdict.
const ROUNDS: [f64; 8] = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.2];

/// From one write to the longest proof.
const PARTS: [f64; 11] = [0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0];

/// One part of a move: see `arbiter/stopwatch.rs` for where each begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// From the first burst that shows the loss to the verdict.
    Detect,
    /// From the verdict to the wish for a move.
    Decide,
    /// From the wish to the last annotation.
    Write,
    /// From there to the first fresh flow seen to pass.
    Converge,
    /// From there, too, to the proof.
    Verify,
}

impl Part {
    /// All, in their order.
    const ALL: [Self; 5] = [Self::Detect, Self::Decide, Self::Write, Self::Converge, Self::Verify];

    /// Returns the part as labels and objects carry it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Detect => "detect",
            Self::Decide => "decide",
            Self::Write => "write",
            Self::Converge => "converge",
            Self::Verify => "verify",
        }
    }
}

/// What the arbiter counts.
#[derive(Debug, Clone)]
pub struct ArbiterMetrics {
    leading: Gauge,
    rounds: Histogram,
    health: Family<HealthLabels, Gauge>,
    served: Family<ServedLabels, Gauge>,
    heirs: Family<LocationLabel, Gauge>,
    findings: Family<ClassLabel, Gauge>,
    abstaining: Family<ReasonLabel, Gauge>,
    convictions: Family<LocationLabel, Counter>,
    moves: Family<CauseLabels, Counter>,
    refused: Family<LocationLabel, Counter>,
    would_have_moved: Family<RailLabels, Counter>,
    move_parts: Family<PartLabel, Histogram>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PartLabel {
    part: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LocationLabel {
    location: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HealthLabels {
    location: String,
    health: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServedLabels {
    location: String,
    by: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClassLabel {
    class: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CauseLabels {
    location: String,
    cause: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RailLabels {
    location: String,
    rail: &'static str,
}

impl ArbiterMetrics {
    /// Registers what the arbiter counts.
    pub fn register(registry: &mut Registry) -> Self {
        let new = Self {
            leading: Gauge::default(),
            rounds: Histogram::new(ROUNDS),
            health: Family::default(),
            served: Family::default(),
            heirs: Family::default(),
            findings: Family::default(),
            abstaining: Family::default(),
            convictions: Family::default(),
            moves: Family::default(),
            refused: Family::default(),
            would_have_moved: Family::default(),
            move_parts: Family::new_with_constructor(|| Histogram::new(PARTS)),
        };
        let all = registry;
        all.register(
            "arbiter_leading",
            "1 while this process holds the lease",
            new.leading.clone(),
        );
        all.register("round_seconds", "How long a round of judgement took", new.rounds.clone());
        all.register("location_health", "1 for the state a location is in", new.health.clone());
        all.register(
            "location_served",
            "Nodes served now, and by the best heir",
            new.served.clone(),
        );
        all.register("location_heirs", "Members fit to lead next", new.heirs.clone());
        all.register("findings", "Faults seen at present, by class", new.findings.clone());
        let help = "Nodes whose word does not count, as the arbiter sees it, by reason";
        all.register("abstaining_nodes", help, new.abstaining.clone());
        all.register("convictions", "Times a leader was convicted", new.convictions.clone());
        all.register("moves", "Moves wished for, by cause", new.moves.clone());
        all.register("moves_refused", "Moves given up before they were whole", new.refused.clone());
        let help = "Moves that a guard rail held back, by the rail; observe mode is one";
        all.register("would_have_moved", help, new.would_have_moved.clone());
        let help = "How long the parts of moves took: detect, decide, write, converge, verify";
        all.register("move_seconds", help, new.move_parts.clone());
        new
    }

    /// Notes how long one part of a move took.
    pub fn took(&self, part: Part, took: Duration) {
        let label = PartLabel { part: part.as_str() };
        self.move_parts.get_or_create(&label).observe(took.as_secs_f64());
    }

    /// Makes every series that there can be, for one location.
    pub(super) fn show_all_labels(&self) {
        let location = || "LOCATION".to_owned();
        for health in HEALTHS {
            let labels = HealthLabels { location: location(), health: name(health) };
            self.health.get_or_create(&labels).set(0);
        }
        for by in ["now", "best"] {
            self.served.get_or_create(&ServedLabels { location: location(), by }).set(0);
        }
        for class in CLASSES {
            self.findings.get_or_create(&ClassLabel { class: class.as_str() }).set(0);
        }
        self.abstaining(&BTreeMap::new());
        for part in Part::ALL {
            drop(self.move_parts.get_or_create(&PartLabel { part: part.as_str() }));
        }
        self.heirs.get_or_create(&LocationLabel { location: location() }).set(0);
        self.begin_counting(&Location(location()));
    }

    /// Makes a location's counters before anything is counted: one that appears as 1 has not grown
    /// in the eyes of whoever asks for its increase.
    fn begin_counting(&self, location: &Location) {
        for each in CAUSES {
            let labels = CauseLabels { location: location.0.clone(), cause: cause(each) };
            self.moves.get_or_create(&labels).inc_by(0);
        }
        for rail in RAILS {
            let labels = RailLabels { location: location.0.clone(), rail };
            self.would_have_moved.get_or_create(&labels).inc_by(0);
        }
        self.convictions.get_or_create(&label(location)).inc_by(0);
        self.refused.get_or_create(&label(location)).inc_by(0);
    }

    /// Notes whether this process holds the lease. One that does not knows nothing of the mesh.
    pub fn hold(&self, leading: Leading) {
        self.leading.set(i64::from(leading == Leading::Yes));
        if leading == Leading::No {
            self.health.clear();
            self.served.clear();
            self.heirs.clear();
            self.findings.clear();
            self.abstaining.clear();
        }
    }

    /// Notes one round: what it took, what it found, and what it changed.
    pub fn round(&self, took: Duration, before: &Plan, after: &Plan, findings: &[Finding]) {
        self.rounds.observe(took.as_secs_f64());
        self.findings.clear();
        for finding in findings {
            self.findings.get_or_create(&ClassLabel { class: finding.class.as_str() }).inc();
        }
        for (location, plan) in &after.locations {
            self.state(location, plan);
            if !before.locations.contains_key(location) {
                self.begin_counting(location);
            }
            self.change(location, before.locations.get(location), plan);
        }
        for location in before.locations.keys() {
            if !after.locations.contains_key(location) {
                self.forget(location);
            }
        }
    }

    /// Shows whose word does not count.
    pub fn abstaining(&self, reporters: &BTreeMap<NodeName, Reporter>) {
        for each in ABSTENTIONS {
            let abstain = reporters.values().filter(|node| node.abstains == Some(each)).count();
            let label = ReasonLabel { reason: reason(each) };
            self.abstaining.get_or_create(&label).set(i64::try_from(abstain).unwrap_or(i64::MAX));
        }
    }

    /// Notes what became of a move.
    pub fn acted(&self, location: &Location, progress: &Progress) {
        if matches!(progress, Progress::Refused { .. }) {
            self.refused.get_or_create(&label(location)).inc();
        }
    }

    fn state(&self, location: &Location, plan: &LocationPlan) {
        for health in HEALTHS {
            let labels = HealthLabels { location: location.0.clone(), health: name(health) };
            self.health.get_or_create(&labels).set(i64::from(plan.health == health));
        }
        for (by, count) in [("now", plan.served_now), ("best", plan.served_best)] {
            let labels = ServedLabels { location: location.0.clone(), by };
            self.served.get_or_create(&labels).set(i64::from(count));
        }
        let fit = plan.heirs.iter().filter(|heir| heir.is_fit()).count();
        self.heirs.get_or_create(&label(location)).set(i64::try_from(fit).unwrap_or(i64::MAX));
    }

    /// Takes away the state of a location that is gone. What was counted there stays.
    fn forget(&self, location: &Location) {
        for health in HEALTHS {
            let labels = HealthLabels { location: location.0.clone(), health: name(health) };
            self.health.remove(&labels);
        }
        for by in ["now", "best"] {
            self.served.remove(&ServedLabels { location: location.0.clone(), by });
        }
        self.heirs.remove(&label(location));
    }

    fn change(&self, location: &Location, was: Option<&LocationPlan>, plan: &LocationPlan) {
        let was_dark = was.is_some_and(|was| was.health == Health::Dark);
        if plan.health == Health::Dark && !was_dark {
            self.convictions.get_or_create(&label(location)).inc();
        }
        if let Wish::Move(wanted) = &plan.wish
            && was.is_none_or(|was| was.wish != plan.wish)
        {
            let labels = CauseLabels { location: location.0.clone(), cause: cause(wanted.cause) };
            self.moves.get_or_create(&labels).inc();
        }
        let held = |plan: &LocationPlan| plan.would_move.as_ref().and(plan.held.as_ref()).map(rail);
        if let Some(rail) = held(plan)
            && was.and_then(held) != Some(rail)
        {
            let labels = RailLabels { location: location.0.clone(), rail };
            self.would_have_moved.get_or_create(&labels).inc();
        }
    }
}

/// Whether this process holds the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leading {
    /// It does.
    Yes,
    /// It does not.
    No,
}

const ABSTENTIONS: [Abstention; 5] = [
    Abstention::JustStarted,
    Abstention::RoundLate,
    Abstention::KiloJustStarted,
    Abstention::ClockOff,
    Abstention::NoPlan,
];

const HEALTHS: [Health; 4] = [Health::Forwards, Health::Unclear, Health::Impaired, Health::Dark];

const CAUSES: [Cause; 5] =
    [Cause::Verdict, Cause::Relapse, Cause::Request, Cause::Pin, Cause::Revert];

const CLASSES: [Class; 14] = [
    Class::NewFlowBlackhole,
    Class::ForwardingDead,
    Class::Partial,
    Class::OneWay,
    Class::MtuBlackHole,
    Class::ProbeBlocked,
    Class::Tunnel,
    Class::Uplink,
    Class::Host,
    Class::Overlay,
    Class::OverlayPair,
    Class::NeverWorked,
    Class::Storm,
    Class::Unclear,
];

/// What [`rail`] may return.
const RAILS: [&str; 15] = [
    "paused",
    "granularity",
    "one-ready",
    "unresolved",
    "api-return",
    "storm",
    "pinned",
    "readded",
    "no-heir",
    "no-gain",
    "mode",
    "kilo-peers",
    "another-move",
    "resting",
    "budget",
];

fn label(location: &Location) -> LocationLabel {
    LocationLabel { location: location.0.clone() }
}

const fn name(health: Health) -> &'static str {
    match health {
        Health::Forwards => "forwards",
        Health::Unclear => "unclear",
        Health::Impaired => "impaired",
        Health::Dark => "dark",
    }
}

const fn cause(cause: Cause) -> &'static str {
    match cause {
        Cause::Verdict => "verdict",
        Cause::Relapse => "relapse",
        Cause::Request => "request",
        Cause::Pin => "pin",
        Cause::Revert => "revert",
    }
}

const fn rail(rail: &Rail) -> &'static str {
    match rail {
        Rail::Paused(_) => "paused",
        Rail::Granularity(_) => "granularity",
        Rail::OneReady => "one-ready",
        Rail::Unresolved(_) => "unresolved",
        Rail::ApiReturn => "api-return",
        Rail::Storm => "storm",
        Rail::Pinned => "pinned",
        Rail::Readded(_) => "readded",
        Rail::NoHeir => "no-heir",
        Rail::NoGain { .. } => "no-gain",
        Rail::Mode(_) => "mode",
        Rail::KiloPeers => "kilo-peers",
        Rail::AnotherMove(_) => "another-move",
        Rail::Resting { .. } => "resting",
        Rail::Budget(_) => "budget",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::{Mode, Readded};
    use crate::evidence::{Granularity, Moment};

    #[test]
    fn a_clock_that_is_off_is_counted_where_it_is_seen() {
        let metrics = crate::metrics::Metrics::default();
        let arbiter = metrics.register(ArbiterMetrics::register);
        let reporter = |abstains| Reporter {
            received: Moment::START,
            inquest: 0,
            abstains,
            local: Vec::new(),
            kilo_nodes: None,
            kilo_up: None,
            leader_seen: None,
        };
        let reporters =
            [("a", Some(Abstention::ClockOff)), ("b", None), ("c", Some(Abstention::ClockOff))];
        let reporters = reporters.map(|(name, abstains)| (name.into(), reporter(abstains)));
        arbiter.abstaining(&reporters.into());
        let text = metrics.text();
        for line in ["clock-off\"} 2", "no-plan\"} 0"] {
            assert!(text.contains(&format!("tanist_abstaining_nodes{{reason=\"{line}")), "{text}");
        }
    }

    #[test]
    fn a_location_that_is_gone_leaves_no_state() {
        let metrics = crate::metrics::Metrics::default();
        let arbiter = metrics.register(ArbiterMetrics::register);
        let gone = (Location::from("gone"), LocationPlan::default());
        let stays = (Location::from("stays"), LocationPlan::default());
        let both = Plan { locations: [gone, stays.clone()].into() };
        let one = Plan { locations: [stays].into() };
        arbiter.round(Duration::ZERO, &Plan::default(), &both, &[]);
        arbiter.round(Duration::ZERO, &both, &one, &[]);

        let text = metrics.text();
        let states = text.lines().filter(|line| line.starts_with("tanist_location_"));
        let (gone, stay): (Vec<_>, Vec<_>) = states.partition(|line| line.contains("\"gone\""));
        assert_eq!((gone, stay.len()), (vec![], 7));
    }

    #[test]
    fn every_rail_is_among_those_documented() {
        let rails = [
            Rail::Paused(String::new()),
            Rail::Granularity(Granularity::Full),
            Rail::OneReady,
            Rail::Unresolved("a".into()),
            Rail::ApiReturn,
            Rail::Storm,
            Rail::Pinned,
            Rail::Readded(Readded { node: "a".into(), by: None }),
            Rail::NoHeir,
            Rail::NoGain { gain: 0, need: 1 },
            Rail::Mode(Mode::Observe),
            Rail::KiloPeers,
            Rail::AnotherMove("a".into()),
            Rail::Resting { until: Moment::START },
            Rail::Budget(3),
        ];
        assert_eq!(rails.each_ref().map(rail), RAILS);
    }
}
