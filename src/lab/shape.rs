//! How Tanist is installed in a mesh: the default shape of its packages, or the other one.
//!
//! ```text
//! agents    an agent on every node, an arbiter on two of them    namespace tanist
//! sidecar   agent and arbiter in one process on every node       namespace kube-system, as Kilo
//! ```

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::topology::Topology;
use crate::evidence::NodeName;

/// What both shapes are made of; the kinds come first, since the policies look at them.
const SHARED: [&str; 3] = [
    include_str!("../../deploy/shared/crds.yaml"),
    include_str!("../../deploy/shared/roles.yaml"),
    include_str!("../../deploy/shared/policy.yaml"),
];

/// The namespace of the agents' shape.
pub(super) const NAMESPACE: &str = include_str!("../../deploy/base/namespace.yaml");

/// What the agents' shape has beside that.
const AGENTS: [&str; 3] = [
    NAMESPACE,
    include_str!("../../deploy/base/accounts.yaml"),
    include_str!("../../deploy/base/rbac.yaml"),
];

/// What the sidecars' shape has instead.
const SIDECAR: [&str; 1] = [include_str!("../../deploy/components/sidecar/account.yaml")];

/// How many arbiters stand beside the agents.
const ARBITERS: usize = 2;

/// A shape of an installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Agents in a DaemonSet of their own, and two arbiters.
    Agents,
    /// One container in Kilo's DaemonSet, the arbiter inside it.
    Sidecar,
}

/// There is no such shape.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not agents or sidecar")]
pub struct NoSuchShape(String);

impl FromStr for Shape {
    type Err = NoSuchShape;

    fn from_str(text: &str) -> Result<Self, NoSuchShape> {
        match text {
            "agents" => Ok(Self::Agents),
            "sidecar" => Ok(Self::Sidecar),
            _ => Err(NoSuchShape(text.to_owned())),
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Agents => "agents",
            Self::Sidecar => "sidecar",
        })
    }
}

impl Shape {
    /// Returns the namespace of its processes and of their Lease.
    #[must_use]
    pub const fn namespace(self) -> &'static str {
        match self {
            Self::Agents => "tanist",
            Self::Sidecar => "kube-system",
        }
    }

    /// Returns the shipped manifests that give its accounts their rights, in the order in which they
    /// are applied.
    #[must_use]
    pub fn manifests(self) -> Vec<&'static str> {
        let own: &[_] = match self {
            Self::Agents => &AGENTS,
            Self::Sidecar => &SIDECAR,
        };
        SHARED.iter().chain(own).copied().collect()
    }

    /// Returns what runs on a node.
    #[must_use]
    pub const fn parts(self, stands_for_arbiter: bool) -> &'static [Part] {
        match (self, stands_for_arbiter) {
            (Self::Sidecar, _) => &[Part::Sidecar],
            (Self::Agents, false) => &[Part::Agent],
            (Self::Agents, true) => &[Part::Agent, Part::Arbiter],
        }
    }

    /// Returns the process that may write Nodes.
    #[must_use]
    pub const fn mover(self) -> Part {
        match self {
            Self::Agents => Part::Arbiter,
            Self::Sidecar => Part::Sidecar,
        }
    }
}

/// A process of Tanist on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Agent and arbiter in one.
    Sidecar,
    /// It probes and reports.
    Agent,
    /// It judges and moves.
    Arbiter,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sidecar => "sidecar",
            Self::Agent => "agent",
            Self::Arbiter => "arbiter",
        })
    }
}

impl Part {
    /// Returns the namespace of its account.
    #[must_use]
    pub const fn namespace(self) -> &'static str {
        match self {
            Self::Sidecar => Shape::Sidecar.namespace(),
            Self::Agent | Self::Arbiter => Shape::Agents.namespace(),
        }
    }

    /// Returns the shipped workload whose pods run it; none if that is the user's own.
    #[must_use]
    pub const fn workload(self) -> Option<&'static str> {
        match self {
            Self::Sidecar => None,
            Self::Agent => Some(include_str!("../../deploy/base/agent.yaml")),
            Self::Arbiter => Some(include_str!("../../deploy/base/arbiter.yaml")),
        }
    }

    /// Returns the arguments by which it is started.
    #[must_use]
    pub const fn verb(self) -> &'static [&'static str] {
        match self {
            Self::Sidecar => &["agent", "--with-arbiter"],
            Self::Agent => &["agent"],
            Self::Arbiter => &["arbiter"],
        }
    }

    /// Tells whether it probes.
    #[must_use]
    pub const fn probes(self) -> bool {
        matches!(self, Self::Sidecar | Self::Agent)
    }

    /// Tells whether it may hold the Lease.
    #[must_use]
    pub const fn arbitrates(self) -> bool {
        matches!(self, Self::Sidecar | Self::Arbiter)
    }
}

/// Returns where the arbiters stand, `first` among them if there is one: in two locations, if there
/// are two.
#[must_use]
pub fn arbiters(topology: &Topology, first: Option<&NodeName>) -> BTreeSet<NodeName> {
    let last = |location| topology.members(location).last().map(|place| place.name.clone());
    let locations = topology.locations();
    let usual = locations.last().into_iter().chain(locations.first()).filter_map(last);
    let others = topology.places.iter().map(|place| place.name.clone());

    let mut arbiters = BTreeSet::new();
    for node in first.cloned().into_iter().chain(usual).chain(others) {
        if arbiters.len() < ARBITERS {
            arbiters.insert(node);
        }
    }
    arbiters
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(locations: usize, nodes: usize, first: Option<&str>) -> Vec<String> {
        let topology = Topology::new(locations, nodes).unwrap();
        let first = first.map(NodeName::from);
        arbiters(&topology, first.as_ref()).into_iter().map(|node| node.0).collect()
    }

    #[test]
    fn arbiters_stand_on_two_nodes_and_where_they_are_wanted() {
        assert_eq!(named(3, 3, None), ["edge-3", "onprem-3"]);
        assert_eq!(named(3, 3, Some("cloud-1")), ["cloud-1", "edge-3"]);
        assert_eq!(named(3, 3, Some("edge-3")), ["edge-3", "onprem-3"]);
        assert_eq!(named(1, 3, None), ["onprem-1", "onprem-3"]);
        assert_eq!(named(1, 1, None), ["onprem-1"]);
    }

    #[test]
    fn a_shape_is_read_as_it_is_written() {
        for shape in [Shape::Agents, Shape::Sidecar] {
            assert_eq!(shape.to_string().parse(), Ok(shape));
        }
        assert!("daemon".parse::<Shape>().is_err());
    }
}
