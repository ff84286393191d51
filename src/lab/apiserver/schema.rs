//! Structural schemas of custom resources: pruning, defaulting, validation.

use std::collections::BTreeSet;

use regex::Regex;
use serde_json::Value;

use super::json::{list, members};
use super::status::Cause;

/// The schema of one version of a custom resource.
#[derive(Debug, Clone)]
pub(super) struct Schema(pub(super) Value);

impl Schema {
    /// Removes what the schema does not know.
    pub(super) fn prune(&self, object: &mut Value) {
        prune_root(&self.0, object);
    }

    /// Removes nulls where the schema does not allow them, as the real server does but for an apply.
    pub(super) fn drop_nulls(&self, object: &mut Value) {
        drop_nulls(&self.0, object);
    }

    /// Fills in defaults.
    pub(super) fn default(&self, object: &mut Value) {
        default(&self.0, object);
    }

    /// Lists what is not as the schema says.
    pub(super) fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        validate(&self.0, object, "", &mut causes);
        causes
    }
}

fn flag(schema: &Value, key: &str) -> bool {
    schema.get(key) == Some(&Value::Bool(true))
}

/// Prunes an object but for what every object has.
fn prune_root(schema: &Value, object: &mut Value) {
    let kept: Vec<_> = ["apiVersion", "kind", "metadata"]
        .into_iter()
        .filter_map(|key| Some((key, object.get(key)?.clone())))
        .collect();
    prune(schema, object);
    for (key, value) in kept {
        members(object).insert(key.to_owned(), value);
    }
}

fn prune(schema: &Value, value: &mut Value) {
    let preserves = flag(schema, "x-kubernetes-preserve-unknown-fields");
    match value {
        Value::Object(object) => {
            let fields = schema.get("properties");
            let rest = schema.get("additionalProperties");
            let open = preserves || rest == Some(&Value::Bool(true));
            let known = |key: &str| fields.and_then(|fields| fields.get(key)).or(rest);
            object.retain(|key, value| match known(key).filter(|schema| schema.is_object()) {
                Some(schema) if flag(schema, "x-kubernetes-embedded-resource") => {
                    prune_root(schema, value);
                    true
                }
                Some(schema) => {
                    prune(schema, value);
                    true
                }
                None => open,
            });
        }
        Value::Array(elements) => {
            if let Some(schema) = schema.get("items") {
                elements.iter_mut().for_each(|element| prune(schema, element));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn drop_nulls(schema: &Value, value: &mut Value) {
    if let Value::Object(object) = value {
        let fields = schema.get("properties").and_then(Value::as_object);
        for (key, schema) in fields.into_iter().flatten() {
            if object.get(key).is_some_and(Value::is_null) && !flag(schema, "nullable") {
                object.remove(key);
            } else if let Some(value) = object.get_mut(key) {
                drop_nulls(schema, value);
            }
        }
    } else if let (Value::Array(elements), Some(schema)) = (value, schema.get("items")) {
        elements.iter_mut().for_each(|element| drop_nulls(schema, element));
    }
}

fn default(schema: &Value, value: &mut Value) {
    if let Value::Object(object) = value {
        let fields = schema.get("properties").and_then(Value::as_object);
        for (key, schema) in fields.into_iter().flatten() {
            if let Some(default) = schema.get("default") {
                let there = object.get(key);
                let null = there.is_some_and(Value::is_null) && !flag(schema, "nullable");
                if there.is_none() || null {
                    object.insert(key.clone(), default.clone());
                }
            }
            if let Some(value) = object.get_mut(key) {
                default(schema, value);
            }
        }
        let rest = schema.get("additionalProperties").filter(|rest| rest.is_object());
        if let Some(schema) = rest {
            object.values_mut().for_each(|value| default(schema, value));
        }
    } else if let (Value::Array(elements), Some(schema)) = (value, schema.get("items")) {
        elements.iter_mut().for_each(|element| default(schema, element));
    }
}

fn validate(schema: &Value, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    if value.is_null() && flag(schema, "nullable") {
        return;
    }
    if let Some(wrong) = wrong_type(schema, value, path) {
        causes.push(wrong);
        return;
    }
    let allowed = list(schema, &["enum"]);
    if !allowed.is_empty() && !allowed.contains(value) {
        causes.push(Cause::unsupported(path, value, allowed));
    }
    match value {
        Value::Object(_) => validate_object(schema, value, path, causes),
        Value::Array(elements) => validate_list(schema, elements, path, causes),
        Value::String(text) => validate_text(schema, text, path, causes),
        Value::Number(number) => {
            validate_number(schema, number.as_f64().unwrap_or(0.0), path, causes);
        }
        Value::Null | Value::Bool(_) => {}
    }
    validate_junctors(schema, value, path, causes);
}

fn wrong_type(schema: &Value, value: &Value, path: &str) -> Option<Cause> {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() && !is_whole(number.as_f64()) => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    if flag(schema, "x-kubernetes-int-or-string") {
        let fits = matches!(found, "integer" | "string");
        let why = format!("{path} in body must be of type int-or-string: \"{found}\"");
        return (!fits).then(|| Cause::wrong_type(path, found, &why));
    }
    let wanted = schema.get("type")?.as_str()?;
    let fits = wanted == found || wanted == "number" && found == "integer";
    let why = format!("{path} in body must be of type {wanted}: \"{found}\"");

    (!fits).then(|| Cause::wrong_type(path, found, &why))
}

fn is_whole(number: Option<f64>) -> bool {
    number.is_some_and(|number| number.fract() == 0.0)
}

fn validate_object(schema: &Value, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    let Some(object) = value.as_object() else { return };
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    for key in list(schema, &["required"]).iter().filter_map(Value::as_str) {
        if !object.contains_key(key) {
            causes.push(Cause::required(&below(key)));
        }
    }
    count(schema, ("minProperties", "maxProperties"), object.len(), path, causes);

    let rest = schema.get("additionalProperties").filter(|rest| rest.is_object());
    for (key, value) in object {
        let known = schema.get("properties").and_then(|fields| fields.get(key));
        if let Some(schema) = known.or(rest) {
            validate(schema, value, &below(key), causes);
        }
    }
}

fn validate_list(schema: &Value, elements: &[Value], path: &str, causes: &mut Vec<Cause>) {
    count(schema, ("minItems", "maxItems"), elements.len(), path, causes);
    if let Some(schema) = schema.get("items") {
        for (index, element) in elements.iter().enumerate() {
            validate(schema, element, &format!("{path}[{index}]"), causes);
        }
    }

    let keys = list(schema, &["x-kubernetes-list-map-keys"]);
    let set = schema.get("x-kubernetes-list-type").and_then(Value::as_str) == Some("set");
    if keys.is_empty() && !set && !flag(schema, "uniqueItems") {
        return;
    }
    let mut seen = BTreeSet::new();
    for (index, element) in elements.iter().enumerate() {
        let key = keys.iter().filter_map(Value::as_str);
        let key: serde_json::Map<_, _> =
            key.filter_map(|key| Some((key.to_owned(), element.get(key)?.clone()))).collect();
        let key = if keys.is_empty() { element.clone() } else { Value::Object(key) };
        if !seen.insert(key.to_string()) {
            causes.push(Cause::duplicate(&format!("{path}[{index}]"), &key));
        }
    }
}

fn count(
    schema: &Value,
    (min, max): (&str, &str),
    count: usize,
    path: &str,
    causes: &mut Vec<Cause>,
) {
    let count = count as u64;
    let bound = |key: &str| schema.get(key).and_then(Value::as_u64);
    if let Some(min) = bound(min).filter(|min| count < *min) {
        let why = format!("{path} in body should have at least {min} items");
        causes.push(Cause::invalid(path, &count.into(), &why));
    }
    if let Some(max) = bound(max).filter(|max| count > *max) {
        let why = format!("must have at most {max} items");
        causes.push(Cause::invalid(path, &count.into(), &why));
    }
}

fn validate_text(schema: &Value, text: &str, path: &str, causes: &mut Vec<Cause>) {
    let length = text.chars().count() as u64;
    let value = Value::from(text);
    let bound = |key: &str| schema.get(key).and_then(Value::as_u64);
    if let Some(min) = bound("minLength").filter(|min| length < *min) {
        let why = format!("{path} in body should be at least {min} chars long");
        causes.push(Cause::invalid(path, &value, &why));
    }
    if let Some(max) = bound("maxLength").filter(|max| length > *max) {
        causes.push(Cause::too_long(path, "bytes", max));
    }
    let pattern = schema.get("pattern").and_then(Value::as_str);
    // A pattern that we cannot read was refused with its definition.
    let pattern = pattern.and_then(|pattern| Regex::new(pattern).ok());
    if let Some(pattern) = pattern.filter(|pattern| !pattern.is_match(text)) {
        let why = format!("{path} in body should match '{pattern}'");
        causes.push(Cause::invalid(path, &value, &why));
    }
    let format = schema.get("format").and_then(Value::as_str);
    if format == Some("date-time") && text.parse::<jiff::Timestamp>().is_err() {
        let why = format!("{path} in body must be of type date-time: {value}");
        causes.push(Cause::invalid(path, &value, &why));
    }
}

fn validate_number(schema: &Value, number: f64, path: &str, causes: &mut Vec<Cause>) {
    let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
    let shown = if is_whole(Some(number)) { Value::from(number as i64) } else { number.into() };
    if let Some(min) = bound("minimum") {
        let open = flag(schema, "exclusiveMinimum");
        if number < min || open && number <= min {
            let than = if open { "greater than" } else { "greater than or equal to" };
            let why = format!("{path} in body should be {than} {min}");
            causes.push(Cause::invalid(path, &shown, &why));
        }
    }
    if let Some(max) = bound("maximum") {
        let open = flag(schema, "exclusiveMaximum");
        if number > max || open && number >= max {
            let than = if open { "less than" } else { "less than or equal to" };
            let why = format!("{path} in body should be {than} {max}");
            causes.push(Cause::invalid(path, &shown, &why));
        }
    }
    if let Some(step) = bound("multipleOf").filter(|step| (number / step).fract() != 0.0) {
        let why = format!("{path} in body should be a multiple of {step}");
        causes.push(Cause::invalid(path, &shown, &why));
    }
    let int32 = f64::from(i32::MIN)..=f64::from(i32::MAX);
    let format = schema.get("format").and_then(Value::as_str);
    if format == Some("int32") && !int32.contains(&number) {
        let why = format!("{path} in body must be of type int32");
        causes.push(Cause::invalid(path, &shown, &why));
    }
}

/// `allOf`, `anyOf`, `oneOf`, `not`.
fn validate_junctors(schema: &Value, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    let holds = |schema: &Value| {
        let mut causes = Vec::new();
        validate(schema, value, path, &mut causes);
        causes.is_empty()
    };
    for schema in list(schema, &["allOf"]) {
        validate(schema, value, path, causes);
    }
    let any = list(schema, &["anyOf"]);
    if !any.is_empty() && !any.iter().any(holds) {
        let why = format!("{path} in body must validate at least one schema (anyOf)");
        causes.push(Cause::invalid(path, value, &why));
    }
    let one = list(schema, &["oneOf"]);
    if !one.is_empty() && one.iter().filter(|schema| holds(schema)).count() != 1 {
        let why = format!("{path} in body must validate one and only one schema (oneOf)");
        causes.push(Cause::invalid(path, value, &why));
    }
    if schema.get("not").is_some_and(holds) {
        let why = format!("{path} in body must not validate the schema (not)");
        causes.push(Cause::invalid(path, value, &why));
    }
}
