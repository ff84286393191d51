//! What people want of the mesh: what speaks against it, and the writes that say it to the arbiter.
//!
//! Nothing here moves a leader. A wish goes into a `spec` or an annotation, and the arbiter, which
//! alone holds the lease, answers it.

use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::view::{Arbiter, Error, View};
use super::words;
use crate::cluster::objects::{HeirStatus, MeshLocation, SlimNode, mesh_location_name};
use crate::decide::MoveRequest;
use crate::evidence::{Location, Node, NodeName, kilo};

/// Our name in managed fields: a person's hand, not the arbiter's.
const MANAGER: &str = "tanist-cli";

/// The annotation that pins a node.
const PIN: &str = "tanist.dev/pin";

/// Whether an unfit node may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Insistence {
    /// Fit nodes only.
    Fit,
    /// Any node that is Ready.
    Forced,
}

/// Why a wish is not even written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is nobody to answer.
    #[error("no arbiter holds the lease, so nobody would answer")]
    NoArbiter,
    /// The arbiter has not made an object for the location.
    #[error("the location has no MeshLocation yet; the arbiter makes it when it first sees it")]
    NoObject,
    /// The location is left alone.
    #[error("the location is paused ({0}); tanist resume comes first")]
    Paused(String),
    /// Somebody asked before and has no answer yet.
    #[error("{by} asked for a move that is not answered yet (request {id})")]
    Pending {
        /// Who asked.
        by: String,
        /// Which request.
        id: String,
    },
    /// The leader is being moved.
    #[error("the leader is being moved to {0} already")]
    Moving(NodeName),
    /// Another node is pinned, and would be put back at once.
    #[error("{0} is pinned; tanist unpin {0} comes first")]
    Pinned(NodeName),
    /// Somebody put back an annotation that would have to go.
    #[error(
        "somebody put the leader annotation of {0} back after Tanist had taken it away, and Tanist \
         does not fight: tanist doctor names who"
    )]
    Readded(NodeName),
    /// It is not a node of that location.
    #[error("{0} is not a member of this location; members are {1}")]
    NotMember(NodeName, String),
    /// Kilo would not choose it.
    #[error("{0} is not Ready for Kilo, so it cannot lead, forced or not")]
    NotReady(NodeName),
    /// It has not passed the checks.
    #[error("{node} is not fit: {why}; --force asks for it all the same")]
    Unfit {
        /// The node.
        node: NodeName,
        /// What it failed.
        why: String,
    },
    /// Nobody has.
    #[error("no heir is fit; tanist why tells what each of them failed")]
    NoHeir,
    /// A node of that name is not there.
    #[error("there is no node {0}")]
    NoNode(NodeName),
    /// It cannot be pinned to any use.
    #[error("{node} cannot lead: {why}; --force pins it all the same")]
    CannotLead {
        /// The node.
        node: NodeName,
        /// Why.
        why: String,
    },
}

/// A move that may be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// To this node.
    Move(NodeName),
    /// Nothing: it leads.
    Leads(NodeName),
}

/// Says whether a move may be asked for, and to whom it would go.
///
/// # Errors
/// If it would be in vain or is not fit.
pub fn wanted(
    view: &View,
    location: &Location,
    to: Option<&NodeName>,
    insistence: Insistence,
) -> Result<Wanted, Refusal> {
    if let Some(to) = to
        && view.leader(location).is_some_and(|leader| leader.name == *to)
    {
        return Ok(Wanted::Leads(to.clone()));
    }
    answerable(view, location)?;
    unhindered(view, location, to)?;

    let heirs = view.status(location).map(|status| status.heirs.as_slice()).unwrap_or_default();
    let Some(to) = to else {
        let best = heirs.iter().find(|heir| heir.fit).ok_or(Refusal::NoHeir)?;
        return unfought(view, &best.node);
    };
    let members = view.members(location);
    if !members.iter().any(|node| node.name == *to) {
        let names = words::some_of(members.iter().map(|node| node.name.0.as_str()));
        return Err(Refusal::NotMember(to.clone(), names));
    }
    if !view.ready(location).iter().any(|node| node.name == *to) {
        return Err(Refusal::NotReady(to.clone()));
    }
    match (heirs.iter().find(|heir| heir.node == *to), insistence) {
        (Some(heir), _) if heir.fit => unfought(view, to),
        (_, Insistence::Forced) => unfought(view, to),
        (heir, Insistence::Fit) => Err(Refusal::Unfit { node: to.clone(), why: failed(heir) }),
    }
}

/// Tells whether a move would have to take an annotation away that somebody put back.
fn unfought(view: &View, to: &NodeName) -> Result<Wanted, Refusal> {
    let steps = kilo::promotion(&view.mesh, to);
    let readded = |step: &&kilo::AnnotationChange| {
        let node = view.mesh.nodes.get(&step.node);
        step.change == kilo::Change::Remove && node.is_some_and(was_readded)
    };
    match steps.iter().find(readded) {
        Some(step) => Err(Refusal::Readded(step.node.clone())),
        None => Ok(Wanted::Move(to.clone())),
    }
}

/// Tells whether a node has a leader annotation that Tanist took away: the memory of it, `=` and the
/// value, goes when Tanist itself puts it back.
pub(super) fn was_readded(node: &Node) -> bool {
    let before = node.intent.get("leader-before");
    node.leader && before.is_some_and(|before| before.starts_with('='))
}

fn failed(heir: Option<&HeirStatus>) -> String {
    heir.map_or_else(|| "the arbiter has not vetted it".to_owned(), |heir| heir.failed.join("; "))
}

/// Tells whether somebody is there to answer.
fn answerable(view: &View, location: &Location) -> Result<(), Refusal> {
    match view.arbiter {
        Arbiter::Nobody | Arbiter::Lapsed { .. } => return Err(Refusal::NoArbiter),
        Arbiter::Holds { .. } | Arbiter::Unknown => {}
    }
    view.locations.get(location).map(drop).ok_or(Refusal::NoObject)
}

/// Tells whether a request would be looked at now, and not only some time later.
fn unhindered(view: &View, location: &Location, to: Option<&NodeName>) -> Result<(), Refusal> {
    if let Some(why) = view.pauses(location).into_iter().next() {
        return Err(Refusal::Paused(why));
    }
    if let [pinned] = view.pins(location).as_slice()
        && to != Some(*pinned)
    {
        return Err(Refusal::Pinned((*pinned).clone()));
    }
    let Some(object) = view.locations.get(location) else { return Ok(()) };
    let status = object.status.as_ref();
    if let Some(record) = status.and_then(|status| status.moving.as_ref()) {
        return Err(Refusal::Moving(record.to.clone()));
    }
    let answered = status.and_then(|status| status.answered.as_ref()).map(|last| &last.id);
    match &object.spec.request {
        Some(request) if Some(&request.id) != answered => {
            Err(Refusal::Pending { by: request.by.clone(), id: request.id.clone() })
        }
        Some(_) | None => Ok(()),
    }
}

/// Says whether a node may be pinned; returns its location.
///
/// # Errors
/// If the pin could not be followed.
pub fn pinnable(view: &View, node: &NodeName, insistence: Insistence) -> Result<Location, Refusal> {
    let found = view.mesh.nodes.get(node).ok_or_else(|| Refusal::NoNode(node.clone()))?;
    let others = view.pins(&found.location).into_iter().find(|pinned| *pinned != node);
    if let Some(other) = others {
        return Err(Refusal::Pinned(other.clone()));
    }
    let why = if found.cordoned {
        Some("it is cordoned")
    } else if found.deleting {
        Some("it is being deleted")
    } else if !kilo::is_ready(found, view.at) {
        Some("Kilo does not count it as Ready")
    } else if found.internal_ip.is_none() {
        Some("it has no internal address, so it is a location of its own")
    } else {
        None
    };
    match (why, insistence) {
        (Some(why), Insistence::Fit) => {
            Err(Refusal::CannotLead { node: node.clone(), why: why.to_owned() })
        }
        (Some(_) | None, _) => Ok(found.location.clone()),
    }
}

/// Writes people's wishes.
#[derive(Clone)]
pub struct Steering {
    client: Client,
}

impl Steering {
    /// Makes it of a client with that person's credentials.
    #[must_use]
    pub const fn new(client: Client) -> Self {
        Self { client }
    }

    /// Asks for a move.
    ///
    /// # Errors
    /// If the API server does not let us.
    pub async fn request(&self, location: &Location, request: &MoveRequest) -> Result<(), Error> {
        self.spec(location, "ask for a move", json!({ "request": request })).await
    }

    /// Takes a request back, unless another one stands there by now: one that is answered, or that
    /// nobody answered, must not be carried out some time later.
    ///
    /// # Errors
    /// If the API server does not let us.
    pub async fn withdraw(&self, location: &Location, id: &str) -> Result<(), Error> {
        let name = mesh_location_name(location);
        let patch: json_patch::Patch = serde_json::from_value(json!([
            { "op": "test", "path": "/spec/request/id", "value": id },
            { "op": "remove", "path": "/spec/request" },
        ]))
        .unwrap_or_default();
        let api = Api::<MeshLocation>::all(self.client.clone());
        match api.patch(&name, &params(), &Patch::Json::<()>(patch)).await {
            // It is not there any more, or not ours.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409 | 422) => Ok(()),
            written => written.map(drop).map_err(Error::api("withdraw the request")),
        }
    }

    /// Pauses a location, or resumes it.
    ///
    /// # Errors
    /// If the API server does not let us.
    pub async fn pause(&self, location: &Location, why: Option<&str>) -> Result<(), Error> {
        let what = if why.is_some() { "pause the location" } else { "resume the location" };
        self.spec(location, what, json!({ "pause": why })).await
    }

    /// Acknowledges an incident.
    ///
    /// # Errors
    /// If the API server does not let us.
    pub async fn acknowledge(&self, location: &Location, incident: &str) -> Result<(), Error> {
        self.spec(location, "acknowledge", json!({ "acknowledged": incident })).await
    }

    async fn spec(&self, location: &Location, what: &str, spec: Value) -> Result<(), Error> {
        let name = mesh_location_name(location);
        let patch = Patch::Merge(json!({ "spec": spec }));
        let api = Api::<MeshLocation>::all(self.client.clone());
        let written = api.patch(&name, &params(), &patch).await;
        written.map(drop).map_err(Error::api(format!("{what} (MeshLocation {name})")))
    }

    /// Pins a node.
    ///
    /// # Errors
    /// If the API server does not let us.
    pub async fn pin(&self, node: &NodeName) -> Result<(), Error> {
        self.annotate(node, "pin", json!({ PIN: "true" })).await
    }

    /// Takes a node's pin away.
    ///
    /// # Errors
    /// If the API server does not let us.
    pub async fn unpin(&self, node: &NodeName) -> Result<(), Error> {
        self.annotate(node, "unpin", json!({ PIN: null })).await
    }

    async fn annotate(&self, node: &NodeName, verb: &str, to: Value) -> Result<(), Error> {
        let patch = Patch::Merge(json!({ "metadata": { "annotations": to } }));
        let api = Api::<SlimNode>::all(self.client.clone());
        let written = api.patch(&node.0, &params(), &patch).await;
        written.map(drop).map_err(Error::api(format!("{verb} the Node {node}")))
    }

    /// Returns by which name the server knows us, if it says.
    pub async fn me(&self) -> Option<String> {
        let api = Api::<SelfSubjectReview>::all(self.client.clone());
        let asked = api.create(&PostParams::default(), &SelfSubjectReview::default()).await;
        asked.ok()?.status?.user_info?.username
    }
}

fn params() -> PatchParams {
    PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() }
}
