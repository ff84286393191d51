//! `tanist restore`: puts back the leader annotations that the operator had, without an arbiter.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use super::{block_on, say};
use crate::evidence::kilo::TOPOLOGY_LABEL;
use crate::{act, cluster, telemetry};

/// Pauses every location, then puts back the leader annotations that the operator had.
#[derive(Debug, Args)]
pub(super) struct Restore {
    /// The kubeconfig to use; without it, the environment's
    #[arg(long, env = "KUBECONFIG", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The Node label that Kilo takes a location from
    #[arg(long, env = "TANIST_TOPOLOGY_LABEL", value_name = "LABEL", default_value = TOPOLOGY_LABEL)]
    topology_label: String,
}

impl Restore {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        telemetry::start(telemetry::DEFAULT_FILTER)?;
        block_on(async move {
            let clients = cluster::connect(self.kubeconfig.as_deref()).await?;
            let restored = act::restore::restore(clients.api, &self.topology_label)
                .await
                .context("not all annotations are back; the command may be repeated")?;
            for node in &restored {
                match &node.value {
                    Some(value) => say(&format!("{}: annotated again ({value:?})", node.node)),
                    None => say(&format!("{}: annotation taken away", node.node)),
                }
            }
            say(&format!("{} nodes put back; all locations are paused", restored.len()));
            Ok(ExitCode::SUCCESS)
        })
    }
}
