//! The record of a move, in the status of its location: written by compare-and-swap only.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};

use super::nodes::{MANAGER, call};
use super::{MoveError, Nudges};
use crate::cluster::objects::{
    MeshLocation, MoveOutcome, MovePhase, MoveRecord, PastMove, mesh_location_name,
};
use crate::cluster::{Listed, list};
use crate::evidence::{Location, UnixTime};
use crate::telemetry::Chain;

/// How many past moves are kept.
const KEPT: usize = 5;

/// How often a write is tried again that lost against another field of the same object.
const ATTEMPTS: usize = 5;

/// How many nudges are under way at once.
const AT_ONCE: usize = 16;

/// The objects of all locations.
#[derive(Clone)]
pub(crate) struct Records {
    api: Arc<Api<MeshLocation>>,
}

impl Records {
    pub(crate) fn new(client: Client) -> Self {
        Self { api: Arc::new(Api::all(client)) }
    }

    pub(crate) async fn get(&self, location: &Location) -> Result<MeshLocation, MoveError> {
        let name = mesh_location_name(location);
        call(format!("read MeshLocation {name}"), self.api.get(&name)).await
    }

    pub(crate) async fn list(&self) -> Result<Listed<MeshLocation>, MoveError> {
        let params = ListParams::default();
        call("list MeshLocations".to_owned(), list(&self.api, &params)).await
    }

    /// Changes an object's status if its move and its fence are still those that were read. That
    /// another field changed meanwhile does not matter.
    pub(crate) async fn swap(
        &self,
        mut object: MeshLocation,
        change: Value,
    ) -> Result<MeshLocation, MoveError> {
        let name = object.name_any();
        let what = format!("write the move of MeshLocation {name}");
        for _ in 0..ATTEMPTS {
            match self.write(&object, &change, &what).await {
                Err(error) if error.is_conflict() => {}
                outcome => return outcome,
            }
            let found = call(format!("read MeshLocation {name}"), self.api.get(&name)).await?;
            if moving(&found) == moving(&object) && fence(&found) == fence(&object) {
                object = found;
            } else if holds(&found, &change) {
                // Our own write, whose answer got lost.
                return Ok(found);
            } else {
                return Err(MoveError::Conflict { what });
            }
        }
        Err(MoveError::Conflict { what })
    }

    async fn write(
        &self,
        object: &MeshLocation,
        change: &Value,
        what: &str,
    ) -> Result<MeshLocation, MoveError> {
        // With a resourceVersion in it, a merge patch is conditional.
        let patch = json!({
            "metadata": { "resourceVersion": object.metadata.resource_version },
            "status": change,
        });
        self.patch(what.to_owned(), &object.name_any(), patch).await
    }

    async fn patch(
        &self,
        what: String,
        name: &str,
        patch: Value,
    ) -> Result<MeshLocation, MoveError> {
        let params = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
        call(what, self.api.patch_status(name, &params, &Patch::Merge(patch))).await
    }

    /// Tells all locations but the one that moves whom to probe. Those that cannot be told learn it
    /// from Kilo, a little later.
    pub(crate) async fn nudge(&self, nudges: &Nudges, but: &Location) {
        let others = nudges.iter().filter(|(location, _)| *location != but);
        let tell = |(location, nudge)| async move {
            let name = mesh_location_name(location);
            let patch = json!({ "status": { "nudge": nudge } });
            let told = self.patch(format!("nudge MeshLocation {name}"), &name, patch);
            if let Err(error) = told.await {
                tracing::debug!(error = %Chain(&error), "Location not nudged");
            }
        };
        futures::stream::iter(others).for_each_concurrent(AT_ONCE, tell).await;
    }
}

fn moving(object: &MeshLocation) -> Option<&MoveRecord> {
    object.status.as_ref()?.moving.as_ref()
}

fn fence(object: &MeshLocation) -> Option<&String> {
    object.status.as_ref()?.fence.as_ref()
}

/// Tells whether an object's move is what a change was to make it.
fn holds(object: &MeshLocation, change: &Value) -> bool {
    let found = serde_json::to_value(moving(object)).unwrap_or_default();
    change.get("move").is_some_and(|wanted| *wanted == found)
}

/// Returns the change that takes an object's record into its history.
pub(super) fn archived(
    object: &MeshLocation,
    outcome: MoveOutcome,
    note: Option<String>,
    now: UnixTime,
) -> Value {
    let status = object.status.clone().unwrap_or_default();
    let Some(record) = status.moving else { return json!({}) };

    let mut moves = status.moves;
    let took_ms = took(&record, outcome, now);
    moves.insert(
        0,
        PastMove {
            incident: record.incident,
            from: record.from,
            to: record.to,
            why: record.why,
            outcome,
            note,
            started: time(UnixTime(record.started_ms)),
            ended: time(now),
            took_ms,
        },
    );
    moves.truncate(KEPT);
    json!({ "move": null, "moves": moves, "nudge": null })
}

/// Returns how long the parts took that the record tells of; what led to it the arbiter adds.
fn took(record: &MoveRecord, outcome: MoveOutcome, now: UnixTime) -> BTreeMap<String, u64> {
    let took = |from: i64, to: i64| u64::try_from(to - from).unwrap_or_default();
    // Once put back, what was written last is what was there before.
    let written = record.written_ms.filter(|_| record.phase == MovePhase::Written);
    let Some(written) = written else { return BTreeMap::new() };

    let begun = record.decided_ms.unwrap_or(record.started_ms);
    let write = [("write".to_owned(), took(begun, written))];
    let verify =
        (outcome == MoveOutcome::Verified).then(|| ("verify".to_owned(), took(written, now.0)));
    write.into_iter().chain(verify).collect()
}

fn time(at: UnixTime) -> Time {
    Time(Timestamp::from_millisecond(at.0).unwrap_or(Timestamp::UNIX_EPOCH))
}
