//! Nodes and locations as Kilo and Kubernetes describe them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::UnixTime;

/// The name of a Kubernetes Node.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct NodeName(pub String);

impl From<&str> for NodeName {
    fn from(name: &str) -> Self {
        Self(name.to_owned())
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A Kilo location: any text, the empty one included.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct Location(pub String);

impl From<&str> for Location {
    fn from(name: &str) -> Self {
        Self(name.to_owned())
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Kilo's unit of topology: what shares one leader. `location:<name>`, or `node:<name>` for a node
/// without an internal address and for every node in full granularity. `location:` sorts first, as
/// in Kilo (pkg/mesh/topology.go).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Segment {
    /// All nodes of one location.
    Location(Location),
    /// One node by itself.
    Node(NodeName),
}

/// Where WireGuard packets for a node go: an address or a name, and a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Endpoint {
    /// A literal address.
    Address(SocketAddr),
    /// A DNS name and port, with the address it resolved to, where somebody resolved it.
    Name(String, u16, Option<IpAddr>),
}

impl Endpoint {
    /// Returns the address that decides whether the endpoint is public, if it is known.
    #[must_use]
    pub const fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Address(address) => Some(address.ip()),
            Self::Name(_, _, resolved) => *resolved,
        }
    }

    /// Returns the UDP port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        match self {
            Self::Address(address) => address.port(),
            Self::Name(_, port, _) => *port,
        }
    }
}

/// How Kilo groups nodes (annotation `kilo.squat.ai/granularity`).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Granularity {
    /// One leader per location: the only one in which a leader can be moved.
    Location,
    /// Every node leads itself.
    Full,
    /// Every node peers with all nodes of other locations (a patch that some ship).
    Cross,
    /// Absent or unknown.
    #[default]
    Unknown,
}

/// A Node's taint, as far as it matters to who may lead.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Taint {
    /// Its key, such as `ToBeDeletedByClusterAutoscaler`.
    pub key: String,
    /// Its effect, such as `NoSchedule`.
    pub effect: String,
}

/// A node as Kilo reads it, with what Kubernetes adds for us.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Node {
    /// Its name.
    pub name: NodeName,
    /// Kilo's location: annotation, else topology label, else empty.
    pub location: Location,
    /// Whether the `kilo.squat.ai/leader` annotation is present; its value means nothing.
    pub leader: bool,
    /// Who wrote that annotation last, by the Node's managed fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader_writer: Option<String>,
    /// `force-endpoint`, else `endpoint`.
    pub endpoint: Option<Endpoint>,
    /// WireGuard public key, base64 as annotated, decoded.
    pub key: Option<[u8; 32]>,
    /// `force-internal-ip`, else `internal-ip`, with its prefix length kept.
    pub internal_ip: Option<IpNet>,
    /// `spec.podCIDR`.
    pub pod_cidr: Option<IpNet>,
    /// When its Kilo agent last checked in: Unix seconds by that node's own clock.
    pub last_seen: Option<i64>,
    /// The segment's WireGuard address if the node believes that it leads.
    pub wireguard_ip: Option<IpNet>,
    /// `persistent-keepalive`; zero if none.
    pub keepalive: Duration,
    /// `granularity`.
    pub granularity: Granularity,
    /// Endpoints of NAT peers by public key, as this node learned them.
    #[serde(with = "pairs")]
    pub discovered_endpoints: BTreeMap<[u8; 32], SocketAddr>,
    /// `allowed-location-ips`.
    pub allowed_location_ips: Vec<IpNet>,
    /// `cni-compatibility-ip`: Cilium's address on the host.
    pub cni_compatibility_ip: Option<IpNet>,
    /// All annotations under `tanist.dev/`, by the part behind the slash.
    pub intent: BTreeMap<String, String>,
    /// `spec.unschedulable`.
    pub cordoned: bool,
    /// `spec.taints`.
    pub taints: Vec<Taint>,
    /// Whether a deletion timestamp is set.
    pub deleting: bool,
    /// The `Ready` condition, where there is one.
    pub kubernetes_ready: Option<bool>,
    /// `topology.kubernetes.io/zone`, else host name label: what fails together.
    pub failure_domain: Option<String>,
}

impl Node {
    /// Tells whether somebody put a leader annotation back that Tanist had taken away: the memory of
    /// it, `=` and the value, goes when Tanist itself puts it back.
    #[must_use]
    pub fn was_readded(&self) -> bool {
        let before = self.intent.get("leader-before");
        self.leader && before.is_some_and(|before| before.starts_with('='))
    }
}

/// All nodes at one time, by name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Mesh {
    /// The nodes.
    pub nodes: BTreeMap<NodeName, Node>,
    /// The wall time at which readiness is judged.
    pub at: UnixTime,
}

/// Writes a map as a list of pairs, since JSON has no keys but text.
mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<K: Serialize, V: Serialize, S: Serializer>(
        map: &BTreeMap<K, V>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map)
    }

    pub(super) fn deserialize<'de, K, V, D>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Ok(Vec::deserialize(deserializer)?.into_iter().collect())
    }
}
