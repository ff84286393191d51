//! What a move would cost, before anybody asks for it.

use std::fmt;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt as _};
use serde::Serialize;

use super::view::View;
use super::words;
use crate::evidence::{Location, Node, NodeName};

/// What a move would cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cost {
    /// Who leads now.
    pub from: Option<NodeName>,
    /// Who would.
    pub to: NodeName,
    /// WireGuard sessions that start anew, in the whole mesh.
    pub sessions: usize,
    /// Pods of the old leader, as namespace/name; none if they could not be listed.
    pub pods: Option<Vec<String>>,
    /// Members that the new leader is not known to serve.
    pub left_behind: Vec<NodeName>,
    /// Kilo Peers, whose static configuration names the old leader.
    pub peers: Vec<String>,
    /// The old leader's address, which route tables outside the cluster may name.
    pub old_address: Option<String>,
    /// The new leader's address.
    pub new_address: Option<String>,
    /// Prefixes outside the cluster that are reached through this location.
    pub location_ips: Vec<String>,
}

impl Cost {
    /// Returns what a move of a location's leader to `to` would cost.
    #[must_use]
    pub fn of(view: &View, location: &Location, to: &NodeName, pods: Option<Vec<String>>) -> Self {
        let leader = view.status(location).and_then(|status| status.leader.clone());
        let from = leader.or_else(|| view.leader(location).map(|node| node.name.clone()));
        let old = from.as_ref().and_then(|from| view.mesh.nodes.get(from));
        let new = view.mesh.nodes.get(to);
        let ips = view.members(location).into_iter().flat_map(|node| &node.allowed_location_ips);
        Self {
            sessions: sessions(view),
            pods,
            left_behind: left_behind(view, location, to),
            peers: view.peers.clone(),
            old_address: old.and_then(address),
            new_address: new.and_then(address),
            location_ips: ips.map(ToString::to_string).collect(),
            from,
            to: to.clone(),
        }
    }
}

/// Lists the pods that live on a node and have addresses of its range; none if we may not.
pub async fn pods_on(client: &Client, node: &NodeName) -> Option<Vec<String>> {
    let fields = format!("spec.nodeName={node}");
    let pods = Api::<Pod>::all(client.clone()).list(&ListParams::default().fields(&fields)).await;
    let own = |pod: &&Pod| {
        let on_host = pod.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or_default();
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        !on_host && !matches!(phase, Some("Succeeded" | "Failed"))
    };
    let name = |pod: &Pod| format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any());
    Some(pods.ok()?.items.iter().filter(own).map(name).collect())
}

/// Every pair of leaders has a session, and every Peer has one with each leader. Kilo replaces all
/// peers of every leader when one of them changes.
fn sessions(view: &View) -> usize {
    let leaders = view.places().iter().filter(|location| view.leader(location).is_some()).count();
    leaders * leaders.saturating_sub(1) / 2 + leaders * view.peers.len()
}

/// The arbiter tells how many nodes an heir serves, not which; where it is not all, all members
/// but the heir may be concerned, the old leader first.
fn left_behind(view: &View, location: &Location, to: &NodeName) -> Vec<NodeName> {
    let heirs = view.status(location).map(|status| status.heirs.as_slice()).unwrap_or_default();
    let serves = heirs.iter().find(|heir| heir.node == *to).map_or(0, |heir| heir.serves as usize);
    let ready = view.ready(location);
    if serves >= ready.len() {
        return Vec::new();
    }
    ready.into_iter().filter(|node| node.name != *to).map(|node| node.name.clone()).collect()
}

fn address(node: &Node) -> Option<String> {
    node.internal_ip.map(|net| net.addr().to_string())
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "  sessions  {} in the whole mesh must start anew: 0.1 s each, now and then 5 s or more",
            words::count(self.sessions, "WireGuard session")
        )?;
        writeln!(f, "  pods      {}", self.told_pods())?;
        if !self.left_behind.is_empty() {
            let names = words::some_of(self.left_behind.iter().map(|node| node.0.as_str()));
            writeln!(f, "  members   {} is not known to serve all of {names}", self.to)?;
        }
        writeln!(f, "  peers     {}", self.told_peers())?;
        write!(f, "  routes    {}", self.told_routes())
    }
}

impl Cost {
    fn told_pods(&self) -> String {
        let from = words::node(self.from.as_ref());
        match self.pods.as_deref() {
            None => format!("those of {from} could not be listed"),
            Some([]) => format!("none live on {from}"),
            Some(pods) => format!(
                "{} on {from} would be reached through {} and {from}'s overlay: {}",
                pods.len(),
                self.to,
                words::some_of(pods.iter().map(String::as_str))
            ),
        }
    }

    fn told_peers(&self) -> String {
        let from = words::node(self.from.as_ref());
        match self.peers.as_slice() {
            [] => "there are no Kilo Peers".to_owned(),
            peers => format!(
                "{} must be told the new leader, where the configuration names {from}: {}",
                words::count(peers.len(), "Kilo Peer"),
                words::some_of(peers.iter().map(String::as_str))
            ),
        }
    }

    fn told_routes(&self) -> String {
        let (Some(old), Some(new)) = (&self.old_address, &self.new_address) else {
            return "route tables outside the cluster that name the old leader must be changed"
                .to_owned();
        };
        let through = match self.location_ips.as_slice() {
            [] => String::new(),
            ips => format!("; also reached through here: {}", ips.join(", ")),
        };
        format!("route tables outside the cluster that name {old} must name {new}{through}")
    }
}
