//! What people want of the mesh: what speaks against it, and the writes that say it to the arbiter.
//!
//! Nothing here moves a leader. A wish goes into a `spec` or an annotation, and the arbiter, which
//! alone holds the lease, answers it.

use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::view::Error;
use crate::cluster::objects::{MeshLocation, SlimNode, mesh_location_name};
use crate::decide::MoveRequest;
use crate::evidence::{Location, NodeName};

mod wanted;

pub use wanted::{Acknowledgeable, Insistence, Refusal, Wanted, acknowledgeable, pinnable, wanted};

/// Our name in managed fields: a person's hand, not the arbiter's.
const MANAGER: &str = "tanist-cli";

/// The annotation that pins a node.
const PIN: &str = "tanist.dev/pin";

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
        let MoveRequest { id, to, by, force } = request;
        // All of it: a merge leaves what is not named as the last one had it.
        let whole = json!({ "id": id, "to": to, "by": by, "force": force });
        self.spec(location, "ask for a move", json!({ "request": whole })).await
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
