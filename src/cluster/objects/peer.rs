//! Kilo's own `Peer`, as far as it matters to us: that there is one.

use kube::CustomResource;
use serde::{Deserialize, Serialize};

/// A machine outside the cluster that peers with the leaders. Its static configuration names the
/// old leader, so a move breaks it.
#[derive(CustomResource, Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[kube(
    group = "kilo.squat.ai",
    version = "v1alpha1",
    kind = "Peer",
    plural = "peers",
    schema = "disabled",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct PeerSpec {
    /// Its WireGuard key.
    #[serde(default)]
    pub public_key: String,
}
