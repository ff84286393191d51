//! Puts back the leader annotations that the operator had, by itself: no arbiter, no lease.
//!
//! First every location is paused, so that no arbiter moves on, and a move that is being written is
//! let end; then, location by location, the annotations go back to what `tanist.dev/leader-before`
//! remembers, in an order in which nobody leads on the way but who leads now and who leads in the
//! end.

use std::time::Duration;

use kube::api::{Api, ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};

use super::leader::{MoveError, Restored, Restorer};
use crate::cluster::objects::MeshLocation;
use crate::telemetry::Chain;

/// Why a location is paused, for people and for a second call.
const PAUSED: &str = "tanist restore";

/// How long a move that is being written is waited for: some calls of 2 s at most. One whose arbiter
/// is dead stands for longer, and is put back as it stands.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often we look whether it is.
const LOOK: Duration = Duration::from_millis(100);

/// Puts back what the operator had, in all locations.
///
/// # Errors
/// If the API server does not let it. What was put back by then stays so; the call may be repeated.
pub async fn restore(client: Client, topology_label: &str) -> Result<Vec<Restored>, MoveError> {
    pause(&client).await;
    if tokio::time::timeout(PATIENCE, settled(&client)).await.is_err() {
        tracing::warn!("A move is on record that nobody ends; it is put back as it stands");
    }
    Restorer::new(client, topology_label).restore().await
}

/// Pauses every location that there is. That some cannot be paused does not stop a restoration:
/// their kind may be gone already.
async fn pause(client: &Client) {
    let api = locations(client);
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

/// Waits until no arbiter writes annotations: it and we would undo each other's, and on the way a
/// third node could lead. An arbiter that finds the location paused ends or undoes what it is at.
async fn settled(client: &Client) {
    let api = locations(client);
    // A kind that is gone has no moves.
    while let Ok(list) = api.list(&ListParams::default()).await
        && list.items.iter().any(is_being_written)
    {
        tokio::time::sleep(LOOK).await;
    }
}

fn is_being_written(object: &DynamicObject) -> bool {
    let phase = object.data.pointer("/status/move/phase").and_then(Value::as_str);
    phase.is_some_and(|phase| matches!(phase, "recorded" | "reverting"))
}

/// Returns the locations without their types: one that cannot be read is paused like the others.
fn locations(client: &Client) -> Api<DynamicObject> {
    Api::all_with(client.clone(), &ApiResource::erase::<MeshLocation>(&()))
}

#[cfg(test)]
mod tests;
