//! Why a move does not go on.

use crate::evidence::NodeName;

/// Why a move does not go on.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// Another process holds the lease, or nobody does.
    #[error("this process does not hold the lease")]
    NotHolding,
    /// Neither the old leader nor the new one leads.
    #[error("{} leads, which is neither the old leader nor the new one", name(.leader.as_ref()))]
    Moved {
        /// Who does.
        leader: Option<NodeName>,
    },
    /// The new leader is not one that Kilo would choose.
    #[error("{node} is not Ready in this location by Kilo's rules")]
    NotReady {
        /// The node.
        node: NodeName,
    },
    /// An annotation that was taken away came back, and not by us.
    #[error(
        "{} put the leader annotation of {node} back; remove its {} to let Tanist move again",
        .manager.as_deref().unwrap_or("somebody"), super::LEADER_BEFORE
    )]
    Readded {
        /// The node.
        node: NodeName,
        /// Who wrote it, by the Node's managed fields.
        manager: Option<String>,
    },
    /// The location is left alone.
    #[error("the location is paused: {0}")]
    Paused(String),
    /// The webhook that is asked before a move said no.
    #[error("vetoed: {0}")]
    Vetoed(String),
    /// An earlier attempt was given up for this reason, and is undone now.
    #[error("given up: {0}")]
    GivenUp(String),
    /// Others write the same objects all the time.
    #[error("somebody else keeps writing the same objects")]
    Contended,
    /// Somebody else wrote first.
    #[error("{what}: somebody else wrote first")]
    Conflict {
        /// What we tried.
        what: String,
    },
    /// The API server did not answer in time; what was asked may be done or not.
    #[error("{what}: no answer in time")]
    Silent {
        /// What we tried.
        what: String,
    },
    /// The API server said no.
    #[error("{what}")]
    Api {
        /// What we tried.
        what: String,
        /// What it said.
        #[source]
        source: kube::Error,
    },
}

impl MoveError {
    /// Tells whether the move is given up, with nothing of it left; else the same call may be made
    /// again.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        match self {
            Self::Moved { .. }
            | Self::NotReady { .. }
            | Self::Readded { .. }
            | Self::Paused(_)
            | Self::Vetoed(_)
            | Self::GivenUp(_)
            | Self::Contended => true,
            Self::NotHolding | Self::Conflict { .. } | Self::Silent { .. } | Self::Api { .. } => {
                false
            }
        }
    }

    /// Tells whether to read again and decide again.
    pub(crate) const fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict { .. } | Self::Silent { .. })
    }
}

fn name(node: Option<&NodeName>) -> &str {
    node.map_or("nobody", |node| &node.0)
}
