//! What has to survive the arbiter: stored in the location's object, so that the next arbiter
//! goes on where this one stopped. Times are wall time here.

use std::collections::BTreeSet;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::policy::Policy;
use super::trust::{Attempt, Trust};
use crate::evidence::{NodeName, UnixTime};

/// How many past moves are remembered: enough for a person's first look.
pub const MOVES_REMEMBERED: usize = 5;

/// What has to survive the arbiter, for one location.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Memory {
    /// Where the state machine stood.
    pub trust: Trust<UnixTime>,
    /// The number of the last inquest.
    pub inquest: u64,
    /// The incident in hand, or the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incident: Option<String>,
    /// The leader that this incident is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accused: Option<NodeName>,
    /// The move in hand, if one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moving: Option<Move>,
    /// The last moves, newest last.
    pub moves: Vec<PastMove>,
    /// When the automatic moves of the last day were decided, those of one incident counted once.
    pub automatic: Vec<UnixTime>,
    /// How many automatic moves in a row the rest has grown by.
    pub rests: u32,
    /// Nodes that led and were replaced for a fault: they do not lead again until somebody
    /// acknowledges the incident or they are shown to be sound.
    pub quarantine: BTreeSet<NodeName>,
    /// Nodes that were tried in this incident and did not prove themselves.
    pub tried: BTreeSet<NodeName>,
    /// The last request of a person that was carried out or turned down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered: Option<Answer>,
    /// The last incident that a person's acknowledgement was applied for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<String>,
}

impl Memory {
    /// Counts the first move of an incident: who led is in quarantine, and a move for a verdict
    /// lengthens the rest and spends from the day's budget.
    pub(super) fn count(&mut self, cause: Cause, leader: &NodeName, at: UnixTime) {
        self.quarantine.insert(leader.clone());
        if cause == Cause::Verdict {
            self.automatic.push(at);
            self.rests += 1;
        }
    }

    /// Takes over a move that is on record though this does not tell of it: its arbiter ended
    /// between writing the one and the other. What the move counts for counts, and the new leader
    /// has to prove itself.
    pub fn take_over(&mut self, moving: &Move) {
        let is_it = |incident: &str, to: &NodeName| incident == moving.incident && *to == moving.to;
        let known = self.moving.as_ref().is_some_and(|here| is_it(&here.incident, &here.to));
        if known || self.moves.iter().any(|past| is_it(&past.incident, &past.to)) {
            return;
        }

        let before = self.moving.take().filter(|before| before.incident == moving.incident);
        let attempt = match (moving.cause, &before) {
            (Cause::Pin, _) => Attempt::Only,
            (Cause::Revert, _) => Attempt::Back,
            (Cause::Request, _) | (Cause::Verdict | Cause::Relapse, Some(_)) => Attempt::Next,
            (Cause::Verdict | Cause::Relapse, None) => Attempt::First,
        };
        if matches!(attempt, Attempt::First) {
            self.count(moving.cause, &moving.from, moving.at);
        }
        self.tried.extend(before.map(|before| before.to));
        self.incident = Some(moving.incident.clone());
        self.accused = moving.automatic.then(|| moving.origin.clone());
        // The times of a policy that nobody changed: once it is written, its time is set anew.
        let policy = Policy::default();
        let after = |span: Duration| {
            let millis = i64::try_from((policy.write + span).as_millis()).unwrap_or(i64::MAX);
            UnixTime(moving.at.0.saturating_add(millis))
        };
        let (until, limit) = (after(policy.proof), after(policy.longest_proof));
        self.trust = Trust::Proving { attempt, until, limit };
        self.moving = Some(moving.clone());
    }
}

/// What became of a person's request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// The request.
    pub id: String,
    /// What became of it.
    pub answer: String,
}

/// A change of leader that is wished for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Move {
    /// The incident that it belongs to.
    pub incident: String,
    /// Who leads now.
    pub from: NodeName,
    /// Who is to lead.
    pub to: NodeName,
    /// Who led when the incident began: where a revert leads back to.
    pub origin: NodeName,
    /// What calls for it.
    pub cause: Cause,
    /// When it was decided.
    pub at: UnixTime,
    /// Whether rest and budget count it. What follows a person's move is the person's.
    pub automatic: bool,
    /// Why, for people.
    pub why: String,
    /// What it costs, for people.
    pub cost: String,
    /// Members that the new leader is expected to serve, itself included.
    pub serves: BTreeSet<NodeName>,
    /// How many nodes the old leader served when it was decided.
    pub served_before: u32,
}

/// What calls for a move.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The leader was convicted.
    Verdict,
    /// Kilo brought a convicted leader back.
    Relapse,
    /// A person asked.
    Request,
    /// A node is pinned.
    Pin,
    /// The move before it was not proven.
    Revert,
}

/// A move that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PastMove {
    /// The incident that it belonged to.
    pub incident: String,
    /// Who led.
    pub from: NodeName,
    /// Who was to lead.
    pub to: NodeName,
    /// What called for it.
    pub cause: Cause,
    /// When it was decided.
    pub at: UnixTime,
    /// How it ended.
    pub end: End,
}

/// How a move ended.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// Every served path passed twice.
    Proven,
    /// Not every path passed in time, but more nodes are served than before.
    Better,
    /// The new leader did not show in time that it forwards.
    Unproven,
    /// Nothing was written.
    Refused,
}
