//! What the arbiter asks the sidecars of one location to probe: names and addresses. Each sidecar
//! computes its own rotation from it, so that nothing here changes while nothing in the mesh does.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Location, NodeName};

/// Whom the sidecars of one location probe.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Assignment {
    /// The location's leader by Kilo's rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<NodeName>,
    /// The members that probe at full rate (at most three, chosen by rendezvous hash); the leader
    /// always does.
    #[serde(default)]
    pub witnesses: Vec<NodeName>,
    /// Every Ready node of the location, the leader included.
    #[serde(default)]
    pub members: Vec<Target>,
    /// Members that may become leader, best first.
    #[serde(default)]
    pub heirs: Vec<NodeName>,
    /// What to probe in each other location.
    #[serde(default)]
    pub remote: Vec<RemoteTargets>,
}

/// The targets in one other location.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RemoteTargets {
    /// The location.
    pub location: Location,
    /// Its leader.
    pub leader: Target,
    /// At most three of its members, chosen by rendezvous hash.
    #[serde(default)]
    pub members: Vec<Target>,
}

/// Where a node can be probed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// The node.
    pub node: NodeName,
    /// Its own (private) address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_address: Option<IpAddr>,
    /// An address that the host owns inside its pod CIDR.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_address: Option<IpAddr>,
    /// Its gateway address on the overlay (flannel: the base of its pod CIDR), for hairpins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlay_gateway: Option<IpAddr>,
    /// Its link-layer address on the overlay, for hairpins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlay_mac: Option<String>,
}

/// A wish that everybody named probe these addresses at once and keep at it, so that new WireGuard
/// sessions come up from both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Nudge {
    /// Who probes: the heir in its own location, the leader in the others.
    pub who: NodeName,
    /// Pod-range addresses to probe.
    pub targets: Vec<Target>,
    /// Until when, Unix milliseconds.
    pub until_ms: i64,
}
