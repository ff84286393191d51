//! Waits until the shipped admission policies are in force: an API server learns of them some time
//! after they are stored, and lets everything pass until then.

use std::time::{Duration, Instant};

use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use kube::{Api, Client};
use serde_json::json;
use tokio::time::sleep;

use crate::cluster::objects::{RelayReport, SlimNode};
use crate::evidence::NodeName;

/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often we look.
const LOOK: Duration = Duration::from_millis(100);

/// A policy is not in force.
#[derive(Debug, thiserror::Error)]
#[error("{what} was not refused within {} s but answered: {said}", PATIENCE.as_secs())]
pub struct Error {
    /// What was tried, without effect.
    what: &'static str,
    /// What was answered.
    said: String,
}

/// Waits until whoever moves leaders can no longer change the label of a Node.
pub async fn keeps_nodes(mover: &Client, node: &NodeName) -> Result<(), Error> {
    let nodes = Api::<SlimNode>::all(mover.clone());
    let label = Patch::Merge(json!({"metadata": {"labels": {"tanist-lab": "tried"}}}));
    let dry = PatchParams { dry_run: true, ..PatchParams::default() };
    let attempt = async || nodes.patch(&node.0, &dry, &label).await.err();

    refused("a change of a Node's labels", "may not change labels of a Node", attempt).await
}

/// Waits until an agent can no longer write the report of another node.
pub async fn keeps_reports(agent: &Client, other: &NodeName) -> Result<(), Error> {
    let kind = ApiResource::erase::<RelayReport>(&());
    let reports = Api::<DynamicObject>::all_with(agent.clone(), &kind);
    let report = DynamicObject::new(&other.0, &kind).data(json!({"spec": {
        "node": other, "location": "", "version": "", "incarnation": 0, "sequence": 0,
        "writtenMs": 0,
    }}));
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let attempt = async || reports.create(&dry, &report).await.err();

    refused("a report in another node's name", "may write only its own RelayReport", attempt).await
}

/// Tries something in vain until it is refused for this reason.
async fn refused(
    what: &'static str,
    because: &str,
    attempt: impl AsyncFn() -> Option<kube::Error>,
) -> Result<(), Error> {
    let began = Instant::now();
    loop {
        let said = attempt().await.map_or_else(|| "granted".to_owned(), |error| error.to_string());
        if said.contains(because) {
            return Ok(());
        }
        if began.elapsed() > PATIENCE {
            return Err(Error { what, said });
        }
        sleep(LOOK).await;
    }
}
