//! The packet filter rules that make a fault.

use super::Fault;
use crate::evidence::Location;
use crate::lab::topology::{Place, Topology};

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

impl Fault {
    /// Returns the packet filter rules that make the fault on this node, if rules make it.
    #[must_use]
    pub fn rules(&self, place: &Place, topology: &Topology) -> Option<Rules> {
        let chains = match self {
            Self::VxlanWedge => {
                return Some(Rules {
                    set: "add rule inet lab wedge udp sport != @seen counter drop".to_owned(),
                    lift: "flush chain inet lab wedge".to_owned(),
                });
            }
            Self::NewFlows => vec![("forward", relayed("ct state new", "drop"))],
            Self::Rejected => vec![("forward", relayed("ct state new", "reject"))],
            Self::OneWay => {
                vec![("forward", "iifname kilo0 oifname flannel.1 counter drop".to_owned())]
            }
            Self::Mtu(largest) => {
                vec![("forward", relayed(&format!("meta length > {largest}"), "drop"))]
            }
            Self::Partial(share) => {
                vec![("output", overlay(&format!("jhash udp sport mod 100 < {share}")))]
            }
            Self::ProbesDropped | Self::PortBlocked => {
                vec![("input", "meta l4proto { tcp, udp } th dport 1108 counter drop".to_owned())]
            }
            // Dropped where they arrive: a sender must not learn of it, as none on a WAN does, and
            // what is sent to others in the same call must not be lost with it.
            Self::WanCut(one, other) => {
                let far = addresses(far(place, one, other), topology);
                vec![("input", format!("ip saddr {{ {far} }} counter drop"))]
            }
            Self::OneWayBetween(from, to) if place.location == *to => {
                let far = addresses(from, topology);
                vec![("input", format!("ip saddr {{ {far} }} counter drop"))]
            }
            Self::OneWayBetween(..) => return None,
            Self::MtuBetween(largest, one, other) => {
                let far = addresses(far(place, one, other), topology);
                let large = format!("ip saddr {{ {far} }} meta length > {largest} counter drop");
                vec![("input", large)]
            }
            Self::ForwardOff
            | Self::NodeDead
            | Self::MemberDead
            | Self::AgentDead
            | Self::AgentRestart
            | Self::Rollout
            | Self::TanistRollout
            | Self::ApiDown(_)
            | Self::CpuStarved => return None,
        };

        Some(Rules::table(self.name(), &chains))
    }
}

fn relayed(condition: &str, verdict: &str) -> String {
    format!(
        "iifname kilo0 oifname flannel.1 {condition} counter {verdict}\n\
         iifname flannel.1 oifname kilo0 {condition} counter {verdict}"
    )
}

fn overlay(condition: &str) -> String {
    format!("oifname eth0 udp dport 8472 {condition} counter drop")
}

/// Returns the location at the other end of a way.
fn far<'a>(place: &Place, one: &'a Location, other: &'a Location) -> &'a Location {
    if place.location == *one { other } else { one }
}

/// Returns the addresses that the nodes of a location have on the WAN.
fn addresses(location: &Location, topology: &Topology) -> String {
    let addresses = topology.members(location).map(|peer| peer.wan().addr().to_string());
    addresses.collect::<Vec<_>>().join(", ")
}
