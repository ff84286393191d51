//! Whom a node reaches inside its own location, and who reaches it.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use super::Thresholds;
use super::plane::is_trusted;
use crate::evidence::{AddressKind, Evidence, Flow, NodeName, Observation, Pace, Window};

/// Returns the members of `node`'s location, itself left out, that exchange fresh flows with it
/// over the overlay. What is not known to pass is not served.
#[must_use]
pub fn served(evidence: &Evidence, node: &NodeName, thresholds: &Thresholds) -> BTreeSet<NodeName> {
    let Some(home) = evidence.mesh.nodes.get(node).map(|node| &node.location) else {
        return BTreeSet::new();
    };
    let is_home = |other: &NodeName| {
        evidence.mesh.nodes.get(other).is_some_and(|other| other.location == *home)
    };

    let mut windows: BTreeMap<&NodeName, (Window, Window)> = BTreeMap::new();
    for seen in &evidence.observations {
        let Some(other) = other_end(seen, node).filter(|other| is_home(other)) else { continue };
        if !is_trusted(evidence, &seen.path) {
            continue;
        }
        let (burst, steady) = windows.entry(other).or_default();
        let age = evidence.now.since(seen.window.newest);
        match seen.pace {
            Pace::Burst if age <= thresholds.burst_age => *burst = burst.merge(seen.window),
            Pace::Steady if age <= thresholds.healthy_age => *steady = steady.merge(seen.window),
            Pace::Burst | Pace::Steady => {}
        }
    }

    let passes = |(burst, steady): &(Window, Window)| {
        let window = if burst.sent > 0 { burst } else { steady };
        window.passed() > 0 && window.loss() < thresholds.dark_share
    };
    windows
        .into_iter()
        .filter(|(_, windows)| passes(windows))
        .map(|(node, _)| node.clone())
        .collect()
}

/// A probe goes there and back, so either end may have opened the flow.
fn other_end<'a>(seen: &'a Observation, node: &NodeName) -> Option<&'a NodeName> {
    let path = &seen.path;
    if path.flow != Flow::NewUdp || path.address != AddressKind::Pod {
        return None;
    }
    if path.from == *node { Some(&path.to) } else { (path.to == *node).then_some(&path.from) }
}
