//! Paths between Ready nodes on which no flow was ever answered: somebody configured them so. They
//! are told once per location and never judged.

use std::collections::{BTreeMap, BTreeSet};

use super::plane::is_trusted;
use super::{Class, Doubt, Finding, elements, rules};
use crate::evidence::{Element, Evidence, Flow, Location, NodeName, Observation};

/// Returns one finding per location into which paths never worked.
pub(super) fn findings(evidence: &Evidence) -> Vec<Finding> {
    let ready = |name: &NodeName| {
        let node = evidence.mesh.nodes.get(name)?;
        let leadership = evidence.leaders.get(&node.location)?;
        leadership.ready.contains(name).then_some(node)
    };
    let mut into: BTreeMap<&Location, (Vec<&Observation>, usize)> = BTreeMap::new();
    for seen in &evidence.observations {
        if seen.path.flow != Flow::NewUdp || !is_trusted(evidence, &seen.path) {
            continue;
        }
        let (Some(_), Some(node)) = (ready(&seen.path.from), ready(&seen.path.to)) else {
            continue;
        };
        let (never, all) = into.entry(&node.location).or_default();
        *all += 1;
        if seen.never_worked {
            never.push(seen);
        }
    }

    into.into_iter()
        .filter(|(_, (never, _))| !never.is_empty())
        .map(|(location, (never, all))| finding(location, &never, all, evidence))
        .collect()
}

fn finding(
    location: &Location,
    never: &[&Observation],
    all: usize,
    evidence: &Evidence,
) -> Finding {
    let crossed = never.iter().map(|seen| {
        let elements = elements(&seen.path, &evidence.mesh, &evidence.leaders);
        elements.into_iter().collect::<BTreeSet<Element>>()
    });
    let common = crossed.reduce(|all, path| &all & &path).unwrap_or_default();
    let working: BTreeSet<Element> = evidence
        .observations
        .iter()
        .filter(|seen| seen.path.flow == Flow::NewUdp && seen.window.passed() > 0)
        .flat_map(|seen| elements(&seen.path, &evidence.mesh, &evidence.leaders))
        .collect();

    Finding {
        location: location.clone(),
        class: Class::NeverWorked,
        culprit: None,
        candidates: common.difference(&working).cloned().collect(),
        fraction: never.len() as f64 / all as f64,
        log_odds: 0.0,
        witnesses: never.iter().map(|seen| seen.path.from.clone()).collect(),
        passing: BTreeSet::new(),
        local: Vec::new(),
        doubt: Some(Doubt::NeverWorked),
        because: format!("{} of {all} paths into '{location}' never worked", never.len()),
        advice: rules::advice(Class::NeverWorked, &[]),
    }
}
