//! The way back to what the operator had, from what the Nodes remember alone.

use std::collections::{BTreeMap, BTreeSet};

use kube::Client;

use super::nodes::{FENCE, INCIDENT, LEADER_BEFORE, Nodes, View, parse};
use super::steps::{self, Goal};
use super::{ATTEMPTS, MoveError, wall_time};
use crate::evidence::{Location, NodeName};

/// Puts back what the operator had, without an arbiter.
pub(crate) struct Restorer {
    nodes: Nodes,
}

/// One node whose annotation was put back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The node.
    pub node: NodeName,
    /// What it has now; none if it has no leader annotation.
    pub value: Option<String>,
}

impl Restorer {
    pub(crate) fn new(client: Client, topology_label: &str) -> Self {
        Self { nodes: Nodes::new(client, topology_label) }
    }

    /// Restores all locations; tells what had to change.
    pub(crate) async fn restore(&self) -> Result<Vec<Restored>, MoveError> {
        let mut restored = BTreeMap::new();
        for _ in 0..ATTEMPTS {
            let mut view = self.nodes.list(wall_time()).await?;
            match self.pass(&mut view, &mut restored).await {
                Ok(()) => {
                    let change = |(node, value)| Restored { node, value };
                    return Ok(restored.into_iter().map(change).collect());
                }
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error),
            }
        }
        Err(MoveError::Contended)
    }

    async fn pass(&self, view: &mut View, restored: &mut Goal) -> Result<(), MoveError> {
        let goal = view.remembered();
        let location =
            |node: &NodeName| view.mesh.nodes.get(node).map(|node| node.location.clone());
        let locations: BTreeSet<Location> = goal.keys().filter_map(location).collect();
        for location in locations {
            let here = |node: &NodeName| {
                view.mesh.nodes.get(node).is_some_and(|node| node.location == location)
            };
            let goal: Goal = goal
                .iter()
                .filter(|(node, _)| here(node))
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect();
            for step in steps::back(&view.mesh, &location, &goal) {
                self.nodes.write(view, &step, None).await?;
                restored.insert(step.node, step.value);
            }
        }
        for node in view.marked() {
            self.nodes.forget(&node).await?;
        }
        Ok(())
    }
}

impl View {
    /// Returns what the operator had, where that is remembered.
    fn remembered(&self) -> Goal {
        let before = |(name, object): (&NodeName, &crate::cluster::objects::SlimNode)| {
            Some((name.clone(), object.annotation(LEADER_BEFORE).and_then(parse)?))
        };
        self.objects.iter().filter_map(before).collect()
    }

    /// Returns the nodes that still carry anything of ours.
    fn marked(&self) -> Vec<NodeName> {
        let is_marked = |object: &crate::cluster::objects::SlimNode| {
            [LEADER_BEFORE, INCIDENT, FENCE].iter().any(|key| object.annotation(key).is_some())
        };
        let marked = self.objects.iter().filter(|(_, object)| is_marked(object));
        marked.map(|(name, _)| name.clone()).collect()
    }
}
