//! Faults by name, as the fault catalogue calls them, and the rules that make them.
//!
//! ```text
//! new-flows        the node drops new flows between kilo0 and the overlay, both ways; old ones pass
//! rejected         it rejects them, and says so to whoever opened them, as a filter's REJECT does
//! vxlan-wedge      outer ports idle for more than 15 s are dropped on the overlay's way out
//! partial:25       so many of a hundred outer ports are dropped on the overlay's way out
//! forward-off      the node forwards nothing
//! one-way          the node drops all from kilo0 to the overlay
//! one-way:A,B      nothing passes from location A to location B
//! mtu:1200         the node drops what is larger, between kilo0 and the overlay, both ways
//! mtu:1200,A,B     what is larger does not pass between two locations
//! node-dead        a leader's cables are out and its processes dead; member-dead: a member's
//! agent-dead       the node's Kilo agent is dead; agent-restart: stopped cleanly and started again
//! rollout          every Kilo agent in turn is restarted, once the one before is back
//! tanist-rollout   every sidecar in turn is restarted, once the one before is back
//! wan-cut:A,B      nothing passes between two locations
//! api-down:180     the API server refuses connections for so many of Kilo's seconds
//! cpu-starved      Tanist runs for 5 of every 100 ms; on every node if none is said
//! probes-dropped   a firewall drops the probe port; on every node if none is said
//! port-blocked     the same for one location, from before Tanist was there
//! ```

use std::fmt;
use std::str::FromStr;

use crate::evidence::{Location, NodeName};

mod rules;

pub use rules::Rules;

/// What can be broken.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Conntrack-new packets between kilo0 and the overlay are dropped, both ways.
    NewFlows,
    /// They are rejected: whoever opened the flow is told by an ICMP error.
    Rejected,
    /// Outer ports idle for more than 15 s are dropped on the overlay's way out.
    VxlanWedge,
    /// That share of outer ports, in percent, is dropped on the overlay's way out.
    Partial(u8),
    /// The kernel forwards nothing.
    ForwardOff,
    /// All from kilo0 to the overlay is dropped.
    OneWay,
    /// Nothing passes from the first location to the second.
    OneWayBetween(Location, Location),
    /// What is larger is dropped between kilo0 and the overlay, both ways.
    Mtu(u16),
    /// What is larger does not pass between the two locations.
    MtuBetween(u16, Location, Location),
    /// Cables out and processes dead, of a leader.
    NodeDead,
    /// Cables out and processes dead, of a member.
    MemberDead,
    /// The Kilo agent is killed and cleans nothing up.
    AgentDead,
    /// The Kilo agent ends cleanly and is started again.
    AgentRestart,
    /// So does every Kilo agent, one by one.
    Rollout,
    /// So does every sidecar, one by one.
    TanistRollout,
    /// Nothing passes between the two locations.
    WanCut(Location, Location),
    /// The API server refuses connections for so many seconds, as Kilo counts them.
    ApiDown(u16),
    /// The sidecar is stopped for 95 of every 100 ms.
    CpuStarved,
    /// A firewall drops all that comes to the probe port.
    ProbesDropped,
    /// It has done so since before there was a Tanist.
    PortBlocked,
}

/// Where a fault strikes if nobody says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usual {
    /// On a leader.
    Leader,
    /// On a member.
    Member,
    /// On every node of a location.
    Location,
    /// On every node.
    Everywhere,
    /// On no node in particular.
    Mesh,
}

/// Which node a fault strikes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Where {
    /// The one that such a fault usually strikes.
    #[default]
    Usual,
    /// This one.
    Node(NodeName),
    /// The leader of a location whose sidecar holds the Lease.
    Holder,
}

/// A fault that somebody asked for: `NAME[:VALUE][@NODE]`, or `@lease` for whoever holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// What to break.
    pub fault: Fault,
    /// Where.
    pub place: Where,
}

/// When a fault sets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Onset {
    /// Before Tanist is there, so that nothing was ever seen to work.
    Before,
    /// When Tanist trusts the mesh.
    Later,
}

/// Why an order is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// No such fault.
    #[error(
        "there is no fault «{0}»; there are new-flows, rejected, vxlan-wedge, partial:25, \
         forward-off, one-way, one-way:A,B, mtu:1200, mtu:1200,A,B, node-dead, member-dead, agent-dead, \
         agent-restart, rollout, tanist-rollout, wan-cut:A,B, api-down:180, cpu-starved, \
         probes-dropped and port-blocked, each with @NODE if it is to strike there, or @lease"
    )]
    Unknown(String),
    /// The value does not fit the fault.
    #[error("«{value}» does not fit the fault {name}: it takes {takes}")]
    Value {
        /// The fault.
        name: String,
        /// What was given.
        value: String,
        /// What it takes.
        takes: &'static str,
    },
}

impl Fault {
    /// Returns where the fault strikes if nobody says.
    #[must_use]
    pub const fn usual(&self) -> Usual {
        match self {
            Self::MemberDead => Usual::Member,
            Self::WanCut(..)
            | Self::OneWayBetween(..)
            | Self::MtuBetween(..)
            | Self::ApiDown(_) => Usual::Mesh,
            Self::CpuStarved | Self::ProbesDropped | Self::Rollout | Self::TanistRollout => {
                Usual::Everywhere
            }
            Self::PortBlocked => Usual::Location,
            Self::NewFlows
            | Self::Rejected
            | Self::VxlanWedge
            | Self::Partial(_)
            | Self::ForwardOff
            | Self::OneWay
            | Self::Mtu(_)
            | Self::NodeDead
            | Self::AgentDead
            | Self::AgentRestart => Usual::Leader,
        }
    }

    /// Returns when it sets in.
    #[must_use]
    pub const fn onset(&self) -> Onset {
        if matches!(self, Self::PortBlocked) { Onset::Before } else { Onset::Later }
    }

    /// Tells whether Kilo may elect other leaders by itself while the fault lasts, and once more
    /// when it is lifted.
    #[must_use]
    pub const fn unsettles_kilo(&self) -> bool {
        matches!(
            self,
            Self::NodeDead
                | Self::AgentDead
                | Self::AgentRestart
                | Self::Rollout
                | Self::ApiDown(_)
        )
    }

    /// Returns the two locations whose way is broken, if such a way is.
    #[must_use]
    pub const fn between(&self) -> Option<[&Location; 2]> {
        if let Self::WanCut(one, other)
        | Self::OneWayBetween(one, other)
        | Self::MtuBetween(_, one, other) = self
        {
            Some([one, other])
        } else {
            None
        }
    }

    /// Returns its name without its value.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::NewFlows => "new-flows",
            Self::Rejected => "rejected",
            Self::VxlanWedge => "vxlan-wedge",
            Self::Partial(_) => "partial",
            Self::ForwardOff => "forward-off",
            Self::OneWay | Self::OneWayBetween(..) => "one-way",
            Self::Mtu(_) | Self::MtuBetween(..) => "mtu",
            Self::NodeDead => "node-dead",
            Self::MemberDead => "member-dead",
            Self::AgentDead => "agent-dead",
            Self::AgentRestart => "agent-restart",
            Self::Rollout => "rollout",
            Self::TanistRollout => "tanist-rollout",
            Self::WanCut(..) => "wan-cut",
            Self::ApiDown(_) => "api-down",
            Self::CpuStarved => "cpu-starved",
            Self::ProbesDropped => "probes-dropped",
            Self::PortBlocked => "port-blocked",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;

        if let Self::Partial(share) = self {
            write!(f, ":{share}")
        } else if let Self::Mtu(largest) = self {
            write!(f, ":{largest}")
        } else if let Self::MtuBetween(largest, one, other) = self {
            write!(f, ":{largest},{one},{other}")
        } else if let Self::WanCut(one, other) | Self::OneWayBetween(one, other) = self {
            write!(f, ":{one},{other}")
        } else if let Self::ApiDown(seconds) = self {
            write!(f, ":{seconds}")
        } else {
            Ok(())
        }
    }
}

impl FromStr for Fault {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let (name, value) = text.split_once(':').map_or((text, None), |(n, v)| (n, Some(v)));
        let wrong = |takes| ParseError::Value {
            name: name.to_owned(),
            value: value.unwrap_or_default().to_owned(),
            takes,
        };

        let (fault, takes) = match (name, value) {
            ("partial", value) => (partial(value.unwrap_or("25")), "a percentage, 1 to 99"),
            ("mtu", value) => (mtu(value.unwrap_or("1200")), "a size of at least 68, or SIZE,A,B"),
            ("wan-cut", value) => {
                let two = value.and_then(two);
                (two.map(|(one, other)| Self::WanCut(one, other)), "two locations: A,B")
            }
            ("one-way", Some(value)) => (
                two(value).map(|(one, other)| Self::OneWayBetween(one, other)),
                "two locations: A,B",
            ),
            ("api-down", value) => {
                (value.unwrap_or("40").parse().ok().map(Self::ApiDown), "a number of seconds")
            }
            (_, None) => return plain(name).ok_or_else(|| ParseError::Unknown(text.to_owned())),
            (_, Some(_)) if plain(name).is_some() => (None, "no value"),
            (_, Some(_)) => return Err(ParseError::Unknown(text.to_owned())),
        };

        fault.ok_or_else(|| wrong(takes))
    }
}

/// Returns the fault of a name that takes no value.
fn plain(name: &str) -> Option<Fault> {
    Some(match name {
        "new-flows" => Fault::NewFlows,
        "rejected" => Fault::Rejected,
        "vxlan-wedge" => Fault::VxlanWedge,
        "forward-off" => Fault::ForwardOff,
        "one-way" => Fault::OneWay,
        "node-dead" => Fault::NodeDead,
        "member-dead" => Fault::MemberDead,
        "agent-dead" => Fault::AgentDead,
        "agent-restart" => Fault::AgentRestart,
        "rollout" => Fault::Rollout,
        "tanist-rollout" => Fault::TanistRollout,
        "cpu-starved" => Fault::CpuStarved,
        "probes-dropped" => Fault::ProbesDropped,
        "port-blocked" => Fault::PortBlocked,
        _ => return None,
    })
}

fn partial(value: &str) -> Option<Fault> {
    value.parse().ok().filter(|share| (1..100).contains(share)).map(Fault::Partial)
}

fn mtu(value: &str) -> Option<Fault> {
    let (size, between) = value.split_once(',').map_or((value, None), |(s, two)| (s, Some(two)));
    let size = size.parse().ok().filter(|size| *size >= 68)?;
    match between {
        None => Some(Fault::Mtu(size)),
        Some(between) => two(between).map(|(one, other)| Fault::MtuBetween(size, one, other)),
    }
}

fn two(value: &str) -> Option<(Location, Location)> {
    let two = value.split_once(',').filter(|(one, other)| one != other && !other.contains(','));
    two.map(|(one, other)| (one.into(), other.into()))
}

impl FromStr for Order {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let (fault, place) = match text.split_once('@') {
            None => (text, Where::Usual),
            Some((fault, "lease")) => (fault, Where::Holder),
            Some((fault, node)) => (fault, Where::Node(node.into())),
        };
        Ok(Self { fault: fault.parse()?, place })
    }
}

#[cfg(test)]
mod tests;
