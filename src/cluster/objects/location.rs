//! `MeshLocation`: what the arbiter knows, wishes and did about one Kilo location.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::decide::{Intent, Memory, Mode, Move, MoveRequest};
use crate::evidence::{Assignment, Location, NodeName, Nudge};

/// One Kilo location: `spec` is the operator's, `status` the arbiter's.
#[derive(
    CustomResource, Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema,
)]
#[kube(
    group = "tanist.dev",
    version = "v1alpha1",
    kind = "MeshLocation",
    plural = "meshlocations",
    shortname = "ml",
    status = "MeshLocationStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "One Kilo location: who leads it, whether it forwards, and who would lead next.",
    printcolumn = r#"{"name":"Location","type":"string","jsonPath":".spec.location"}"#,
    printcolumn = r#"{"name":"Leader","type":"string","jsonPath":".status.leader"}"#,
    printcolumn = r#"{"name":"Since","type":"date","jsonPath":".status.since"}"#,
    printcolumn = r#"{"name":"Health","type":"string","jsonPath":".status.verdict"}"#,
    printcolumn = r#"{"name":"Next","type":"string","jsonPath":".status.next"}"#,
    printcolumn = r#"{"name":"Mode","type":"string","jsonPath":".status.mode"}"#,
    printcolumn = r#"{"name":"Because","type":"string","jsonPath":".status.because","priority":1}"#
)]
#[serde(rename_all = "camelCase")]
pub struct MeshLocationSpec {
    /// Kilo's location, exactly; it may be empty.
    #[serde(default)]
    pub location: Location,
    /// What Tanist may do here; unset means what the arbiter's `--mode` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Mode>")]
    pub mode: Option<String>,
    /// Leaves this location alone for as long as it is set; the text says why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<String>,
    /// Accepts an heir whose forwarding could not be tested, as in a location of two nodes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub accept_unproven: bool,
    /// Accepts that a move breaks the static configuration of Kilo Peers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub accept_peers: bool,
    /// The incident that a person has seen and acknowledged: ends the rest after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<String>,
    /// A person's wish for a move.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<MoveRequest>,
}

impl MeshLocationSpec {
    /// Returns what the operator wants of this location, as far as it stands here.
    #[must_use]
    pub fn intent(&self) -> Intent {
        let mut intent = Intent {
            pause: self.pause.clone(),
            accept_unproven: self.accept_unproven,
            accept_peers: self.accept_peers,
            acknowledged: self.acknowledged.clone(),
            request: self.request.clone(),
            ..Intent::default()
        };
        if let Some(mode) = &self.mode {
            intent.read_mode(mode);
        }
        intent
    }
}

/// What became of a person's wish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestAnswer {
    /// The wish that is answered.
    pub id: String,
    /// What became of it.
    pub answer: String,
}

/// What the arbiter last knew; it is all that its successor needs.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct MeshLocationStatus {
    /// Who leads by Kilo's rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leader: Option<NodeName>,
    /// Why Kilo chose it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Since when it leads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// The mode in force: `observe`, `suggest` or `act`, or `paused`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Who would lead next: the first that is fit, or `nobody`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Who could lead next, best first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub heirs: Vec<HeirStatus>,
    /// What the evidence says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// By which facts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// The incident at hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incident: Option<String>,
    /// What a person should know: wishes that are not followed and why, what came to nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub complaints: Vec<String>,
    /// How many nodes are served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub served: Option<Served>,
    /// Whom the sidecars of this location probe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<Assignment>,
    /// Grows by one when all sidecars of this location shall probe at once and answer.
    pub inquest: u64,
    /// Other locations that are doubted, with the number of their inquest: when one grows, this
    /// location's leader and witnesses probe their paths into it at once.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub look: BTreeMap<Location, u64>,
    /// Who shall bring up new sessions, and towards whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nudge: Option<Vec<Nudge>>,
    /// The move under way, written before any annotation.
    #[serde(rename = "move", skip_serializing_if = "Option::is_none")]
    pub moving: Option<MoveRecord>,
    /// The last five moves, newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub moves: Vec<PastMove>,
    /// The last ten incidents, newest first: what a move was wished for, and what became of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub incidents: Vec<PastIncident>,
    /// What became of the last request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered: Option<RequestAnswer>,
    /// The fence of the arbiter that last took this object over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fence: Option<String>,
    /// What the decision has to remember across arbiters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "preserved")]
    pub memory: Option<serde_json::Value>,
    /// The usual conditions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

impl MeshLocationStatus {
    /// Returns what the decision remembered here; nothing if it is not there or cannot be read.
    #[must_use]
    pub fn remembered(&self) -> Option<Memory> {
        serde_json::from_value(self.memory.clone()?).ok()
    }
}

/// How many nodes a location has that can reach, and be reached from, the other locations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Served {
    /// Now.
    pub now: u32,
    /// If the best fit node led.
    pub best: u32,
}

/// One node that may lead next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeirStatus {
    /// The node.
    pub node: NodeName,
    /// Whether it may lead.
    pub fit: bool,
    /// How many nodes it would serve.
    #[serde(default)]
    pub serves: u32,
    /// What it passed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passed: Vec<String>,
    /// What it failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<String>,
}

/// How far a move has come.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum MovePhase {
    /// The record is written; of the annotations none, some or all.
    Recorded,
    /// Every annotation is as it should be; what remains is to see fresh flows pass.
    Written,
    /// The annotations are being put back.
    Reverting,
    /// They are back.
    Reverted,
}

/// A move under way: whatever a next arbiter must know to finish or revert it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MoveRecord {
    /// The incident that it belongs to.
    pub incident: String,
    /// Who led when it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<NodeName>,
    /// Who shall lead.
    pub to: NodeName,
    /// Why, in one sentence.
    #[serde(default)]
    pub why: String,
    /// How far it has come.
    pub phase: MovePhase,
    /// The fence of the arbiter that wrote this last.
    pub fence: String,
    /// When it was decided, Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_ms: Option<i64>,
    /// When it began, Unix milliseconds.
    pub started_ms: i64,
    /// When the last annotation was written, Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_ms: Option<i64>,
    /// Every node whose annotation this incident changes, in the order of the writes, with the
    /// value that it had before.
    #[serde(default)]
    pub nodes: Vec<WrittenBefore>,
    /// The wish that it carries out: whoever takes over may find it here only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wish: Option<Move>,
    /// Why it is being reverted, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reverting: Option<String>,
}

/// A node's `kilo.squat.ai/leader` annotation before a move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WrittenBefore {
    /// The node.
    pub node: NodeName,
    /// The value; none if there was no annotation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// How a move ended.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum MoveOutcome {
    /// Fresh flows passed through the new leader.
    Verified,
    /// They did not, and the annotations are as they were.
    Reverted,
    /// It was undone before it was whole, or was left as it is without a proof.
    Abandoned,
}

/// A move that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PastMove {
    /// The incident that it belonged to.
    pub incident: String,
    /// Who led before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<NodeName>,
    /// Who was to lead.
    pub to: NodeName,
    /// Why, in one sentence.
    #[serde(default)]
    pub why: String,
    /// How it ended.
    pub outcome: MoveOutcome,
    /// What there is to say about the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// When it began.
    pub started: Time,
    /// When it ended.
    pub ended: Time,
    /// How long each part took, in milliseconds, as far as it is known: `detect` from the first
    /// burst that shows the loss to the verdict, `decide` to the wish, `write` to the last
    /// annotation, `converge` from there to the first fresh flow seen to pass, `verify` from there,
    /// too, to the proof.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub took_ms: BTreeMap<String, u64>,
}

/// A conviction of a leader, and what became of it: the record by which an operator judges whether
/// Tanist may act.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PastIncident {
    /// Its name.
    pub incident: String,
    /// Who led.
    pub leader: NodeName,
    /// By which facts it was convicted.
    #[serde(default)]
    pub because: String,
    /// When it was convicted.
    pub began: Time,
    /// Who would have led, had nothing held the move back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub would_move: Option<NodeName>,
    /// What held the move back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
    /// When it ended; absent while it lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Time>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<IncidentEnd>,
}

/// How an incident ended.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum IncidentEnd {
    /// The same leader forwarded again, and nobody had moved anything.
    Healed,
    /// Tanist moved the leader.
    Moved,
    /// Another node came to lead, and not by Tanist.
    LedByAnother,
    /// Another incident followed before anything else was known.
    Superseded,
}

/// Describes a value that the API server keeps as it is.
fn preserved(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}
