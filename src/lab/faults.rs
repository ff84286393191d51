//! Faults by name, as the fault catalogue calls them, and the rules that make them.
//!
//! ```text
//! new-flows        the node drops new flows between kilo0 and the overlay, both ways; old ones pass
//! vxlan-wedge      outer ports idle for more than 15 s are dropped on the overlay's way out
//! partial:25       so many of a hundred outer ports are dropped on the overlay's way out
//! forward-off      the node forwards nothing
//! one-way          the node drops all from kilo0 to the overlay
//! mtu:1200         the node drops what is larger, between kilo0 and the overlay, both ways
//! node-dead        a leader's cables are out and its processes dead; member-dead: a member's
//! agent-dead       the node's Kilo agent is dead; agent-restart: stopped cleanly and started again
//! wan-cut:A,B      nothing passes between two locations
//! api-down         the API server refuses connections
//! cpu-starved      Tanist runs for 5 of every 100 ms; on every node if none is said
//! probes-dropped   a firewall drops the probe port; on every node if none is said
//! ```

use std::fmt;
use std::str::FromStr;

use super::topology::{Place, Topology};
use crate::evidence::{Location, NodeName};

/// What can be broken.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Conntrack-new packets between kilo0 and the overlay are dropped, both ways.
    NewFlows,
    /// Outer ports idle for more than 15 s are dropped on the overlay's way out.
    VxlanWedge,
    /// That share of outer ports, in percent, is dropped on the overlay's way out.
    Partial(u8),
    /// The kernel forwards nothing.
    ForwardOff,
    /// All from kilo0 to the overlay is dropped.
    OneWay,
    /// What is larger is dropped between kilo0 and the overlay, both ways.
    Mtu(u16),
    /// Cables out and processes dead, of a leader.
    NodeDead,
    /// Cables out and processes dead, of a member.
    MemberDead,
    /// The Kilo agent is killed and cleans nothing up.
    AgentDead,
    /// The Kilo agent ends cleanly and is started again.
    AgentRestart,
    /// Nothing passes between the two locations.
    WanCut(Location, Location),
    /// The API server refuses connections.
    ApiDown,
    /// The sidecar is stopped for 95 of every 100 ms.
    CpuStarved,
    /// A firewall drops all that comes to the probe port.
    ProbesDropped,
}

/// Where a fault strikes if nobody says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usual {
    /// On a leader.
    Leader,
    /// On a member.
    Member,
    /// On every node.
    Everywhere,
    /// On no node in particular.
    Mesh,
}

/// A fault that somebody asked for: `NAME[:VALUE][@NODE]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// What to break.
    pub fault: Fault,
    /// Where, if it was said.
    pub node: Option<NodeName>,
}

/// Why an order is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// No such fault.
    #[error(
        "there is no fault «{0}»; there are new-flows, vxlan-wedge, partial:25, forward-off, \
         one-way, mtu:1200, node-dead, member-dead, agent-dead, agent-restart, wan-cut:A,B, \
         api-down, cpu-starved and probes-dropped, each with @NODE if it is to strike there"
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
            Self::WanCut(..) | Self::ApiDown => Usual::Mesh,
            Self::CpuStarved | Self::ProbesDropped => Usual::Everywhere,
            Self::NewFlows
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

    /// Returns the packet filter rules that make the fault on this node, if rules make it.
    #[must_use]
    pub fn rules(&self, place: &Place, topology: &Topology) -> Option<Rules> {
        let relayed = |condition: &str| {
            format!(
                "iifname kilo0 oifname flannel.1 {condition} counter drop\n\
                 iifname flannel.1 oifname kilo0 {condition} counter drop"
            )
        };
        let overlay =
            |condition: &str| format!("oifname eth0 udp dport 8472 {condition} counter drop");

        let chains = match self {
            Self::VxlanWedge => {
                return Some(Rules {
                    set: "add rule inet lab wedge udp sport != @seen counter drop".to_owned(),
                    lift: "flush chain inet lab wedge".to_owned(),
                });
            }
            Self::NewFlows => vec![("forward", relayed("ct state new"))],
            Self::OneWay => {
                vec![("forward", "iifname kilo0 oifname flannel.1 counter drop".to_owned())]
            }
            Self::Mtu(largest) => vec![("forward", relayed(&format!("meta length > {largest}")))],
            Self::Partial(share) => {
                vec![("output", overlay(&format!("jhash udp sport mod 100 < {share}")))]
            }
            Self::ProbesDropped => {
                vec![("input", "meta l4proto { tcp, udp } th dport 1108 counter drop".to_owned())]
            }
            Self::WanCut(one, other) => {
                let far = if place.location == *one { other } else { one };
                let far = topology.members(far).map(|peer| peer.wan().addr().to_string());
                let far = far.collect::<Vec<_>>().join(", ");
                vec![
                    ("output", format!("ip daddr {{ {far} }} counter drop")),
                    ("input", format!("ip saddr {{ {far} }} counter drop")),
                ]
            }
            Self::ForwardOff
            | Self::NodeDead
            | Self::MemberDead
            | Self::AgentDead
            | Self::AgentRestart
            | Self::ApiDown
            | Self::CpuStarved => return None,
        };

        Some(Rules::table(self.name(), &chains))
    }

    /// Returns its name without its value.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::NewFlows => "new-flows",
            Self::VxlanWedge => "vxlan-wedge",
            Self::Partial(_) => "partial",
            Self::ForwardOff => "forward-off",
            Self::OneWay => "one-way",
            Self::Mtu(_) => "mtu",
            Self::NodeDead => "node-dead",
            Self::MemberDead => "member-dead",
            Self::AgentDead => "agent-dead",
            Self::AgentRestart => "agent-restart",
            Self::WanCut(..) => "wan-cut",
            Self::ApiDown => "api-down",
            Self::CpuStarved => "cpu-starved",
            Self::ProbesDropped => "probes-dropped",
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
        } else if let Self::WanCut(one, other) = self {
            write!(f, ":{one},{other}")
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

        let fault = match name {
            "partial" => {
                let share = value.unwrap_or("25").parse().ok().filter(|s| (1..100).contains(s));
                return share.map(Self::Partial).ok_or_else(|| wrong("a percentage, 1 to 99"));
            }
            "mtu" => {
                let largest = value.unwrap_or("1200").parse().ok().filter(|size| *size >= 68);
                return largest.map(Self::Mtu).ok_or_else(|| wrong("a size of at least 68"));
            }
            "wan-cut" => {
                let two = value.and_then(|value| value.split_once(','));
                let two = two.filter(|(one, other)| one != other);
                let cut = two.map(|(one, other)| Self::WanCut(one.into(), other.into()));
                return cut.ok_or_else(|| wrong("two locations: A,B"));
            }
            "new-flows" => Self::NewFlows,
            "vxlan-wedge" => Self::VxlanWedge,
            "forward-off" => Self::ForwardOff,
            "one-way" => Self::OneWay,
            "node-dead" => Self::NodeDead,
            "member-dead" => Self::MemberDead,
            "agent-dead" => Self::AgentDead,
            "agent-restart" => Self::AgentRestart,
            "api-down" => Self::ApiDown,
            "cpu-starved" => Self::CpuStarved,
            "probes-dropped" => Self::ProbesDropped,
            _ => return Err(ParseError::Unknown(text.to_owned())),
        };

        if value.is_some() { Err(wrong("no value")) } else { Ok(fault) }
    }
}

impl FromStr for Order {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let (fault, node) = text.split_once('@').map_or((text, None), |(f, n)| (f, Some(n)));
        Ok(Self { fault: fault.parse()?, node: node.map(NodeName::from) })
    }
}

/// What makes a fault in the packet filter, and what lifts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Commands that set it.
    pub set: String,
    /// Commands that lift it.
    pub lift: String,
}

impl Rules {
    fn table(name: &str, chains: &[(&str, String)]) -> Self {
        let table = format!("inet lab_{}", name.replace('-', "_"));
        let chains = chains.iter().map(|(hook, rules)| {
            format!("chain {hook} {{\ntype filter hook {hook} priority 10;\n{rules}\n}}\n")
        });

        Self {
            set: format!("table {table} {{\n{}}}\n", chains.collect::<String>()),
            lift: format!("delete table {table}"),
        }
    }
}

#[cfg(test)]
mod tests;
