//! The nodes as they stand, and single conditional writes to them.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation, RemoveOperation, TestOperation};
use kube::api::{ListParams, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::MoveError;
use super::steps::Step;
use crate::cluster::lease::Fence;
use crate::cluster::objects::{MoveRecord, SlimNode, WrittenBefore};
use crate::evidence::kilo::key::LEADER;
use crate::evidence::{Mesh, Node, NodeName, UnixTime};

/// Remembers on a Node what its operator had: `absent`, or `=` and the value.
pub const LEADER_BEFORE: &str = "tanist.dev/leader-before";

/// Names on a Node the last term that took a move over; written only to change its version.
pub const FENCE: &str = "tanist.dev/fence";

/// Names on a Node the incident in which we wrote its leader annotation, until that is over: a write
/// that restores what the operator had leaves no other trace, and has to be undone like any other.
pub const INCIDENT: &str = "tanist.dev/incident";

/// Our name in managed fields.
pub(crate) const MANAGER: &str = "tanist";

/// A call that takes longer is looked after by reading again.
const CALL: Duration = Duration::from_secs(2);

/// All nodes, read and conditionally written.
#[derive(Clone)]
pub(crate) struct Nodes {
    client: Client,
    topology_label: String,
}

/// All nodes at one time.
pub(crate) struct View {
    pub(crate) mesh: Mesh,
    pub(super) objects: BTreeMap<NodeName, SlimNode>,
    topology_label: String,
}

impl Nodes {
    pub(crate) fn new(client: Client, topology_label: &str) -> Self {
        Self { client, topology_label: topology_label.to_owned() }
    }

    fn api(&self) -> Api<SlimNode> {
        Api::all(self.client.clone())
    }

    /// Lists all nodes; without a resourceVersion, so that the answer is not from a cache.
    pub(crate) async fn list(&self, at: UnixTime) -> Result<View, MoveError> {
        let api = self.api();
        let list = call("list nodes".to_owned(), api.list(&ListParams::default())).await?;
        let mut view = View {
            mesh: Mesh { nodes: BTreeMap::new(), at },
            objects: BTreeMap::new(),
            topology_label: self.topology_label.clone(),
        };
        list.items.into_iter().for_each(|object| view.put(object));
        Ok(view)
    }

    /// Writes one annotation, if the node is still as it was seen: in an incident, or on the way
    /// back.
    pub(crate) async fn write(
        &self,
        view: &mut View,
        step: &Step,
        incident: Option<&str>,
    ) -> Result<(), MoveError> {
        let verb = if step.value.is_some() { "add" } else { "remove" };
        let what = format!("{verb} the leader annotation of {}", step.node);
        let Some(object) = view.objects.get(&step.node) else {
            return Err(MoveError::Conflict { what });
        };

        let patch = kube::api::Patch::Json(patch(object, step, incident));
        let written = self.patch(what, &step.node, &patch).await?;
        tracing::info!(node = %step.node, value = step.value, "Leader annotation written");
        view.put(written);
        Ok(())
    }

    async fn patch(
        &self,
        what: String,
        node: &NodeName,
        patch: &kube::api::Patch<Value>,
    ) -> Result<SlimNode, MoveError> {
        let params = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
        call(what, self.api().patch(&node.0, &params, patch)).await
    }

    /// Changes a node's version, so that whatever an earlier term has under way to it fails.
    pub(crate) async fn fence(&self, node: &NodeName, fence: &Fence) -> Result<(), MoveError> {
        let patch = json!({ "metadata": { "annotations": { FENCE: fence.to_string() } } });
        let patch = kube::api::Patch::Merge(patch);
        unless_gone(self.patch(format!("fence off {node}"), node, &patch).await)
    }

    /// Takes off a node what a move needs only while it lasts.
    pub(crate) async fn release(&self, view: &mut View, node: &NodeName) -> Result<(), MoveError> {
        let Some(patch) = view.objects.get(node).and_then(release) else { return Ok(()) };
        let patch = kube::api::Patch::Json(patch);
        match self.patch(format!("release {node}"), node, &patch).await {
            // It is another move's by now.
            Err(error) if error.is_conflict() => Ok(()),
            released => released.map(|object| view.put(object)),
        }
    }

    /// Takes our own annotations off a node.
    pub(crate) async fn forget(&self, node: &NodeName) -> Result<(), MoveError> {
        let ours = json!({ INCIDENT: null, FENCE: null, LEADER_BEFORE: null });
        let patch = kube::api::Patch::Merge(json!({ "metadata": { "annotations": ours } }));
        unless_gone(self.patch(format!("take our annotations off {node}"), node, &patch).await)
    }
}

/// Takes a node that is gone for one that was written: there is nothing left to write.
fn unless_gone(written: Result<SlimNode, MoveError>) -> Result<(), MoveError> {
    match written {
        Err(MoveError::Api { source: kube::Error::Api(status), .. }) if status.code == 404 => {
            Ok(())
        }
        written => written.map(drop),
    }
}

impl View {
    fn put(&mut self, object: SlimNode) {
        let node = object.read(&self.topology_label);
        self.objects.insert(node.name.clone(), object);
        self.mesh.nodes.insert(node.name.clone(), node);
    }

    /// Returns why these writes must not be made, if one of them takes an annotation away that was
    /// taken away before.
    pub(crate) fn readded(&self, steps: &[Step]) -> Option<MoveError> {
        let losers = steps.iter().filter(|step| step.value.is_none());
        let mut losers = losers.filter_map(|step| self.mesh.nodes.get(&step.node));
        let Node { name, leader_writer, .. } = losers.find(|node| node.was_readded())?;
        Some(MoveError::Readded { node: name.clone(), manager: leader_writer.clone() })
    }

    /// Notes in the record what stands on the nodes that are about to change; tells whether that
    /// changed it.
    pub(crate) fn remember(&self, record: &mut MoveRecord, steps: &[Step]) -> bool {
        let noted = record.nodes.len();
        for step in steps {
            if record.nodes.iter().all(|before| before.node != step.node) {
                let object = self.objects.get(&step.node);
                let value = object.and_then(|object| object.annotation(LEADER));
                let value = value.map(str::to_owned);
                record.nodes.push(WrittenBefore { node: step.node.clone(), value });
            }
        }
        record.nodes.len() > noted
    }
}

/// Returns the write as a JSON patch that fails if the node is not as it was seen. One of an incident
/// names it on the node, and the way back takes that off again.
pub(crate) fn patch(object: &SlimNode, step: &Step, incident: Option<&str>) -> Patch {
    let leader = object.annotation(LEADER);
    let before = object.annotation(LEADER_BEFORE);
    let operators = before.and_then(parse);

    let mut patch =
        vec![test(["metadata", "resourceVersion"], json!(object.metadata.resource_version))];
    if let Some(leader) = leader {
        patch.push(test(annotation(LEADER), json!(leader)));
    }
    if object.metadata.annotations.is_none() {
        patch.push(add(["metadata", "annotations"], json!({})));
    }

    // An annotation that comes back comes back as the operator had it.
    let value = match (&step.value, &operators) {
        (Some(_), Some(Some(operators))) => Some(operators.clone()),
        (value, _) => value.clone(),
    };
    match (&operators, before) {
        (Some(operators), _) if *operators == value => {
            patch.push(remove(annotation(LEADER_BEFORE)));
            if object.annotation(FENCE).is_some() {
                patch.push(remove(annotation(FENCE)));
            }
        }
        (_, None) => patch.push(add(annotation(LEADER_BEFORE), json!(render(leader)))),
        (_, Some(_)) => {}
    }
    match incident {
        Some(incident) => patch.push(add(annotation(INCIDENT), json!(incident))),
        None if object.annotation(INCIDENT).is_some() => {
            patch.push(remove(annotation(INCIDENT)));
        }
        None => {}
    }
    match value {
        Some(value) => patch.push(add(annotation(LEADER), json!(value))),
        None if leader.is_some() => patch.push(remove(annotation(LEADER))),
        None => {}
    }
    Patch(patch)
}

/// Returns what takes a node's incident and fence off, unless another move has written its own since;
/// none if there are none.
fn release(object: &SlimNode) -> Option<Patch> {
    let off = [INCIDENT, FENCE].into_iter().filter_map(|key| {
        let seen = object.annotation(key)?;
        Some([test(annotation(key), json!(seen)), remove(annotation(key))])
    });
    let operations: Vec<_> = off.flatten().collect();
    (!operations.is_empty()).then_some(Patch(operations))
}

/// Returns how an operator's annotation is remembered.
fn render(value: Option<&str>) -> String {
    value.map_or_else(|| "absent".to_owned(), |value| format!("={value}"))
}

/// Reads what an operator's annotation was; none if it is not known.
#[expect(clippy::option_option, reason = "not known, known to be absent, known")]
pub(crate) fn parse(before: &str) -> Option<Option<String>> {
    match before {
        "absent" => Some(None),
        text => text.strip_prefix('=').map(|value| Some(value.to_owned())),
    }
}

fn annotation(key: &str) -> [&str; 3] {
    ["metadata", "annotations", key]
}

fn test<const N: usize>(path: [&str; N], value: Value) -> PatchOperation {
    PatchOperation::Test(TestOperation { path: PointerBuf::from_tokens(path), value })
}

fn add<const N: usize>(path: [&str; N], value: Value) -> PatchOperation {
    PatchOperation::Add(AddOperation { path: PointerBuf::from_tokens(path), value })
}

fn remove<const N: usize>(path: [&str; N]) -> PatchOperation {
    PatchOperation::Remove(RemoveOperation { path: PointerBuf::from_tokens(path) })
}

/// Makes a call that ends in time and whose failures say what was tried. A failed test (422) and
/// an old version (409) are the same to us: somebody else wrote first.
pub(crate) async fn call<T>(
    what: String,
    call: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, MoveError> {
    match tokio::time::timeout(CALL, call).await {
        Err(_elapsed) => Err(MoveError::Silent { what }),
        Ok(Ok(value)) => Ok(value),
        Ok(Err(kube::Error::Api(status))) if matches!(status.code, 409 | 422) => {
            Err(MoveError::Conflict { what })
        }
        Ok(Err(source)) => Err(MoveError::Api { what, source }),
    }
}

#[cfg(test)]
mod tests;
