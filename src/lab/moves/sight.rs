//! What is seen of one move: links and routes by a watch on each node of the location, peers and
//! sessions by looking into WireGuard itself.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ipnet::Ipv4Net;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use super::{Error, GLANCE, Moved};
use crate::evidence::{Location, NodeName};
use crate::lab::figures::Tally;
use crate::lab::mesh::Mesh;
use crate::lab::station::TUNNEL;
use crate::lab::topology::Place;
use crate::lab::wireguard::Wireguard;
use crate::net::{self, Hop, Netlink, Route};

type Key = [u8; 32];

/// Sees one move.
pub(super) struct Sight {
    new: (Key, Arc<Wireguard>),
    old: Key,
    others: BTreeMap<Key, Arc<Wireguard>>,
    nodes: Arc<Mutex<Nodes>>,
    waiting_for: usize,
    peers: Option<Instant>,
    handshakes: Option<Instant>,
    watches: Vec<AbortHandle>,
}

/// What the watches on the nodes have seen.
#[derive(Default)]
struct Nodes {
    up: Option<Instant>,
    down: Option<Instant>,
    routed: BTreeMap<NodeName, Instant>,
}

/// What a node's watch waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Heir,
    Leader,
    Member,
}

impl Sight {
    /// Begins to look; call it before the move. `others` lead the other locations.
    pub(super) async fn begin(
        mesh: &mut Mesh,
        location: &Location,
        (from, to): (&NodeName, &NodeName),
        others: &[NodeName],
    ) -> Result<Self, Error> {
        let heir = mesh.station(to)?.wireguard();
        let old = mesh.station(from)?.wireguard().public_key();
        let mut keys = BTreeMap::new();
        for other in others {
            let wireguard = mesh.station(other)?.wireguard();
            keys.insert(wireguard.public_key(), wireguard);
        }

        let topology = &mesh.network.topology;
        let remote = topology.places.iter().filter(|place| place.location != *location);
        let remote = remote.map(Place::pods).collect::<BTreeSet<_>>();
        let hops = topology.place(to).map(|place| [place.overlay(), place.internal().addr()]);
        let nodes = Arc::<Mutex<Nodes>>::default();
        let mut watches = Vec::new();
        for place in topology.members(location) {
            let Some(host) = mesh.network.hosts.get(&place.name) else { continue };
            let part = match &place.name {
                name if name == to => Part::Heir,
                name if name == from => Part::Leader,
                _ => Part::Member,
            };
            let (nodes, name) = (Arc::clone(&nodes), place.name.clone());
            let wanted = (remote.clone(), hops.unwrap_or([Ipv4Addr::UNSPECIFIED; 2]));
            let watch = async move || {
                if let Err(error) = watch(&nodes, (name, part), wanted).await {
                    tracing::warn!(%error, "A node cannot be watched");
                }
            };
            watches.push(host.host.start(watch).await?);
        }

        let new = (heir.public_key(), heir);
        let waiting_for = watches.len() - 1;
        let (peers, handshakes) = (None, None);
        Ok(Self { new, old, others: keys, nodes, waiting_for, peers, handshakes, watches })
    }

    /// Looks into WireGuard.
    pub(super) async fn look(&mut self) {
        if self.handshakes.is_some() {
            return;
        }
        let now = Instant::now();
        let (mut peers, mut sessions) = (true, true);
        for wireguard in self.others.values() {
            let state = wireguard.read().await;
            peers &= state.peers.contains_key(&self.new.0) && !state.peers.contains_key(&self.old);
            sessions &= state.peers.values().all(|peer| peer.last_handshake.is_some());
        }
        if peers {
            self.peers.get_or_insert(now);
        }
        // A leader whose peers were replaced has no session that is older than this.
        let up = lock(&self.nodes).up.is_some();
        let heir = self.new.1.read().await;
        let known = self
            .others
            .keys()
            .all(|key| heir.peers.get(key).is_some_and(|peer| peer.last_handshake.is_some()));
        if peers && sessions && up && known {
            self.handshakes = Some(now);
        }
    }

    /// Tells whether there is nothing left to wait for.
    pub(super) fn is_done(&self) -> bool {
        let nodes = lock(&self.nodes);
        let routed = nodes.routed.len() == self.waiting_for;
        self.handshakes.is_some() && nodes.up.is_some() && nodes.down.is_some() && routed
    }

    /// Returns what was seen, counted from the patch that moved the leader.
    pub(super) fn moved(&self, patched: Instant) -> Moved {
        let nodes = lock(&self.nodes);
        let took = |at: Option<Instant>| at.map(|at| at.saturating_duration_since(patched));
        let last = nodes.routed.values().max().copied();
        Moved {
            location: Location::default(),
            from: NodeName::default(),
            to: NodeName::default(),
            up: took(nodes.up),
            down: took(nodes.down),
            peers: took(self.peers),
            routes: took(last.filter(|_| nodes.routed.len() == self.waiting_for)),
            handshakes: took(self.handshakes),
            outage: None,
            stall: None,
            elsewhere: None,
            elsewhere_stall: None,
            flows: Tally::default(),
        }
    }
}

impl Drop for Sight {
    fn drop(&mut self) {
        for watch in &self.watches {
            watch.abort();
        }
    }
}

/// Watches one node until all that is waited for has been seen there.
async fn watch(
    nodes: &Mutex<Nodes>,
    (name, part): (NodeName, Part),
    (remote, hops): (BTreeSet<Ipv4Net>, [Ipv4Addr; 2]),
) -> Result<(), net::Error> {
    let net = Netlink::open()?;
    let mut link_seen = part == Part::Member;
    let mut routes_seen = part == Part::Heir;
    while !(link_seen && routes_seen) {
        if !link_seen && net.link(TUNNEL).await?.up == (part == Part::Heir) {
            let mut nodes = lock(nodes);
            let seen = if part == Part::Heir { &mut nodes.up } else { &mut nodes.down };
            seen.get_or_insert_with(Instant::now);
            link_seen = true;
        }
        if !routes_seen && leads_there(&net.routes(Route::MAIN).await?, &remote, hops) {
            lock(nodes).routed.insert(name.clone(), Instant::now());
            routes_seen = true;
        }
        sleep(pause(routes_seen)).await;
    }
    Ok(())
}

/// Listing routes costs more than asking for a link.
const fn pause(routes_seen: bool) -> Duration {
    if routes_seen { GLANCE } else { GLANCE.saturating_mul(2) }
}

/// Tells whether all remote pods are reached by one of these hops.
fn leads_there(routes: &[Route], remote: &BTreeSet<Ipv4Net>, hops: [Ipv4Addr; 2]) -> bool {
    let by = |route: &&Route| match route.hop {
        Hop::Via(gateway) | Hop::OnLink(gateway) => hops.contains(&gateway),
        Hop::Direct => false,
    };
    let reached = routes.iter().filter(by).map(|route| route.destination).collect::<BTreeSet<_>>();
    remote.is_subset(&reached)
}

fn lock(nodes: &Mutex<Nodes>) -> std::sync::MutexGuard<'_, Nodes> {
    nodes.lock().unwrap_or_else(PoisonError::into_inner)
}
