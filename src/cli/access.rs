//! Whose credentials a command uses, and how it reads the mesh by them.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use kube::Client;

use super::output::patiently;
use crate::cluster;
use crate::evidence::UnixTime;
use crate::evidence::kilo::TOPOLOGY_LABEL;
use crate::operator::View;

/// Whose credentials a command uses.
#[derive(Debug, Clone, Args)]
pub(super) struct Access {
    /// The kubeconfig to use; without it, that which kubectl would use
    #[arg(long, value_name = "FILE", global = true)]
    kubeconfig: Option<PathBuf>,
    /// The context of it; without it, the current one
    #[arg(long, value_name = "NAME", global = true)]
    context: Option<String>,
    /// The Node label that Kilo takes a location from
    #[arg(long, env = "TANIST_TOPOLOGY_LABEL", value_name = "LABEL", default_value = TOPOLOGY_LABEL)]
    pub(super) topology_label: String,
}

impl Access {
    /// Returns a client with these credentials.
    pub(super) async fn client(&self) -> anyhow::Result<Client> {
        Ok(cluster::as_person(self.kubeconfig.as_deref(), self.context.as_deref()).await?)
    }

    /// Reads the mesh.
    pub(super) async fn view(&self, client: &Client) -> anyhow::Result<View> {
        let view = View::read(client, &self.topology_label, now());
        Ok(patiently("reading the mesh", view).await?)
    }
}

/// Returns the time by this machine's clock.
pub(super) fn now() -> UnixTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixTime(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
