//! The Prometheus operator's kinds as far as the chart uses them: written for these tests, with the
//! fields and types of its public API, so that a server that refuses unknown fields and wrong types
//! tells whether its own definitions would.

use serde_json::{Value, json};

/// How the operator's API writes a span of time.
const SPAN: &str =
    "^(0|(([0-9]+)y)?(([0-9]+)w)?(([0-9]+)d)?(([0-9]+)h)?(([0-9]+)m)?(([0-9]+)s)?(([0-9]+)ms)?)$";

/// Returns the definitions of `PodMonitor` and `PrometheusRule`.
pub(crate) fn kinds() -> [Value; 2] {
    [
        kind(("podmonitors", "podmonitor", "PodMonitor"), &pod_monitor()),
        kind(("prometheusrules", "prometheusrule", "PrometheusRule"), &rule()),
    ]
}

fn kind((plural, singular, kind): (&str, &str, &str), spec: &Value) -> Value {
    let group = "monitoring.coreos.com";
    let schema = json!({"type": "object", "required": ["spec"], "properties": {"spec": spec}});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": {"plural": plural, "singular": singular, "kind": kind},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": schema},
            }],
        },
    })
}

fn pod_monitor() -> Value {
    let relabeling = json!({"type": "object", "properties": {
        "action": text(), "modulus": {"type": "integer"}, "regex": text(), "replacement": text(),
        "separator": text(), "targetLabel": text(),
        "sourceLabels": list(&json!({"type": "string", "pattern": "^[a-zA-Z_][a-zA-Z0-9_]*$"})),
    }});
    let endpoint = json!({"type": "object", "properties": {
        "honorLabels": {"type": "boolean"}, "interval": span(), "path": text(), "port": text(),
        "portNumber": {"type": "integer", "minimum": 1, "maximum": 65535},
        "relabelings": list(&relabeling), "metricRelabelings": list(&relabeling),
        "scheme": {"type": "string", "enum": ["http", "https", "HTTP", "HTTPS"]},
        "scrapeTimeout": span(),
    }});
    let expression = json!({
        "type": "object", "required": ["key", "operator"],
        "properties": {"key": text(), "operator": text(), "values": list(&text())},
    });
    let selector = json!({"type": "object", "properties": {
        "matchLabels": texts(), "matchExpressions": list(&expression),
    }});
    json!({"type": "object", "required": ["selector"], "properties": {
        "jobLabel": text(), "podMetricsEndpoints": list(&endpoint),
        "podTargetLabels": list(&text()), "selector": selector,
    }})
}

fn rule() -> Value {
    let rule = json!({"type": "object", "required": ["expr"], "properties": {
        "alert": text(), "annotations": texts(), "for": span(), "keep_firing_for": span(),
        "expr": {"anyOf": [{"type": "integer"}, {"type": "string"}],
                 "x-kubernetes-int-or-string": true},
        "labels": texts(), "record": text(),
    }});
    let group = json!({"type": "object", "required": ["name"], "properties": {
        "interval": span(), "limit": {"type": "integer"},
        "name": {"type": "string", "minLength": 1}, "rules": list(&rule),
    }});
    let mut groups = list(&group);
    groups["x-kubernetes-list-type"] = "map".into();
    groups["x-kubernetes-list-map-keys"] = json!(["name"]);
    json!({"type": "object", "properties": {"groups": groups}})
}

fn text() -> Value {
    json!({"type": "string"})
}

fn texts() -> Value {
    json!({"type": "object", "additionalProperties": text()})
}

fn span() -> Value {
    json!({"type": "string", "pattern": SPAN})
}

fn list(item: &Value) -> Value {
    json!({"type": "array", "items": item})
}
