//! What the findings mean for one location's leader.

use std::collections::BTreeSet;

use serde::Serialize;

use super::plane::{Loss, Span, View, tally};
use super::{Class, Finding, Thresholds, doubts};
use crate::evidence::{Direction, Element, Evidence, Flow, Location, NodeName, Observation, Path};

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

    /// Tells whether it is for want of witnesses, so that nothing is convicted at all.
    pub(super) const fn is_of_witnesses(self) -> bool {
        matches!(self, Self::TooFewWitnesses | Self::NoOutsideWitness)
    }
}

/// Judges the leader of a location by all findings; `Forwards` only on fresh positive evidence.
#[must_use]
pub fn verdict(
    location: &Location,
    findings: &[Finding],
    evidence: &Evidence,
    thresholds: &Thresholds,
) -> Verdict {
    let led = evidence.leaders.get(location);
    let Some((leader, leadership)) = led.and_then(|led| Some((led.leader.as_ref()?, led))) else {
        return Verdict::Unclear(Doubt::NoLeader);
    };
    if let Some(doubt) = doubts::about_all(leader, evidence) {
        return Verdict::Unclear(doubt);
    }

    let heavy = |finding: &&Finding| finding.fraction >= thresholds.dark_share;
    let about = findings.iter().filter(|finding| finding.location == *location).filter(heavy);
    for finding in about {
        match (finding.blames(leader), finding.doubt) {
            (_, Some(Doubt::Storm)) => return Verdict::Unclear(Doubt::Storm),
            (Blame::Surely, None) => return Verdict::Dark(finding.class),
            (Blame::Surely | Blame::Perhaps, Some(doubt)) => return Verdict::Unclear(doubt),
            (Blame::Perhaps, None) => return Verdict::Unclear(Doubt::SeveralExplanations),
            (Blame::Not, _) => {}
        }
    }

    let others: BTreeSet<Element> = findings
        .iter()
        .filter(|finding| finding.blames(leader) == Blame::Not)
        .flat_map(|finding| finding.candidates.iter().cloned())
        .collect();
    let alone = leadership.members.len() == 1;
    match forwarded(location, &via(leader, alone), &others, &View::new(evidence, thresholds)) {
        Ok(()) => Verdict::Forwards,
        Err(doubt) => Verdict::Unclear(doubt),
    }
}

/// Whether a finding implicates a leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blame {
    /// By every explanation.
    Surely,
    /// By some.
    Perhaps,
    /// By none.
    Not,
}

impl Finding {
    /// Tells whether it implicates a leader.
    pub(super) fn blames(&self, leader: &NodeName) -> Blame {
        let blaming = self.candidates.iter().filter(|element| element.implicates(leader)).count();
        if blaming == 0 {
            Blame::Not
        } else if blaming == self.candidates.len() {
            Blame::Surely
        } else {
            Blame::Perhaps
        }
    }
}

/// Returns what a path must cross to speak for a leader; who leads only itself has but an uplink.
fn via(leader: &NodeName, alone: bool) -> Element {
    if alone {
        Element::Uplink(leader.clone())
    } else {
        Element::Forward(leader.clone(), Direction::Both)
    }
}

/// Tells whether fresh flows pass `via` an element, paths left out that cross what is broken
/// elsewhere; if not, why not.
fn forwarded(
    location: &Location,
    via: &Element,
    broken_elsewhere: &BTreeSet<Element>,
    view: &View<'_>,
) -> Result<(), Doubt> {
    let (evidence, thresholds) = (view.evidence, view.thresholds);
    let healthy = evidence.now - thresholds.healthy_age;
    let recent = Span::Recent { bursts: healthy, steady: healthy };
    let span = view.onset(Flow::NewUdp, Loss::Whole).map_or(recent, Span::Since);
    let at_home = |node: &NodeName| {
        evidence.mesh.nodes.get(node).is_some_and(|node| node.location == *location)
    };
    let ours = |path: &Path| path.flow == Flow::NewUdp && at_home(&path.from) != at_home(&path.to);
    let beyond_doubt = |span| {
        let paths = view.select(span, ours);
        let paths = paths.iter().filter(|path| path.crossed.contains(via));
        tally(paths.filter(|path| !path.crosses_any(broken_elsewhere)))
    };

    // Where nothing was asked since something broke elsewhere, what was known before stands.
    let (passed, sent) = match beyond_doubt(span) {
        (_, 0) => beyond_doubt(recent),
        counts => counts,
    };
    let lost = f64::from(sent - passed) / f64::from(sent.max(1));
    if passed > 0 && lost < thresholds.dark_share {
        return Ok(());
    }
    let never = |seen: &&Observation| ours(&seen.path) && seen.never_worked;
    Err(if view.is_churning(location) {
        Doubt::TopologyChanging
    } else if sent > 0 {
        Doubt::SeveralExplanations
    } else if evidence.observations.iter().any(|seen| never(&seen)) {
        Doubt::NeverWorked
    } else {
        Doubt::NoFreshEvidence
    })
}
