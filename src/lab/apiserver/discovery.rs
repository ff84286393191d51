//! What is served: `/api`, `/apis` and below, in the old form and in the aggregated one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::response::Response;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};

use super::http::answer_json;
use super::resource::Resource;
use super::status::Failure;
use super::store::Store;

const VERBS: [&str; 8] =
    ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// Returns `/version`.
pub(super) fn version() -> Value {
    json!({
        "major": "1",
        "minor": "33",
        "gitVersion": "v1.33.0+tanist-lab",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "",
        "platform": "linux/amd64",
    })
}

/// Answers a discovery path.
pub(super) fn answer(store: &Store, segments: &[&str], accept: &str) -> Result<Response, Failure> {
    let resources = store.lock().resources().to_vec();
    let aggregated = accept.split(',').next().is_some_and(|first| {
        first.contains("g=apidiscovery.k8s.io") && first.contains("v=v2;")
            || first.contains("g=apidiscovery.k8s.io") && first.ends_with("v=v2")
    });
    let found = match segments {
        [] => json!({"paths": ["/api", "/api/v1", "/apis", "/healthz", "/livez", "/openapi/v3",
                               "/readyz", "/version"]}),
        [root] if aggregated => return Ok(answer_aggregated(&resources, root)),
        ["api"] => json!({
            "kind": "APIVersions",
            "versions": ["v1"],
            "serverAddressByClientCIDRs": [],
        }),
        ["apis"] => {
            let groups: Vec<_> = groups(&resources).iter().map(group).collect();
            json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
        }
        ["apis", name] => {
            let groups = groups(&resources);
            let found = groups.iter().find(|(group, _)| *group == name);
            let mut found = found.map(group).ok_or_else(Failure::no_such_group)?;
            found["kind"] = json!("APIGroup");
            found["apiVersion"] = json!("v1");
            found
        }
        ["api", version] => list(&resources, "", version)?,
        ["apis", group, version] => list(&resources, group, version)?,
        _ => return Err(Failure::no_such_path()),
    };

    Ok(answer_json(&found))
}

/// Returns the versions of each group but the core.
fn groups(resources: &[Arc<Resource>]) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut groups = BTreeMap::<_, BTreeSet<_>>::new();
    for resource in resources.iter().filter(|resource| !resource.group.is_empty()) {
        groups.entry(&*resource.group).or_default().insert(&*resource.version);
    }

    groups
}

fn group((name, versions): (&&str, &BTreeSet<&str>)) -> Value {
    let version =
        |version: &&str| json!({"groupVersion": format!("{name}/{version}"), "version": version});
    let versions: Vec<_> = versions.iter().map(version).collect();

    json!({"name": name, "preferredVersion": versions.last(), "versions": versions})
}

fn list(resources: &[Arc<Resource>], group: &str, version: &str) -> Result<Value, Failure> {
    let here = |resource: &&Arc<Resource>| resource.group == group && resource.version == version;
    let found: Vec<_> = resources.iter().filter(here).collect();
    let group_version = found.first().ok_or_else(Failure::no_such_group)?.api_version();
    let entries: Vec<_> = found.iter().flat_map(|resource| entries(resource)).collect();

    Ok(json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version,
        "resources": entries,
    }))
}

fn entries(resource: &Resource) -> Vec<Value> {
    let mut entry = json!({
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": VERBS,
    });
    if !resource.short_names.is_empty() {
        entry["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        entry["categories"] = json!(resource.categories);
    }
    let status = json!({
        "name": format!("{}/status", resource.plural),
        "singularName": "",
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": ["get", "patch", "update"],
    });

    if resource.status { vec![entry, status] } else { vec![entry] }
}

fn answer_aggregated(resources: &[Arc<Resource>], root: &str) -> Response {
    let mut versions = BTreeMap::<(&str, &str), Vec<Value>>::new();
    for resource in resources.iter().filter(|r| r.group.is_empty() == (root == "api")) {
        let version = versions.entry((&*resource.group, &*resource.version)).or_default();
        version.push(aggregated(resource));
    }
    let mut groups = BTreeMap::<&str, Vec<Value>>::new();
    for ((group, version), resources) in versions {
        let version = json!({"version": version, "resources": resources, "freshness": "Current"});
        groups.entry(group).or_default().push(version);
    }
    let item = |(name, versions): (&str, _)| {
        let metadata = if name.is_empty() { json!({}) } else { json!({"name": name}) };
        json!({"metadata": metadata, "versions": versions})
    };
    let items: Vec<_> = groups.into_iter().map(item).collect();
    let mut response = answer_json(&json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    }));
    let kind = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));

    response
}

fn aggregated(resource: &Resource) -> Value {
    let kind = json!({"group": resource.group, "version": resource.version,
                      "kind": resource.kind});
    let mut entry = json!({
        "resource": resource.plural,
        "responseKind": kind,
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular,
        "verbs": VERBS,
        "shortNames": resource.short_names,
        "categories": resource.categories,
    });
    if resource.status {
        entry["subresources"] = json!([{
            "subresource": "status",
            "responseKind": kind,
            "verbs": ["get", "patch", "update"],
        }]);
    }

    entry
}
