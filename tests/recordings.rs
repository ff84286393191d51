//! Holds our model of Kilo to the real one. Each file in `tests/recordings/` is a mesh that ran
//! under Kilo 0.7.0: per step the Node objects, and what every agent had installed after it.
//!
//! Left out of the comparison, because they are history and not what Kilo wants: the address and
//! the peers of a `kilo0` that is down, and routes in table 1107 that no rule leads to (Kilo never
//! deletes those); overlay routes to pods next door, which the recording has left out as the CNI's. An
//! agent that has been stopped wants nothing.

#![expect(clippy::unwrap_used, reason = "a recording that does not parse fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;
use serde::Deserialize;
use tanist::evidence::kilo::topology::{
    Device, Local, MAIN_TABLE, Peer, Route, Rule, Topology, VpnPeer, topology,
};
use tanist::evidence::kilo::{RawNode, TOPOLOGY_LABEL, leaders, parse_endpoint, read};
use tanist::evidence::{Mesh, NodeName, UnixTime};

#[derive(Deserialize)]
struct Recording {
    name: String,
    flags: String,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    done: String,
    nodes: Vec<RecordedNode>,
    vpn_peers: Vec<RecordedVpnPeer>,
    result: BTreeMap<String, Installed>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RecordedNode {
    name: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    #[serde(rename = "podCIDR")]
    pod_cidr: String,
}

#[derive(Deserialize)]
struct RecordedVpnPeer {
    name: String,
    spec: RecordedVpnPeerSpec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RecordedVpnPeerSpec {
    #[serde(rename = "allowedIPs")]
    allowed_ips: Vec<IpNet>,
    #[serde(default)]
    persistent_keepalive: u64,
    public_key: String,
    endpoint: Option<String>,
}

#[derive(Deserialize)]
struct Installed {
    kilo0: RecordedLink,
    peers: Vec<RecordedPeer>,
    routes: Vec<RecordedRoute>,
    rules: Vec<RecordedRule>,
}

#[derive(Deserialize)]
struct RecordedLink {
    up: bool,
    mtu: u32,
    addresses: Vec<IpNet>,
}

#[derive(Deserialize)]
struct RecordedPeer {
    public_key_hex: String,
    endpoint: Option<String>,
    allowed_ips: BTreeSet<IpNet>,
    keepalive_seconds: u64,
}

#[derive(Deserialize)]
struct RecordedRoute {
    dst: String,
    gateway: Option<String>,
    dev: String,
    table: Option<String>,
    protocol: String,
    prefsrc: Option<String>,
    flags: BTreeSet<String>,
}

#[derive(Deserialize)]
struct RecordedRule {
    src: String,
    dst: String,
    iif: String,
    table: String,
}

impl Step {
    /// The mesh at the time of its last check-in.
    fn mesh(&self) -> Mesh {
        let raw = |node: &RecordedNode| RawNode {
            name: node.name.clone(),
            labels: node.labels.clone(),
            annotations: node.annotations.clone(),
            pod_cidr: Some(node.pod_cidr.clone()),
            ..RawNode::default()
        };
        let nodes: Vec<_> =
            self.nodes.iter().map(|node| read(&raw(node), TOPOLOGY_LABEL)).collect();
        let last_seen = nodes.iter().filter_map(|node| node.last_seen).max().unwrap();

        Mesh {
            nodes: nodes.into_iter().map(|node| (node.name.clone(), node)).collect(),
            at: UnixTime(last_seen * 1000),
        }
    }

    /// The pod CIDRs next to a node by its label, whatever Kilo makes of its location.
    fn neighbours(&self, name: &NodeName) -> BTreeSet<IpNet> {
        let region = |node: &RecordedNode| node.labels[TOPOLOGY_LABEL].clone();
        let own = self.nodes.iter().find(|node| node.name == name.0).map(region);
        let near = self.nodes.iter().filter(|node| Some(region(node)) == own);
        near.map(|node| node.pod_cidr.parse().unwrap()).collect()
    }

    fn vpn_peers(&self) -> Vec<VpnPeer> {
        let read = |peer: &RecordedVpnPeer| VpnPeer {
            name: peer.name.clone(),
            key: STANDARD.decode(&peer.spec.public_key).unwrap().try_into().unwrap(),
            preshared_key: None,
            endpoint: peer.spec.endpoint.as_deref().and_then(parse_endpoint),
            keepalive: Duration::from_secs(peer.spec.persistent_keepalive),
            allowed_ips: peer.spec.allowed_ips.clone(),
        };
        self.vpn_peers.iter().map(read).collect()
    }
}

impl Installed {
    fn routes(&self) -> BTreeSet<Route> {
        let read = |route: &RecordedRoute| {
            assert_eq!(route.protocol, "static");
            assert_eq!(route.flags.contains("onlink"), route.gateway.is_some());
            Route {
                destination: network(&route.dst),
                gateway: route.gateway.as_ref().map(|gateway| gateway.parse().unwrap()),
                device: device(&route.dev),
                table: route.table.as_ref().map_or(MAIN_TABLE, |table| table.parse().unwrap()),
                source: route.prefsrc.as_ref().map(|source| source.parse().unwrap()),
            }
        };
        self.routes.iter().map(read).collect()
    }

    /// The routes without those of table 1107 that no rule leads to: they are left over.
    fn routes_in_use(&self) -> BTreeSet<Route> {
        let rules = self.rules();
        let used = |route: &Route| rules.contains(&Rule { destination: route.destination });
        let counts = |route: &Route| route.table == MAIN_TABLE || used(route);
        self.routes().into_iter().filter(counts).collect()
    }

    fn rules(&self) -> BTreeSet<Rule> {
        let read = |rule: &RecordedRule| {
            assert_eq!(
                (&rule.src[..], &rule.iif[..], &rule.table[..]),
                ("all", "kilo0", "1107"),
                "another kind of rule"
            );
            Rule { destination: network(&rule.dst) }
        };
        self.rules.iter().map(read).collect()
    }

    fn peers(&self) -> BTreeMap<[u8; 32], Peer> {
        let read = |peer: &RecordedPeer| {
            let entry = Peer {
                preshared_key: None,
                endpoint: peer.endpoint.as_ref().map(|at| at.parse().unwrap()),
                allowed_ips: peer.allowed_ips.clone(),
                keepalive: Duration::from_secs(peer.keepalive_seconds),
            };
            (hex(&peer.public_key_hex), entry)
        };
        self.peers.iter().map(read).collect()
    }

    fn compare(&self, ours: &Topology, recorded: impl Fn(&Route) -> bool, what: &str) {
        assert_eq!(self.kilo0.mtu, ours.mtu, "{what}: MTU");
        assert_eq!(self.kilo0.up, ours.tunnel.is_some(), "{what}: kilo0 up");
        if let Some(tunnel) = &ours.tunnel {
            assert_eq!(self.kilo0.addresses, [IpNet::V4(tunnel.address)], "{what}: address");
            assert_eq!(self.peers(), tunnel.peers, "{what}: peers");
        }
        let routes = ours.routes.iter().filter(|route| recorded(route)).cloned().collect();
        assert_eq!(self.routes_in_use(), routes, "{what}: routes");
        assert_eq!(self.rules(), ours.rules, "{what}: rules");
    }
}

fn network(text: &str) -> IpNet {
    text.parse().unwrap_or_else(|_| IpNet::from(text.parse::<std::net::IpAddr>().unwrap()))
}

fn device(name: &str) -> Device {
    match name {
        "kilo0" => Device::Kilo,
        "flannel.1" => Device::Overlay,
        other => panic!("unknown device {other}"),
    }
}

fn hex(text: &str) -> [u8; 32] {
    let byte = |index: usize| u8::from_str_radix(&text[2 * index..2 * index + 2], 16).unwrap();
    std::array::from_fn(byte)
}

/// An agent that runs has checked in; one that was stopped has taken its annotations away.
fn runs(mesh: &Mesh, name: &NodeName) -> bool {
    mesh.nodes[name].last_seen.is_some()
}

/// Compares one step, and returns how many agents were compared.
fn replay(step: &Step, what: &str) -> usize {
    let mesh = step.mesh();
    let vpn_peers = step.vpn_peers();
    let mut leading = BTreeSet::new();
    let mut compared = 0;

    for (name, installed) in &step.result {
        let name = NodeName::from(&name[..]);
        let ours = topology(&mesh, &vpn_peers, &Local::new(name.clone()));
        let what = format!("{what}, on {name}");
        if !runs(&mesh, &name) {
            assert_eq!(ours, None, "{what}: a stopped agent wants nothing");
            assert_eq!(installed.routes_in_use(), BTreeSet::new(), "{what}: it removed its routes");
            continue;
        }
        let ours = ours.unwrap_or_else(|| panic!("{what}: not Ready"));
        let neighbours = step.neighbours(&name);
        let of_cni = |route: &Route| {
            route.device == Device::Overlay && neighbours.contains(&route.destination)
        };
        installed.compare(&ours, |route| !of_cni(route), &what);
        if installed.kilo0.up {
            leading.insert(name);
        }
        compared += 1;
    }

    for (location, leader) in leaders(&mesh) {
        assert!(leading.contains(&leader.name), "{what}: {} leads {location}", leader.name);
    }
    compared
}

#[test]
fn every_step_comes_out_as_kilo_made_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings");
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();

    let (mut steps, mut agents) = (0, 0);
    for file in files {
        let recording: Recording =
            serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        assert!(recording.flags.contains("--compatibility=flannel --local=false"));
        assert!(!recording.steps.is_empty(), "{} has no step", file.display());
        for step in &recording.steps {
            agents += replay(step, &format!("{}, {}", recording.name, step.done));
            steps += 1;
        }
    }

    assert_eq!((steps, agents), (20, 117), "all steps of all six recordings, on all agents");
}
