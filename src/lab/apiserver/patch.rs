//! JSON patch, merge patch and strategic merge patch.

use json_patch::{AddOperation, PatchOperation};
use serde_json::{Map, Value};

use super::json::members;
use super::shape::{ListKind, Shape};
use super::status::Failure;

/// The body of a PATCH.
#[derive(Debug)]
pub(super) enum Patch {
    /// RFC 6902.
    Json(json_patch::Patch),
    /// RFC 7386.
    Merge(Value),
    /// Kubernetes' own, for its own kinds.
    Strategic(Value),
    /// Server-side apply.
    Apply(Value),
}

impl Patch {
    /// Applies what is not an apply to an object in its wire form.
    pub(super) fn patched(&self, object: &Value, shape: &Shape) -> Result<Value, Failure> {
        let mut object = object.clone();
        match self {
            Self::Json(patch) => {
                for operation in &patch.0 {
                    operate(&mut object, operation)?;
                }
            }
            Self::Merge(patch) => json_patch::merge(&mut object, patch),
            Self::Strategic(patch) => strategic(&mut object, patch, shape)?,
            Self::Apply(_) => return Err(Failure::internal("an apply is not a patch")),
        }
        if object.is_object() {
            Ok(object)
        } else {
            Err(Failure::bad_request("the patched object is not an object"))
        }
    }
}

/// Applies one operation of a JSON patch, as lenient as the library of the real server: `test`
/// finds null where a member is missing, and `replace` adds one.
fn operate(object: &mut Value, operation: &PatchOperation) -> Result<(), Failure> {
    let missing = |path: &json_patch::jsonptr::Pointer| {
        let parent = path.split_back().and_then(|(parent, _)| object.pointer(parent.as_str()));
        parent.is_some_and(Value::is_object) && object.pointer(path.as_str()).is_none()
    };
    let mut operation = operation.clone();
    if let PatchOperation::Test(test) = &operation
        && test.value.is_null()
        && missing(&test.path)
    {
        return Ok(());
    }
    if let PatchOperation::Replace(replace) = &operation
        && missing(&replace.path)
    {
        let (path, value) = (replace.path.clone(), replace.value.clone());
        operation = PatchOperation::Add(AddOperation { path, value });
    }
    json_patch::patch(object, &[operation]).map_err(|_why| Failure::patch_does_not_apply())
}

fn strategic(value: &mut Value, patch: &Value, shape: &Shape) -> Result<(), Failure> {
    let Some(patch) = patch.as_object() else {
        *value = patch.clone();
        return Ok(());
    };
    let object = members(value);
    match patch.get("$patch").and_then(Value::as_str) {
        Some("replace") => {
            *object = without_directives(patch);
            return Ok(());
        }
        Some("delete") => {
            object.clear();
            return Ok(());
        }
        Some(_) | None => {}
    }
    if let Some(kept) = patch.get("$retainKeys").and_then(Value::as_array) {
        object.retain(|key, _| kept.iter().any(|kept| kept.as_str() == Some(key)));
    }
    for (key, change) in patch {
        if let Some(list) = key.strip_prefix("$deleteFromPrimitiveList/") {
            let gone = change.as_array().map(Vec::as_slice).unwrap_or_default();
            if let Some(Value::Array(elements)) = object.get_mut(list) {
                elements.retain(|element| !gone.contains(element));
            }
        } else if !key.starts_with('$') {
            member(object, key, change, shape.member(key))?;
        }
    }

    Ok(())
}

fn member(
    object: &mut Map<String, Value>,
    key: &str,
    change: &Value,
    shape: &Shape,
) -> Result<(), Failure> {
    if change.is_null() {
        object.remove(key);
        return Ok(());
    }
    let slot = object.entry(key).or_insert(Value::Null);
    let Some(change) = change.as_array() else { return strategic(slot, change, shape) };

    if !slot.is_array() {
        *slot = Value::Array(Vec::new());
    }
    let Some(elements) = slot.as_array_mut() else { return Ok(()) };
    match shape.list() {
        ListKind::Atomic => *elements = change.clone(),
        ListKind::Set => {
            let new: Vec<_> = change.iter().filter(|new| !elements.contains(new)).collect();
            elements.extend(new.into_iter().cloned());
        }
        ListKind::Keyed(keys) => keyed(elements, change, keys, shape.element())?,
    }

    Ok(())
}

fn keyed(
    elements: &mut Vec<Value>,
    changes: &[Value],
    keys: &[String],
    shape: &Shape,
) -> Result<(), Failure> {
    let directive =
        |change: &Value| change.get("$patch").and_then(Value::as_str).map(str::to_owned);
    let replaces = |change: &&Value| directive(change).as_deref() == Some("replace");
    if changes.iter().any(|change| replaces(&change)) {
        *elements = changes.iter().filter(|change| !replaces(change)).cloned().collect();
        return Ok(());
    }
    for change in changes {
        if keys.iter().any(|key| change.get(key).is_none()) {
            let message =
                format!("{change} does not contain declared merge key: {}", keys.join(","));
            return Err(Failure::unexplained(&message));
        }
        let same = |element: &Value| keys.iter().all(|key| element.get(key) == change.get(key));
        if directive(change).as_deref() == Some("delete") {
            elements.retain(|element| !same(element));
            continue;
        }
        match elements.iter_mut().find(|element| same(element)) {
            Some(element) => strategic(element, change, shape)?,
            None => {
                let mut element = Value::Null;
                strategic(&mut element, change, shape)?;
                elements.push(element);
            }
        }
    }

    Ok(())
}

fn without_directives(patch: &Map<String, Value>) -> Map<String, Value> {
    let kept = patch.iter().filter(|(key, _)| !key.starts_with('$'));
    kept.map(|(key, value)| (key.clone(), value.clone())).collect()
}
