//! A Node, read slimly: of some 20 KiB, the few hundred bytes that matter here.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::ClusterResourceScope;
use k8s_openapi::api::core::v1::{NodeAddress, NodeCondition, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta, Time};
use kube::Resource;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};

use crate::evidence::kilo::{self, RawNode};
use crate::evidence::{self, Node};

/// A Node without what nobody here reads: foreign annotations, images, capacity, and managed fields
/// but for who owns the leader annotation.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SlimNode {
    /// Name, uid, resourceVersion, labels, deletion timestamp, the annotations of Kilo, Tanist and
    /// Flannel, and the owners of the leader annotation.
    #[serde(deserialize_with = "slim_metadata")]
    pub metadata: ObjectMeta,
    /// The part of `spec` that matters.
    #[serde(default)]
    pub spec: NodeSpec,
    /// The part of `status` that matters.
    #[serde(default)]
    pub status: NodeStatus,
}

/// The part of a Node's `spec` that matters.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeSpec {
    /// The pod range that Kilo reads: the first one only.
    #[serde(rename = "podCIDR")]
    pub pod_cidr: Option<String>,
    /// The taints, or null.
    pub taints: Option<Vec<Taint>>,
    /// Whether it is cordoned.
    pub unschedulable: Option<bool>,
}

/// The part of a Node's `status` that matters.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeStatus {
    /// Its addresses, or null.
    pub addresses: Option<Vec<NodeAddress>>,
    /// Its conditions, or null.
    pub conditions: Option<Vec<NodeCondition>>,
}

impl SlimNode {
    /// Returns the node's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// Returns the value of an annotation, if it is there.
    #[must_use]
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata.annotations.as_ref()?.get(key).map(String::as_str)
    }

    /// Returns the node as Kilo reads it, with `topology_label` as the label of its location.
    #[must_use]
    pub fn read(&self, topology_label: &str) -> Node {
        let taint = |taint: &Taint| evidence::Taint {
            key: taint.key.clone(),
            effect: taint.effect.clone(),
        };
        let ready = self.status.conditions.iter().flatten().find(|known| known.type_ == "Ready");

        let raw = RawNode {
            name: self.name().to_owned(),
            labels: self.metadata.labels.clone().unwrap_or_default(),
            annotations: self.metadata.annotations.clone().unwrap_or_default(),
            pod_cidr: self.spec.pod_cidr.clone(),
            cordoned: self.spec.unschedulable.unwrap_or_default(),
            taints: self.spec.taints.iter().flatten().map(taint).collect(),
            deleting: self.metadata.deletion_timestamp.is_some(),
            ready: ready.map(|known| known.status == "True"),
        };
        Node { leader_writer: self.leader_writer(), ..kilo::read(&raw, topology_label) }
    }

    /// Returns who wrote the leader annotation last, where the server knows.
    fn leader_writer(&self) -> Option<String> {
        let owners = self.metadata.managed_fields.iter().flatten();
        owners.max_by_key(|owner| owner.time.as_ref().map(|time| time.0))?.manager.clone()
    }
}

impl Resource for SlimNode {
    type DynamicType = ();
    type Scope = ClusterResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Node".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "nodes".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// The annotations under our prefix that mean something, by the part behind the slash: three that
/// people write, three that Tanist writes.
const OURS: [&str; 6] = ["promotion", "pin", "pause", "leader-before", "incident", "fence"];

/// Returns complaints about annotations under our prefix that nobody reads: typing errors, which
/// would otherwise look like wishes that are not followed.
#[must_use]
pub fn unread_annotations(node: &Node) -> Vec<String> {
    let unread = node.intent.keys().filter(|key| !OURS.contains(&key.as_str()));
    let complaint = |key: &String| {
        format!(
            "annotation tanist.dev/{key} of {} means nothing; there are promotion, pin and pause",
            node.name
        )
    };
    unread.map(complaint).collect()
}

/// The prefixes of the annotations that are kept.
const KEPT: [&str; 3] = ["kilo.squat.ai/", "tanist.dev/", "flannel.alpha.coreos.com/"];

/// Who owns which fields; of these the leader annotation alone is asked for.
#[derive(Deserialize)]
struct Owner {
    manager: Option<String>,
    time: Option<Time>,
    #[serde(rename = "fieldsV1")]
    fields: Option<OwnedFields>,
}

#[derive(Deserialize)]
struct OwnedFields {
    #[serde(rename = "f:metadata")]
    metadata: Option<OwnedMetadata>,
}

#[derive(Deserialize)]
struct OwnedMetadata {
    #[serde(rename = "f:annotations")]
    annotations: Option<OwnedAnnotations>,
}

#[derive(Deserialize)]
struct OwnedAnnotations {
    #[serde(rename = "f:kilo.squat.ai/leader")]
    leader: Option<IgnoredAny>,
}

impl Owner {
    /// Returns its name, without its fields, if the leader annotation is among them.
    fn of_leader(self) -> Option<ManagedFieldsEntry> {
        self.fields?.metadata?.annotations?.leader?;
        let Self { manager, time, .. } = self;
        Some(ManagedFieldsEntry { manager, time, ..ManagedFieldsEntry::default() })
    }
}

/// Reads metadata without ever allocating the managed fields, the largest part of a Node: who owns
/// the leader annotation is all that is kept of them.
fn slim_metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Slim {
        name: Option<String>,
        uid: Option<String>,
        resource_version: Option<String>,
        deletion_timestamp: Option<Time>,
        labels: Option<BTreeMap<String, String>>,
        annotations: Option<BTreeMap<String, String>>,
        managed_fields: Option<Vec<Owner>>,
    }

    let slim = Slim::deserialize(deserializer)?;
    let annotations = slim.annotations.map(|mut annotations| {
        annotations.retain(|key, _| KEPT.iter().any(|prefix| key.starts_with(prefix)));
        annotations
    });

    let owners: Vec<_> =
        slim.managed_fields.into_iter().flatten().filter_map(Owner::of_leader).collect();

    Ok(ObjectMeta {
        name: slim.name,
        uid: slim.uid,
        resource_version: slim.resource_version,
        deletion_timestamp: slim.deletion_timestamp,
        labels: slim.labels,
        annotations,
        managed_fields: (!owners.is_empty()).then_some(owners),
        ..ObjectMeta::default()
    })
}
