//! `RelayReport`: what one node says, written by that node only.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::evidence::Report;

/// The word of one node; its name is the node's.
#[derive(CustomResource, Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "tanist.dev",
    version = "v1alpha1",
    kind = "RelayReport",
    plural = "relayreports",
    shortname = "rr",
    derive = "PartialEq",
    doc = "What one node found out about the paths of the mesh, written by that node only.",
    printcolumn = r#"{"name":"Location","type":"string","jsonPath":".spec.location"}"#,
    printcolumn = r#"{"name":"Leader-Seen","type":"string","jsonPath":".spec.leaderSeen"}"#,
    printcolumn = r#"{"name":"Abstains","type":"string","jsonPath":".spec.abstains"}"#,
    printcolumn = r#"{"name":"Version","type":"string","jsonPath":".spec.version"}"#,
    printcolumn = r#"{"name":"Written-Ms","type":"integer","jsonPath":".spec.writtenMs","priority":1}"#
)]
#[serde(rename_all = "camelCase")]
pub struct RelayReportSpec {
    /// The report, field by field.
    #[serde(flatten)]
    pub report: Report,
}
