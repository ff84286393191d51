//! The loop of every node: answers probes, probes its share, tells what it saw.

use std::net::SocketAddr;
use std::path::PathBuf;

use tokio_util::sync::CancellationToken;

use crate::evidence::NodeName;
use crate::observe::schedule::Rates;

/// What a sidecar must know to run.
#[derive(Debug, Clone)]
pub struct SidecarConfig {
    /// The Node it runs on.
    pub node: NodeName,
    /// The port of the responder, UDP and TCP.
    pub port: u16,
    /// The file of probe keys.
    pub keys: PathBuf,
    /// Where to serve `/healthz`, `/readyz` and `/metrics`; none: nowhere.
    pub admin: Option<SocketAddr>,
    /// The overlay's device, such as `flannel.1`; none: found by itself.
    pub overlay: Option<String>,
    /// The port of the Kilo agent's metrics on this host.
    pub kilo_port: u16,
    /// Kilo's WireGuard device.
    pub kilo_device: String,
    /// How often to probe.
    pub rates: Rates,
    /// Where the last plan is kept for a start without the API; none: nowhere.
    pub cache: Option<PathBuf>,
}

/// Why a sidecar ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The admin page could not be served.
    #[error("could not serve the admin pages on {address}")]
    Admin {
        /// The address.
        address: SocketAddr,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

/// Runs until it is cancelled.
pub async fn run(
    _config: SidecarConfig,
    _client: kube::Client,
    cancel: CancellationToken,
) -> Result<(), Error> {
    cancel.cancelled().await;
    Ok(())
}
