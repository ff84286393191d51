//! What the evidence says of one location, in the terms of a decision.

use super::Situation;
use super::plan::Health;
use crate::diagnose::{Class, Doubt, Finding, Thresholds, Verdict, served, verdict};
use crate::evidence::{
    Element, Evidence, Flow, Leadership, Location, NodeName, Observation, Pace, Path,
};

/// What the evidence says of one location.
#[derive(Debug, Clone)]
pub(super) struct Case {
    /// The judgement of its leader.
    pub(super) verdict: Verdict,
    /// Whether it is well.
    pub(super) health: Health,
    /// Why, for people.
    pub(super) because: String,
    /// How many nodes the leader serves, itself included.
    pub(super) served: u32,
    /// Whether the leader's overlay, or all of it, is convicted.
    pub(super) leader_cut_off: bool,
    /// Whether there are sharp losses through the leader, a verdict or not.
    pub(super) suspect: bool,
}

impl Case {
    /// Reads the evidence for one location.
    #[must_use]
    pub(super) fn read(
        location: &Location,
        leadership: &Leadership,
        situation: &Situation<'_>,
    ) -> Self {
        let Situation { evidence, findings, thresholds, .. } = *situation;
        let verdict = verdict(location, findings, evidence, thresholds);
        let here = || findings.iter().filter(|finding| finding.location == *location);
        let leader = leadership.leader.as_ref();
        let telling = here().find(|finding| leader.is_some_and(|leader| accuses(finding, leader)));
        let telling = telling.or_else(|| here().next());

        Self {
            verdict,
            health: health(verdict, telling),
            because: because(verdict, telling),
            served: leader.map_or(0, |leader| serves(leader, verdict, evidence, thresholds)),
            leader_cut_off: leader.is_some_and(|leader| cut_off(leader, verdict, telling)),
            suspect: is_suspect(location, leadership, evidence, thresholds),
        }
    }

    /// Tells whether the leader is convicted.
    #[must_use]
    pub(super) const fn is_dark(&self) -> bool {
        matches!(self.verdict, Verdict::Dark(_))
    }

    /// Tells whether the leader is known to forward.
    #[must_use]
    pub(super) const fn forwards(&self) -> bool {
        matches!(self.verdict, Verdict::Forwards)
    }
}

/// Tells whether a path leads into or out of a location, so that its leader has to carry it, and
/// returns the end inside.
pub(super) fn inner_end<'p>(
    path: &'p Path,
    location: &Location,
    evidence: &Evidence,
) -> Option<&'p NodeName> {
    let at = |name| evidence.mesh.nodes.get(name).map(|node| &node.location);
    match (at(&path.from)? == location, at(&path.to)? == location) {
        (true, false) => Some(&path.from),
        (false, true) => Some(&path.to),
        (true, true) | (false, false) => None,
    }
}

/// Tells whether a kind of flow shows that an ordinary new flow passes.
pub(super) const fn is_ordinary(flow: Flow) -> bool {
    match flow {
        Flow::NewUdp | Flow::NewTcp => true,
        Flow::Ping | Flow::KeptUdp | Flow::KeptTcp | Flow::Large | Flow::Control => false,
    }
}

fn node_of(element: &Element) -> Option<&NodeName> {
    match element {
        Element::Forward(node, _)
        | Element::Overlay(node)
        | Element::Uplink(node)
        | Element::Host(node) => Some(node),
        Element::OverlayPair(..) | Element::Tunnel(..) | Element::Responder(_) => None,
    }
}

fn accuses(finding: &Finding, node: &NodeName) -> bool {
    finding.candidates.iter().any(|element| node_of(element) == Some(node))
}

const fn health(verdict: Verdict, finding: Option<&Finding>) -> Health {
    match (verdict, finding) {
        (Verdict::Dark(_), _) => Health::Dark,
        (Verdict::Forwards | Verdict::Unclear(_), Some(_)) => Health::Impaired,
        (Verdict::Forwards, None) => Health::Forwards,
        (Verdict::Unclear(_), None) => Health::Unclear,
    }
}

fn because(verdict: Verdict, finding: Option<&Finding>) -> String {
    let finding = finding.map(|finding| finding.because.clone());
    match verdict {
        Verdict::Forwards => finding.unwrap_or_else(|| "fresh flows pass".to_owned()),
        Verdict::Dark(class) => finding.unwrap_or_else(|| class.as_str().to_owned()),
        Verdict::Unclear(doubt) => match finding {
            Some(finding) => format!("{finding} (no verdict: {})", doubt.as_str()),
            None => format!("no verdict: {}", doubt.as_str()),
        },
    }
}

/// A leader that does not forward serves itself only; one that is dead or cut off, nobody.
fn serves(
    leader: &NodeName,
    verdict: Verdict,
    evidence: &Evidence,
    thresholds: &Thresholds,
) -> u32 {
    match verdict {
        Verdict::Dark(Class::Host | Class::Uplink) | Verdict::Unclear(Doubt::NoLeader) => 0,
        Verdict::Dark(_) => 1,
        Verdict::Forwards | Verdict::Unclear(_) => {
            let members = served(evidence, leader, thresholds).len();
            u32::try_from(members).unwrap_or(u32::MAX).saturating_add(1)
        }
    }
}

fn cut_off(leader: &NodeName, verdict: Verdict, finding: Option<&Finding>) -> bool {
    let culprit = finding.and_then(|finding| finding.culprit.as_ref());
    match (verdict, culprit) {
        (Verdict::Dark(Class::Host), _) => true,
        (Verdict::Dark(_), Some(Element::Overlay(node) | Element::Host(node))) => node == leader,
        (Verdict::Dark(_), Some(_) | None) | (Verdict::Forwards | Verdict::Unclear(_), _) => false,
    }
}

/// Losses that no verdict needs to wait for before somebody looks closer: a burst through this
/// leader, since it leads, that lost a tenth and at least three.
fn is_suspect(
    location: &Location,
    leadership: &Leadership,
    evidence: &Evidence,
    thresholds: &Thresholds,
) -> bool {
    let heard = |prober: &NodeName| {
        evidence.reporters.get(prober).is_some_and(|reporter| reporter.abstains.is_none())
    };
    let sharp = |seen: &Observation| {
        seen.pace == Pace::Burst
            && is_ordinary(seen.path.flow)
            && !seen.never_worked
            && seen.window.lost >= 3
            && seen.window.loss() >= thresholds.dark_share
            && seen.window.oldest >= leadership.since
            && evidence.now.since(seen.window.newest) < thresholds.burst_age
            && inner_end(&seen.path, location, evidence).is_some()
            && heard(&seen.path.from)
    };

    evidence.observations.iter().any(sharp)
}
