//! Puts back the leader annotations that the operator had, by itself: no arbiter, no lease.
//!
//! First every location is paused, so that no arbiter moves on; then, location by location, the
//! annotations go back to what `tanist.dev/leader-before` remembers, in an order in which nobody
//! leads on the way but who leads now and who leads in the end.

use kube::Client;
use kube::api::{Api, ListParams, Patch, PatchParams};
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
    let api = Api::<MeshLocation>::all(client.clone());
    let patch = json!({ "spec": { "pause": PAUSED } });
    let patch = Patch::Merge(&patch);
    let objects = match api.list(&ListParams::default()).await {
        Ok(list) => list.items,
        Err(error) => {
            tracing::warn!(error = %Chain(&error), "Locations not paused");
            return;
        }
    };
    for object in objects.iter().filter(|object| object.spec.pause.is_none()) {
        let name = object.metadata.name.as_deref().unwrap_or_default();
        if let Err(error) = api.patch(name, &PatchParams::default(), &patch).await {
            tracing::warn!(name, error = %Chain(&error), "Location not paused");
        }
    }
}

#[cfg(test)]
mod tests;
