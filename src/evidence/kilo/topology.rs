//! What Kilo installs on a node: the address and the peers of `kilo0`, routes and rules.
//!
//! Segments are sorted by name, and the i-th gets the i-th address of Kilo's subnet. The address
//! belongs to the segment: it moves with the leader, and it shifts when a segment comes or goes.
//!
//! ```text
//! leader:  kilo0 up ── one peer per other segment ── routes of the others through kilo0
//! member:  kilo0 down ── everything of the others through the leader's overlay address
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};

use crate::evidence::{Endpoint, Granularity, Mesh, Node, NodeName};
use plan::Plan;

mod plan;

/// The kernel's main routing table.
pub const MAIN_TABLE: u32 = 254;

/// Kilo's own routing table: the way back to members that a packet out of the tunnel takes.
pub const KILO_TABLE: u32 = 1107;

/// What WireGuard adds to a packet at most: IPv4 or IPv6, UDP, its own header and tag.
pub const WIREGUARD_OVERHEAD: u32 = 80;

/// How Kilo fits itself in with the cluster's own network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// `--compatibility=flannel --local=false`: members are reached by Flannel's VXLAN.
    Flannel,
}

impl Mode {
    /// Returns the address by which the nodes of its location reach a node over the overlay.
    fn gateway(self, node: &Node) -> Option<IpAddr> {
        match self {
            Self::Flannel => node.pod_cidr.map(|net| net.network()),
        }
    }
}

/// What an agent knows of itself besides its Node object: its flags and its machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// Its node.
    pub name: NodeName,
    /// `--subnet`: what segments get their addresses from.
    pub subnet: Ipv4Net,
    /// `--mesh-granularity`.
    pub granularity: Granularity,
    /// `--compatibility` and what goes with it.
    pub mode: Mode,
    /// The MTU of the interface that packets for other locations leave by.
    pub underlay_mtu: u32,
}

impl Local {
    /// Returns an agent with Kilo's default flags, beside Flannel, on Ethernet.
    #[must_use]
    pub fn new(name: NodeName) -> Self {
        Self {
            name,
            subnet: Ipv4Net::new_assert(Ipv4Addr::new(10, 4, 0, 0), 16),
            granularity: Granularity::Location,
            mode: Mode::Flannel,
            underlay_mtu: 1500,
        }
    }
}

/// A `peers.kilo.squat.ai` object: somebody outside of the cluster who joins by VPN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VpnPeer {
    /// Its name.
    pub name: String,
    /// Its WireGuard public key.
    pub key: [u8; 32],
    /// A key shared with it, if any.
    pub preshared_key: Option<[u8; 32]>,
    /// Where it is, if that is known.
    pub endpoint: Option<Endpoint>,
    /// How often it sends a keepalive; zero if it does not.
    pub keepalive: Duration,
    /// What it may be reached by.
    pub allowed_ips: Vec<IpNet>,
}

/// Everything that Kilo installs on one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// The MTU of `kilo0`, up or down.
    pub mtu: u32,
    /// How `kilo0` is set up if this node leads; if it does not, `kilo0` is down.
    pub tunnel: Option<Tunnel>,
    /// Its routes, all of protocol static and without metric.
    pub routes: BTreeSet<Route>,
    /// Its rules, without a priority of their own.
    pub rules: BTreeSet<Rule>,
}

/// How a leader's `kilo0` is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tunnel {
    /// The segment's address, with the prefix of Kilo's whole subnet.
    pub address: Ipv4Net,
    /// The UDP port.
    pub listen_port: u16,
    /// One peer per other segment and per VPN peer, by key.
    pub peers: BTreeMap<[u8; 32], Peer>,
}

/// One WireGuard peer of a leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// A key shared with it, if any.
    pub preshared_key: Option<[u8; 32]>,
    /// Where it is: as it was learned if it roams, else as annotated.
    pub endpoint: Option<SocketAddr>,
    /// What is sent to it, and accepted from it.
    pub allowed_ips: BTreeSet<IpNet>,
    /// How often a keepalive goes to it; zero for never.
    pub keepalive: Duration,
}

/// A device that a route leads through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Device {
    /// `kilo0`.
    Kilo,
    /// The overlay inside of the location: `flannel.1`.
    Overlay,
}

/// One route.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// What it leads to.
    pub destination: IpNet,
    /// The next hop, taken as on-link; none if the device itself knows.
    pub gateway: Option<IpAddr>,
    /// The device.
    pub device: Device,
    /// The table.
    pub table: u32,
    /// The preferred source address.
    pub source: Option<IpAddr>,
}

/// One rule: what comes in by `kilo0` for this address is routed by [`KILO_TABLE`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// The address of a member.
    pub destination: IpNet,
}

/// Returns what Kilo's agent on `local` makes of the mesh; none while its own node is not Ready,
/// when it leaves everything as it is, or if the subnet has too few addresses.
#[must_use]
pub fn topology(mesh: &Mesh, vpn_peers: &[VpnPeer], local: &Local) -> Option<Topology> {
    let plan = Plan::new(mesh, vpn_peers, local)?;

    let rules = plan.rules();
    let (tunnel, routes) = if plan.leads() {
        (Some(plan.tunnel()), plan.leader_routes())
    } else {
        (None, plan.member_routes())
    };

    let mtu = local.underlay_mtu.saturating_sub(WIREGUARD_OVERHEAD);
    Some(Topology { mtu, tunnel, routes, rules })
}

#[cfg(test)]
mod tests;
