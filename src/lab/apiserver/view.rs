//! The forms in which objects go out: whole, as metadata alone, as rows of a Table.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::columns::ago;
use super::path::select;
use super::resource::{Column, Columns, PathColumn, Resource};
use super::status::Failure;

/// The form that a client accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    /// As it is.
    Whole,
    /// `PartialObjectMetadata`.
    Metadata,
    /// `Table`.
    Table(RowObject),
}

/// What a Table's rows carry beside their cells (`includeObject`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowObject {
    None,
    Metadata,
    Whole,
}

impl View {
    /// Chooses the first form of an `Accept` header that can be given.
    pub(super) fn accepted(accept: &str, include: &str) -> Result<Self, Failure> {
        let include = match include {
            "None" => RowObject::None,
            "Object" => RowObject::Whole,
            _ => RowObject::Metadata,
        };
        let form = |one: &str| {
            let mut parts = one.split(';').map(str::trim);
            let plain = ["application/json", "*/*", "application/*", "application/yaml"];
            let media = parts.next().unwrap_or_default();
            if !plain.contains(&media) {
                return None;
            }
            match parts.find_map(|part| part.strip_prefix("as=")) {
                None => Some(Self::Whole),
                Some("Table") => Some(Self::Table(include)),
                Some("PartialObjectMetadata" | "PartialObjectMetadataList") => Some(Self::Metadata),
                Some(_) => None,
            }
        };
        let accept = if accept.is_empty() { "*/*" } else { accept };
        accept.split(',').find_map(form).ok_or_else(Failure::not_acceptable)
    }

    /// Returns one object, in its wire form, in this form.
    pub(super) fn one(self, resource: &Resource, object: Value) -> Value {
        match self {
            Self::Whole => object,
            Self::Metadata => partial(&object),
            Self::Table(include) => {
                let version = object["metadata"]["resourceVersion"].clone();
                let mut table = table(resource, &[object], include);
                table["metadata"]["resourceVersion"] = version;
                table
            }
        }
    }

    /// Returns a list in this form.
    pub(super) fn list(self, resource: &Resource, items: Vec<Value>, metadata: Value) -> Value {
        match self {
            Self::Whole => json!({
                "kind": resource.list_kind,
                "apiVersion": resource.api_version(),
                "metadata": metadata,
                "items": items,
            }),
            Self::Metadata => json!({
                "kind": "PartialObjectMetadataList",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": metadata,
                "items": items.iter().map(partial).collect::<Vec<_>>(),
            }),
            Self::Table(include) => {
                let mut table = table(resource, &items, include);
                table["metadata"] = metadata;
                table
            }
        }
    }
}

fn partial(object: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": object["metadata"],
    })
}

fn table(resource: &Resource, items: &[Value], include: RowObject) -> Value {
    let now = Timestamp::now();
    let rows: Vec<_> = items.iter().map(|item| row(resource, item, include, now)).collect();

    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {},
        "columnDefinitions": heads(&resource.columns),
        "rows": rows,
    })
}

fn heads(columns: &Columns) -> Vec<Value> {
    let head = |column: Column<'_>| {
        json!({
            "name": column.name,
            "type": column.kind,
            "format": column.format,
            "description": column.description,
            "priority": column.priority,
        })
    };
    match columns {
        Columns::Computed(heads, _) => heads.iter().copied().map(head).collect(),
        Columns::Paths(columns) => {
            let name = Column {
                name: "Name",
                kind: "string",
                format: "name",
                description: "The object's name",
                priority: 0,
            };
            let column = |column| head(PathColumn::head(column));
            std::iter::once(head(name)).chain(columns.iter().map(column)).collect()
        }
    }
}

impl PathColumn {
    fn head(&self) -> Column<'_> {
        Column {
            name: &self.name,
            kind: &self.kind,
            format: &self.format,
            description: &self.description,
            priority: self.priority,
        }
    }

    fn cell(&self, object: &Value, now: Timestamp) -> Value {
        let found = select(object, &self.path);
        let Some(first) = found.first() else { return Value::Null };
        match self.kind.as_str() {
            "date" => json!(ago(first.as_str().and_then(|time| time.parse().ok()), now)),
            "string" => {
                let text = |value: &&Value| {
                    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
                };
                json!(found.iter().map(text).collect::<Vec<_>>().join(","))
            }
            _ => Value::clone(first),
        }
    }
}

fn row(resource: &Resource, object: &Value, include: RowObject, now: Timestamp) -> Value {
    let cells = match &resource.columns {
        Columns::Computed(_, cells) => cells(object, now),
        Columns::Paths(columns) => {
            let name = object["metadata"]["name"].clone();
            let cells = columns.iter().map(|column| column.cell(object, now));
            std::iter::once(name).chain(cells).collect()
        }
    };
    match include {
        RowObject::None => json!({"cells": cells}),
        RowObject::Metadata => json!({"cells": cells, "object": partial(object)}),
        RowObject::Whole => json!({"cells": cells, "object": object}),
    }
}
