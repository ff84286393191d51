//! How values merge: which lists are sets or maps by key, which objects are of one piece. Strategic
//! merge, server-side apply and field ownership all ask this.

use std::collections::BTreeMap;

use serde_json::Value;

use super::json;

/// How one value and what lies below it merges. The default is what Kubernetes assumes where
/// nothing is said: objects by member, lists of one piece.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Shape {
    kind: Kind,
    fields: BTreeMap<String, Self>,
    /// What holds for members without an entry, and for a list's elements.
    rest: Option<Box<Self>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Plain,
    Atomic,
    Set,
    Keyed(Vec<String>),
}

/// How a list merges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ListKind<'a> {
    Atomic,
    Set,
    Keyed(&'a [String]),
}

/// The default, to walk below what has no shape of its own.
static PLAIN: Shape = Shape { kind: Kind::Plain, fields: BTreeMap::new(), rest: None };

impl Shape {
    /// Returns the shape of a member.
    pub(super) fn member(&self, key: &str) -> &Self {
        self.fields.get(key).unwrap_or_else(|| self.element())
    }

    /// Returns the shape of a list's elements.
    pub(super) fn element(&self) -> &Self {
        self.rest.as_deref().unwrap_or(&PLAIN)
    }

    /// Returns how a list here merges.
    pub(super) fn list(&self) -> ListKind<'_> {
        match &self.kind {
            Kind::Plain | Kind::Atomic => ListKind::Atomic,
            Kind::Set => ListKind::Set,
            Kind::Keyed(keys) => ListKind::Keyed(keys),
        }
    }

    /// Tells whether an object here is of one piece.
    pub(super) fn is_atomic(&self) -> bool {
        self.kind == Kind::Atomic
    }

    /// Adds what is known of an object's metadata.
    pub(super) fn with_metadata(self) -> Self {
        self.with_set("metadata.finalizers").with_keyed("metadata.ownerReferences", "uid")
    }

    /// Says that the list at a dotted path is a set.
    pub(super) fn with_set(self, path: &str) -> Self {
        self.with(path, Kind::Set)
    }

    /// Says that the list at a dotted path is a map by one key.
    pub(super) fn with_keyed(self, path: &str, key: &str) -> Self {
        self.with(path, Kind::Keyed(vec![key.to_owned()]))
    }

    fn with(mut self, path: &str, kind: Kind) -> Self {
        path.split('.')
            .fold(&mut self, |at, key| at.fields.entry(key.to_owned()).or_default())
            .kind = kind;
        self
    }

    /// Reads the shape from a structural schema.
    pub(super) fn of_schema(schema: &Value) -> Self {
        let fields = schema.get("properties").and_then(Value::as_object);
        let fields = fields.into_iter().flatten();
        let fields = fields.map(|(key, schema)| (key.clone(), Self::of_schema(schema)));
        let rest = schema.get("items").or_else(|| schema.get("additionalProperties"));
        let rest = rest.filter(|schema| schema.is_object());

        Self {
            kind: Kind::of_schema(schema),
            fields: fields.collect(),
            rest: rest.map(|schema| Box::new(Self::of_schema(schema))),
        }
    }
}

impl Kind {
    fn of_schema(schema: &Value) -> Self {
        match json::text(schema, &["x-kubernetes-list-type"]) {
            "set" => Self::Set,
            "map" => {
                let keys = json::list(schema, &["x-kubernetes-list-map-keys"]);
                Self::Keyed(keys.iter().filter_map(Value::as_str).map(str::to_owned).collect())
            }
            _ if json::text(schema, &["x-kubernetes-map-type"]) == "atomic" => Self::Atomic,
            _ => Self::Plain,
        }
    }
}
