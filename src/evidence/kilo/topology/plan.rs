//! How a topology comes about: segments in Kilo's order, each with its address, then what one node
//! makes of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net};

use super::{Device, KILO_TABLE, Local, MAIN_TABLE, Mode, Peer, Route, Rule, Tunnel, VpnPeer};
use crate::evidence::kilo::{find_leader, segment, segments};
use crate::evidence::{Endpoint, Mesh, Node, Segment};

/// A segment with its address and what is reached through it.
struct Part<'a> {
    segment: Segment,
    nodes: Vec<&'a Node>,
    leader: &'a Node,
    address: Ipv4Addr,
    allowed_ips: BTreeSet<IpNet>,
    location_ips: BTreeSet<IpNet>,
}

/// The whole mesh as one node sees it.
pub(super) struct Plan<'a> {
    node: &'a Node,
    segment: Segment,
    subnet: Ipv4Net,
    mode: Mode,
    parts: Vec<Part<'a>>,
    vpn_peers: Vec<VpnPeer>,
    learned: BTreeMap<[u8; 32], SocketAddr>,
}

impl<'a> Plan<'a> {
    pub(super) fn new(mesh: &'a Mesh, vpn_peers: &[VpnPeer], local: &Local) -> Option<Self> {
        let node = mesh.nodes.get(&local.name)?;
        let segment = segment(node, local.granularity);
        let segments = segments(mesh, local.granularity);
        if !segments.get(&segment)?.contains(&node) {
            return None;
        }

        let addresses = local.subnet.hosts();
        if addresses.count() < segments.len() {
            return None;
        }
        let part = |((segment, nodes), address)| Part::new(segment, nodes, address);
        let mut parts: Vec<_> = segments.into_iter().zip(addresses).filter_map(part).collect();
        let vpn_peers = without_repeats(vpn_peers);
        filter_location_ips(&mut parts, &vpn_peers);

        let mut learned = node.discovered_endpoints.clone();
        for (key, at) in parts.iter().flat_map(Part::learned) {
            learned.entry(*key).or_insert(*at);
        }

        Some(Self {
            node,
            segment,
            subnet: local.subnet,
            mode: local.mode,
            parts,
            vpn_peers,
            learned,
        })
    }

    fn own(&self) -> impl Iterator<Item = &Part<'a>> {
        self.parts.iter().filter(|part| part.segment == self.segment)
    }

    fn others(&self) -> impl Iterator<Item = &Part<'a>> {
        self.parts.iter().filter(|part| part.segment != self.segment)
    }

    pub(super) fn leads(&self) -> bool {
        self.own().any(|part| part.leader.name == self.node.name)
    }

    fn source(&self) -> Option<IpAddr> {
        self.node.internal_ip.map(|net| net.addr())
    }

    /// Returns where a node is; one that roams is where it was last heard from.
    fn endpoint(&self, node: &Node) -> Option<SocketAddr> {
        let annotated = node.endpoint.as_ref().and_then(socket_address);
        let learned = node.key.and_then(|key| self.learned.get(&key)).copied();
        if node.keepalive.is_zero() { annotated } else { learned.or(annotated) }
    }

    pub(super) fn tunnel(&self) -> Tunnel {
        let segment_peer = |part: &Part<'_>| {
            let peer = Peer {
                preshared_key: None,
                endpoint: self.endpoint(part.leader),
                allowed_ips: part.allowed_ips.union(&part.location_ips).copied().collect(),
                keepalive: self.node.keepalive,
            };
            Some((part.leader.key?, peer))
        };
        let vpn_peer = |vpn: &VpnPeer| {
            let annotated = vpn.endpoint.as_ref().and_then(socket_address);
            let learned = self.learned.get(&vpn.key).copied();
            let peer = Peer {
                preshared_key: vpn.preshared_key,
                endpoint: if vpn.keepalive.is_zero() { annotated } else { learned.or(annotated) },
                allowed_ips: vpn.allowed_ips.iter().copied().collect(),
                keepalive: self.node.keepalive,
            };
            (vpn.key, peer)
        };

        let address =
            self.own().map(|part| part.address).next().unwrap_or_else(|| self.subnet.addr());
        Tunnel {
            address: Ipv4Net::new(address, self.subnet.prefix_len()).unwrap_or(self.subnet),
            listen_port: self.node.endpoint.as_ref().map_or(0, Endpoint::port),
            peers: self
                .others()
                .filter_map(segment_peer)
                .chain(self.vpn_peers.iter().map(vpn_peer))
                .collect(),
        }
    }

    pub(super) fn leader_routes(&self) -> BTreeSet<Route> {
        let through = |destination, gateway| Route {
            destination,
            gateway,
            device: Device::Kilo,
            table: MAIN_TABLE,
            source: self.source(),
        };

        let mut routes = self.return_routes();
        for part in self.others() {
            let gateway = Some(IpAddr::V4(part.address));
            let endpoint = self.endpoint(part.leader).map(|at| at.ip());
            // A node that is reached at its internal address cannot be reached through itself.
            let tunnelled = |address: &IpAddr| Some(*address) != endpoint;
            let privates = part.internal_addresses().filter(tunnelled).map(IpNet::from);
            let all = part.pod_cidrs().chain(privates).chain(part.location_ips.iter().copied());
            routes.extend(all.map(|net| through(net, gateway)));
        }
        let vpn = self.vpn_peers.iter().flat_map(|peer| &peer.allowed_ips);
        routes.extend(vpn.map(|net| through(*net, None)));

        routes
    }

    /// Returns the way from the tunnel to the members' own addresses, over the overlay.
    fn return_routes(&self) -> BTreeSet<Route> {
        let route = |node: &Node| {
            Some(Route {
                destination: node.internal_ip?.addr().into(),
                gateway: Some(self.mode.gateway(node)?),
                device: Device::Overlay,
                table: KILO_TABLE,
                source: None,
            })
        };
        self.fellows().filter_map(route).collect()
    }

    pub(super) fn rules(&self) -> BTreeSet<Rule> {
        if !self.leads() {
            return BTreeSet::new();
        }
        let rule = |node: &Node| Some(Rule { destination: node.internal_ip?.addr().into() });
        self.fellows().filter_map(rule).collect()
    }

    fn fellows(&self) -> impl Iterator<Item = &'a Node> {
        let nodes = self.own().flat_map(|part| part.nodes.iter().copied());
        nodes.filter(|node| node.name != self.node.name)
    }

    pub(super) fn member_routes(&self) -> BTreeSet<Route> {
        let gateway = self.own().find_map(|part| self.mode.gateway(part.leader));
        let addresses = self.parts.iter().map(|part| IpAddr::V4(part.address).into());
        let others = self.others().flat_map(|part| {
            let privates = part.internal_addresses().map(IpNet::from);
            part.pod_cidrs().chain(privates).chain(part.location_ips.iter().copied())
        });
        let vpn = self.vpn_peers.iter().flat_map(|peer| peer.allowed_ips.iter().copied());

        let through = |destination| Route {
            destination,
            gateway,
            device: Device::Overlay,
            table: MAIN_TABLE,
            source: self.source(),
        };
        addresses.chain(others).chain(vpn).map(through).collect()
    }
}

impl<'a> Part<'a> {
    fn new(segment: Segment, nodes: Vec<&'a Node>, address: Ipv4Addr) -> Option<Self> {
        let leader = find_leader(&nodes)?;
        let mut part = Self {
            segment,
            nodes,
            leader,
            address,
            allowed_ips: BTreeSet::new(),
            location_ips: BTreeSet::new(),
        };
        part.allowed_ips =
            part.pod_cidrs().chain(part.internal_addresses().map(IpNet::from)).collect();
        part.location_ips =
            part.nodes.iter().flat_map(|node| node.allowed_location_ips.iter().copied()).collect();

        Some(part)
    }

    fn pod_cidrs(&self) -> impl Iterator<Item = IpNet> {
        self.nodes.iter().filter_map(|node| node.pod_cidr)
    }

    fn internal_addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.nodes.iter().filter_map(|node| node.internal_ip).map(|net| net.addr())
    }

    fn learned(&self) -> impl Iterator<Item = (&[u8; 32], &SocketAddr)> {
        self.nodes.iter().flat_map(|node| &node.discovered_endpoints)
    }
}

/// Returns the Ready peers by name, without what an earlier one already claims.
fn without_repeats(vpn_peers: &[VpnPeer]) -> Vec<VpnPeer> {
    let ready = |peer: &&VpnPeer| !peer.allowed_ips.is_empty() && peer.key != [0; 32];
    let mut peers: Vec<_> = vpn_peers.iter().filter(ready).cloned().collect();
    peers.sort_by(|one, other| one.name.cmp(&other.name));

    let mut claimed = BTreeSet::new();
    for peer in &mut peers {
        peer.allowed_ips.retain(|net| claimed.insert(*net));
    }
    peers
}

/// Gives each segment its own address, and drops extra prefixes of a location that overlap with
/// what others have. The order matters as it does in Kilo: what was dropped earlier is in nobody's
/// way any more.
fn filter_location_ips(parts: &mut [Part<'_>], vpn_peers: &[VpnPeer]) {
    let overlap =
        |one: &IpNet, other: &IpNet| one.contains(&other.addr()) || other.contains(&one.addr());

    for index in 0..parts.len() {
        let address = IpAddr::V4(parts[index].address);
        parts[index].allowed_ips.insert(address.into());

        let free = |net: &&IpNet| {
            let elsewhere = parts.iter().enumerate().filter(|(other, _)| *other != index);
            let mut claimed = elsewhere
                .flat_map(|(_, part)| &part.location_ips)
                .chain(parts.iter().flat_map(|part| &part.allowed_ips))
                .chain(vpn_peers.iter().flat_map(|peer| &peer.allowed_ips));
            !claimed.any(|other| overlap(net, other))
        };
        let kept = parts[index].location_ips.iter().filter(free).copied().collect();
        parts[index].location_ips = kept;
    }
}

fn socket_address(endpoint: &Endpoint) -> Option<SocketAddr> {
    Some(SocketAddr::new(endpoint.ip()?, endpoint.port()))
}
