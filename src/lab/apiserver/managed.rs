//! Who owns which field (`metadata.managedFields`): sets of field paths, what a write changed, and
//! the entries that follow from it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::shape::{ListKind, Shape};

/// A set of field paths. A path is a list of steps as `fieldsV1` writes them: `f:name`,
/// `k:{"type":"Ready"}`, `v:"text"`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct FieldSet(pub(super) BTreeSet<Vec<String>>);

/// Members that no one owns: the server sets them.
const UNOWNED: [&str; 10] = [
    "name",
    "generateName",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "managedFields",
    "selfLink",
];

impl FieldSet {
    /// Reads a `fieldsV1` object.
    pub(super) fn decode(fields: &Value) -> Self {
        let mut set = Self::default();
        set.read(fields, &mut Vec::new());
        set
    }

    fn read(&mut self, fields: &Value, path: &mut Vec<String>) {
        let Some(members) = fields.as_object() else { return };
        if (members.is_empty() || members.contains_key(".")) && !path.is_empty() {
            self.0.insert(path.clone());
        }
        for (step, below) in members.iter().filter(|(step, _)| *step != ".") {
            path.push(step.clone());
            self.read(below, path);
            path.pop();
        }
    }

    /// Writes a `fieldsV1` object.
    pub(super) fn encode(&self) -> Value {
        let mut root = json!({});
        for path in &self.0 {
            let mut at = &mut root;
            for step in path {
                at = &mut at[step.as_str()];
                if at.is_null() {
                    *at = json!({});
                }
            }
            if self.has_below(path) {
                at["."] = json!({});
            }
        }

        root
    }

    /// Tells whether the set holds a path that is longer than `path` and begins with it.
    pub(super) fn has_below(&self, path: &[String]) -> bool {
        let above = (std::ops::Bound::Excluded(path.to_vec()), std::ops::Bound::Unbounded);
        self.0.range(above).next().is_some_and(|next| next.starts_with(path))
    }

    /// Removes top-level members (by their steps) with all below them.
    pub(super) fn remove_members(&mut self, members: &[&str]) {
        self.0.retain(|path| !path.first().is_some_and(|step| members.contains(&step.as_str())));
    }

    /// Removes `spec` and its like, but not what is in them: in the kinds of Kubernetes itself they
    /// are always there.
    pub(super) fn remove_frames(&mut self) {
        let always = |path: &[String]| matches!(&path[0][..], "f:spec" | "f:status");
        let frame = |path: &&Vec<String>| path.len() == 1 && (always(path) || self.has_below(path));
        let frames = self.0.iter().filter(frame);
        for frame in frames.cloned().collect::<Vec<_>>() {
            self.0.remove(&frame);
        }
    }

    /// Returns all fields that a value sets; of objects only their members, unless they are empty.
    pub(super) fn of(value: &Value, shape: &Shape) -> Self {
        let all = Delta::between(&Value::Null, value, shape).set;
        let member = |path: &[String]| path.last().is_some_and(|step| step.starts_with("f:"));
        let paths = all.0.iter().filter(|path| !(member(path) && all.has_below(path)));
        Self(paths.cloned().collect())
    }
}

/// What a write did to fields.
#[derive(Debug, Default)]
pub(super) struct Delta {
    /// Fields that it added or changed.
    pub(super) set: FieldSet,
    /// Fields that it removed.
    pub(super) removed: FieldSet,
}

impl Delta {
    /// Compares two states of an object.
    pub(super) fn between(old: &Value, new: &Value, shape: &Shape) -> Self {
        let mut delta = Self::default();
        let (old, new) = (ownable(old), ownable(new));
        delta.compare(&mut Vec::new(), Some(&old), Some(&new), shape);
        delta.set.0.remove(&Vec::new());
        delta.removed.0.remove(&Vec::new());
        // That metadata exists is nobody's doing.
        delta.set.0.remove(&vec!["f:metadata".to_owned()]);
        delta
    }

    fn compare(
        &mut self,
        path: &mut Vec<String>,
        old: Option<&Value>,
        new: Option<&Value>,
        shape: &Shape,
    ) {
        if old == new {
            return;
        }
        match (children(old, shape), children(new, shape)) {
            (old_below, Some(new_below)) => {
                if old_below.is_none() || new_below.is_empty() {
                    self.set.0.insert(path.clone());
                }
                self.compare_below(path, &old_below.unwrap_or_default(), &new_below, shape);
            }
            (Some(old_below), None) => {
                let gone = if new.is_some() { &mut self.set } else { &mut self.removed };
                gone.0.insert(path.clone());
                self.compare_below(path, &old_below, &BTreeMap::new(), shape);
            }
            (None, None) if new.is_some() => {
                self.set.0.insert(path.clone());
            }
            (None, None) => {
                self.removed.0.insert(path.clone());
            }
        }
    }

    fn compare_below(
        &mut self,
        path: &mut Vec<String>,
        old: &BTreeMap<String, &Value>,
        new: &BTreeMap<String, &Value>,
        shape: &Shape,
    ) {
        let steps: BTreeSet<_> = old.keys().chain(new.keys()).collect();
        for step in steps {
            path.push(step.clone());
            let shape =
                step.strip_prefix("f:").map_or_else(|| shape.element(), |k| shape.member(k));
            self.compare(path, old.get(step).copied(), new.get(step).copied(), shape);
            path.pop();
        }
    }
}

/// Returns an object without the fields that no one owns.
fn ownable(object: &Value) -> Value {
    let Some(members) = object.as_object() else { return Value::Null };
    let kept = members.iter().filter(|(key, _)| *key != "apiVersion" && *key != "kind");
    let mut kept: Map<_, _> = kept.map(|(key, value)| (key.clone(), value.clone())).collect();
    if let Some(metadata) = kept.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|key, _| !UNOWNED.contains(&key.as_str()));
    }

    Value::Object(kept)
}

/// Returns the parts of a value that can have owners of their own, by step; `None` where it is of
/// one piece.
fn children<'a>(value: Option<&'a Value>, shape: &Shape) -> Option<BTreeMap<String, &'a Value>> {
    let value = value?;
    if let Value::Object(members) = value {
        let below = members.iter().map(|(key, value)| (format!("f:{key}"), value));
        return (!shape.is_atomic()).then(|| below.collect());
    }
    let elements = value.as_array()?;
    match shape.list() {
        ListKind::Atomic => None,
        ListKind::Set => Some(elements.iter().map(|value| (format!("v:{value}"), value)).collect()),
        ListKind::Keyed(keys) => Some(elements.iter().map(|v| (key_step(v, keys), v)).collect()),
    }
}

fn key_step(element: &Value, keys: &[String]) -> String {
    let keys = keys.iter().filter_map(|key| Some((key.clone(), element.get(key)?.clone())));
    format!("k:{}", Value::Object(keys.collect()))
}

/// Who writes, as an entry of `managedFields` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Manager {
    pub(super) name: String,
    pub(super) operation: &'static str,
    pub(super) api_version: String,
    pub(super) subresource: &'static str,
}

/// One entry of `managedFields`.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    raw: Value,
    pub(super) fields: FieldSet,
}

impl Entry {
    fn is(&self, manager: &Manager) -> bool {
        let text = |key| self.raw.get(key).and_then(Value::as_str).unwrap_or_default();
        text("manager") == manager.name
            && text("operation") == manager.operation
            && text("apiVersion") == manager.api_version
            && text("subresource") == manager.subresource
    }

    /// Returns how messages name this manager.
    pub(super) fn name(&self) -> String {
        let text = |key| self.raw.get(key).and_then(Value::as_str).unwrap_or_default();
        let mut name = format!("{:?}", text("manager"));
        if !text("subresource").is_empty() {
            name.push_str(&format!(" with subresource {:?}", text("subresource")));
        }
        if text("operation") == "Update" {
            name.push_str(&format!(" using {}", text("apiVersion")));
        }
        name
    }
}

/// All entries of one object.
#[derive(Debug, Default)]
pub(super) struct Managed(Vec<Entry>);

impl Managed {
    /// Reads the entries of an object.
    pub(super) fn of(object: &Value) -> Self {
        let raw = super::json::list(object, &["metadata", "managedFields"]);
        let entry = |raw: &Value| {
            let fields = raw.get("fieldsV1").map(FieldSet::decode).unwrap_or_default();
            Entry { raw: raw.clone(), fields }
        };
        Self(raw.iter().map(entry).collect())
    }

    /// Returns what a manager owns.
    pub(super) fn owned_by(&self, manager: &Manager) -> FieldSet {
        let entry = self.0.iter().find(|entry| entry.is(manager));
        entry.map(|entry| entry.fields.clone()).unwrap_or_default()
    }

    /// Returns the entries of everyone else.
    pub(super) fn others(&self, manager: &Manager) -> impl Iterator<Item = &Entry> {
        self.0.iter().filter(move |entry| !entry.is(manager))
    }

    /// Accounts for a write: who changed a field owns it alone.
    pub(super) fn record(&mut self, manager: &Manager, delta: &Delta, now: &str) {
        if delta.set.0.is_empty() && delta.removed.0.is_empty() {
            return;
        }
        let mut fields = self.owned_by(manager);
        fields.0.extend(delta.set.0.iter().cloned());
        fields.0.retain(|path| !delta.removed.0.contains(path));

        for entry in self.0.iter_mut().filter(|entry| !entry.is(manager)) {
            let lost =
                |path: &Vec<String>| delta.set.0.contains(path) || delta.removed.0.contains(path);
            entry.fields.0.retain(|path| !lost(path));
        }
        self.replace(manager, fields, now);
    }

    /// Sets what a manager owns.
    pub(super) fn replace(&mut self, manager: &Manager, fields: FieldSet, now: &str) {
        let unchanged = |entry: &Entry| entry.is(manager) && entry.fields == fields;
        if manager.operation == "Apply" && self.0.iter().any(unchanged) {
            return;
        }
        self.0.retain(|entry| !entry.is(manager));
        let mut raw = json!({
            "manager": manager.name,
            "operation": manager.operation,
            "apiVersion": manager.api_version,
            "time": now,
            "fieldsType": "FieldsV1",
        });
        if !manager.subresource.is_empty() {
            raw["subresource"] = json!(manager.subresource);
        }
        self.0.push(Entry { raw, fields });
    }

    /// Takes fields away from everyone but one manager.
    pub(super) fn take_from_others(&mut self, manager: &Manager, fields: &FieldSet) {
        for entry in self.0.iter_mut().filter(|entry| !entry.is(manager)) {
            entry.fields.0.retain(|path| !fields.0.contains(path));
        }
    }

    /// Writes the entries into an object: applied ones first, then by time and name.
    pub(super) fn write(mut self, object: &mut Value) {
        self.0.retain(|entry| !entry.fields.0.is_empty());
        let rank = |entry: &Entry| {
            let text = |key| entry.raw.get(key).map(Value::to_string).unwrap_or_default();
            (text("operation"), text("time"), text("manager"), text("subresource"))
        };
        self.0.sort_by_key(rank);
        let entries = self.0.into_iter().map(|mut entry| {
            entry.raw["fieldsV1"] = entry.fields.encode();
            entry.raw
        });
        let entries: Vec<_> = entries.collect();
        let root = super::json::members(object);
        let metadata = super::json::object(root, "metadata");
        if entries.is_empty() {
            metadata.remove("managedFields");
        } else {
            metadata.insert("managedFields".to_owned(), Value::Array(entries));
        }
    }
}

#[cfg(test)]
mod tests;
