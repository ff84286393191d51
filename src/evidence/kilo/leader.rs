//! Who leads a segment, and which annotations to write so that another node does.
//!
//! Kilo's order, best first; ties go to the lesser name:
//!
//! ```text
//! annotated + public endpoint  >  annotated  >  public endpoint  >  any
//! ```

use std::collections::BTreeMap;

use super::{has_public_endpoint, is_ready, may_be_public, segment};
use crate::evidence::{Granularity, Location, Mesh, Node, NodeName, Segment};

/// One write of a promotion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnnotationChange {
    /// The node whose `kilo.squat.ai/leader` annotation changes.
    pub node: NodeName,
    /// What happens to it.
    pub change: Change,
}

/// What happens to an annotation. Its value means nothing to Kilo, only its presence does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is added.
    Add,
    /// It is removed.
    Remove,
}

/// How much Kilo wants a node to lead; the lesser the better.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    AnnotatedPublic,
    Annotated,
    Public,
    Any,
}

impl Claim {
    fn of(node: &Node) -> Self {
        match (node.leader, has_public_endpoint(node)) {
            (true, true) => Self::AnnotatedPublic,
            (true, false) => Self::Annotated,
            (false, true) => Self::Public,
            (false, false) => Self::Any,
        }
    }

    /// Returns what it would be if a name in the node's endpoint stood for a public address.
    fn at_best(node: &Node) -> Self {
        match (node.leader, may_be_public(node)) {
            (true, true) => Self::AnnotatedPublic,
            (false, true) => Self::Public,
            (_, false) => Self::of(node),
        }
    }
}

/// Returns who leads among the Ready nodes of one segment, given in any order.
#[must_use]
pub fn find_leader<'a>(nodes: &[&'a Node]) -> Option<&'a Node> {
    nodes.iter().copied().min_by_key(|node| (Claim::of(node), &node.name))
}

/// Returns those of a segment's Ready nodes that lead in its leader's place if the name in their
/// endpoint stands for a public address. Whoever does not look it up cannot tell.
#[must_use]
pub fn rivals<'a>(nodes: &[&'a Node]) -> Vec<&'a Node> {
    let Some(leader) = find_leader(nodes) else { return Vec::new() };
    let leads = (Claim::of(leader), &leader.name);
    let is_rival = |node: &&Node| (Claim::at_best(node), &node.name) < leads;
    nodes.iter().copied().filter(|node| node.name != leader.name).filter(is_rival).collect()
}

/// Returns the Ready nodes of every segment, by name.
#[must_use]
pub fn segments(mesh: &Mesh, granularity: Granularity) -> BTreeMap<Segment, Vec<&Node>> {
    let mut segments = BTreeMap::<_, Vec<_>>::new();
    for node in mesh.nodes.values().filter(|node| is_ready(node, mesh.at)) {
        segments.entry(segment(node, granularity)).or_default().push(node);
    }

    segments
}

/// Returns the leader of every location that has a Ready node, in location granularity. Nodes that
/// are a segment by themselves are left out: nobody else could lead there.
#[must_use]
pub fn leaders(mesh: &Mesh) -> BTreeMap<Location, &Node> {
    let leader = |(segment, nodes): (Segment, Vec<_>)| match segment {
        Segment::Location(location) => Some((location, find_leader(&nodes)?)),
        Segment::Node(_) => None,
    };
    segments(mesh, Granularity::Location).into_iter().filter_map(leader).collect()
}

/// Returns who leads a location; none if no node of it is Ready.
#[must_use]
pub fn leader_of<'a>(mesh: &'a Mesh, location: &Location) -> Option<&'a Node> {
    let ready: Vec<_> =
        members(mesh, location).into_iter().filter(|node| is_ready(node, mesh.at)).collect();
    find_leader(&ready)
}

/// Returns all nodes of a location, Ready or not. A node whose agent stopped has no internal
/// address for a while, but returns to its location; a Ready one without is on its own.
#[must_use]
pub fn members<'a>(mesh: &'a Mesh, location: &Location) -> Vec<&'a Node> {
    let on_its_own = |node: &Node| node.internal_ip.is_none() && is_ready(node, mesh.at);
    let belongs = |node: &&Node| node.location == *location && !on_its_own(node);
    mesh.nodes.values().filter(belongs).collect()
}

/// Tells whether another node would lead rather than `candidate` if both were annotated and Ready; also
/// where that hangs on a name in an endpoint.
#[must_use]
pub fn beats(other: &Node, candidate: &Node) -> bool {
    let of_other = (!may_be_public(other), &other.name);
    of_other < (!has_public_endpoint(candidate), &candidate.name)
}

/// Returns the writes that make `candidate` lead its location, in their order: first it gets the
/// annotation, then those that may beat it lose theirs, the present leader last. So a Ready
/// candidate or the old leader leads after each single write, never a third node. Nodes that are
/// not Ready count too, since they may return.
#[must_use]
pub fn promotion(mesh: &Mesh, candidate: &NodeName) -> Vec<AnnotationChange> {
    let Some(candidate) = mesh.nodes.get(candidate) else { return Vec::new() };
    let present = leader_of(mesh, &candidate.location).map(|node| &node.name);

    let mut losers: Vec<_> = members(mesh, &candidate.location)
        .into_iter()
        .filter(|node| node.leader && node.name != candidate.name && beats(node, candidate))
        .map(|node| node.name.clone())
        .collect();
    losers.sort_by_key(|name| Some(name) == present);

    let change = |node: NodeName, change| AnnotationChange { node, change };
    let add = (!candidate.leader).then(|| change(candidate.name.clone(), Change::Add));
    let remove = losers.into_iter().map(|loser| change(loser, Change::Remove));
    add.into_iter().chain(remove).collect()
}
