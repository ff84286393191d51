//! Everything that the API server holds, to compare what was there with what is left.

use std::collections::BTreeMap;

use kube::api::{Api, DynamicObject, ListParams};
use kube::discovery::{Discovery, Scope, verbs};
use kube::{Client, ResourceExt as _};
use serde_json::Value;

/// One object.
pub(crate) struct Object {
    /// Where it is.
    pub(crate) path: String,
    /// In which namespace.
    pub(crate) namespace: Option<String>,
    /// What it says.
    pub(crate) content: Value,
}

/// Returns all objects but Events, which the server forgets by itself.
pub(crate) async fn all(client: &Client) -> anyhow::Result<Vec<Object>> {
    let mut objects = Vec::new();
    let discovery = Discovery::new(client.clone()).run().await?;
    for (resource, capabilities) in discovery.groups().flat_map(|g| g.recommended_resources()) {
        if !capabilities.supports_operation(verbs::LIST) || resource.kind == "Event" {
            continue;
        }
        let api = Api::<DynamicObject>::all_with(client.clone(), &resource);
        for object in api.list(&ListParams::default()).await? {
            let namespace = object.namespace().filter(|_| capabilities.scope == Scope::Namespaced);
            let group = if resource.group.is_empty() { "api" } else { "apis" };
            let inside = namespace.iter().map(|name| format!("/namespaces/{name}"));
            let path = format!(
                "/{group}/{}{}/{}/{}",
                resource.api_version,
                inside.collect::<String>(),
                resource.plural,
                object.name_any()
            );
            objects.push(Object { path, namespace, content: serde_json::to_value(object)? });
        }
    }
    Ok(objects)
}

/// Returns what people can tell objects apart by: without versions, and without what Kilo's agents
/// write all the time.
pub(crate) async fn dump(client: &Client) -> anyhow::Result<BTreeMap<String, Value>> {
    let plain = |Object { path, mut content, .. }: Object| {
        if let Some(metadata) = content["metadata"].as_object_mut() {
            for passing in ["resourceVersion", "managedFields", "generation"] {
                metadata.remove(passing);
            }
        }
        if let Some(annotations) = content["metadata"]["annotations"].as_object_mut() {
            annotations.remove("kilo.squat.ai/last-seen");
        }
        (path, content)
    };
    Ok(all(client).await?.into_iter().filter(|object| !is_alive(object)).map(plain).collect())
}

/// Tells whether an object changes by itself: the API server's own leases and addresses.
fn is_alive(object: &Object) -> bool {
    object.path.contains("/namespaces/kube-system/leases/apiserver-")
}
