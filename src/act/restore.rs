//! Puts back the leader annotations that the operator had, by itself: no arbiter, no lease.
//!
//! First every location is paused, so that no arbiter moves on; then, location by location, the
//! annotations go back to what `tanist.dev/leader-before` remembers, in an order in which nobody
//! leads on the way but who leads now and who leads in the end.

use kube::api::{Api, ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use serde_json::json;

use super::leader::{MoveError, Restored, Restorer};
use crate::cluster::objects::MeshLocation;
use crate::telemetry::Chain;

/// Why a location is paused, for people and for a second call.
const PAUSED: &str = "tanist restore";

/// Puts back what the operator had, in all locations.
///
/// # Errors
/// If the API server does not let it. What was put back by then stays so; the call may be repeated.
pub async fn restore(client: Client, topology_label: &str) -> Result<Vec<Restored>, MoveError> {
    pause(&client).await;
    Restorer::new(client, topology_label).restore().await
}

/// Pauses every location that there is. That some cannot be paused does not stop a restoration:
/// their kind may be gone already.
async fn pause(client: &Client) {
    // Without their types: one that cannot be read is paused like the others.
    let kind = ApiResource::erase::<MeshLocation>(&());
    let api = Api::<DynamicObject>::all_with(client.clone(), &kind);
    let patch = json!({ "spec": { "pause": PAUSED } });
    let patch = Patch::Merge(&patch);
    let objects = match api.list(&ListParams::default()).await {
        Ok(list) => list.items,
        Err(error) => {
            tracing::warn!(error = %Chain(&error), "Locations not paused");
            return;
        }
    };
    let is_free = |object: &&DynamicObject| object.data.pointer("/spec/pause").is_none();
    for object in objects.iter().filter(is_free) {
        let name = object.name_any();
        if let Err(error) = api.patch(&name, &PatchParams::default(), &patch).await {
            tracing::warn!(name, error = %Chain(&error), "Location not paused");
        }
    }
}

#[cfg(test)]
mod tests;
