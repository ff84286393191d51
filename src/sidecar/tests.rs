use crate::evidence::Report;

/// A report that says nothing.
pub(super) fn report() -> Report {
    Report {
        node: "cloud-2".into(),
        location: "cloud".into(),
        version: "0.0.0".to_owned(),
        incarnation: 1,
        sequence: 1,
        inquest: 0,
        written_ms: 1_800_000_000_000,
        abstains: None,
        pod_address: None,
        overlay_mac: None,
        leader_seen: None,
        paths: Vec::new(),
        hairpins: Vec::new(),
        heard: Vec::new(),
        local: Vec::new(),
        kilo_started: None,
        kilo_nodes: None,
    }
}
