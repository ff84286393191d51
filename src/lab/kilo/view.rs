//! The mesh as one agent sees it, and what it does about it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ipnet::IpNet;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::backend::{Backend, Event};
use super::http::Metrics;
use super::kernel::Kernel;
use super::{Agent, Error, chance};
use crate::evidence::kilo::topology::{Local, VpnPeer, topology};
use crate::evidence::kilo::{RawNode, STALE_SECONDS, is_ready, key, read};
use crate::evidence::{Endpoint, Granularity, Mesh, Node, NodeName, UnixTime};
use crate::lab::wireguard::State;
use crate::telemetry::Chain;

/// One agent's mesh.
pub(super) struct View {
    agent: Agent,
    backend: Rc<Backend>,
    kernel: Kernel,
    metrics: Metrics,
    nodes: BTreeMap<NodeName, Node>,
    vpn_peers: BTreeMap<String, VpnPeer>,
    wireguard_ip: Option<IpNet>,
}

impl View {
    pub(super) fn new(agent: Agent, backend: Rc<Backend>, metrics: Metrics) -> Result<Self, Error> {
        Ok(Self {
            kernel: Kernel::open(&agent)?,
            agent,
            backend,
            metrics,
            nodes: BTreeMap::new(),
            vpn_peers: BTreeMap::new(),
            wireguard_ip: None,
        })
    }

    /// Does one thing after the other until told to end. While one takes its time, all else waits.
    pub(super) async fn run(
        &mut self,
        mut events: mpsc::UnboundedReceiver<Event>,
        end: &CancellationToken,
    ) {
        let timing = self.agent.timing;
        let mut check_in = Box::pin(sleep(timing.check_in));
        let mut resync = Box::pin(sleep(timing.resync));

        loop {
            tokio::select! {
                Some(event) = events.recv() => self.hear(event).await,
                () = &mut check_in => {
                    self.check_in().await;
                    check_in.set(sleep(timing.check_in));
                }
                () = &mut resync => {
                    self.apply().await;
                    resync.set(sleep(timing.resync));
                }
                () = end.cancelled() => return,
            }
        }
    }

    /// Takes everything back that this agent did, as far as it can.
    pub(super) async fn clean_up(&mut self) {
        let cleaned = self.kernel.clean_up().await;
        self.count("cleanUp", cleaned);
        let cleaned = self.backend.clean_up().await;
        self.count("cleanUp", cleaned);
    }

    async fn hear(&mut self, event: Event) {
        let differs = match event {
            Event::Node(raw) if raw.name == self.agent.node.0 => return self.hear_own(&raw).await,
            Event::Node(raw) => {
                let node = read(&raw, &self.agent.topology_label);
                let at = self.now();
                let same = self.nodes.get(&node.name).is_some_and(|old| equal(old, &node, at));
                self.nodes.insert(node.name.clone(), node);
                !same
            }
            Event::NodeGone(name) if name == self.agent.node => false,
            Event::NodeGone(name) => self.nodes.remove(&name).is_some(),
            Event::VpnPeer(peer) => {
                let old = self.vpn_peers.insert(peer.name.clone(), peer.clone());
                old.as_ref() != Some(&peer)
            }
            Event::VpnPeerGone(name) => self.vpn_peers.remove(&name).is_some(),
        };
        if differs {
            self.apply().await;
        }
    }

    /// Compares the own Node object with what it should be: writes it if it is not that, applies
    /// if this is news to the agent itself.
    async fn hear_own(&mut self, raw: &RawNode) {
        let mut annotated = read(raw, &self.agent.topology_label);
        let no_internal_ip = matches!(
            raw.annotations.get(key::FORCE_INTERNAL_IP).map(String::as_str),
            Some("" | "-")
        );
        // Endpoint and internal address are found once, and then kept for as long as they stand.
        annotated.endpoint.get_or_insert_with(|| {
            let external = IpAddr::V4(self.agent.external);
            Endpoint::Address(SocketAddr::new(external, self.agent.port))
        });
        if annotated.internal_ip.is_none() && !no_internal_ip {
            annotated.internal_ip = Some(self.agent.internal.into());
        }

        let at = self.now();
        let own = Node {
            key: Some(self.agent.wireguard.public_key()),
            last_seen: Some(wall_clock().seconds()),
            wireguard_ip: self.wireguard_ip,
            granularity: Granularity::Location,
            ..annotated.clone()
        };
        if !equal(&annotated, &own, at) {
            let set = self.backend.set(&own).await;
            if !self.count("local", set) {
                return;
            }
        }
        if !self.nodes.get(&own.name).is_some_and(|old| equal(old, &own, at)) {
            self.nodes.insert(own.name.clone(), own);
            self.apply().await;
        }
    }

    /// Says that this agent lives.
    async fn check_in(&mut self) {
        let Some(own) = self.nodes.get(&self.agent.node) else { return };
        let own = Node { last_seen: Some(wall_clock().seconds()), ..own.clone() };

        let set = self.backend.set(&own).await;
        if self.count("checkin", set) {
            self.nodes.insert(own.name.clone(), own);
        }
    }

    async fn apply(&mut self) {
        let applied = self.try_apply().await;
        self.count("apply", applied);
    }

    /// Makes the kernel what the present view asks for. If the own node is not Ready in it, all
    /// stays as it is.
    async fn try_apply(&mut self) -> Result<(), Error> {
        let at = self.now();
        self.metrics.reconciled();
        let ready = |node: &&Node| is_ready(node, at);
        if let Some(node) = self.nodes.values().filter(ready).find(|node| unresolved(node)) {
            return Err(Error::Unresolved(node.name.clone()));
        }
        self.metrics.see(self.nodes.values().filter(ready).count(), self.vpn_peers.len());
        if !self.nodes.get(&self.agent.node).is_some_and(|own| is_ready(own, at)) {
            return Ok(());
        }

        let underlay_mtu = self.kernel.underlay_mtu().await?;
        let device = self.agent.wireguard.read().await;
        let learned = self.learned(&device, at);
        if let Some(own) = self.nodes.get_mut(&self.agent.node) {
            own.discovered_endpoints = learned;
        }

        let mesh = Mesh { nodes: self.nodes.clone(), at };
        let vpn_peers: Vec<_> = self.vpn_peers.values().cloned().collect();
        let local = Local { underlay_mtu, ..Local::new(self.agent.node.clone()) };
        let Some(wish) = topology(&mesh, &vpn_peers, &local) else { return Ok(()) };

        sleep(self.agent.timing.firewall.mul_f64(0.1 + 0.9 * chance())).await;
        self.wireguard_ip = wish.tunnel.as_ref().map(|tunnel| tunnel.address.into());
        self.metrics.lead(wish.tunnel.is_some());
        self.kernel.apply(&wish).await
    }

    /// Returns where the device hears those that roam: who sends keepalives and has shaken hands.
    fn learned(&self, device: &State, at: UnixTime) -> BTreeMap<[u8; 32], SocketAddr> {
        let nodes =
            self.nodes.values().filter(|node| is_ready(node, at) && !node.keepalive.is_zero());
        let vpn_peers = self.vpn_peers.values().filter(|peer| !peer.keepalive.is_zero());
        let roaming = nodes.filter_map(|node| node.key).chain(vpn_peers.map(|peer| peer.key));

        let heard = |key: [u8; 32]| {
            let state = device.peers.get(&key)?;
            state.last_handshake?;
            Some((key, state.peer.endpoint?))
        };
        roaming.filter_map(heard).collect()
    }

    /// Returns the time at which check-ins are judged: ahead of the clock if they are to go stale
    /// sooner than in Kilo.
    fn now(&self) -> UnixTime {
        let stale = Duration::from_secs(STALE_SECONDS.unsigned_abs());
        let ahead = stale.saturating_sub(self.agent.timing.stale);
        UnixTime(wall_clock().0.saturating_add(ahead.as_millis() as i64))
    }

    /// Counts and tells a failure, and returns whether there was none.
    fn count(&self, event: &'static str, result: Result<(), Error>) -> bool {
        let Err(error) = result else { return true };
        tracing::debug!(node = %self.agent.node, event, error = %Chain(&error), "Kilo failed");
        self.metrics.failed(event);
        false
    }
}

/// Tells whether Kilo sees no difference between two states of a node; the check-in counts only as
/// far as the node is Ready by it.
fn equal(one: &Node, other: &Node, at: UnixTime) -> bool {
    let seen = |node: &Node| {
        (
            (node.name.clone(), node.location.clone(), node.leader, node.granularity),
            (node.endpoint.clone(), node.key, node.keepalive, node.discovered_endpoints.clone()),
            (node.wireguard_ip, node.internal_ip, node.cni_compatibility_ip, node.pod_cidr),
            (node.allowed_location_ips.clone(), is_ready(node, at)),
        )
    };
    seen(one) == seen(other)
}

/// Tells whether a node's endpoint is a name that nobody has resolved.
fn unresolved(node: &Node) -> bool {
    node.endpoint.as_ref().is_some_and(|endpoint| endpoint.ip().is_none())
}

fn wall_clock() -> UnixTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixTime(since.as_millis() as i64)
}
