//! What the API server is asked to change: who asks, and which step of what.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, Method};
use serde_json::Value;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    /// An agent of Tanist, on a node.
    Agent(String),
    /// An arbiter, on a node.
    Arbiter(String),
    /// Whoever has a kubeconfig.
    Person,
    /// Anybody else.
    Other,
}

/// Which step it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Step {
    /// A lease is taken or renewed.
    Lease,
    /// It is given back.
    Release,
    /// An Event.
    Event,
    /// A RelayReport.
    Report,
    /// A MeshLocation is made.
    Create,
    /// A person's request for a move.
    Request,
    /// The request is taken back.
    Withdraw,
    /// A location is paused or resumed.
    Pause,
    /// Another part of a MeshLocation's `spec`.
    Spec,
    /// The answer to a request.
    Answer,
    /// An inquest is held.
    Inquest,
    /// Whatever else a location's status says.
    Status,
    /// A new arbiter's fence, in a MeshLocation or on a Node.
    Fence,
    /// The record of a move, before any annotation.
    Record,
    /// Whom to probe, told to other locations.
    Nudge,
    /// A node gets the leader annotation.
    Add,
    /// A node loses it.
    Remove,
    /// All annotations of a move are written.
    Written,
    /// They are being put back.
    Reverting,
    /// They are back.
    Reverted,
    /// The record goes into the history.
    Archive,
    /// What Tanist remembered on a Node is taken off.
    Forget,
    /// None of these.
    Other,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Write {
    pub(crate) who: Who,
    pub(crate) step: Step,
    /// The object's name.
    pub(crate) object: String,
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {}", self.step, self.object)
    }
}

impl Write {
    /// Reads a request; none if it changes nothing.
    pub(crate) fn of(
        (method, path): (&Method, &str),
        headers: &HeaderMap,
        body: &[u8],
    ) -> Option<Self> {
        if matches!(*method, Method::GET | Method::HEAD) {
            return None;
        }
        let body = serde_json::from_slice(body).unwrap_or(Value::Null);
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let step = step(method, &parts, &body);
        let object = match parts.last() {
            Some(&"status") => parts[parts.len() - 2],
            Some(last) => last,
            None => "",
        };
        Some(Self { who: who(headers), step, object: object.to_owned() })
    }
}

fn step(method: &Method, path: &[&str], body: &Value) -> Step {
    match path {
        [.., "leases", _] if body["spec"]["holderIdentity"] == "" => Step::Release,
        [.., "leases"] | [.., "leases", _] => Step::Lease,
        [.., "events"] | [.., "events", _] => Step::Event,
        [.., "relayreports"] | [.., "relayreports", _] => Step::Report,
        [.., "meshlocations"] if *method == Method::POST => Step::Create,
        [.., "meshlocations", _, "status"] => of_status(&body["status"]),
        [.., "meshlocations", _] if body.is_array() => Step::Withdraw,
        [.., "meshlocations", _] => of_spec(&body["spec"]),
        [.., "nodes", _] if body.is_array() => of_patch(body),
        [.., "nodes", _] => of_annotations(&body["metadata"]["annotations"]),
        _ => Step::Other,
    }
}

fn of_status(status: &Value) -> Step {
    let said = |key: &str| status.get(key).is_some();
    match status["move"]["phase"].as_str() {
        _ if said("fence") => Step::Fence,
        Some("recorded") => Step::Record,
        Some("written") => Step::Written,
        Some("reverting") => Step::Reverting,
        Some("reverted") => Step::Reverted,
        _ if said("move") => Step::Archive,
        _ if said("nudge") => Step::Nudge,
        _ if said("answered") => Step::Answer,
        _ if said("inquest") => Step::Inquest,
        _ => Step::Status,
    }
}

fn of_spec(spec: &Value) -> Step {
    if spec.get("request").is_some() {
        Step::Request
    } else if spec.get("pause").is_some() {
        Step::Pause
    } else {
        Step::Spec
    }
}

/// A leader annotation is written by a JSON patch whose last operation is the change itself.
fn of_patch(patch: &Value) -> Step {
    let leader = "/metadata/annotations/kilo.squat.ai~1leader";
    let operations = patch.as_array().map_or(&[][..], Vec::as_slice);
    let last = operations.iter().rfind(|operation| operation["path"] == leader);
    match last.and_then(|operation| operation["op"].as_str()) {
        Some("add") => Step::Add,
        Some("remove") => Step::Remove,
        _ => Step::Other,
    }
}

fn of_annotations(annotations: &Value) -> Step {
    match annotations.get("tanist.dev/fence") {
        Some(Value::Null) => Step::Forget,
        Some(_) => Step::Fence,
        None => Step::Other,
    }
}

/// Reads whose token it is: those of accounts say so themselves, with the node they are bound to.
fn who(headers: &HeaderMap) -> Who {
    let token = headers.get("authorization").and_then(|value| value.to_str().ok());
    let token = token.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    if token == crate::server::ADMIN {
        return Who::Person;
    }
    let claims = token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let claims: Value =
        claims.and_then(|claims| serde_json::from_slice(&claims).ok()).unwrap_or_default();
    let node = claims["kubernetes.io"]["node"]["name"].as_str().unwrap_or_default().to_owned();
    match claims["sub"].as_str() {
        Some("system:serviceaccount:tanist:tanist-agent") => Who::Agent(node),
        Some("system:serviceaccount:tanist:tanist-arbiter") => Who::Arbiter(node),
        _ => Who::Other,
    }
}
