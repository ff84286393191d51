//! Who probes whom in a simulated mesh.

use std::collections::BTreeMap;

use crate::decide::Plan;
use crate::evidence::{
    Assignment, Leadership, Location, Mesh, NodeName, RemoteTargets, Report, Target,
};

/// Members that probe at full rate, and members probed in each other location.
const WITNESSES: usize = 3;

/// Returns what the sidecars of each location shall probe.
pub(super) fn assign<'a>(
    mesh: &Mesh,
    leaders: &BTreeMap<Location, Leadership>,
    reports: impl Iterator<Item = &'a Report>,
    plan: &Plan,
) -> BTreeMap<Location, Assignment> {
    let reports: BTreeMap<&NodeName, &Report> = reports.map(|r| (&r.node, r)).collect();
    let target = |name: &NodeName| {
        let node = mesh.nodes.get(name)?;
        let report = reports.get(name);
        Some(Target {
            node: name.clone(),
            node_address: node.internal_ip.map(|net| net.addr()),
            pod_address: report.and_then(|report| report.pod_address),
            overlay_gateway: node.pod_cidr.map(|net| net.network()),
            overlay_mac: report.and_then(|report| report.overlay_mac.clone()),
        })
    };
    let witnesses = |led: &Leadership| {
        let members = led.ready.iter().filter(|name| Some(*name) != led.leader.as_ref());
        members.take(WITNESSES).cloned().collect::<Vec<_>>()
    };
    let remote = |(location, led): (&Location, &Leadership)| {
        Some(RemoteTargets {
            location: location.clone(),
            leader: target(led.leader.as_ref()?)?,
            members: witnesses(led).iter().filter_map(target).collect(),
        })
    };

    let assignments = leaders.iter().map(|(location, led)| {
        let others = leaders.iter().filter(|(other, _)| *other != location);
        let heirs = plan.locations.get(location).map(|plan| &plan.heirs);
        let assignment = Assignment {
            leader: led.leader.clone(),
            witnesses: witnesses(led),
            members: led.ready.iter().filter_map(target).collect(),
            heirs: heirs.into_iter().flatten().map(|heir| heir.node.clone()).collect(),
            remote: others.filter_map(remote).collect(),
        };
        (location.clone(), assignment)
    });
    assignments.collect()
}
