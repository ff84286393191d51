//! `tanist arbiter`: the one process that judges and moves leaders, while it holds the lease.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use tokio_util::sync::CancellationToken;

use super::agent::load;
use super::{block_on, until_told_to_stop};
use crate::admin::Admin;
use crate::config::{Config, Settings};
use crate::{arbiter, telemetry};

/// Judges all locations and moves leaders, while it holds the lease.
#[derive(Debug, Args)]
pub(super) struct Arbiter {
    #[command(flatten)]
    settings: Settings,
    /// A YAML file with the same settings; flags and environment win over it
    #[arg(long, env = "TANIST_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Arbiter {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let config = load(self.settings, self.config.as_deref())?;
        telemetry::start(&config.log)?;
        block_on(async move {
            let cancel = until_told_to_stop()?;
            let admin = Admin::default();
            let pages = admin.clone().serve(config.admin, axum::Router::new(), cancel.clone());
            let mut serving = std::pin::pin!(serve(config, admin, cancel.clone()));
            tokio::select! {
                ended = &mut serving => ended?,
                ended = pages => {
                    // Told to stop, the pages end at once; the lease has to be given back first.
                    cancel.cancel();
                    serving.await?;
                    ended?;
                }
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

/// Stands for arbiter until cancelled.
pub(super) async fn serve(
    config: Config,
    admin: Admin,
    cancel: CancellationToken,
) -> anyhow::Result<()> {
    arbiter::run(&config, admin, cancel).await.context("the arbiter ended")
}
