//! What the lab builds, as a value: locations, nodes and their addresses.
//!
//! ```text
//!  location 1: LAN 10.1.0.0/24        location 2: LAN 10.2.0.0/24
//!   onprem-1 ─ onprem-2 ─ onprem-3     cloud-1 ─ cloud-2 ─ cloud-3     eth0, under flannel.1
//!      └───────────┴──────────┴─── WAN 198.51.100.0/24 ───┴──────────┘      eth1, under kilo0
//! ```
//!
//! Node number K of the whole mesh, in location L: LAN 10.L.0.(10+K), WAN 198.51.100.K, pods
//! 10.42.K.0/24, in which .0 is the overlay's address, .1 the bridge's and .2 the pod's.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::evidence::{Location, NodeName};

/// The address of the API server, on the WAN.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 254);

/// Why a mesh cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No nodes at all.
    #[error("a mesh needs at least one location with one node")]
    Empty,
    /// The addresses do not suffice.
    #[error("a mesh of {0} nodes is too large: the lab has addresses for 200")]
    TooLarge(usize),
}

/// A node's place in the mesh and all its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its name: the location's, and its number in it.
    pub name: NodeName,
    /// Its location.
    pub location: Location,
    /// Its location's number, from 1.
    pub lan: u8,
    /// Its number in the mesh, from 1.
    pub number: u8,
}

impl Place {
    /// Returns its address and network on the LAN.
    #[must_use]
    pub fn internal(&self) -> Ipv4Net {
        Ipv4Net::new_assert(Ipv4Addr::new(10, self.lan, 0, 10 + self.number), 24)
    }

    /// Returns its address and network on the WAN.
    #[must_use]
    pub fn wan(&self) -> Ipv4Net {
        Ipv4Net::new_assert(Ipv4Addr::new(198, 51, 100, self.number), 24)
    }

    /// Returns the network of its pods.
    #[must_use]
    pub fn pods(&self) -> Ipv4Net {
        Ipv4Net::new_assert(Ipv4Addr::new(10, 42, self.number, 0), 24)
    }

    /// Returns the address of its end of the overlay.
    #[must_use]
    pub fn overlay(&self) -> Ipv4Addr {
        self.pods().network()
    }

    /// Returns the address of its bridge, which is its pod's gateway.
    #[must_use]
    pub fn bridge(&self) -> Ipv4Net {
        Ipv4Net::new_assert(Ipv4Addr::new(10, 42, self.number, 1), 24)
    }

    /// Returns the address of its pod.
    #[must_use]
    pub fn pod(&self) -> Ipv4Net {
        Ipv4Net::new_assert(Ipv4Addr::new(10, 42, self.number, 2), 24)
    }

    /// Returns the hardware address of its end of the overlay.
    #[must_use]
    pub const fn overlay_hardware(&self) -> [u8; 6] {
        [0x02, 0x42, 10, 42, self.number, 0]
    }
}

/// Which nodes there are, in order of their numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// The nodes.
    pub places: Vec<Place>,
}

impl Topology {
    /// Returns a mesh of so many locations with so many nodes each.
    pub fn new(locations: usize, nodes: usize) -> Result<Self, Error> {
        let names = ["onprem", "cloud", "edge"].map(str::to_owned).into_iter();
        let more = (4..).map(|number| format!("region{number}"));
        let shape = names.chain(more).take(locations).map(|name| (name, nodes));

        Self::of(&shape.collect::<Vec<_>>())
    }

    /// Returns a mesh of these locations, each with so many nodes.
    pub fn of(shape: &[(String, usize)]) -> Result<Self, Error> {
        let total = shape.iter().map(|(_, nodes)| nodes).sum::<usize>();
        if total == 0 {
            return Err(Error::Empty);
        }
        if total > 200 {
            return Err(Error::TooLarge(total));
        }

        let named = (1..).zip(shape).flat_map(|(lan, (location, nodes))| {
            (1..=*nodes).map(move |number| (lan, location, format!("{location}-{number}")))
        });
        let places = (1..).zip(named).map(|(number, (lan, location, name))| Place {
            name: NodeName(name),
            location: Location(location.clone()),
            lan,
            number,
        });

        Ok(Self { places: places.collect() })
    }

    /// Returns the place of a node.
    #[must_use]
    pub fn place(&self, name: &NodeName) -> Option<&Place> {
        self.places.iter().find(|place| place.name == *name)
    }

    /// Returns the locations, each once, in order.
    #[must_use]
    pub fn locations(&self) -> Vec<Location> {
        let mut locations = self.places.iter().map(|p| p.location.clone()).collect::<Vec<_>>();
        locations.dedup();

        locations
    }

    /// Returns the nodes of a location.
    pub fn members<'a>(&'a self, location: &'a Location) -> impl Iterator<Item = &'a Place> {
        self.places.iter().filter(move |place| place.location == *location)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_by_three_has_the_addresses_of_the_recordings() {
        let topology = Topology::new(3, 3).unwrap();
        let cloud = topology.place(&NodeName::from("cloud-1")).unwrap();

        assert_eq!(cloud.internal().to_string(), "10.2.0.14/24");
        assert_eq!(cloud.wan().to_string(), "198.51.100.4/24");
        assert_eq!(cloud.pods().to_string(), "10.42.4.0/24");
        assert_eq!(cloud.overlay().to_string(), "10.42.4.0");
        assert_eq!(topology.locations(), ["onprem", "cloud", "edge"].map(Location::from));
        assert_eq!(topology.members(&Location::from("edge")).count(), 3);
    }

    #[test]
    fn shapes_that_cannot_be_built_are_told_so() {
        assert_eq!(Topology::new(0, 3), Err(Error::Empty));
        assert_eq!(Topology::new(3, 0), Err(Error::Empty));
        assert_eq!(Topology::new(3, 67), Err(Error::TooLarge(201)));
        assert_eq!(Topology::new(40, 5).unwrap().places.len(), 200);
    }
}
