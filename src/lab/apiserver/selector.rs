//! Label and field selectors.

use serde_json::Value;

use super::json::{at, text};
use super::resource::Resource;
use super::status::Failure;

/// Which objects a list or watch is about.
#[derive(Debug, Clone, Default)]
pub(super) struct Selector {
    labels: Vec<Label>,
    fields: Vec<Field>,
}

#[derive(Debug, Clone)]
struct Label {
    key: String,
    test: Test,
}

#[derive(Debug, Clone)]
enum Test {
    Exists,
    Absent,
    In(Vec<String>),
    NotIn(Vec<String>),
}

#[derive(Debug, Clone)]
struct Field {
    path: String,
    value: String,
    equal: bool,
}

/// Fields that can be asked for, beside name and namespace.
const FIELDS: [(&str, &[&str]); 5] = [
    ("nodes", &["spec.unschedulable"]),
    ("namespaces", &["status.phase"]),
    (
        "pods",
        &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "status.phase",
            "status.podIP",
        ],
    ),
    (
        "events",
        &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
    ),
    (
        "events.events.k8s.io",
        &[
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "regarding.apiVersion",
            "regarding.resourceVersion",
            "regarding.fieldPath",
            "reason",
            "reportingController",
            "type",
        ],
    ),
];

impl Selector {
    /// Reads both selectors of a request.
    pub(super) fn parse(labels: &str, fields: &str, resource: &Resource) -> Result<Self, Failure> {
        let labels = requirements(labels).into_iter().map(|one| label(&one));
        let fields = fields.split(',').filter(|field| !field.is_empty());
        let fields = fields.map(|one| field(one, resource));

        Ok(Self {
            labels: labels.collect::<Result<_, _>>()?,
            fields: fields.collect::<Result<_, _>>()?,
        })
    }

    /// Tells whether an object, in its wire form, is meant.
    pub(super) fn matches(&self, object: &Value) -> bool {
        self.labels.iter().all(|label| label.holds(object))
            && self.fields.iter().all(|field| field.holds(object))
    }

    /// Tells whether every object is meant.
    pub(super) const fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }
}

impl Label {
    fn holds(&self, object: &Value) -> bool {
        let value = at(object, &["metadata", "labels", &self.key]).and_then(Value::as_str);
        match &self.test {
            Test::Exists => value.is_some(),
            Test::Absent => value.is_none(),
            Test::In(values) => value.is_some_and(|value| values.iter().any(|v| v == value)),
            Test::NotIn(values) => value.is_none_or(|value| values.iter().all(|v| v != value)),
        }
    }
}

impl Field {
    fn holds(&self, object: &Value) -> bool {
        let path: Vec<_> = match self.path.as_str() {
            "source" => vec!["source", "component"],
            path => path.split('.').collect(),
        };
        let found = match at(object, &path) {
            Some(Value::Bool(flag)) => flag.to_string(),
            _ if self.path == "spec.unschedulable" => "false".to_owned(),
            _ => text(object, &path).to_owned(),
        };
        (found == self.value) == self.equal
    }
}

/// Splits at commas that are not in parentheses.
fn requirements(selector: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut depth = 0_usize;
    for letter in selector.chars() {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(part) = parts.last_mut() {
            part.push(letter);
        }
    }
    parts.retain(|part| !part.trim().is_empty());

    parts
}

fn label(requirement: &str) -> Result<Label, Failure> {
    let requirement = requirement.trim();
    let values = |text: &str| {
        let text = text.trim().strip_prefix('(')?.strip_suffix(')')?;
        Some(text.split(',').map(|value| value.trim().to_owned()).collect())
    };
    let one = |text: &str| vec![text.trim().to_owned()];
    let unreadable =
        || Failure::bad_request(&format!("unable to parse requirement: {requirement:?}"));

    let (key, test) = if let Some(key) = requirement.strip_prefix('!') {
        (key, Test::Absent)
    } else if let Some((key, rest)) = requirement.split_once(" notin ") {
        (key, Test::NotIn(values(rest).ok_or_else(unreadable)?))
    } else if let Some((key, rest)) = requirement.split_once(" in ") {
        (key, Test::In(values(rest).ok_or_else(unreadable)?))
    } else if let Some((key, value)) = requirement.split_once("!=") {
        (key, Test::NotIn(one(value)))
    } else if let Some((key, value)) = requirement.split_once("==") {
        (key, Test::In(one(value)))
    } else if let Some((key, value)) = requirement.split_once('=') {
        (key, Test::In(one(value)))
    } else {
        (requirement, Test::Exists)
    };
    let key = key.trim();
    let odd = |letter: char| !letter.is_ascii_alphanumeric() && !"-_./".contains(letter);
    if key.is_empty() || key.contains(odd) {
        return Err(unreadable());
    }

    Ok(Label { key: key.to_owned(), test })
}

fn field(requirement: &str, resource: &Resource) -> Result<Field, Failure> {
    let (path, value, equal) = if let Some((path, value)) = requirement.split_once("!=") {
        (path, value, false)
    } else if let Some((path, value)) = requirement.split_once("==") {
        (path, value, true)
    } else if let Some((path, value)) = requirement.split_once('=') {
        (path, value, true)
    } else {
        let message = format!("invalid selector: {requirement:?}; can't understand it");
        return Err(Failure::bad_request(&message));
    };
    let id = resource.id();
    let own = FIELDS.iter().find(|(resource, _)| *resource == id).map_or(&[][..], |(_, own)| own);
    if !["metadata.name", "metadata.namespace"].contains(&path) && !own.contains(&path) {
        let message = format!("field label not supported: {path}");
        return Err(Failure::bad_request(&message));
    }

    Ok(Field { path: path.to_owned(), value: value.to_owned(), equal })
}
