use super::*;
use crate::evidence::NodeName;

#[test]
fn every_location_has_a_name_that_kubernetes_accepts() {
    let table = [
        ("", "none-e3b0c442"),
        ("eu-west-1", "eu-west-1-"),
        ("Zürich / Rack 7", "z-rich-rack-7-"),
        ("///", "none-"),
        (&"x".repeat(300), &"x".repeat(40)),
    ];

    for (location, start) in table {
        let name = mesh_location_name(&Location(location.to_owned()));

        assert!(name.starts_with(start), "{name} for {location:?}");
        assert!(name.len() <= 63, "{name}");
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'));
    }
}

#[test]
fn locations_with_one_slug_have_two_names() {
    let one = mesh_location_name(&Location::from("a b"));
    let other = mesh_location_name(&Location::from("a-b"));
    assert_ne!(one, other);
}

#[test]
fn a_node_is_read_without_its_bulk() {
    let node: SlimNode = serde_json::from_value(serde_json::json!({
        "kind": "Node", "apiVersion": "v1",
        "metadata": {
            "name": "n1", "uid": "u", "resourceVersion": "7",
            "annotations": { "kilo.squat.ai/leader": "", "big/one": "x", "tanist.dev/pin": "true" },
            "managedFields": [{ "manager": "kg" }],
        },
        "spec": { "podCIDR": "10.42.0.0/24", "taints": null },
        "status": { "images": [{ "names": ["a"] }], "addresses": null },
    }))
    .unwrap();

    assert_eq!(node.name(), "n1");
    assert_eq!(node.annotation("kilo.squat.ai/leader"), Some(""));
    assert_eq!(node.annotation("big/one"), None);
    assert_eq!(node.metadata.managed_fields, None);
    assert_eq!(node.read("region").leader_writer, None);
    assert_eq!(node.spec.pod_cidr.as_deref(), Some("10.42.0.0/24"));
}

#[test]
fn of_all_managed_fields_who_wrote_the_leader_annotation_last_is_kept() {
    let owner = |manager: &str, key: &str, second: u32| {
        let time = format!("2026-01-02T03:04:{second:02}Z");
        serde_json::json!({
            "manager": manager, "operation": "Update", "apiVersion": "v1", "time": time,
            "fieldsType": "FieldsV1",
            "fieldsV1": { "f:metadata": { "f:annotations": { ".": {}, key: {} } }, "f:spec": {} },
        })
    };
    let leader = "f:kilo.squat.ai/leader";
    let fields = [
        owner("first", leader, 1),
        owner("argocd", leader, 7),
        owner("kg", "f:kilo.squat.ai/last-seen", 9),
        serde_json::json!({ "manager": "kubelet", "fieldsV1": { "f:status": { "f:images": {} } } }),
    ];
    let node: SlimNode = serde_json::from_value(serde_json::json!({
        "metadata": { "name": "n1", "managedFields": fields },
    }))
    .unwrap();

    assert_eq!(node.read("region").leader_writer.as_deref(), Some("argocd"));
    let kept = node.metadata.managed_fields.unwrap();
    assert!(kept.len() == 2 && kept.iter().all(|owner| owner.fields_v1.is_none()), "{kept:?}");
}

#[test]
fn a_status_survives_the_wire() {
    let status = MeshLocationStatus {
        inquest: 3,
        moving: Some(MoveRecord {
            incident: "i1".into(),
            from: Some(NodeName::from("a")),
            to: NodeName::from("b"),
            why: "why".into(),
            phase: MovePhase::Reverting,
            fence: "u/1".into(),
            decided_ms: None,
            started_ms: 5,
            written_ms: None,
            nodes: vec![WrittenBefore { node: NodeName::from("b"), value: None }],
            wish: None,
            reverting: None,
        }),
        ..MeshLocationStatus::default()
    };

    let wire = serde_json::to_value(&status).unwrap();
    assert_eq!(wire["move"]["phase"], "reverting");
    assert_eq!(serde_json::from_value::<MeshLocationStatus>(wire).unwrap(), status);
}

#[test]
fn definitions_are_structural() {
    for definition in crds() {
        let text = serde_json::to_string(&definition).unwrap();
        assert!(!text.contains("$ref"), "{text}");
        assert!(definition.spec.scope == "Cluster", "{text}");
    }
}
