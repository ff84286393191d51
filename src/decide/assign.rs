//! Who probes whom: from the mesh as it is, one [`Assignment`] per location.
//!
//! Witnesses and targets are chosen by rendezvous hashing, so that one node more or less changes
//! one choice, and metric series and reports do not churn.

use std::collections::BTreeMap;

use super::Plan;
use crate::evidence::{
    Assignment, Leadership, Location, Mesh, Node, NodeName, RemoteTargets, Report, Target,
};

/// Members that probe at full rate, per location; and members probed, per remote location.
const WITNESSES: usize = 3;

/// Returns what the sidecars of each location shall probe, by the mesh as it is, what reports say of
/// addresses, and the heirs of the last plan.
#[must_use]
pub fn assign<'a>(
    mesh: &Mesh,
    leaders: &BTreeMap<Location, Leadership>,
    reports: impl Iterator<Item = &'a Report>,
    plan: &Plan,
) -> BTreeMap<Location, Assignment> {
    let reports: BTreeMap<&NodeName, &Report> = reports.map(|r| (&r.node, r)).collect();
    let target = |name: &NodeName| {
        let node = mesh.nodes.get(name)?;
        Some(target(node, reports.get(name).copied()))
    };
    let remote: BTreeMap<&Location, RemoteTargets> = leaders
        .iter()
        .filter_map(|(location, leadership)| {
            let leader = target(leadership.leader.as_ref()?)?;
            let members = chosen(location, leadership).iter().filter_map(&target).collect();
            Some((location, RemoteTargets { location: location.clone(), leader, members }))
        })
        .collect();

    let assignments = leaders.iter().map(|(location, leadership)| {
        let assignment = Assignment {
            leader: leadership.leader.clone(),
            witnesses: chosen(location, leadership),
            members: leadership.ready.iter().filter_map(&target).collect(),
            heirs: heirs(plan, location),
            remote: remote
                .iter()
                .filter(|(other, _)| **other != location)
                .map(|(_, targets)| targets.clone())
                .collect(),
        };
        (location.clone(), assignment)
    });
    assignments.collect()
}

fn heirs(plan: &Plan, location: &Location) -> Vec<NodeName> {
    let heirs = plan.locations.get(location).map(|plan| &plan.heirs);
    heirs.into_iter().flatten().map(|heir| heir.node.clone()).collect()
}

/// Returns the location's witnesses: Ready members that do not lead, highest hash first, then in
/// name order.
fn chosen(location: &Location, leadership: &Leadership) -> Vec<NodeName> {
    let members = leadership.ready.iter().filter(|name| Some(*name) != leadership.leader.as_ref());
    let mut ranked: Vec<(u64, &NodeName)> =
        members.map(|name| (rendezvous(location, name), name)).collect();
    ranked.sort_by(|one, other| other.cmp(one));
    let mut chosen: Vec<NodeName> =
        ranked.into_iter().take(WITNESSES).map(|(_, name)| name.clone()).collect();
    chosen.sort();
    chosen
}

/// FNV-1a over both names, then mixed: stable across versions and machines.
fn rendezvous(location: &Location, name: &NodeName) -> u64 {
    let bytes = location.0.bytes().chain([0]).chain(name.0.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

/// Returns where a node can be probed, by its object and its own report.
#[must_use]
pub fn target(node: &Node, report: Option<&Report>) -> Target {
    let annotated = node.cni_compatibility_ip.map(|net| net.addr());
    Target {
        node: node.name.clone(),
        node_address: node.internal_ip.map(|net| net.addr()),
        pod_address: report.and_then(|report| report.pod_address).or(annotated),
        overlay_gateway: node.pod_cidr.map(|net| net.network()),
        overlay_mac: report.and_then(|report| report.overlay_mac.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leadership(leader: &str, ready: &[&str]) -> Leadership {
        let names: std::collections::BTreeSet<NodeName> =
            ready.iter().map(|name| NodeName::from(*name)).collect();
        Leadership {
            leader: Some(leader.into()),
            since: crate::evidence::Moment::START,
            members: names.clone(),
            ready: names,
            changed: crate::evidence::Moment::START,
        }
    }

    #[test]
    fn the_leader_is_no_witness_and_there_are_at_most_three() {
        let location = Location::from("cloud");
        let leadership = leadership("c1", &["c1", "c2", "c3", "c4", "c5", "c6"]);
        let witnesses = chosen(&location, &leadership);
        assert_eq!(witnesses.len(), WITNESSES);
        assert!(!witnesses.contains(&"c1".into()));
    }

    #[test]
    fn one_node_less_changes_at_most_one_witness() {
        let location = Location::from("cloud");
        let all = ["c1", "c2", "c3", "c4", "c5", "c6"];
        let before = chosen(&location, &leadership("c1", &all));
        for gone in &all[1..] {
            let rest: Vec<&str> = all.iter().copied().filter(|name| name != gone).collect();
            let after = chosen(&location, &leadership("c1", &rest));
            let kept = after.iter().filter(|name| before.contains(name)).count();
            assert!(kept >= WITNESSES - 1, "without {gone}: {before:?} became {after:?}");
        }
    }
}
