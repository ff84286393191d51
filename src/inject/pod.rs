//! Kilo's pod in a document, as far as it matters, with its places.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::Refused;
use super::document::Document;
use super::list::{Edit, List};
use super::pieces::Pieces;

/// The labels by which Kilo's DaemonSets are known.
const PART_OF: (&str, &str) = ("app.kubernetes.io/part-of", "kilo");
const NAMES: (&str, [&str; 2]) = ("app.kubernetes.io/name", ["kilo", "kilo-userspace"]);

#[derive(Debug, Deserialize)]
struct Head {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Debug, Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct DaemonSet {
    spec: Spec,
}

#[derive(Debug, Deserialize)]
struct Spec {
    template: Template,
}

#[derive(Debug, Deserialize)]
struct Template {
    spec: Spanned<PodSpec>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodSpec {
    #[serde(default)]
    host_network: bool,
    containers: Spanned<Vec<Spanned<Container>>>,
    volumes: Option<Spanned<Vec<Spanned<Volume>>>>,
}

#[derive(Debug, Deserialize)]
struct Container {
    name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Volume {
    name: String,
    host_path: Option<HostPath>,
}

#[derive(Debug, Deserialize)]
struct HostPath {
    path: String,
}

/// Kilo's pod.
#[derive(Debug)]
pub(super) struct Pod(Spanned<PodSpec>);

impl Pod {
    /// Finds Kilo's pod; none if the document is something else.
    pub(super) fn read(document: &Document) -> Result<Option<Self>, Refused> {
        let head: Head = document.read()?;
        let refuse = |path: &str, line: u64, why| Refused::NotUnderstood {
            document: document.number,
            path: path.to_owned(),
            line: usize::try_from(line).unwrap_or_default(),
            why,
        };
        if matches!(head.kind.as_str(), "List" | "DaemonSetList") {
            let why = "it may hold Kilo; write its items as documents of their own";
            return Err(refuse("kind: List", first_line(document), why));
        }
        if head.kind != "DaemonSet" || !is_kilo(&head.metadata.labels) {
            return Ok(None);
        }
        let DaemonSet { spec: Spec { template: Template { spec } } } = document.read()?;
        let line = spec.referenced.line();
        if !spec.value.host_network {
            let why = "Kilo's pod is not in the host's network, where Tanist must be";
            return Err(refuse("spec.template.spec.hostNetwork", line, why));
        }
        if spec.value.containers.value.iter().all(|it| it.value.name != "kilo") {
            let why = "no container is called kilo";
            return Err(refuse("spec.template.spec.containers", line, why));
        }
        Ok(Some(Self(spec)))
    }

    /// Returns the name of the volume through which WireGuard in user space is asked.
    pub(super) fn wireguard(&self) -> Option<&str> {
        let volumes = self.0.value.volumes.as_ref()?.value.iter();
        let socket = |volume: &&Spanned<Volume>| {
            let path = volume.value.host_path.as_ref().map(|host| host.path.trim_end_matches('/'));
            path.is_some_and(|path| matches!(path, "/var/run/wireguard" | "/run/wireguard"))
        };
        volumes.into_iter().find(socket).map(|volume| volume.value.name.as_str())
    }

    /// Returns the edits that take out what is ours and put in `pieces`.
    pub(super) fn edits(&self, pieces: &Pieces, document: &Document) -> Result<Vec<Edit>, Refused> {
        let spec = &self.0.value;
        let starts: Vec<_> =
            spec.containers.value.iter().map(|it| start(it, &it.value.name)).collect();
        let containers = List::find(document, "spec.template.spec.containers", &starts)?;
        let names = Pieces::container_names();
        let end = containers.end_without(&names);
        let mut edits: Vec<Edit> = containers.without(&names).collect();
        let mut text = item(&pieces.container, containers.indent);

        match &spec.volumes {
            None => {
                let key = usize::try_from(self.0.referenced.column()).unwrap_or_default();
                text.push(format!("{}volumes:\n", " ".repeat(key.saturating_sub(1))));
                text.extend(items(&pieces.volumes, containers.indent));
            }
            Some(volumes) => {
                let starts: Vec<_> =
                    volumes.value.iter().map(|it| start(it, &it.value.name)).collect();
                let path = "spec.template.spec.volumes";
                if starts.is_empty() {
                    return Err(Refused::NotUnderstood {
                        document: document.number,
                        path: path.to_owned(),
                        line: usize::try_from(volumes.referenced.line()).unwrap_or_default(),
                        why: "an empty list has no place for more; leave it out",
                    });
                }
                let list = List::find(document, path, &starts)?;
                let names = pieces.volume_names();
                edits.extend(list.without(&names));
                let end = list.end_without(&names);
                edits.push(Edit { lines: end..end, text: items(&pieces.volumes, list.indent) });
            }
        }
        edits.push(Edit { lines: end..end, text });
        Ok(edits)
    }
}

fn is_kilo(labels: &BTreeMap<String, String>) -> bool {
    let has = |key: &str, values: &[&str]| {
        labels.get(key).is_some_and(|value| values.contains(&value.as_str()))
    };
    has(PART_OF.0, &[PART_OF.1]) && has(NAMES.0, &NAMES.1)
}

fn first_line(document: &Document) -> u64 {
    let before = document.lines().iter().take_while(|line| line.is_empty()).count();
    u64::try_from(before + 1).unwrap_or_default()
}

fn start<T>(item: &Spanned<T>, name: &str) -> (String, usize, usize) {
    let place = |number| usize::try_from(number).unwrap_or_default();
    (name.to_owned(), place(item.defined.line()), place(item.defined.column()))
}

fn items(pieces: &[Vec<String>], indent: usize) -> Vec<String> {
    pieces.iter().flat_map(|lines| item(lines, indent)).collect()
}

/// Returns the lines of one item behind a dash.
fn item(lines: &[String], indent: usize) -> Vec<String> {
    let margin = " ".repeat(indent);
    let line = |(index, line): (usize, &String)| {
        let dash = if index == 0 { "- " } else { "  " };
        format!("{margin}{dash}{line}\n")
    };
    lines.iter().enumerate().map(line).collect()
}
