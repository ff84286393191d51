//! What stands between a request's body and the store: reading, completing, keeping what the writer
//! may not change, validating.

use std::hash::{BuildHasher, RandomState};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

use super::builtin;
use super::definition;
use super::json::{self, at, carry, members, text};
use super::resource::{Form, Resource};
use super::status::Failure;
use super::validate;
use super::write::{Part, Request, Unknown};

/// Returns a time as objects carry it.
pub(super) fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Reads a whole object in its wire form into the one that is kept.
pub(super) fn read(
    request: &Request,
    body: Value,
    warnings: &mut Vec<String>,
) -> Result<Value, Failure> {
    let mut object = read_partial(request, body, warnings)?;
    if let Form::Custom(schema) = &request.resource.form {
        schema.drop_nulls(&mut object);
        schema.default(&mut object);
    }

    Ok(object)
}

/// Reads what an apply made; there a null that the schema does not allow is an error.
pub(super) fn read_applied(request: &Request, body: Value) -> Result<Value, Failure> {
    let mut object = read_partial(request, body, &mut Vec::new())?;
    if let Form::Custom(schema) = &request.resource.form {
        schema.default(&mut object);
    }

    Ok(object)
}

/// Reads what may be a part of an object, so that nothing is to be filled in.
pub(super) fn read_partial(
    request: &Request,
    mut body: Value,
    warnings: &mut Vec<String>,
) -> Result<Value, Failure> {
    let resource = &*request.resource;
    check_kind(resource, &mut body)?;
    let managed = body.get_mut("metadata").and_then(|m| m.as_object_mut()?.remove("managedFields"));
    let wrong = |error: serde_json::Error| {
        let (kind, version) = (&resource.kind, resource.api_version());
        let message =
            format!("{kind} in version \"{version}\" cannot be handled as a {kind}: {error}");
        Failure::bad_request(&message)
    };
    let mut object = match &resource.form {
        Form::Typed(read) => read(body.clone()).map_err(wrong)?,
        Form::Custom(schema) => {
            let mut object = body.clone();
            let metadata = object.get("metadata").cloned().unwrap_or_else(|| json!({}));
            let metadata: ObjectMeta = serde_json::from_value(metadata).map_err(wrong)?;
            object["metadata"] = serde_json::to_value(metadata).map_err(wrong)?;
            schema.prune(&mut object);
            object
        }
    };
    report_unknown(request, &json::dropped(&body, &object), warnings)?;

    if let Some(managed) = managed {
        object["metadata"]["managedFields"] = managed;
    }
    Ok(resource.to_storage(object))
}

fn check_kind(resource: &Resource, body: &mut Value) -> Result<(), Failure> {
    let Some(object) = body.as_object_mut() else {
        return Err(Failure::bad_request("the body of the request is not an object"));
    };
    let custom = matches!(resource.form, Form::Custom(_));
    if custom && (object.get("kind").is_none() || object.get("apiVersion").is_none()) {
        let message = format!(
            "the object provided is unrecognized (must be of type {}): Object 'Kind' is missing",
            resource.kind
        );
        return Err(Failure::bad_request(&message));
    }
    for (key, wanted) in [("kind", resource.kind.clone()), ("apiVersion", resource.api_version())] {
        let found = object.entry(key).or_insert_with(|| json!(wanted));
        if found.as_str() != Some(wanted.as_str()) {
            let message = format!(
                "the object provided is unrecognized (must be of type {}): {key} is {found}, \
                 expected \"{wanted}\"",
                resource.kind
            );
            return Err(Failure::bad_request(&message));
        }
    }
    object.entry("metadata").or_insert_with(|| json!({}));

    Ok(())
}

fn report_unknown(
    request: &Request,
    unknown: &[String],
    warnings: &mut Vec<String>,
) -> Result<(), Failure> {
    let told: Vec<_> = unknown.iter().map(|path| format!("unknown field \"{path}\"")).collect();
    if told.is_empty() {
        return Ok(());
    }
    match request.unknown {
        Unknown::Ignore => Ok(()),
        Unknown::Warn => {
            warnings.extend(told);
            Ok(())
        }
        Unknown::Refuse => {
            let (kind, version) = (&request.resource.kind, request.resource.api_version());
            let message = format!(
                "{kind} in version \"{version}\" cannot be handled as a {kind}: strict decoding \
                 error: {}",
                told.join(", ")
            );
            Err(Failure::bad_request(&message))
        }
        Unknown::Undeclared => {
            let message = format!(
                "failed to create typed patch object ({}/{}; {}, Kind={}): .{}: field not \
                 declared in schema",
                request.namespace,
                request.name,
                request.resource.api_version(),
                request.resource.kind,
                unknown.join(", .")
            );
            Err(Failure::unexplained(&message))
        }
    }
}

/// Returns the object's name, making one from `generateName`. Empty where it has neither, which
/// validation refuses.
pub(super) fn name(object: &mut Value) -> String {
    let prefix = text(object, &["metadata", "generateName"]).to_owned();
    if text(object, &["metadata", "name"]).is_empty() && !prefix.is_empty() {
        object["metadata"]["name"] = json!(format!("{prefix}{}", hex(&random::<3>())));
    }

    text(object, &["metadata", "name"]).to_owned()
}

/// Checks that an object's name and namespace are those of the request.
pub(super) fn check_place(request: &Request, object: &mut Value) -> Result<(), Failure> {
    let name = text(object, &["metadata", "name"]);
    if name.is_empty() {
        object["metadata"]["name"] = json!(request.name);
    } else if name != request.name {
        let message = format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            request.name
        );
        return Err(Failure::bad_request(&message));
    }
    let namespace = text(object, &["metadata", "namespace"]);
    if !namespace.is_empty() && namespace != request.namespace {
        let message =
            "the namespace of the provided object does not match the namespace sent on the request";
        return Err(Failure::bad_request(message));
    }
    if request.resource.namespaced {
        object["metadata"]["namespace"] = json!(request.namespace);
    }

    Ok(())
}

/// Gives a new object what the server gives.
pub(super) fn begin(resource: &Resource, object: &mut Value, now: Timestamp) {
    let uid = uid();
    let metadata = members(&mut object["metadata"]);
    for key in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generation"] {
        metadata.remove(key);
    }
    metadata.insert("uid".to_owned(), json!(uid));
    metadata.insert("creationTimestamp".to_owned(), json!(seconds(now)));
    if resource.rules.generations {
        metadata.insert("generation".to_owned(), json!(1));
    }
    let no_status = json!({});
    if resource.status && resource.rules.status_alone || resource.id() == builtin::DEFINITIONS {
        carry(&no_status, object, "status");
    }
    complete(resource, object);
}

fn complete(resource: &Resource, object: &mut Value) {
    builtin::complete(resource, object);
    if resource.id() == builtin::DEFINITIONS {
        definition::complete(object);
    }
}

/// Restores in `new` what this write may not change.
pub(super) fn keep(request: &Request, old: &Value, new: &mut Value) {
    let resource = &request.resource;
    match request.part {
        Part::Main if resource.status => carry(old, new, "status"),
        Part::Main => {}
        Part::Status if resource.rules.status_alone => {
            let mut kept = old.clone();
            carry(new, &mut kept, "status");
            *new = kept;
        }
        Part::Status => {
            let keys = members(new).keys().cloned().collect::<Vec<_>>();
            let others = members(&mut old.clone()).keys().cloned().collect::<Vec<_>>();
            for key in keys.iter().chain(&others).filter(|k| *k != "metadata" && *k != "status") {
                carry(old, new, key);
            }
        }
    }
    for key in [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "generateName",
        "selfLink",
    ] {
        carry(&old["metadata"], &mut new["metadata"], key);
    }
    complete(resource, new);

    let changed = spec_of(resource, old) != spec_of(resource, new);
    if resource.rules.generations && request.part == Part::Main && changed {
        let generation = at(old, &["metadata", "generation"]).and_then(Value::as_i64);
        new["metadata"]["generation"] = json!(generation.unwrap_or(0) + 1);
    }
}

/// Returns all of an object whose change makes a new generation.
fn spec_of(resource: &Resource, object: &Value) -> Value {
    let mut spec = object.clone();
    let spec_members = members(&mut spec);
    spec_members.remove("metadata");
    if resource.status {
        spec_members.remove("status");
    }

    spec
}

/// Removes what an encoder of the real server leaves out.
pub(super) fn tidy(object: &mut Value) {
    let empty = |value: &Value| {
        value.is_null()
            || value.as_object().is_some_and(serde_json::Map::is_empty)
            || value.as_array().is_some_and(Vec::is_empty)
    };
    members(&mut object["metadata"]).retain(|_, value| !empty(value));
    members(object).retain(|_, value| !value.is_null());
}

/// Checks an object as a whole.
pub(super) fn validate(request: &Request, old: Option<&Value>, new: &Value) -> Result<(), Failure> {
    let resource = &*request.resource;
    let mut causes = validate::metadata(resource, new);
    match &resource.form {
        Form::Custom(schema) => causes.extend(schema.validate(new)),
        Form::Typed(_) => causes.extend(validate::builtin(resource, old, new)),
    }
    if causes.is_empty() {
        return Ok(());
    }

    Err(Failure::invalid(resource, text(new, &["metadata", "name"]), &causes))
}

/// Does what controllers of the real server do at once after a write.
pub(super) fn settle(resource: &Resource, object: &mut Value) {
    if resource.id() == builtin::DEFINITIONS {
        let created = text(object, &["metadata", "creationTimestamp"]).to_owned();
        definition::accept(object, &created);
    }
}

/// Tells whether two states differ in nothing but the times of field ownership and the revision.
pub(super) fn same_but_times(old: &Value, new: &Value) -> bool {
    let bare = |object: &Value| {
        let mut object = object.clone();
        let metadata = members(&mut object["metadata"]);
        metadata.remove("resourceVersion");
        let managed = metadata.get_mut("managedFields").and_then(Value::as_array_mut);
        for entry in managed.into_iter().flatten() {
            members(entry).remove("time");
        }
        object
    };
    bare(old) == bare(new)
}

fn uid() -> String {
    let mut bytes = random::<16>();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = hex(&bytes);

    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn random<const N: usize>() -> [u8; N] {
    // The hasher's seed is all the chance that a name in a lab needs.
    let chance = |_| RandomState::new().hash_one(0_u8).to_le_bytes()[0];
    std::array::from_fn(chance)
}
