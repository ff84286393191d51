//! What `kubectl get` shows of the kinds of object that every cluster has.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::json::{at, list, text};
use super::resource::Column;

const fn column<'a>(name: &'a str, kind: &'a str, priority: i64) -> Column<'a> {
    let format = if name.len() == 4 && matches!(name.as_bytes(), b"Name") { "name" } else { "" };
    Column { name, kind, format, description: "", priority }
}

pub(super) const NODE: &[Column<'_>] = &[
    column("Name", "string", 0),
    column("Status", "string", 0),
    column("Roles", "string", 0),
    column("Age", "string", 0),
    column("Version", "string", 0),
    column("Internal-IP", "string", 1),
    column("External-IP", "string", 1),
    column("OS-Image", "string", 1),
    column("Kernel-Version", "string", 1),
    column("Container-Runtime", "string", 1),
];

pub(super) fn node(node: &Value, now: Timestamp) -> Vec<Value> {
    let info = |key| or(text(node, &["status", "nodeInfo", key]), "<unknown>");
    vec![
        name(node),
        json!(node_status(node)),
        json!(node_roles(node)),
        age(node, now),
        json!(text(node, &["status", "nodeInfo", "kubeletVersion"])),
        json!(node_address(node, "InternalIP")),
        json!(node_address(node, "ExternalIP")),
        info("osImage"),
        info("kernelVersion"),
        info("containerRuntimeVersion"),
    ]
}

fn node_status(node: &Value) -> String {
    let conditions = list(node, &["status", "conditions"]);
    let ready = conditions.iter().find(|condition| text(condition, &["type"]) == "Ready");
    let mut status = match ready.map(|condition| text(condition, &["status"])) {
        Some("True") => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
        None => "Unknown".to_owned(),
    };
    if at(node, &["spec", "unschedulable"]) == Some(&Value::Bool(true)) {
        status.push_str(",SchedulingDisabled");
    }

    status
}

fn node_roles(node: &Value) -> String {
    let labels = at(node, &["metadata", "labels"]).and_then(Value::as_object);
    let keys = labels.into_iter().flatten().map(|(key, _)| key);
    let roles: BTreeSet<_> =
        keys.filter_map(|key| key.strip_prefix("node-role.kubernetes.io/")).collect();
    if roles.is_empty() {
        return "<none>".to_owned();
    }

    roles.into_iter().collect::<Vec<_>>().join(",")
}

fn node_address<'a>(node: &'a Value, kind: &str) -> &'a str {
    let addresses = list(node, &["status", "addresses"]);
    let found = addresses.iter().find(|address| text(address, &["type"]) == kind);
    found.map_or("<none>", |address| text(address, &["address"]))
}

pub(super) const NAMESPACE: &[Column<'_>] =
    &[column("Name", "string", 0), column("Status", "string", 0), column("Age", "string", 0)];

pub(super) fn namespace(namespace: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(namespace), json!(text(namespace, &["status", "phase"])), age(namespace, now)]
}

pub(super) const POD: &[Column<'_>] = &[
    column("Name", "string", 0),
    column("Ready", "string", 0),
    column("Status", "string", 0),
    column("Restarts", "string", 0),
    column("Age", "string", 0),
    column("IP", "string", 1),
    column("Node", "string", 1),
];

pub(super) fn pod(pod: &Value, now: Timestamp) -> Vec<Value> {
    let statuses = list(pod, &["status", "containerStatuses"]);
    let ready = statuses.iter().filter(|status| status.get("ready") == Some(&Value::Bool(true)));
    let restarts = statuses.iter().filter_map(|status| status.get("restartCount")?.as_i64());
    let containers = list(pod, &["spec", "containers"]).len();
    vec![
        name(pod),
        json!(format!("{}/{containers}", ready.count())),
        json!(text(pod, &["status", "phase"])),
        json!(restarts.sum::<i64>().to_string()),
        age(pod, now),
        or(text(pod, &["status", "podIP"]), "<none>"),
        or(text(pod, &["spec", "nodeName"]), "<none>"),
    ]
}

pub(super) const EVENT: &[Column<'_>] = &[
    column("Last Seen", "string", 0),
    column("Type", "string", 0),
    column("Reason", "string", 0),
    column("Object", "string", 0),
    column("Subobject", "string", 1),
    column("Source", "string", 1),
    column("Message", "string", 0),
    column("First Seen", "string", 1),
    column("Count", "string", 1),
    column("Name", "string", 1),
];

pub(super) fn event(event: &Value, now: Timestamp) -> Vec<Value> {
    let first = time(event, &[&["firstTimestamp"], &["eventTime"]]);
    let series = ["series", "lastObservedTime"];
    let last = time(event, &[&series, &["lastTimestamp"], &["eventTime"]]);
    let count = at(event, &["series", "count"]).or_else(|| at(event, &["count"]));
    let object = &event["involvedObject"];
    let source = match text(event, &["source", "component"]) {
        "" => text(event, &["reportingComponent"]),
        component => component,
    };
    let host = text(event, &["source", "host"]);
    let kind = text(object, &["kind"]).to_lowercase();
    vec![
        json!(ago(last, now)),
        json!(text(event, &["type"])),
        json!(text(event, &["reason"])),
        json!(format!("{kind}/{}", text(object, &["name"]))),
        json!(text(object, &["fieldPath"])),
        json!(if host.is_empty() { source.to_owned() } else { format!("{source}, {host}") }),
        json!(text(event, &["message"]).trim()),
        json!(ago(first, now)),
        json!(count.and_then(Value::as_i64).unwrap_or(1).to_string()),
        name(event),
    ]
}

pub(super) fn new_event(event: &Value, now: Timestamp) -> Vec<Value> {
    let mut kept = event.clone();
    super::builtin::rename_event(&mut kept, super::resource::Direction::ToStorage);
    self::event(&kept, now)
}

pub(super) const LEASE: &[Column<'_>] =
    &[column("Name", "string", 0), column("Holder", "string", 0), column("Age", "string", 0)];

pub(super) fn lease(lease: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(lease), json!(text(lease, &["spec", "holderIdentity"])), age(lease, now)]
}

pub(super) const DEFINITION: &[Column<'_>] =
    &[column("Name", "string", 0), column("Created At", "date", 0)];

pub(super) fn definition(definition: &Value, _: Timestamp) -> Vec<Value> {
    vec![name(definition), json!(text(definition, &["metadata", "creationTimestamp"]))]
}

fn name(object: &Value) -> Value {
    json!(text(object, &["metadata", "name"]))
}

fn or(text: &str, otherwise: &str) -> Value {
    json!(if text.is_empty() { otherwise } else { text })
}

fn age(object: &Value, now: Timestamp) -> Value {
    json!(ago(time(object, &[&["metadata", "creationTimestamp"]]), now))
}

/// Returns the first time that is there.
fn time(object: &Value, paths: &[&[&str]]) -> Option<Timestamp> {
    paths.iter().find_map(|path| text(object, path).parse().ok())
}

/// Returns how long ago something was, as kubectl prints it.
pub(super) fn ago(time: Option<Timestamp>, now: Timestamp) -> String {
    time.map_or_else(|| "<unknown>".to_owned(), |time| duration(now.as_second() - time.as_second()))
}

fn duration(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    let two = |big: i64, unit: &str, small: i64, subunit: &str| match small {
        0 => format!("{big}{unit}"),
        _ => format!("{big}{unit}{small}{subunit}"),
    };
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => two(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, "d", hours % 24, "h"),
        691_200..63_072_000 => format!("{days}d"),
        63_072_000..252_288_000 => two(days / 365, "y", days % 365, "d"),
        _ => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_told_as_kubectl_tells_them() {
        #[rustfmt::skip]
        let table = [
            (-5, "<invalid>"), (-1, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (125, "2m5s"),
            (600, "10m"), (10_799, "179m"), (10_800, "3h"), (11_460, "3h11m"), (28_800, "8h"),
            (172_800, "2d"), (176_400, "2d1h"), (691_200, "8d"), (63_072_000, "2y"),
        ];

        for (seconds, wanted) in table {
            assert_eq!(duration(seconds), wanted, "{seconds} s");
        }
    }
}
