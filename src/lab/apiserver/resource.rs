//! The kinds of object that are served, and what is peculiar to each.

use jiff::Timestamp;
use serde_json::Value;

use super::schema::Schema;
use super::shape::Shape;

/// One kind of object in one version.
#[derive(Debug, Clone)]
pub(super) struct Resource {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) plural: String,
    pub(super) singular: String,
    pub(super) kind: String,
    pub(super) list_kind: String,
    pub(super) short_names: Vec<String>,
    pub(super) categories: Vec<String>,
    pub(super) namespaced: bool,
    /// Whether `status` is written through a path of its own.
    pub(super) status: bool,
    /// Where the objects are kept, if not under this resource's own id.
    pub(super) storage: Option<String>,
    pub(super) form: Form,
    pub(super) rules: Rules,
    pub(super) shape: Shape,
    pub(super) columns: Columns,
}

/// What an object must look like.
#[derive(Debug, Clone)]
pub(super) enum Form {
    /// As a type of `k8s-openapi`: this reads it and writes it again, which drops what is unknown.
    Typed(fn(Value) -> Result<Value, serde_json::Error>),
    /// As the schema of a CustomResourceDefinition says.
    Custom(Schema),
}

/// In what kinds of object differ otherwise.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// `metadata.generation` counts changes of the spec.
    pub(super) generations: bool,
    /// A PUT without `resourceVersion` overwrites.
    pub(super) blind_update: bool,
    /// A PUT of what is not there creates it.
    pub(super) create_on_update: bool,
    /// The status path leaves labels and annotations alone.
    pub(super) status_alone: bool,
    /// How the wire form differs from the kept one.
    pub(super) conversion: Conversion,
}

/// How the wire form of an object differs from the kept one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Conversion {
    /// In nothing.
    None,
    /// In `apiVersion` alone.
    Version,
    /// `events.k8s.io/v1`, kept as `v1`.
    Events,
}

/// The columns of a Table.
#[derive(Debug, Clone)]
pub(super) enum Columns {
    /// Computed.
    Computed(&'static [Column<'static>], fn(&Value, Timestamp) -> Vec<Value>),
    /// `additionalPrinterColumns`.
    Paths(Vec<PathColumn>),
}

/// The head of a column.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column<'a> {
    pub(super) name: &'a str,
    pub(super) kind: &'a str,
    pub(super) format: &'a str,
    pub(super) description: &'a str,
    pub(super) priority: i64,
}

/// A column that is read from a path.
#[derive(Debug, Clone)]
pub(super) struct PathColumn {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) format: String,
    pub(super) description: String,
    pub(super) priority: i64,
    pub(super) path: String,
}

impl Resource {
    /// Returns `plural.group`, or the plural alone in the core group.
    pub(super) fn id(&self) -> String {
        id(&self.group, &self.plural)
    }

    /// Returns the id under which the objects are kept.
    pub(super) fn storage_id(&self) -> String {
        self.storage.clone().unwrap_or_else(|| self.id())
    }

    /// Returns `group/version`, or the version alone in the core group.
    pub(super) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Returns `Kind.group`, or the kind alone in the core group.
    pub(super) fn qualified_kind(&self) -> String {
        id(&self.group, &self.kind)
    }

    /// Turns a kept object into its wire form.
    pub(super) fn to_wire(&self, mut object: Value) -> Value {
        match self.rules.conversion {
            Conversion::None => {}
            Conversion::Version => object["apiVersion"] = Value::String(self.api_version()),
            Conversion::Events => super::builtin::rename_event(&mut object, Direction::ToWire),
        }
        object
    }

    /// Turns an object's wire form into the one that is kept.
    pub(super) fn to_storage(&self, mut object: Value) -> Value {
        match self.rules.conversion {
            Conversion::None | Conversion::Version => {}
            Conversion::Events => super::builtin::rename_event(&mut object, Direction::ToStorage),
        }
        object
    }
}

/// Which way an object is converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    ToWire,
    ToStorage,
}

/// Returns the id of a resource: `plural.group`, or the plural alone in the core group.
pub(super) fn id(group: &str, plural: &str) -> String {
    if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") }
}
