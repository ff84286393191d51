//! What a probe crosses: a path is named by its ends, and is a list of elements.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Location, NodeName};

/// Which of a node's addresses a probe aims at. Kilo carries the two differently: inside a
/// location only the pod range crosses the overlay.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum AddressKind {
    /// The node's own (private) address.
    Node,
    /// An address that the host owns inside its pod CIDR.
    Pod,
}

/// How a probe travels.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Flow {
    /// One UDP datagram on a socket of its own: a flow nobody has seen before.
    NewUdp,
    /// One TCP connection on a socket of its own, closed by RST.
    NewTcp,
    /// ICMP echo with a new id: splits conntrack-like faults from outer-flow faults.
    Ping,
    /// One old UDP flow, for contrast.
    KeptUdp,
    /// One old TCP connection, for contrast.
    KeptTcp,
    /// A fresh UDP flow with DF set, as large as the interface carries.
    Large,
    /// A TCP connect to a port that is not ours (10250, 1107): is only our port filtered?
    Control,
}

impl Flow {
    /// Tells whether each probe of this kind is a flow that nobody on the way has seen before.
    #[must_use]
    pub const fn is_fresh(self) -> bool {
        match self {
            Self::NewUdp | Self::NewTcp | Self::Ping | Self::Large | Self::Control => true,
            Self::KeptUdp | Self::KeptTcp => false,
        }
    }
}

/// One way through the mesh, by its ends: who opens the flow, to whom, how.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Path {
    /// Who opens the flow.
    pub from: NodeName,
    /// Who answers.
    pub to: NodeName,
    /// Which of its addresses.
    pub address: AddressKind,
    /// How it travels.
    pub flow: Flow,
}

/// Which way a leader forwards, by who opened the flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Flows opened from inside the location.
    Out,
    /// Flows opened from outside.
    In,
    /// Either.
    Both,
}

/// A part of the mesh that can break by itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Element {
    /// A leader's forwarding between its WireGuard interface and its overlay.
    Forward(NodeName, Direction),
    /// A node's overlay device: everything it sends to or gets from its own location.
    Overlay(NodeName),
    /// The overlay from the first node to the second, and only that.
    OverlayPair(NodeName, NodeName),
    /// A leader's WireGuard interface and what joins it to the other sites.
    Uplink(NodeName),
    /// The way between two locations; the lesser name stands first.
    Tunnel(Location, Location),
    /// A node as a whole: as an end of a path or as the relay on it.
    Host(NodeName),
    /// What answers probes on a node: the process and its port.
    Responder(NodeName),
}

impl Element {
    /// Returns the way between two locations, whichever is named first.
    #[must_use]
    pub fn tunnel(one: &Location, other: &Location) -> Self {
        let (lesser, greater) = if one <= other { (one, other) } else { (other, one) };
        Self::Tunnel(lesser.clone(), greater.clone())
    }
}
