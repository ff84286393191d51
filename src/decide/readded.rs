//! Leader annotations that somebody put back after Tanist had taken them away: a person, or a
//! controller that holds the cluster to a file. Nobody is fought: no leader of that location is moved
//! by ourselves until the person acts, and of what people ask for only what leaves these alone.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::turn::View;
use crate::evidence::kilo::{self, Change};
use crate::evidence::{Mesh, Node, NodeName};

/// A leader annotation that somebody put back.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Readded {
    /// The node that has it.
    pub node: NodeName,
    /// Who wrote it, where the server knows.
    pub by: Option<String>,
}

impl Readded {
    /// Returns the one of a node, if somebody put it back.
    #[must_use]
    pub fn of(node: &Node) -> Option<Self> {
        node.was_readded().then(|| Self { node: node.name.clone(), by: node.leader_writer.clone() })
    }

    /// Returns the first that would have to go again before `to` leads.
    #[must_use]
    pub fn in_the_way(mesh: &Mesh, to: &NodeName) -> Option<Self> {
        let changes = kilo::promotion(mesh, to).into_iter();
        let mut losers = changes.filter(|change| change.change == Change::Remove);
        losers.find_map(|loser| mesh.nodes.get(&loser.node).and_then(Self::of))
    }
}

impl fmt::Display for Readded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = self.by.as_deref().unwrap_or("somebody");
        write!(f, "{by} put the leader annotation of {} back after Tanist took it away", self.node)
    }
}

/// Returns those of this location.
pub(super) fn readded(view: &View<'_>) -> Vec<Readded> {
    let nodes = &view.situation.evidence.mesh.nodes;
    let members = view.leadership.members.iter().filter_map(|name| nodes.get(name));
    members.filter_map(Readded::of).collect()
}
