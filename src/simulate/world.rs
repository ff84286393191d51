//! The simulated mesh: nodes, what their Kilo agents applied, and whether a packet gets through.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "most faults do not concern most parts of the mesh"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

use super::chance::Chance;
use super::faults::Fault;
use crate::evidence::{
    AddressKind, Endpoint, Flow, Granularity, Location, Mesh, Moment, Node, NodeName, Path,
    UnixTime, kilo,
};

/// Who leads each location, as one node's Kilo agent applied it; empty if its routes are gone.
pub(super) type Applied = BTreeMap<Location, NodeName>;

/// The simulated mesh.
#[derive(Debug)]
pub(super) struct World {
    /// The Node objects, as the API server has them.
    pub(super) objects: BTreeMap<NodeName, Node>,
    /// What each node's agent applied.
    pub(super) applied: BTreeMap<NodeName, Applied>,
    /// Since when two leaders' WireGuard session works, by the lesser and the greater name; a pair
    /// that is absent always did.
    pub(super) sessions: BTreeMap<(NodeName, NodeName), Moment>,
    /// What is broken.
    pub(super) faults: BTreeSet<Fault>,
}

/// One part of a packet's way.
#[derive(Debug, PartialEq, Eq)]
enum Hop<'a> {
    Relay(&'a NodeName),
    Overlay(&'a NodeName, &'a NodeName),
    Wan(&'a NodeName, &'a NodeName),
}

impl World {
    /// Builds locations of nodes, all well.
    pub(super) fn new(sizes: &[usize], at: UnixTime) -> Self {
        let mut objects = BTreeMap::new();
        for (index, size) in sizes.iter().enumerate() {
            for number in 1..=*size {
                let node = object(index, number, at);
                objects.insert(node.name.clone(), node);
            }
        }
        let mut world = Self {
            objects,
            applied: BTreeMap::new(),
            sessions: BTreeMap::new(),
            faults: BTreeSet::new(),
        };
        let leaders = world.elect(at);
        world.applied = world.objects.keys().map(|name| (name.clone(), leaders.clone())).collect();
        world
    }

    /// Returns the leaders by Kilo's rules and the Node objects.
    pub(super) fn elect(&self, at: UnixTime) -> Applied {
        let mesh = self.mesh(at);
        let leaders = kilo::leaders(&mesh).into_iter();
        leaders.map(|(location, node)| (location, node.name.clone())).collect()
    }

    /// Returns the Node objects as a mesh.
    pub(super) fn mesh(&self, at: UnixTime) -> Mesh {
        Mesh { nodes: self.objects.clone(), at }
    }

    /// Tells whether something is broken.
    pub(super) fn has(&self, fault: &Fault) -> bool {
        self.faults.contains(fault)
    }

    /// Tells whether a node runs at all.
    pub(super) fn is_alive(&self, node: &NodeName) -> bool {
        !self.has(&Fault::NodeDead(node.clone()))
    }

    /// Tells whether a node's Kilo agent runs.
    pub(super) fn agent_runs(&self, node: &NodeName) -> bool {
        self.is_alive(node)
            && !self.has(&Fault::AgentDead(node.clone()))
            && !self.has(&Fault::AgentStopped(node.clone()))
    }

    /// Tells whether the API server answers.
    pub(super) fn api_answers(&self) -> bool {
        !self.has(&Fault::ApiDown)
    }

    /// Returns the location of a node.
    pub(super) fn location(&self, node: &NodeName) -> &Location {
        &self.objects[node].location
    }

    /// Returns the round trip of two packets between nodes.
    pub(super) fn round_trip(&self, path: &Path, chance: &mut Chance) -> Duration {
        if self.location(&path.from) == self.location(&path.to) {
            chance.millis(0, 1)
        } else {
            chance.millis(18, 24)
        }
    }

    /// Tells whether a probe's request arrives, and whether its answer does.
    pub(super) fn carries(&self, path: &Path, now: Moment, chance: &mut Chance) -> (bool, bool) {
        let luck = match path.flow {
            // One flow for ever: the same fate at every probe.
            Flow::KeptUdp | Flow::KeptTcp => scatter(path),
            Flow::NewUdp | Flow::NewTcp | Flow::Ping | Flow::Large | Flow::Control => chance.unit(),
        };
        let filtered = self.has(&Fault::ProbesDropped) || self.is_filtered(path);
        let there = !filtered
            && self.passes((&path.from, &path.to), path, luck, now)
            && !self.is_lost(path, chance);
        let back = there
            && self.passes((&path.to, &path.from), path, 1.0 - luck, now)
            && !self.is_lost(path, chance);
        (there, back)
    }

    /// Tells whether a frame that one member sends through another arrives at a third.
    pub(super) fn hairpins(&self, from: &NodeName, heir: &NodeName, to: &NodeName) -> bool {
        let hops = [Hop::Overlay(from, heir), Hop::Overlay(heir, to)];
        let forwards = !self.has(&Fault::ForwardOff(heir.clone()));
        let alive = [from, heir, to].into_iter().all(|node| self.is_alive(node));
        forwards && alive && hops.iter().all(|hop| self.hop_passes(hop, Flow::NewUdp, 0.0))
    }

    fn is_filtered(&self, path: &Path) -> bool {
        let ours = !matches!(path.flow, Flow::Control | Flow::Ping);
        let (from, to) = (self.location(&path.from), self.location(&path.to));
        let blocked = |location: &Location| self.has(&Fault::PortBlocked(location.clone()));
        ours && from != to && (blocked(from) || blocked(to))
    }

    fn is_lost(&self, path: &Path, chance: &mut Chance) -> bool {
        let losses = self.faults.iter().filter_map(|fault| match fault {
            Fault::Loss(permille) => Some(f64::from(*permille) / 1000.0),
            _ => None,
        });
        let loss: f64 = losses.sum();
        self.location(&path.from) != self.location(&path.to) && chance.happens(loss)
    }

    fn passes(&self, ends: (&NodeName, &NodeName), path: &Path, luck: f64, now: Moment) -> bool {
        let Some(hops) = self.way(ends.0, ends.1, path.address, now) else { return false };
        let alive = self.is_alive(ends.0) && self.is_alive(ends.1);
        alive && hops.iter().all(|hop| self.hop_passes(hop, path.flow, luck))
    }

    /// Returns the way of a packet, if there is one.
    fn way<'a>(
        &'a self,
        from: &'a NodeName,
        to: &'a NodeName,
        address: AddressKind,
        now: Moment,
    ) -> Option<Vec<Hop<'a>>> {
        let (here, there) = (self.location(from), self.location(to));
        if here == there {
            return Some(match address {
                AddressKind::Pod => vec![Hop::Overlay(from, to)],
                AddressKind::Node => vec![],
            });
        }

        let near = self.applied.get(from)?.get(here)?;
        let far = self.applied.get(near)?.get(there)?;
        self.is_joined(near, far, now).then(|| {
            let mut hops = Vec::new();
            if near != from {
                hops.extend([Hop::Overlay(from, near), Hop::Relay(near)]);
            }
            hops.push(Hop::Wan(near, far));
            if far != to {
                hops.extend([Hop::Relay(far), Hop::Overlay(far, to)]);
            }
            hops
        })
    }

    /// Tells whether two nodes hold each other for their locations' leaders, and have a session.
    fn is_joined(&self, one: &NodeName, other: &NodeName, now: Moment) -> bool {
        let knows = |node: &NodeName, leader: &NodeName| {
            let applied = self.applied.get(node);
            applied.and_then(|led| led.get(self.location(leader))) == Some(leader)
        };
        let session = self.sessions.get(&pair(one, other));
        [one, other].into_iter().all(|node| self.is_alive(node) && knows(node, node))
            && knows(one, other)
            && knows(other, one)
            && session.is_none_or(|since| now >= *since)
    }

    fn hop_passes(&self, hop: &Hop<'_>, flow: Flow, luck: f64) -> bool {
        let fresh = flow.is_fresh();
        self.faults.iter().all(|fault| match (hop, fault) {
            (Hop::Relay(node), Fault::NewFlows(sick)) => !(fresh && *node == sick),
            (Hop::Relay(node), Fault::ForwardOff(sick)) => *node != sick,
            (Hop::Relay(node), Fault::NodeDead(dead)) => *node != dead,
            // Pings share one outer port, which is in use.
            (Hop::Overlay(node, _), Fault::VxlanWedge(sick)) => {
                !(fresh && flow != Flow::Ping && *node == sick)
            }
            (Hop::Overlay(node, _), Fault::Partial(sick, percent)) => {
                *node != sick || luck * 100.0 >= f64::from(*percent)
            }
            (Hop::Overlay(one, other), Fault::NodeDead(dead)) => *one != dead && *other != dead,
            (Hop::Wan(from, to), fault) => self.wan_passes(from, to, fault, flow),
            (Hop::Relay(_) | Hop::Overlay(..), _) => true,
        })
    }

    fn wan_passes(&self, from: &NodeName, to: &NodeName, fault: &Fault, flow: Flow) -> bool {
        let (here, there) = (self.location(from), self.location(to));
        let between = |one: &Location, other: &Location| {
            (here, there) == (one, other) || (here, there) == (other, one)
        };
        match fault {
            Fault::WanCut(one, other) => !between(one, other),
            Fault::OneWay(one, other) => (here, there) != (one, other),
            Fault::Mtu(one, other) => flow != Flow::Large || !between(one, other),
            _ => true,
        }
    }
}

/// Names a pair of nodes, whichever is named first.
pub(super) fn pair(one: &NodeName, other: &NodeName) -> (NodeName, NodeName) {
    let (lesser, greater) = if one <= other { (one, other) } else { (other, one) };
    (lesser.clone(), greater.clone())
}

/// Draws the fate of a path's one old flow.
fn scatter(path: &Path) -> f64 {
    let text = format!("{path:?}");
    let seed = text.bytes().fold(0_u64, |seed, byte| seed.wrapping_mul(31) + u64::from(byte));
    Chance::new(seed).unit()
}

/// Returns the name of a simulated location.
pub(super) fn location(index: usize) -> Location {
    const NAMES: [&str; 4] = ["cloud", "edge", "onprem", "attic"];
    NAMES.get(index).map_or_else(|| Location(format!("place{index}")), |name| Location::from(*name))
}

fn object(index: usize, number: usize, at: UnixTime) -> Node {
    let location = location(index);
    let (place, host) = (index as u8, number as u8);
    let internal = Ipv4Addr::new(10, place, 0, host);
    let pods = Ipv4Addr::new(10, 200_u8.saturating_add(place), host, 0);
    let public = Ipv4Addr::new(203, 0, 113 + place, host);
    let name = NodeName(format!("{location}-{number}"));
    Node {
        key: Some(key(place, host)),
        location,
        endpoint: Some(Endpoint::Address(SocketAddr::new(IpAddr::V4(public), 51820))),
        internal_ip: net(internal, 24),
        pod_cidr: net(pods, 24),
        last_seen: Some(at.seconds()),
        granularity: Granularity::Location,
        kubernetes_ready: Some(true),
        failure_domain: Some(name.0.clone()),
        name,
        ..Node::default()
    }
}

/// Returns the key of a node: any that differ.
pub(super) const fn key(place: u8, host: u8) -> [u8; 32] {
    let mut key = [7; 32];
    key[0] = place;
    key[1] = host;
    key
}

fn net(address: Ipv4Addr, prefix: u8) -> Option<IpNet> {
    IpNet::new(IpAddr::V4(address), prefix).ok()
}
