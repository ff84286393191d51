use crate::evidence::Report;

/// A report that says nothing.
pub(super) fn report() -> Report {
    Report {
        node: "cloud-2".into(),
        location: "cloud".into(),
        version: "0.0.0".to_owned(),
        incarnation: 1,
        sequence: 1,
        written_ms: 1_800_000_000_000,
        ..Report::default()
    }
}
