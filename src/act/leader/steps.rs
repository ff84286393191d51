//! Which annotation to write next: pure, from what stands on the nodes now.
//!
//! Towards a new leader the order is Kilo's promotion rule; back to what stood before an incident
//! it is the same idea: first whoever leads in the end gets its annotation, then the others get
//! theirs, then those that had none lose theirs, the present leader last. Either way, after each
//! single write either the present leader leads or the one that leads in the end, never a third.

use std::collections::BTreeMap;

use crate::evidence::kilo::{self, Change};
use crate::evidence::{Location, Mesh, Node, NodeName};

/// The value that we write where the operator had none.
pub(crate) const OURS: &str = "true";

/// What a node's annotation was: its value, or none if it was not there.
pub(crate) type Goal = BTreeMap<NodeName, Option<String>>;

/// One write: the annotation of a node is to have this value, or to be gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) node: NodeName,
    pub(crate) value: Option<String>,
}

/// Returns the writes that remain until `to` leads. Empty once nobody beats it.
pub(crate) fn forward(mesh: &Mesh, to: &NodeName) -> Vec<Step> {
    let step = |change: kilo::AnnotationChange| Step {
        node: change.node,
        value: match change.change {
            Change::Add => Some(OURS.to_owned()),
            Change::Remove => None,
        },
    };
    kilo::promotion(mesh, to).into_iter().map(step).collect()
}

/// Returns the part of a goal that concerns nodes we wrote to: they carry the name of the incident, or
/// the mark of what the operator had. A record that says more than that was edited by hand.
pub(crate) fn touched(mesh: &Mesh, goal: &Goal, incident: &str) -> Goal {
    let is_ours = |node: &Node| {
        node.intent.contains_key("leader-before")
            || node.intent.get("incident").is_some_and(|named| named == incident)
    };
    let marked = |name: &NodeName| mesh.nodes.get(name).is_some_and(is_ours);
    goal.iter().filter(|(name, _)| marked(name)).map(|(n, v)| (n.clone(), v.clone())).collect()
}

/// Returns the writes that remain until the nodes of `goal` carry what it says. A node that is
/// gone is left out. Kilo reads presence only, so a value that differs is left as it is.
pub(crate) fn back(mesh: &Mesh, location: &Location, goal: &Goal) -> Vec<Step> {
    let mut after = mesh.clone();
    for (name, value) in goal {
        if let Some(node) = after.nodes.get_mut(name) {
            node.leader = value.is_some();
        }
    }
    let present = kilo::leader_of(mesh, location).map(|node| node.name.clone());
    let last = kilo::leader_of(&after, location).map(|node| node.name.clone());

    let differs = |(name, value): &(&NodeName, &Option<String>)| {
        mesh.nodes.get(*name).is_some_and(|node| node.leader != value.is_some())
    };
    let mut steps: Vec<_> = goal
        .iter()
        .filter(differs)
        .map(|(name, value)| Step { node: name.clone(), value: value.clone() })
        .collect();
    steps.sort_by_key(|step| {
        let name = Some(&step.node);
        if step.value.is_some() {
            (0, name != last.as_ref())
        } else {
            (1, name == present.as_ref())
        }
    });
    steps
}

#[cfg(test)]
mod tests;
