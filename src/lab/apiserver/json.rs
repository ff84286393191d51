//! Small reaches into JSON values.

use serde_json::{Map, Value};

/// Returns what lies at a path of keys.
pub(super) fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, key| value.get(key))
}

/// Returns the text at a path of keys; empty where there is none.
pub(super) fn text<'a>(value: &'a Value, path: &[&str]) -> &'a str {
    at(value, path).and_then(Value::as_str).unwrap_or_default()
}

/// Returns the elements of the list at a path of keys; none where there is no list.
pub(super) fn list<'a>(value: &'a Value, path: &[&str]) -> &'a [Value] {
    at(value, path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Returns the object at a key, making one where there is none.
pub(super) fn object<'a>(map: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let slot = map.entry(key).or_insert(Value::Null);
    members(slot)
}

/// Returns a value's members, making it an object where it is none.
pub(super) fn members(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    let Value::Object(map) = value else { unreachable!("made an object above") };

    map
}

/// Copies the member `key` from one object to another; removes it where the source has none.
pub(super) fn carry(from: &Value, to: &mut Value, key: &str) {
    match from.get(key) {
        Some(value) => {
            members(to).insert(key.to_owned(), value.clone());
        }
        None => {
            members(to).remove(key);
        }
    }
}

/// Returns the object's name and namespace.
pub(super) fn identity(object: &Value) -> (&str, &str) {
    (text(object, &["metadata", "namespace"]), text(object, &["metadata", "name"]))
}

/// Lists the paths of members that `before` has and `after` lacks; nulls do not count.
pub(super) fn dropped(before: &Value, after: &Value) -> Vec<String> {
    let mut paths = Vec::new();
    find_dropped(before, after, "", &mut paths);
    paths
}

fn find_dropped(before: &Value, after: &Value, path: &str, paths: &mut Vec<String>) {
    if let (Value::Object(before), Value::Object(after)) = (before, after) {
        for (key, value) in before.iter().filter(|(_, value)| !value.is_null()) {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            match after.get(key) {
                Some(kept) => find_dropped(value, kept, &path, paths),
                None => paths.push(path),
            }
        }
    } else if let (Value::Array(before), Value::Array(after)) = (before, after) {
        for (index, (value, kept)) in before.iter().zip(after).enumerate() {
            find_dropped(value, kept, &format!("{path}[{index}]"), paths);
        }
    }
}
