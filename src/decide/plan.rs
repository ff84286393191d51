//! The plan: the whole wish for the mesh, as a value without verbs. The actor holds the cluster to
//! it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::heirs::Heir;
use super::memory::{Answer, Move};
use super::rails::Rail;
use super::readded::Readded;
use super::trust::Trust;
use crate::evidence::{Location, Moment, NodeName, UnixTime};

/// The whole wish for the mesh.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Plan {
    /// Each location's part of it. At most one wishes for a move.
    pub locations: BTreeMap<Location, LocationPlan>,
}

impl Plan {
    /// Returns the inquests of the other locations in which something is being looked into: leader
    /// and witnesses of `location` are to probe their paths into these.
    #[must_use]
    pub fn looks(&self, location: &Location) -> BTreeMap<Location, u64> {
        let doubted = self.locations.iter().filter(|(other, plan)| {
            let looked_into = match plan.trust {
                Trust::Doubted { .. } | Trust::Proving { .. } => true,
                Trust::Trusted | Trust::Resting { .. } => false,
            };
            *other != location && looked_into
        });
        doubted.map(|(other, plan)| (other.clone(), plan.inquest)).collect()
    }
}

/// The wish for one location, and why.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LocationPlan {
    /// Who leads by Kilo's rules.
    pub leader: Option<NodeName>,
    /// Since when, as far as this process knows.
    pub since: Moment,
    /// Whether it is well.
    pub health: Health,
    /// Why, for people.
    pub because: String,
    /// Where the state machine stands.
    pub trust: Trust,
    /// The incident in hand, or the last one.
    pub incident: Option<String>,
    /// Who could lead instead, fit ones first, best first.
    pub heirs: Vec<Heir>,
    /// The number of the last inquest: when it grows, every sidecar of the location probes at once.
    pub inquest: u64,
    /// Whether the leader should change.
    pub wish: Wish,
    /// What holds a move that the evidence would justify.
    pub held: Option<Rail>,
    /// The heir to which such a held move would go.
    pub would_move: Option<NodeName>,
    /// How many nodes the leader serves now, itself included.
    pub served_now: u32,
    /// How many the best node would serve.
    pub served_best: u32,
    /// What became of the last request.
    pub answered: Option<Answer>,
    /// What a person should know: alerts, and the operator's input that could not be followed.
    pub complaints: Vec<String>,
    /// Leader annotations that somebody put back after Tanist had taken them away.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub readded: Vec<Readded>,
}

/// Whether a location is well, for gauges and columns.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Default,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// Fresh flows pass.
    Forwards,
    /// Nothing can be said.
    #[default]
    Unclear,
    /// Something is wrong that is not the leader's fault.
    Impaired,
    /// The leader is convicted.
    Dark,
}

/// Whether the leader of a location should change.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wish {
    /// It should stay.
    #[default]
    Stay,
    /// It should change.
    Move(Move),
}

/// What the actor has done about the wish of one location.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Progress {
    /// Nothing yet, or nothing is wished for.
    #[default]
    Idle,
    /// The move is on record; no annotation is written yet.
    Recorded {
        /// Who is to lead.
        to: NodeName,
    },
    /// All annotations are written.
    Written {
        /// Who is to lead.
        to: NodeName,
        /// Since when.
        at: Moment,
    },
    /// The move was given up and nothing, or nothing any more, is written. Whoever gave it up says
    /// so once; the next one may have the same heir.
    Refused {
        /// Who was to lead.
        to: NodeName,
        /// When that move was decided.
        decided: UnixTime,
        /// Why, for people.
        why: String,
    },
}
