//! What the findings mean for one location's leader.

use serde::Serialize;

use super::{Class, Finding, Thresholds};
use crate::evidence::{Evidence, Location};

/// Whether a location's leader forwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Fresh flows pass through it, and nothing speaks against it.
    Forwards,
    /// Every explanation of what fails implicates it, and nothing forbids to act on that.
    Dark(Class),
    /// Neither can be said.
    Unclear(Doubt),
}

/// Why no verdict is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Doubt {
    /// The location has no leader, or is unknown.
    NoLeader,
    /// Kilo does not group nodes by location, so no leader can be moved.
    GranularityNotLocation,
    /// There is nobody else to lead.
    OneReadyNode,
    /// More than half of the nodes have clocks that are off.
    ClocksOff,
    /// No fresh evidence speaks for or against the leader.
    NoFreshEvidence,
    /// The paths never worked: a misconfiguration.
    NeverWorked,
    /// The leader changed a short while ago.
    LeaderJustChanged,
    /// Nodes of the location came, went or changed a short while ago.
    TopologyChanging,
    /// Too few independent nodes see it.
    TooFewWitnesses,
    /// Nobody outside the location sees it, though somebody could.
    NoOutsideWitness,
    /// The Kilo agents of the leaders concerned count different numbers of nodes.
    ViewsDiffer,
    /// Too many leaders would be convicted at once.
    Storm,
    /// Only our own probes die.
    ProbeBlocked,
    /// Only large packets die: no heir can be proven better.
    OnlyLargePackets,
    /// Something that is not the leader explains it as well.
    SeveralExplanations,
}

impl Doubt {
    /// Returns the doubt as labels of metrics and objects carry it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoLeader => "no-leader",
            Self::GranularityNotLocation => "granularity-not-location",
            Self::OneReadyNode => "one-ready-node",
            Self::ClocksOff => "clocks-off",
            Self::NoFreshEvidence => "no-fresh-evidence",
            Self::NeverWorked => "never-worked",
            Self::LeaderJustChanged => "leader-just-changed",
            Self::TopologyChanging => "topology-changing",
            Self::TooFewWitnesses => "too-few-witnesses",
            Self::NoOutsideWitness => "no-outside-witness",
            Self::ViewsDiffer => "views-differ",
            Self::Storm => "storm",
            Self::ProbeBlocked => "probe-blocked",
            Self::OnlyLargePackets => "only-large-packets",
            Self::SeveralExplanations => "several-explanations",
        }
    }
}

/// Judges the leader of a location by all findings; `Forwards` only on fresh positive evidence.
#[must_use]
pub fn verdict(
    _location: &Location,
    _findings: &[Finding],
    _evidence: &Evidence,
    _thresholds: &Thresholds,
) -> Verdict {
    Verdict::Unclear(Doubt::NoFreshEvidence)
}
