//! The kinds of object that every cluster has, as far as the lab has use for them.

use k8s_openapi::api::{coordination::v1 as coordination, core::v1 as core, events::v1 as events};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as apiextensions;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::columns;
use super::json;
use super::resource::{Columns, Conversion, Direction, Form, Resource, Rules};
use super::shape::Shape;

/// Where events are kept, whichever group they are written through.
pub(super) const EVENTS: &str = "events";

/// The id of CustomResourceDefinitions.
pub(super) const DEFINITIONS: &str = "customresourcedefinitions.apiextensions.k8s.io";

/// What most kinds of object of Kubernetes itself have in common.
const USUAL: Rules = Rules {
    generations: false,
    blind_update: true,
    create_on_update: false,
    status_alone: false,
    conversion: Conversion::None,
};

/// Returns all of them.
pub(super) fn resources() -> Vec<Resource> {
    vec![nodes(), namespaces(), pods(), core_events(), new_events(), leases(), definitions()]
}

fn nodes() -> Resource {
    let shape = Shape::default()
        .with_keyed("status.conditions", "type")
        .with_keyed("status.addresses", "type")
        .with_set("spec.podCIDRs");

    Resource {
        short_names: vec!["no".to_owned()],
        status: true,
        shape: shape.with_metadata(),
        columns: Columns::Computed(columns::NODE, columns::node),
        ..resource(("", "v1"), "nodes", "Node", typed::<core::Node>)
    }
}

fn namespaces() -> Resource {
    Resource {
        short_names: vec!["ns".to_owned()],
        status: true,
        shape: Shape::default().with_keyed("status.conditions", "type").with_metadata(),
        columns: Columns::Computed(columns::NAMESPACE, columns::namespace),
        ..resource(("", "v1"), "namespaces", "Namespace", typed::<core::Namespace>)
    }
}

fn pods() -> Resource {
    let shape = Shape::default()
        .with_keyed("spec.containers", "name")
        .with_keyed("spec.volumes", "name")
        .with_keyed("status.conditions", "type");

    Resource {
        short_names: vec!["po".to_owned()],
        categories: vec!["all".to_owned()],
        namespaced: true,
        status: true,
        shape: shape.with_metadata(),
        columns: Columns::Computed(columns::POD, columns::pod),
        ..resource(("", "v1"), "pods", "Pod", typed::<core::Pod>)
    }
}

fn core_events() -> Resource {
    Resource {
        short_names: vec!["ev".to_owned()],
        namespaced: true,
        rules: Rules { create_on_update: true, ..USUAL },
        columns: Columns::Computed(columns::EVENT, columns::event),
        ..resource(("", "v1"), "events", "Event", typed::<core::Event>)
    }
}

fn new_events() -> Resource {
    Resource {
        short_names: vec!["ev".to_owned()],
        namespaced: true,
        storage: Some(EVENTS.to_owned()),
        rules: Rules { create_on_update: true, conversion: Conversion::Events, ..USUAL },
        columns: Columns::Computed(columns::EVENT, columns::new_event),
        ..resource(("events.k8s.io", "v1"), "events", "Event", typed::<events::Event>)
    }
}

fn leases() -> Resource {
    let version = ("coordination.k8s.io", "v1");
    Resource {
        namespaced: true,
        rules: Rules { create_on_update: true, blind_update: false, ..USUAL },
        columns: Columns::Computed(columns::LEASE, columns::lease),
        ..resource(version, "leases", "Lease", typed::<coordination::Lease>)
    }
}

fn definitions() -> Resource {
    let version = ("apiextensions.k8s.io", "v1");
    let read = typed::<apiextensions::CustomResourceDefinition>;
    Resource {
        short_names: vec!["crd".to_owned(), "crds".to_owned()],
        categories: vec!["api-extensions".to_owned()],
        status: true,
        rules: Rules { generations: true, blind_update: false, ..USUAL },
        shape: Shape::default().with_keyed("status.conditions", "type").with_metadata(),
        columns: Columns::Computed(columns::DEFINITION, columns::definition),
        ..resource(version, "customresourcedefinitions", "CustomResourceDefinition", read)
    }
}

fn resource(
    (group, version): (&str, &str),
    plural: &str,
    kind: &str,
    read: fn(Value) -> Result<Value, serde_json::Error>,
) -> Resource {
    Resource {
        group: group.to_owned(),
        version: version.to_owned(),
        plural: plural.to_owned(),
        singular: kind.to_lowercase(),
        kind: kind.to_owned(),
        list_kind: format!("{kind}List"),
        short_names: Vec::new(),
        categories: Vec::new(),
        namespaced: false,
        status: false,
        storage: None,
        form: Form::Typed(read),
        rules: USUAL,
        shape: Shape::default().with_metadata(),
        columns: Columns::Computed(&[], |_, _| Vec::new()),
    }
}

/// Reads a value as `T` and writes it again.
fn typed<T: DeserializeOwned + Serialize>(value: Value) -> Result<Value, serde_json::Error> {
    serde_json::to_value(serde_json::from_value::<T>(value)?)
}

/// Fills in what the server knows of a new or changed object of Kubernetes itself.
pub(super) fn complete(resource: &Resource, object: &mut Value) {
    match resource.id().as_str() {
        "nodes" => {
            if let Some(cidr) = json::at(object, &["spec", "podCIDR"]).cloned()
                && json::at(object, &["spec", "podCIDRs"]).is_none()
            {
                object["spec"]["podCIDRs"] = json!([cidr]);
            }
            default(object, "spec", json!({}));
        }
        "namespaces" => {
            let name = json::text(object, &["metadata", "name"]).to_owned();
            let metadata = json::object(json::members(object), "metadata");
            let labels = json::object(metadata, "labels");
            labels.insert("kubernetes.io/metadata.name".to_owned(), json!(name));
            default(object, "spec", json!({"finalizers": ["kubernetes"]}));
            default(object, "status", json!({"phase": "Active"}));
        }
        "pods" => default(object, "status", json!({"phase": "Pending"})),
        _ => {}
    }
}

fn default(object: &mut Value, key: &str, value: Value) {
    json::members(object).entry(key).or_insert(value);
}

/// The names that differ between `v1` and `events.k8s.io/v1`.
const EVENT_NAMES: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

/// Converts an event between `v1` (kept) and `events.k8s.io/v1` (wire).
pub(super) fn rename_event(event: &mut Value, direction: Direction) {
    let members = json::members(event);
    for (core, new) in EVENT_NAMES {
        let (from, to) = match direction {
            Direction::ToWire => (core, new),
            Direction::ToStorage => (new, core),
        };
        if let Some(value) = members.remove(from) {
            members.insert(to.to_owned(), value);
        }
    }
    let version = match direction {
        Direction::ToWire => "events.k8s.io/v1",
        Direction::ToStorage => "v1",
    };
    members.insert("apiVersion".to_owned(), json!(version));
}
