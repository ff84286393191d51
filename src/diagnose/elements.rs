//! What a path crosses, by Kilo's topology.
//!
//! ```text
//! member ── overlay ── leader ── WireGuard ── leader ── overlay ── member
//!           ╰ Overlay, ╰ Forward ╰ Uplink, Tunnel ...                ╰ Host, Responder
//!             OverlayPair
//! ```
//!
//! Members reach other locations through their leader, over the overlay, whichever address they
//! aim at; leaders reach each other directly; inside a location only the pod range crosses the
//! overlay. A probe goes there and back, so both directions of a pair are crossed.

use std::collections::BTreeMap;

use crate::evidence::{
    AddressKind, Direction, Element, Flow, Leadership, Location, Mesh, NodeName, Path,
};

/// Returns the elements that a path crosses, there and back; none if its way is unknown.
#[must_use]
pub fn elements(
    path: &Path,
    mesh: &Mesh,
    leaders: &BTreeMap<Location, Leadership>,
) -> Vec<Element> {
    let (Some(from), Some(to)) =
        (Side::of(&path.from, mesh, leaders), Side::of(&path.to, mesh, leaders))
    else {
        return Vec::new();
    };

    let mut crossed = vec![Element::Host(path.from.clone()), Element::Host(path.to.clone())];
    if from.leader == to.leader {
        if path.address == AddressKind::Pod {
            crossed.extend(overlay(&path.from, &path.to));
        }
    } else {
        crossed.extend(from.relay(&path.from, Direction::Out));
        crossed.push(Element::tunnel(from.location, to.location));
        crossed.extend(to.relay(&path.to, Direction::In));
    }
    if !matches!(path.flow, Flow::Ping | Flow::Control) {
        crossed.push(Element::Responder(path.to.clone()));
    }

    crossed
}

/// One end of a path: where it is and who relays for it.
struct Side<'a> {
    location: &'a Location,
    leader: &'a NodeName,
}

impl<'a> Side<'a> {
    /// A node that no location counts as its member (it has no internal address) leads itself.
    fn of(
        node: &'a NodeName,
        mesh: &'a Mesh,
        leaders: &'a BTreeMap<Location, Leadership>,
    ) -> Option<Self> {
        let location = &mesh.nodes.get(node)?.location;
        match leaders.get(location) {
            Some(leadership) if leadership.members.contains(node) => {
                Some(Self { location, leader: leadership.leader.as_ref()? })
            }
            _ => Some(Self { location, leader: node }),
        }
    }

    fn relay(&self, end: &NodeName, opened: Direction) -> Vec<Element> {
        let leader = self.leader;
        let mut crossed = vec![Element::Uplink(leader.clone())];
        if end != leader {
            crossed.push(Element::Host(leader.clone()));
            crossed.push(Element::Forward(leader.clone(), Direction::Both));
            crossed.push(Element::Forward(leader.clone(), opened));
            crossed.extend(overlay(end, leader));
        }

        crossed
    }
}

fn overlay(one: &NodeName, other: &NodeName) -> [Element; 4] {
    [
        Element::Overlay(one.clone()),
        Element::Overlay(other.clone()),
        Element::OverlayPair(one.clone(), other.clone()),
        Element::OverlayPair(other.clone(), one.clone()),
    ]
}

impl Element {
    /// Returns the node that is broken if this element is; none if it lies between nodes.
    #[must_use]
    pub const fn node(&self) -> Option<&NodeName> {
        match self {
            Self::Forward(node, _)
            | Self::Overlay(node)
            | Self::Uplink(node)
            | Self::Host(node)
            | Self::Responder(node) => Some(node),
            Self::OverlayPair(..) | Self::Tunnel(..) => None,
        }
    }

    /// Tells whether another node in this one's place as leader would not be harmed by it.
    #[must_use]
    pub fn implicates(&self, leader: &NodeName) -> bool {
        match self {
            Self::Forward(node, _)
            | Self::Overlay(node)
            | Self::Uplink(node)
            | Self::Host(node) => node == leader,
            Self::OverlayPair(..) | Self::Tunnel(..) | Self::Responder(_) => false,
        }
    }

    /// Tells whether both are of one node, or one way: round trips cannot tell its directions.
    pub(super) fn is_same_thing(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::OverlayPair(a, b), Self::OverlayPair(c, d)) => {
                (a, b) == (c, d) || (a, b) == (d, c)
            }
            (Self::Tunnel(..), Self::Tunnel(..)) => self == other,
            _ => self.node().is_some() && self.node() == other.node(),
        }
    }

    /// Returns the locations that this element belongs to.
    pub(super) fn locations<'a>(&'a self, mesh: &'a Mesh) -> Vec<&'a Location> {
        let location_of = |node: &NodeName| mesh.nodes.get(node).map(|node| &node.location);
        match self {
            Self::Tunnel(one, other) => vec![one, other],
            Self::OverlayPair(node, _)
            | Self::Forward(node, _)
            | Self::Overlay(node)
            | Self::Uplink(node)
            | Self::Host(node)
            | Self::Responder(node) => location_of(node).into_iter().collect(),
        }
    }
}
