//! As much OpenAPI as kubectl asks for: which kinds there are, which paths they have, that
//! `dryRun` and `fieldValidation` are understood, and the schemas of custom resources.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::resource::{Form, Resource};
use super::status::Failure;
use super::store::Store;

/// Returns `/openapi/v3`.
pub(super) fn index(store: &Store) -> Value {
    let state = store.lock();
    let prefixes: BTreeSet<_> = state.resources().iter().map(|resource| prefix(resource)).collect();
    let paths = prefixes.into_iter().map(|prefix| {
        let url = format!("/openapi/v3/{prefix}?hash={}", state.revision);
        (prefix, json!({"serverRelativeURL": url}))
    });

    json!({"paths": paths.collect::<Map<_, _>>()})
}

/// Returns the document of one group and version.
pub(super) fn document(store: &Store, wanted: &str) -> Result<Value, Failure> {
    let state = store.lock();
    let resources: Vec<_> =
        state.resources().iter().filter(|resource| prefix(resource) == wanted).cloned().collect();
    drop(state);
    if resources.is_empty() {
        return Err(Failure::no_such_path());
    }
    let paths: Map<_, _> = resources.iter().flat_map(|resource| paths(resource)).collect();
    let schemas: Map<_, _> = resources.iter().map(|resource| schema(resource)).collect();

    Ok(json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.33.0"},
        "paths": paths,
        "components": {"schemas": schemas},
    }))
}

fn prefix(resource: &Resource) -> String {
    let root = if resource.group.is_empty() { "api" } else { "apis" };
    format!("{root}/{}", resource.api_version())
}

fn kind(resource: &Resource) -> Value {
    json!({"group": resource.group, "version": resource.version, "kind": resource.kind})
}

fn schema_name(resource: &Resource) -> String {
    let group = if resource.group.is_empty() { "core" } else { &resource.group };
    let reversed: Vec<_> = group.split('.').rev().collect();
    format!("{}.{}.{}", reversed.join("."), resource.version, resource.kind)
}

fn schema(resource: &Resource) -> (String, Value) {
    let mut schema = match &resource.form {
        Form::Custom(schema) => schema.0.clone(),
        Form::Typed(_) => json!({"type": "object"}),
    };
    let text = json!({"type": "string"});
    schema["properties"]["apiVersion"] = text.clone();
    schema["properties"]["kind"] = text;
    schema["properties"]["metadata"] = json!({"type": "object"});
    schema["x-kubernetes-group-version-kind"] = json!([kind(resource)]);

    (schema_name(resource), schema)
}

fn paths(resource: &Resource) -> Vec<(String, Value)> {
    let scope = if resource.namespaced { "namespaces/{namespace}/" } else { "" };
    let all = format!("/{}/{scope}{}", prefix(resource), resource.plural);
    let one = format!("{all}/{{name}}");
    let collection = json!({
        "get": operation(resource, "list", &["labelSelector", "fieldSelector"]),
        "post": operation(resource, "post", &["dryRun", "fieldManager", "fieldValidation"]),
    });
    let patch = ["dryRun", "fieldManager", "fieldValidation", "force"];
    let object = json!({
        "get": operation(resource, "get", &[]),
        "put": operation(resource, "put", &["dryRun", "fieldManager", "fieldValidation"]),
        "patch": operation(resource, "patch", &patch),
        "delete": operation(resource, "delete", &["dryRun"]),
    });

    vec![(all, collection), (one, object)]
}

fn operation(resource: &Resource, action: &str, parameters: &[&str]) -> Value {
    let parameter = |name: &&str| json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}});
    let reference = format!("#/components/schemas/{}", schema_name(resource));

    json!({
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": kind(resource),
        "parameters": parameters.iter().map(parameter).collect::<Vec<_>>(),
        "responses": {"200": {
            "description": "OK",
            "content": {"application/json": {"schema": {"$ref": reference}}},
        }},
    })
}
