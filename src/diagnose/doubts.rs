//! Why no verdict may follow from a finding, or from anything.

use std::collections::BTreeSet;

use super::rules::{self, Case};
use super::verdict::Blame;
use super::{Class, Doubt, Finding, Thresholds};
use crate::evidence::{Abstention, Evidence, Granularity, Location, NodeName};

/// Returns why nobody may act on a case, if so.
pub(super) fn doubt(
    case: &Case<'_>,
    class: Class,
    location: &Location,
    evidence: &Evidence,
    thresholds: &Thresholds,
) -> Option<Doubt> {
    let of_class = rules::doubt_of(class);
    let few = (case.witnesses().len() < thresholds.witnesses).then_some(Doubt::TooFewWitnesses);
    let leader = evidence.leaders.get(location).and_then(|led| led.leader.as_ref());
    let blamed = leader
        .filter(|leader| case.part.candidates.iter().all(|element| element.implicates(leader)));

    let riddle = of_class.filter(|doubt| *doubt == Doubt::SeveralExplanations);
    riddle.or(few).or(of_class).or_else(|| {
        let leader = blamed?;
        no_outside_witness(case, location, evidence)
            .or_else(|| about_all(leader, evidence))
            .or_else(|| about_location(location, evidence, thresholds))
            .or_else(|| sessions_begin_anew(class, location, evidence, thresholds))
            .or_else(|| views_differ(case, location, evidence))
    })
}

/// Returns why no verdict on a leader can be given whatever the counts say, if so.
pub(super) fn about_all(leader: &NodeName, evidence: &Evidence) -> Option<Doubt> {
    let granularity = evidence.mesh.nodes.get(leader).map(|node| node.granularity);
    let off = evidence
        .reporters
        .values()
        .filter(|reporter| reporter.abstains == Some(Abstention::ClockOff));

    if granularity != Some(Granularity::Location) {
        Some(Doubt::GranularityNotLocation)
    } else if off.count() * 2 > evidence.reporters.len() {
        Some(Doubt::ClocksOff)
    } else {
        None
    }
}

/// Turns all convictions of leaders into a storm if there are too many of them.
pub(super) fn hold_back_in_storm(
    findings: &mut [Finding],
    evidence: &Evidence,
    thresholds: &Thresholds,
) {
    let convicts = |finding: &Finding| {
        let leader = evidence.leaders.get(&finding.location).and_then(|led| led.leader.as_ref());
        finding.culprit.is_some()
            && finding.fraction >= thresholds.dark_share
            && !matches!(finding.class, Class::MtuBlackHole | Class::ProbeBlocked)
            && leader.is_some_and(|leader| finding.blames(leader) == Blame::Surely)
    };
    let convicted: BTreeSet<Location> = findings
        .iter()
        .filter(|finding| convicts(finding))
        .map(|finding| finding.location.clone())
        .collect();
    let leaders = evidence.leaders.values().filter(|led| led.leader.is_some()).count();
    let most = (leaders as f64 * thresholds.storm_share).max(1.0);
    if convicted.len() as f64 <= most {
        return;
    }

    for finding in findings.iter_mut().filter(|finding| convicts(finding)) {
        finding.class = Class::Storm;
        finding.culprit = None;
        finding.doubt = Some(Doubt::Storm);
        finding.advice = rules::advice(Class::Storm, &[]);
        finding.because = format!(
            "{} of {leaders} leaders would be convicted at once; {}",
            convicted.len(),
            finding.because
        );
    }
}

fn no_outside_witness(case: &Case<'_>, location: &Location, evidence: &Evidence) -> Option<Doubt> {
    let outside = |node: &NodeName| {
        evidence.mesh.nodes.get(node).is_some_and(|node| node.location != *location)
    };
    let possible = evidence
        .reporters
        .iter()
        .any(|(node, reporter)| outside(node) && reporter.abstains.is_none());
    let seen = case.failing().any(|path| outside(&path.path.from));

    (possible && !seen).then_some(Doubt::NoOutsideWitness)
}

fn about_location(
    location: &Location,
    evidence: &Evidence,
    thresholds: &Thresholds,
) -> Option<Doubt> {
    let leadership = evidence.leaders.get(location)?;
    if leadership.ready.len() <= 1 {
        Some(Doubt::OneReadyNode)
    } else if evidence.now.since(leadership.since) < thresholds.quiet {
        Some(Doubt::LeaderJustChanged)
    } else {
        None
    }
}

/// A change of leader anywhere resets every WireGuard session in the mesh, and now and then two
/// handshakes cross: for seconds a leader that is well looks cut off. It relays all the same, so
/// only what accuses more than its relaying has to wait.
fn sessions_begin_anew(
    class: Class,
    location: &Location,
    evidence: &Evidence,
    thresholds: &Thresholds,
) -> Option<Doubt> {
    let mut others = evidence.leaders.iter().filter(|(other, _)| *other != location);
    let young = others.any(|(_, led)| evidence.now.since(led.since) < thresholds.churn);

    (matches!(class, Class::Uplink | Class::Host) && young).then_some(Doubt::TopologyChanging)
}

/// Where only one member can tell, the leaders' Kilo agents must at least know the same mesh.
fn views_differ(case: &Case<'_>, location: &Location, evidence: &Evidence) -> Option<Doubt> {
    if evidence.leaders.get(location)?.members.len() > 2 {
        return None;
    }
    let ends = case.failing().flat_map(|path| [&path.path.from, &path.path.to]);
    let locations: BTreeSet<&Location> =
        ends.filter_map(|node| Some(&evidence.mesh.nodes.get(node)?.location)).collect();
    let leaders = locations
        .into_iter()
        .filter_map(|location| evidence.leaders.get(location).and_then(|led| led.leader.as_ref()));
    let counts: BTreeSet<u32> = leaders
        .filter_map(|leader| evidence.reporters.get(leader).and_then(|leader| leader.kilo_nodes))
        .collect();

    (counts.len() > 1).then_some(Doubt::ViewsDiffer)
}
