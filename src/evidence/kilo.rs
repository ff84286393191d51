//! Kilo's own rules, as pure functions of Node objects: who is Ready, what shares a leader, who
//! leads, and what to annotate so that another does.
//!
//! Every Kilo agent computes the same topology from all Node objects; there is no lease and no
//! vote. So whoever applies the same rules to the same objects knows the leader:
//!
//! ```text
//! Node object ── read ──▶ Node ── is_ready ──▶ segments ── find_leader ──▶ leader
//!                                                                            │
//!                                               topology: addresses, peers, routes, rules
//! ```

mod annotation;
mod leader;
pub mod topology;

pub use annotation::{RawNode, key, parse_endpoint, parse_net, read};
pub use leader::{
    AnnotationChange, Change, beats, find_leader, leader_of, leaders, members, promotion, rivals,
    segments,
};

use std::net::IpAddr;

use super::{Granularity, Node, Segment, UnixTime};

/// The label that names a node's location unless Kilo is told another.
pub const TOPOLOGY_LABEL: &str = "topology.kubernetes.io/region";

/// The age in seconds at which a check-in is too old: twice Kilo's check-in period.
pub const STALE_SECONDS: i64 = 60;

/// Tells whether Kilo counts the node as part of the mesh at this time.
#[must_use]
pub fn is_ready(node: &Node, at: UnixTime) -> bool {
    let fresh = |seen: i64| at.seconds().saturating_sub(seen) < STALE_SECONDS;

    node.endpoint.is_some()
        && node.key.is_some()
        && node.pod_cidr.is_some()
        && node.last_seen.is_some_and(fresh)
}

/// Tells whether Kilo takes an address for a public one. Kilo knows only three private IPv4 ranges
/// and `fd00::/16`: carrier-grade NAT, link-local and all other unique local addresses are public.
#[must_use]
pub const fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_private(),
        IpAddr::V6(v6) => v6.segments()[0] != 0xfd00,
    }
}

/// Tells whether the node's endpoint is public; an endpoint that nobody resolved is not.
#[must_use]
pub fn has_public_endpoint(node: &Node) -> bool {
    node.endpoint.as_ref().and_then(super::Endpoint::ip).is_some_and(is_public)
}

/// Tells whether the node's endpoint is public, or a name for what may be a public address: Kilo's
/// agents look it up, each by its own resolver.
#[must_use]
pub fn may_be_public(node: &Node) -> bool {
    has_public_endpoint(node) || matches!(node.endpoint, Some(super::Endpoint::Name(_, _, None)))
}

/// Returns what the node shares a leader with. A node without internal address is on its own.
#[must_use]
pub fn segment(node: &Node, granularity: Granularity) -> Segment {
    match granularity {
        Granularity::Location | Granularity::Unknown if node.internal_ip.is_some() => {
            Segment::Location(node.location.clone())
        }
        Granularity::Location | Granularity::Unknown | Granularity::Full | Granularity::Cross => {
            Segment::Node(node.name.clone())
        }
    }
}

#[cfg(test)]
mod tests;
