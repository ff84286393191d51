//! CustomResourceDefinitions: what they must say, and the resources that they make.

use regex::Regex;
use serde_json::{Value, json};

use super::json::{at, list, members, object, text};
use super::resource::{Columns, Conversion, Form, PathColumn, Resource, Rules};
use super::schema::Schema;
use super::shape::Shape;
use super::status::Cause;

/// Fills in the names that may be left out.
pub(super) fn complete(definition: &mut Value) {
    let kind = text(definition, &["spec", "names", "kind"]).to_owned();
    let spec = object(members(definition), "spec");
    spec.entry("conversion").or_insert_with(|| json!({"strategy": "None"}));
    let names = object(spec, "names");
    names.entry("singular").or_insert_with(|| json!(kind.to_lowercase()));
    names.entry("listKind").or_insert_with(|| json!(format!("{kind}List")));
}

/// Sets the status of a definition that is served.
pub(super) fn accept(definition: &mut Value, now: &str) {
    let versions = list(definition, &["spec", "versions"]);
    let stored = versions.iter().find(|version| version["storage"] == json!(true));
    let stored = stored.map(|version| version["name"].clone());
    let names = definition["spec"]["names"].clone();
    let was = list(definition, &["status", "conditions"]);
    let since = was.first().map_or(now, |condition| text(condition, &["lastTransitionTime"]));
    let condition = |kind: &str, reason: &str, message: &str| {
        json!({"type": kind, "status": "True", "reason": reason, "message": message,
               "lastTransitionTime": since})
    };
    definition["status"] = json!({
        "acceptedNames": names,
        "conditions": [
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition("Established", "InitialNamesAccepted",
                      "the initial names have been accepted"),
        ],
        "storedVersions": [stored],
    });
}

/// Returns the resources that a definition makes: one per served version.
pub(super) fn resources(definition: &Value) -> Vec<Resource> {
    let versions = list(definition, &["spec", "versions"]);
    let served = versions.iter().filter(|version| version["served"] == json!(true));
    served.map(|version| resource(definition, version)).collect()
}

fn resource(definition: &Value, version: &Value) -> Resource {
    let name = |key| text(definition, &["spec", "names", key]).to_owned();
    let names = |key| {
        let names = list(definition, &["spec", "names", key]).iter();
        names.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let schema = at(version, &["schema", "openAPIV3Schema"]).cloned().unwrap_or_default();
    let several = list(definition, &["spec", "versions"]).len() > 1;

    Resource {
        group: text(definition, &["spec", "group"]).to_owned(),
        version: text(version, &["name"]).to_owned(),
        plural: name("plural"),
        singular: name("singular"),
        kind: name("kind"),
        list_kind: name("listKind"),
        short_names: names("shortNames"),
        categories: names("categories"),
        namespaced: text(definition, &["spec", "scope"]) == "Namespaced",
        status: at(version, &["subresources", "status"]).is_some(),
        storage: None,
        shape: Shape::of_schema(&schema).with_metadata(),
        form: Form::Custom(Schema(schema)),
        rules: Rules {
            generations: true,
            blind_update: false,
            create_on_update: false,
            status_alone: true,
            conversion: if several { Conversion::Version } else { Conversion::None },
        },
        columns: columns(version),
    }
}

fn columns(version: &Value) -> Columns {
    let column = |column: &Value| {
        let text = |key| text(column, &[key]).to_owned();
        PathColumn {
            name: text("name"),
            kind: text("type"),
            format: text("format"),
            description: text("description"),
            priority: column.get("priority").and_then(Value::as_i64).unwrap_or(0),
            path: text("jsonPath"),
        }
    };
    let mut columns: Vec<_> =
        list(version, &["additionalPrinterColumns"]).iter().map(column).collect();
    if columns.is_empty() {
        columns.push(PathColumn {
            name: "Age".to_owned(),
            kind: "date".to_owned(),
            format: String::new(),
            description: String::new(),
            priority: 0,
            path: ".metadata.creationTimestamp".to_owned(),
        });
    }

    Columns::Paths(columns)
}

/// Lists what is wrong with a definition.
pub(super) fn validate(definition: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let group = text(definition, &["spec", "group"]);
    let plural = text(definition, &["spec", "names", "plural"]);
    let name = text(definition, &["metadata", "name"]);
    if name != format!("{plural}.{group}") {
        let why = "must be spec.names.plural+\".\"+spec.group";
        causes.push(Cause::invalid("metadata.name", &json!(name), why));
    }
    for path in [["group", ""], ["scope", ""], ["names", "plural"], ["names", "kind"]] {
        let path: Vec<_> = path.into_iter().filter(|key| !key.is_empty()).collect();
        let keys: Vec<_> = std::iter::once("spec").chain(path).collect();
        if text(definition, &keys).is_empty() {
            causes.push(Cause::required(&keys.join(".")));
        }
    }
    let versions = list(definition, &["spec", "versions"]);
    if versions.iter().filter(|version| version["storage"] == json!(true)).count() != 1 {
        let why = "must have exactly one version marked as storage version";
        let names: Vec<_> = versions.iter().map(|version| version["name"].clone()).collect();
        causes.push(Cause::invalid("spec.versions", &json!(names), why));
    }
    for (index, version) in versions.iter().enumerate() {
        let path = format!("spec.versions[{index}].schema.openAPIV3Schema");
        match at(version, &["schema", "openAPIV3Schema"]) {
            Some(schema) => structural(schema, &path, &mut causes),
            None => causes.push(Cause::required(&path)),
        }
    }

    causes
}

/// Lists where a schema is not structural, as far as that can be seen by place.
fn structural(schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    let set = |key: &str| schema.get(key) == Some(&Value::Bool(true));
    let free = set("x-kubernetes-int-or-string") || set("x-kubernetes-preserve-unknown-fields");
    if text(schema, &["type"]).is_empty() && !free {
        let mut cause = Cause::required(&format!("{path}.type"));
        cause.message.push_str(": must not be empty for specified object fields");
        causes.push(cause);
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    let additional = schema.get("additionalProperties");
    if properties.is_some_and(|properties| !properties.is_empty()) && additional.is_some() {
        let mut cause = Cause::required(&format!("{path}.additionalProperties"));
        cause.reason = "FieldValueForbidden";
        cause.message =
            "Forbidden: additionalProperties and properties are mutual exclusive".to_owned();
        causes.push(cause);
    }
    if let Some(pattern) = schema
        .get("pattern")
        .filter(|pattern| pattern.as_str().is_some_and(|pattern| Regex::new(pattern).is_err()))
    {
        let why = "must be a valid regular expression";
        causes.push(Cause::invalid(&format!("{path}.pattern"), pattern, why));
    }
    for (key, schema) in properties.into_iter().flatten() {
        structural(schema, &format!("{path}.properties[{key}]"), causes);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(schema) = schema.get(key).filter(|schema| schema.is_object()) {
            structural(schema, &format!("{path}.{key}"), causes);
        }
    }
}
