//! Writes what locations' objects say, in a task of its own: only what differs, the latest only.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::cluster::objects::{
    MeshLocation, MeshLocationSpec, MeshLocationStatus, mesh_location_name,
};
use crate::evidence::Location;
use crate::telemetry::Chain;

/// What is to be written, by the name of the object.
type Pending = BTreeMap<String, Writing>;

#[derive(Debug, Clone)]
enum Writing {
    Create(Location),
    Patch(Value),
}

/// Writes statuses in the background. What is not written yet is replaced by what is newer.
#[derive(Debug)]
pub struct Statuses {
    pending: watch::Sender<Pending>,
    _task: AbortOnDropHandle<()>,
}

impl Statuses {
    /// Starts with nothing to write; ends when this is dropped.
    #[must_use]
    pub fn start(client: Client) -> Self {
        let (pending, receiver) = watch::channel(Pending::new());
        let task = tokio::spawn(write_all(Api::all(client), pending.clone(), receiver));
        Self { pending, _task: AbortOnDropHandle::new(task) }
    }

    /// Makes the object of a location that has none.
    pub fn create(&self, location: &Location) {
        let name = mesh_location_name(location);
        self.pending.send_if_modified(|pending| {
            pending.insert(name, Writing::Create(location.clone())).is_none()
        });
    }

    /// Makes `before` say `after`. If the object has changed since, nothing is written: whoever
    /// composed `after` will do so again from what the object says then.
    pub fn write(&self, before: &Arc<MeshLocation>, after: &MeshLocationStatus) {
        let Some(patch) = difference(before, after) else { return };
        let name = mesh_location_name(&before.spec.location);
        self.pending.send_modify(|pending| {
            pending.insert(name, Writing::Patch(patch));
        });
    }
}

/// Returns a merge patch of what differs, bound to the version that it was made from.
fn difference(before: &MeshLocation, after: &MeshLocationStatus) -> Option<Value> {
    let from = serde_json::to_value(before.status.clone().unwrap_or_default()).ok()?;
    let to = serde_json::to_value(after).ok()?;
    let (from, to) = (from.as_object()?, to.as_object()?);
    let mut status = serde_json::Map::new();
    for key in from.keys().chain(to.keys()) {
        if from.get(key) != to.get(key) {
            status.insert(key.clone(), replacement(from.get(key), to.get(key)));
        }
    }
    let version = before.metadata.resource_version.as_deref()?;
    (!status.is_empty())
        .then(|| json!({ "metadata": { "resourceVersion": version }, "status": status }))
}

/// Returns what a merge patch must say so that `from` becomes `to`: keys that are gone are null.
fn replacement(from: Option<&Value>, to: Option<&Value>) -> Value {
    match (from, to) {
        (_, None) => Value::Null,
        (Some(Value::Object(from)), Some(Value::Object(to))) => {
            let gone = from.keys().filter(|key| !to.contains_key(*key));
            let mut merged: serde_json::Map<_, _> =
                gone.map(|key| (key.clone(), Value::Null)).collect();
            for (key, value) in to {
                if from.get(key) != Some(value) {
                    merged.insert(key.clone(), replacement(from.get(key), Some(value)));
                }
            }
            Value::Object(merged)
        }
        (_, Some(to)) => to.clone(),
    }
}

async fn write_all(
    api: Api<MeshLocation>,
    pending: watch::Sender<Pending>,
    mut changed: watch::Receiver<Pending>,
) {
    loop {
        let mut next = Pending::new();
        pending.send_if_modified(|pending| {
            std::mem::swap(pending, &mut next);
            false
        });
        if next.is_empty() {
            if changed.changed().await.is_err() {
                return;
            }
            continue;
        }
        let writes = next.iter().map(|(name, writing)| write(&api, name, writing));
        futures::future::join_all(writes).await;
    }
}

async fn write(api: &Api<MeshLocation>, name: &str, writing: &Writing) {
    let written = match writing {
        Writing::Create(location) => {
            let spec = MeshLocationSpec { location: location.clone(), ..Default::default() };
            api.create(&PostParams::default(), &MeshLocation::new(name, spec)).await.map(drop)
        }
        Writing::Patch(patch) => {
            let patch = Patch::Merge(patch);
            api.patch_status(name, &PatchParams::default(), &patch).await.map(drop)
        }
    };
    match written {
        Ok(()) => {}
        // Somebody else wrote first, or the object is not here yet or any more: the next round
        // sees what is there.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {
            tracing::debug!(object = name, code = status.code, "Status not written");
        }
        Err(error) => {
            tracing::warn!(object = name, error = %Chain(&error), "Status not written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_says_only_what_differs_and_nulls_what_is_gone() {
        let mut before = MeshLocation::new("x", MeshLocationSpec::default());
        before.metadata.resource_version = Some("7".to_owned());
        before.status = Some(MeshLocationStatus {
            verdict: Some("forwards".to_owned()),
            incident: Some("one".to_owned()),
            look: BTreeMap::from([("a".into(), 1), ("b".into(), 2)]),
            ..MeshLocationStatus::default()
        });
        let after = MeshLocationStatus {
            verdict: Some("dark".to_owned()),
            look: BTreeMap::from([("b".into(), 3)]),
            ..MeshLocationStatus::default()
        };
        let patch = difference(&before, &after).expect("they differ");
        assert_eq!(
            patch,
            json!({
                "metadata": { "resourceVersion": "7" },
                "status": { "verdict": "dark", "incident": null, "look": { "a": null, "b": 3 } },
            })
        );
        let same = before.status.clone().unwrap_or_default();
        assert_eq!(difference(&before, &same), None);
    }
}
