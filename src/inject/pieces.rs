//! What we put into Kilo's pod: the text of `deploy/components/sidecar`, so that both ways to
//! install a sidecar give the same.

use serde_json::Value;

use super::{Wish, list_at};

/// The patch that kustomize applies.
const PATCH: &str = include_str!("../../deploy/components/sidecar/container.yaml");

/// Where a pod is in a DaemonSet.
const POD: &str = "/spec/template/spec/";

/// Shows the state of WireGuard in user space, through the volume that Kilo's pod has for it.
const WIREGUARD: [&str; 3] =
    ["- name: VOLUME", "  mountPath: /var/run/wireguard", "  readOnly: true"];

/// Our container and our volumes, as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pieces {
    /// The container.
    pub(super) container: Vec<String>,
    /// The volumes, one after the other.
    pub(super) volumes: Vec<Vec<String>>,
}

impl Pieces {
    /// Cuts the pieces for one pod; `wireguard` is its volume with WireGuard's socket.
    pub(super) fn new(wish: &Wish, wireguard: Option<&str>) -> Self {
        let mut container = Vec::new();
        let mut volumes = Vec::new();
        for (list, lines) in operations() {
            if list == "containers" {
                container = filled(lines, wish);
            } else {
                volumes.push(lines);
            }
        }
        if let Some(volume) = wireguard {
            container.extend(WIREGUARD.iter().map(|line| line.replace("VOLUME", volume)));
        }
        Self { container, volumes }
    }

    /// Returns the name of our container, as a list.
    pub(super) fn container_names() -> Vec<String> {
        vec!["tanist".to_owned()]
    }

    /// Returns the names of our volumes.
    pub(super) fn volume_names(&self) -> Vec<String> {
        let first = |lines: &Vec<String>| {
            lines.first().map(|line| line.trim_start_matches("name: ").to_owned())
        };
        self.volumes.iter().filter_map(first).collect()
    }

    /// Takes our pieces out of a DaemonSet and returns them. Lists that are empty then go too.
    pub(super) fn take_from(&self, daemon_set: &mut Value) -> Vec<Value> {
        let mut taken = Vec::new();
        let lists = [("containers", Self::container_names()), ("volumes", self.volume_names())];
        for (key, names) in lists {
            let Some(list) = list_at(daemon_set, &["spec", "template", "spec", key]) else {
                continue;
            };
            let is_ours = |item: &Value| names.iter().any(|name| item["name"] == name.as_str());
            taken.extend(list.extract_if(.., |item| is_ours(item)));
            if list.is_empty()
                && let Some(pod) = daemon_set.pointer_mut("/spec/template/spec")
                && let Some(pod) = pod.as_object_mut()
            {
                pod.remove(key);
            }
        }
        taken
    }

    /// Returns our pieces as they must be read back; nothing if they are no YAML.
    pub(super) fn values(&self) -> Vec<Value> {
        let pieces = std::iter::once(&self.container).chain(&self.volumes);
        pieces.filter_map(|lines| serde_saphyr::from_str(&lines.join("\n")).ok()).collect()
    }
}

/// Returns what the patch adds: the key of the list, and the lines of the item.
fn operations() -> impl Iterator<Item = (&'static str, Vec<String>)> {
    PATCH.split("- op: add\n").skip(1).filter_map(|operation| {
        let (path, value) = operation.split_once("\n  value:\n")?;
        let list = path.trim().strip_prefix("path: ")?.strip_prefix(POD)?.strip_suffix("/-")?;
        Some((list, value.lines().map(|line| line.get(4..).unwrap_or("").to_owned()).collect()))
    })
}

/// Puts image and mode in their places.
fn filled(lines: Vec<String>, wish: &Wish) -> Vec<String> {
    let mut mode_next = false;
    let fill = |line: String| {
        let is_mode = std::mem::replace(&mut mode_next, line.ends_with("name: TANIST_MODE"));
        match line.split_once(": ") {
            Some(("image", _)) => format!("image: {}", wish.image),
            Some((key, _)) if is_mode => format!("{key}: {}", wish.mode),
            _ => line,
        }
    };
    lines.into_iter().map(fill).collect()
}
