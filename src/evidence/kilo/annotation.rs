//! From a Node object's annotations to a [`Node`], as Kilo reads them: what does not parse counts
//! as absent, never as an error.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;
use serde::Deserialize;

use crate::evidence::{Endpoint, Granularity, Location, Node, NodeName, Taint};

/// The annotation keys of Kilo, and the prefix of ours.
pub mod key {
    /// Present, with any value: this node wants to lead. Written by people and by us.
    pub const LEADER: &str = "kilo.squat.ai/leader";
    /// Overrides the topology label, even if empty.
    pub const LOCATION: &str = "kilo.squat.ai/location";
    /// Overrides the endpoint.
    pub const FORCE_ENDPOINT: &str = "kilo.squat.ai/force-endpoint";
    /// Overrides the internal address; empty or `-`: there is none.
    pub const FORCE_INTERNAL_IP: &str = "kilo.squat.ai/force-internal-ip";
    /// Seconds between keepalives to all peers; also: this endpoint may roam.
    pub const PERSISTENT_KEEPALIVE: &str = "kilo.squat.ai/persistent-keepalive";
    /// More prefixes that are reached through this location.
    pub const ALLOWED_LOCATION_IPS: &str = "kilo.squat.ai/allowed-location-ips";
    /// Where WireGuard packets for this node go.
    pub const ENDPOINT: &str = "kilo.squat.ai/endpoint";
    /// The node's own address within its location, with its prefix.
    pub const INTERNAL_IP: &str = "kilo.squat.ai/internal-ip";
    /// The WireGuard public key.
    pub const KEY: &str = "kilo.squat.ai/key";
    /// The last check-in, in Unix seconds.
    pub const LAST_SEEN: &str = "kilo.squat.ai/last-seen";
    /// The address of `kilo0` where the agent believes that it leads.
    pub const WIREGUARD_IP: &str = "kilo.squat.ai/wireguard-ip";
    /// Endpoints of peers behind NAT, as this node learned them.
    pub const DISCOVERED_ENDPOINTS: &str = "kilo.squat.ai/discovered-endpoints";
    /// How this agent groups nodes.
    pub const GRANULARITY: &str = "kilo.squat.ai/granularity";
    /// The host's address in Cilium's network.
    pub const CNI_COMPATIBILITY_IP: &str = "kilo.squat.ai/cni-compatibility-ip";
    /// The prefix of everything an operator may tell Tanist on a Node.
    pub const INTENT_PREFIX: &str = "tanist.dev/";
}

/// What is read of a Node object, before its annotations mean anything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RawNode {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations`.
    pub annotations: BTreeMap<String, String>,
    /// `spec.podCIDR`.
    pub pod_cidr: Option<String>,
    /// `spec.unschedulable`.
    pub cordoned: bool,
    /// `spec.taints`.
    pub taints: Vec<Taint>,
    /// Whether `metadata.deletionTimestamp` is set.
    pub deleting: bool,
    /// The `Ready` condition, where there is one.
    pub ready: Option<bool>,
}

/// Reads a node as Kilo does, with `topology_label` as the label that names its location.
#[must_use]
pub fn read(raw: &RawNode, topology_label: &str) -> Node {
    let annotation = |key: &str| raw.annotations.get(key).map(String::as_str);
    let label = |key: &str| raw.labels.get(key).cloned();
    let location = annotation(key::LOCATION).map(str::to_owned).or_else(|| label(topology_label));

    Node {
        name: NodeName(raw.name.clone()),
        location: Location(location.unwrap_or_default()),
        leader: annotation(key::LEADER).is_some(),
        leader_writer: None,
        endpoint: annotation(key::FORCE_ENDPOINT)
            .and_then(parse_endpoint)
            .or_else(|| annotation(key::ENDPOINT).and_then(parse_endpoint)),
        key: annotation(key::KEY).and_then(parse_key),
        internal_ip: internal_ip(annotation(key::FORCE_INTERNAL_IP), annotation(key::INTERNAL_IP)),
        pod_cidr: raw.pod_cidr.as_deref().and_then(parse_net).map(|net| net.trunc()),
        last_seen: annotation(key::LAST_SEEN).and_then(|seconds| seconds.parse().ok()),
        wireguard_ip: annotation(key::WIREGUARD_IP).and_then(parse_net),
        keepalive: annotation(key::PERSISTENT_KEEPALIVE)
            .and_then(|seconds| seconds.parse::<i64>().ok())
            .and_then(|seconds| u64::try_from(seconds).ok())
            .map_or(Duration::ZERO, Duration::from_secs),
        granularity: granularity(annotation(key::GRANULARITY)),
        discovered_endpoints: annotation(key::DISCOVERED_ENDPOINTS)
            .map(discovered_endpoints)
            .unwrap_or_default(),
        allowed_location_ips: annotation(key::ALLOWED_LOCATION_IPS)
            .map(|list| list.split(',').filter_map(parse_net).collect())
            .unwrap_or_default(),
        cni_compatibility_ip: annotation(key::CNI_COMPATIBILITY_IP).and_then(parse_net),
        intent: intent(&raw.annotations),
        cordoned: raw.cordoned,
        taints: raw.taints.clone(),
        deleting: raw.deleting,
        kubernetes_ready: raw.ready,
        failure_domain: label("topology.kubernetes.io/zone")
            .or_else(|| label("kubernetes.io/hostname")),
    }
}

/// Reads `host:port`, where the host is an address or a DNS name in lower case.
#[must_use]
pub fn parse_endpoint(text: &str) -> Option<Endpoint> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|&port: &u16| port != 0)?;
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if bracketed.is_none() && host.contains(':') {
        return None;
    }

    let host = bracketed.unwrap_or(host);
    match host.parse::<IpAddr>() {
        Ok(address) => Some(Endpoint::Address(SocketAddr::new(address.to_canonical(), port))),
        Err(_) if is_dns_name(host) => Some(Endpoint::Name(host.to_owned(), port, None)),
        Err(_) => None,
    }
}

/// Tells whether a text is a DNS subdomain as Kubernetes defines it.
fn is_dns_name(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_label = |label: &str| {
        let bytes = label.as_bytes();
        bytes.iter().all(|&byte| inner(byte) || byte == b'-')
            && bytes.first().is_some_and(|&byte| inner(byte))
            && bytes.last().is_some_and(|&byte| inner(byte))
    };

    text.len() <= 253 && text.split('.').all(is_label)
}

/// Reads a WireGuard key; the key of zeros is none.
fn parse_key(text: &str) -> Option<[u8; 32]> {
    let bytes = STANDARD.decode(text).ok()?;
    <[u8; 32]>::try_from(bytes).ok().filter(|key| *key != [0; 32])
}

/// Reads an address with its prefix length; the host part is kept.
#[must_use]
pub fn parse_net(text: &str) -> Option<IpNet> {
    text.parse().ok()
}

/// Returns the node's internal address: the forced one if it parses, none if it is forced away.
fn internal_ip(forced: Option<&str>, written: Option<&str>) -> Option<IpNet> {
    match forced {
        Some("" | "-") => None,
        Some(forced) => parse_net(forced).or_else(|| written.and_then(parse_net)),
        None => written.and_then(parse_net),
    }
}

fn granularity(text: Option<&str>) -> Granularity {
    match text {
        Some("location") => Granularity::Location,
        Some("full") => Granularity::Full,
        Some("cross") => Granularity::Cross,
        Some(_) | None => Granularity::Unknown,
    }
}

/// Reads the map of learned endpoints; Kilo drops the whole map if one entry is broken.
fn discovered_endpoints(text: &str) -> BTreeMap<[u8; 32], SocketAddr> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct UdpAddress {
        #[serde(rename = "IP")]
        ip: IpAddr,
        port: u16,
    }

    let parsed: BTreeMap<String, UdpAddress> = serde_json::from_str(text).unwrap_or_default();
    let entry = |(key, at): (String, UdpAddress)| {
        Some((parse_key(&key)?, SocketAddr::new(at.ip.to_canonical(), at.port)))
    };
    parsed.into_iter().filter_map(entry).collect()
}

fn intent(annotations: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let ours = |(key, value): (&String, &String)| {
        Some((key.strip_prefix(key::INTENT_PREFIX)?.to_owned(), value.clone()))
    };
    annotations.iter().filter_map(ours).collect()
}
