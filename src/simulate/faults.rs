//! What can break in a simulated mesh, by the names of the fault catalogue.

use crate::evidence::{Location, NodeName};

/// Something that is broken for as long as it is in the set of faults.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// New flows between a leader's WireGuard interface and its overlay are dropped.
    NewFlows(NodeName),
    /// A leader's overlay drops what it sends for new flows.
    VxlanWedge(NodeName),
    /// A node's overlay drops this share, in percent, of what it sends, by outer port.
    Partial(NodeName, u32),
    /// A node forwards nothing.
    ForwardOff(NodeName),
    /// Packets from the first location to the second are lost; those back pass.
    OneWay(Location, Location),
    /// Large packets are lost between two locations.
    Mtu(Location, Location),
    /// Nothing passes between two locations.
    WanCut(Location, Location),
    /// A node is dead with all that runs on it.
    NodeDead(NodeName),
    /// A node's Kilo agent is dead; its kernel goes on as it was.
    AgentDead(NodeName),
    /// A node's Kilo agent has stopped cleanly: it took its annotations and routes with it.
    AgentStopped(NodeName),
    /// The API server does not answer.
    ApiDown,
    /// A node's sidecar runs 5 of every 100 ms.
    Starved(NodeName),
    /// Every probe of ours is dropped, whatever the path; users' packets pass.
    ProbesDropped,
    /// Only our port is filtered at a location's border.
    PortBlocked(Location),
    /// Every packet between locations is lost with this probability, in permille.
    Loss(u32),
}
