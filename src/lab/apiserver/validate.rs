//! What must hold of names, labels, and of the kinds that every cluster has.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::builtin;
use super::definition;
use super::json::{at, list, text};
use super::resource::Resource;
use super::status::Cause;

/// Lists what is wrong with an object's metadata.
pub(super) fn metadata(resource: &Resource, object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let name = text(object, &["metadata", "name"]);
    if name.is_empty() {
        let mut cause = Cause::required("metadata.name");
        cause.message.push_str(": name or generateName is required");
        causes.push(cause);
    } else if resource.id() == "namespaces" && !is_label(name) {
        let why = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters \
                   or '-', and must start and end with an alphanumeric character";
        causes.push(Cause::invalid("metadata.name", &json!(name), why));
    } else if !is_subdomain(name) {
        let why = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric \
                   characters, '-' or '.', and must start and end with an alphanumeric character";
        causes.push(Cause::invalid("metadata.name", &json!(name), why));
    }
    for (key, value) in pairs(object, "labels") {
        if !is_qualified(key) {
            let why = "name part must consist of alphanumeric characters, '-', '_' or '.'";
            causes.push(Cause::invalid("metadata.labels", &json!(key), why));
        }
        if !value.is_empty() && !is_token(value) {
            let why = "a valid label must be an empty string or consist of alphanumeric \
                       characters, '-', '_' or '.', and must start and end with an alphanumeric \
                       character";
            causes.push(Cause::invalid("metadata.labels", &json!(value), why));
        }
    }
    for (key, _) in pairs(object, "annotations") {
        if !is_qualified(&key.to_lowercase()) {
            let why = "name part must consist of alphanumeric characters, '-', '_' or '.'";
            causes.push(Cause::invalid("metadata.annotations", &json!(key), why));
        }
    }

    causes
}

fn pairs<'a>(object: &'a Value, key: &str) -> impl Iterator<Item = (&'a String, &'a str)> {
    let map = at(object, &["metadata", key]).and_then(Value::as_object);
    map.into_iter().flatten().map(|(key, value)| (key, value.as_str().unwrap_or_default()))
}

fn is_label(text: &str) -> bool {
    let ends = [text.chars().next(), text.chars().next_back()];
    let edge = |letter: &char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    text.len() <= 63
        && text.chars().all(|letter| edge(&letter) || letter == '-')
        && ends.iter().all(|end| end.as_ref().is_some_and(edge))
}

fn is_subdomain(text: &str) -> bool {
    let part = |part: &str| part.len() > 63 || is_label(part);
    text.len() <= 253 && text.split('.').all(part)
}

fn is_token(text: &str) -> bool {
    let ends = [text.chars().next(), text.chars().next_back()];
    text.len() <= 63
        && text.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(letter))
        && ends.iter().all(|end| end.is_some_and(|letter| letter.is_ascii_alphanumeric()))
}

fn is_qualified(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => is_subdomain(prefix) && is_token(name),
        None => is_token(text),
    }
}

/// Lists what is wrong with an object of a kind that every cluster has.
pub(super) fn builtin(resource: &Resource, old: Option<&Value>, new: &Value) -> Vec<Cause> {
    match resource.id().as_str() {
        "nodes" => node(old, new),
        "leases.coordination.k8s.io" => lease(new),
        "events" | "events.events.k8s.io" => event(resource, old, new),
        builtin::DEFINITIONS => definition::validate(new),
        _ => Vec::new(),
    }
}

fn node(old: Option<&Value>, new: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let forbidden = |field: &str, why: &str| Cause {
        reason: "FieldValueForbidden",
        field: field.to_owned(),
        message: format!("Forbidden: {why}"),
    };
    for key in ["podCIDR", "providerID"] {
        let before = old.map_or("", |old| text(old, &["spec", key]));
        if !before.is_empty() && before != text(new, &["spec", key]) {
            let why = "node updates may not change this field except from \"\" to valid";
            causes.push(forbidden(&format!("spec.{key}"), why));
        }
    }
    let taints = list(new, &["spec", "taints"]);
    for (index, taint) in taints.iter().enumerate() {
        let field = format!("spec.taints[{index}]");
        let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"].map(Value::from);
        if !effects.contains(&taint["effect"]) {
            let field = format!("{field}.effect");
            causes.push(Cause::unsupported(&field, &taint["effect"], &effects));
        }
        let same =
            |other: &&Value| other["key"] == taint["key"] && other["effect"] == taint["effect"];
        if taints.iter().take(index).any(|other| same(&other)) {
            causes.push(Cause::duplicate(&field, taint));
        }
    }

    causes
}

fn lease(lease: &Value) -> Vec<Cause> {
    let number = |key| at(lease, &["spec", key]).and_then(Value::as_i64);
    let mut causes = Vec::new();
    if let Some(seconds) = number("leaseDurationSeconds").filter(|seconds| *seconds <= 0) {
        let why = "must be greater than 0";
        causes.push(Cause::invalid("spec.leaseDurationSeconds", &json!(seconds), why));
    }
    if let Some(count) = number("leaseTransitions").filter(|count| *count < 0) {
        let why = "must be greater than or equal to 0";
        causes.push(Cause::invalid("spec.leaseTransitions", &json!(count), why));
    }

    causes
}

/// Checks an event in its kept form. Those of the newer kind (with `eventTime`) must say more.
fn event(resource: &Resource, old: Option<&Value>, event: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let (namespace, involved) =
        (text(event, &["metadata", "namespace"]), text(event, &["involvedObject", "namespace"]));
    let newer = !text(event, &["eventTime"]).is_empty();
    let fits = match (involved, newer) {
        ("", true) => matches!(namespace, "default" | "kube-system"),
        ("", false) => namespace == "default",
        (_, true) => true,
        (_, false) => involved == namespace,
    };
    if !fits {
        let why = "does not match event.namespace";
        causes.push(Cause::invalid("involvedObject.namespace", &json!(involved), why));
    }
    if let Some(old) = old.filter(|old| newer && old.get("eventTime").is_some()) {
        causes.extend(changed(old, event, &["metadata", "series"]));
    }
    if !newer && !resource.group.is_empty() {
        causes.push(Cause::required("eventTime"));
    }
    if newer {
        let names = [
            ("reportingComponent", "reportingController"),
            ("reportingInstance", "reportingInstance"),
            ("action", "action"),
            ("reason", "reason"),
        ];
        let missing = names.iter().filter(|(kept, _)| text(event, &[kept]).is_empty());
        causes.extend(missing.map(|(_, name)| Cause::required(name)));
        let kinds = ["Normal", "Warning"].map(Value::from);
        if !kinds.contains(&event["type"]) {
            causes.push(Cause::invalid("type", &event["type"], "has invalid value"));
        }
        if text(event, &["message"]).len() > 1024 {
            let mut cause = Cause::invalid("message", &json!(""), "can have at most 1024 bytes");
            cause.reason = "FieldValueTooLong";
            causes.push(cause);
        }
    }

    causes
}

/// Lists the members that differ, but for those that may.
fn changed(old: &Value, new: &Value, free: &[&str]) -> Vec<Cause> {
    let keys = |object: &Value| {
        let members = object.as_object().into_iter().flatten();
        members.map(|(key, _)| key.clone()).collect::<BTreeSet<_>>()
    };
    let all = keys(old).union(&keys(new)).cloned().collect::<BTreeSet<_>>();
    let differ = all.iter().filter(|key| !free.contains(&key.as_str()) && old[*key] != new[*key]);
    differ.map(|key| Cause::invalid(key, &new[key], "field is immutable")).collect()
}
