//! Server-side apply: what a manager wants is merged in, what it wanted before and no longer wants
//! goes, what others own with another value is a conflict.

use serde_json::{Map, Value};

use super::managed::{Delta, FieldSet, Managed, Manager};
use super::resource::Resource;
use super::shape::{ListKind, Shape};
use super::status::Failure;

/// Whether fields that others own are taken from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ownership {
    /// A conflict is an error.
    Respect,
    /// `force=true`.
    Take,
}

/// Merges what a manager applies into the live object (null where there is none); it comes to own
/// all of that but the members of `reset`. Returns the new object, with its managed fields.
pub(super) fn apply(
    live: &Value,
    wanted: &Value,
    (resource, manager, reset): (&Resource, &Manager, &[&str]),
    ownership: Ownership,
    now: &str,
) -> Result<Value, Failure> {
    let shape = &resource.shape;
    let mut managed = Managed::of(live);
    let mut wanted_fields = FieldSet::of(wanted, shape);
    wanted_fields.remove_members(reset);
    let before = managed.owned_by(manager);

    let mut merged = live.clone();
    merge(&mut merged, wanted, shape);
    let unwanted = before.0.iter().filter(|path| !wanted_fields.0.contains(*path));
    let owned = |path: &Vec<String>| {
        managed.others(manager).any(|e| e.fields.0.contains(path) || e.fields.has_below(path))
            || wanted_fields.has_below(path)
    };
    // In order, so that an element goes while its key still tells which it is.
    let gone: Vec<_> = unwanted.filter(|path| !owned(path)).cloned().collect();
    for path in &gone {
        remove(&mut merged, path, shape);
    }

    let mut changed = Delta::between(live, &merged, shape).set;
    changed.0.retain(|path| wanted_fields.0.contains(path));
    let conflicts = conflicts(&managed, manager, &changed);
    if ownership == Ownership::Respect && !conflicts.is_empty() {
        return Err(Failure::owned_by_others(&conflicts));
    }
    managed.take_from_others(manager, &changed);
    managed.replace(manager, wanted_fields, now);
    managed.write(&mut merged);

    Ok(merged)
}

fn conflicts(managed: &Managed, manager: &Manager, changed: &FieldSet) -> Vec<(String, String)> {
    let mut conflicts = Vec::new();
    for entry in managed.others(manager) {
        for path in entry.fields.0.intersection(&changed.0) {
            conflicts.push((dotted(path), format!("conflict with {}", entry.name())));
        }
    }

    conflicts
}

/// Writes a path as messages do: `.spec.mode`, `.status.conditions[type="Ready"].status`.
fn dotted(path: &[String]) -> String {
    let step = |step: &String| match step.split_once(':') {
        Some(("f", key)) => format!(".{key}"),
        Some(("k", keys)) => {
            let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
            let keys: Vec<_> = keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("[{}]", keys.join(","))
        }
        Some((_, value)) => format!("[={value}]"),
        None => step.clone(),
    };
    path.iter().map(step).collect()
}

fn merge(live: &mut Value, wanted: &Value, shape: &Shape) {
    if let (Value::Object(live), Value::Object(wanted)) = (&mut *live, wanted)
        && !shape.is_atomic()
    {
        for (key, value) in wanted {
            merge(live.entry(key).or_insert(Value::Null), value, shape.member(key));
        }
        return;
    }
    if let (Value::Array(live), Value::Array(wanted)) = (&mut *live, wanted) {
        match shape.list() {
            ListKind::Atomic => wanted.clone_into(live),
            ListKind::Set => {
                let new: Vec<_> = wanted.iter().filter(|new| !live.contains(new)).collect();
                live.extend(new.into_iter().cloned());
            }
            ListKind::Keyed(keys) => merge_keyed(live, wanted, keys, shape.element()),
        }
        return;
    }
    *live = wanted.clone();
}

fn merge_keyed(live: &mut Vec<Value>, wanted: &[Value], keys: &[String], shape: &Shape) {
    for value in wanted {
        let same = |element: &Value| keys.iter().all(|key| element.get(key) == value.get(key));
        match live.iter_mut().find(|element| same(element)) {
            Some(element) => merge(element, value, shape),
            None => live.push(value.clone()),
        }
    }
}

/// Removes what lies at a path of steps.
fn remove(value: &mut Value, path: &[String], shape: &Shape) {
    let Some((step, below)) = path.split_first() else { return };
    match (step.split_once(':'), value) {
        (Some(("f", key)), Value::Object(object)) => {
            if below.is_empty() {
                object.remove(key);
            } else if let Some(member) = object.get_mut(key) {
                remove(member, below, shape.member(key));
            }
        }
        (Some(("k", keys)), Value::Array(elements)) => {
            let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
            let same = |element: &Value| keys.iter().all(|(k, v)| element.get(k) == Some(v));
            if below.is_empty() {
                elements.retain(|element| !same(element));
            } else if let Some(element) = elements.iter_mut().find(|element| same(element)) {
                remove(element, below, shape.element());
            }
        }
        (Some(("v", text)), Value::Array(elements)) if below.is_empty() => {
            let gone: Value = serde_json::from_str(text).unwrap_or_default();
            elements.retain(|element| *element != gone);
        }
        (_, _) => {}
    }
}
