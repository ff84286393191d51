//! `tanist agent`: the process beside every Kilo agent, with the arbiter inside it on demand.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::JoinHandle;

use anyhow::Context as _;
use clap::Args;
use tokio_util::sync::CancellationToken;

use super::{arbiter, block_on, until_told_to_stop};
use crate::admin::Admin;
use crate::cluster;
use crate::config::{Config, Settings};
use crate::evidence::NodeName;
use crate::observe::schedule::Rates;
use crate::sidecar::{self, SidecarConfig};
use crate::telemetry;

/// Answers probes, probes its share of the mesh, reports what it saw.
#[derive(Debug, Args)]
pub(super) struct Agent {
    #[command(flatten)]
    settings: Settings,
    /// A YAML file with the same settings; flags and environment win over it
    #[arg(long, env = "TANIST_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Also stands for arbiter, so that no second process is needed
    #[arg(long, env = "TANIST_WITH_ARBITER")]
    with_arbiter: bool,
}

impl Agent {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let config = load(self.settings, self.config.as_deref())?;
        telemetry::start(&config.log)?;
        let sidecar = sidecar_config(&config)?;
        block_on(async move {
            let cancel = until_told_to_stop()?;
            let admin = Admin::default();
            let pages = admin.clone().serve(config.admin, axum::Router::new(), cancel.clone());
            let beside = || beside(config.clone(), admin.clone(), cancel.clone());
            let arbiter = self.with_arbiter.then(beside).transpose()?;
            let api = cluster::connect(config.kubeconfig.as_deref()).await?.api;
            let ended = tokio::select! {
                ended = sidecar::run(sidecar, api, admin.clone(), cancel.clone()) => {
                    ended.context("the sidecar ended")
                }
                ended = pages => ended.context("the admin pages ended"),
            };
            cancel.cancel();
            if let Some(arbiter) = arbiter {
                let joined = tokio::task::spawn_blocking(move || arbiter.join()).await?;
                joined.map_err(|_| anyhow::anyhow!("the arbiter's thread panicked"))??;
            }
            ended?;
            Ok(ExitCode::SUCCESS)
        })
    }
}

fn sidecar_config(config: &Config) -> anyhow::Result<SidecarConfig> {
    let node = config.node.clone().context("no node: pass --node-name or set NODE_NAME")?;
    let keys = config.key_file.clone().context("no probe key: pass --key-file")?;
    Ok(SidecarConfig {
        node: NodeName(node),
        port: config.port,
        keys,
        overlay: config.overlay.clone(),
        kilo_port: config.kilo_port,
        kilo_settle: config.kilo_settle,
        kilo_device: config.kilo_interface.clone(),
        topology_label: config.topology_label.clone(),
        rates: Rates::default(),
        cache: config.cache.clone(),
    })
}

/// Runs the arbiter on a thread of its own, so that judging never delays a probe.
fn beside(
    config: Config,
    admin: Admin,
    cancel: CancellationToken,
) -> anyhow::Result<JoinHandle<anyhow::Result<()>>> {
    let serve = move || {
        block_on(arbiter::serve(config, admin, cancel)).inspect_err(|error| {
            tracing::error!(error = format!("{error:#}"), "No arbiter runs in this process");
        })
    };
    std::thread::Builder::new()
        .name("arbiter".to_owned())
        .spawn(serve)
        .context("cannot start the arbiter's thread")
}

/// Reads flags, environment and file into one validated configuration.
pub(super) fn load(settings: Settings, file: Option<&Path>) -> anyhow::Result<Config> {
    let from_file = file.map(Settings::read).transpose()?.unwrap_or_default();
    Ok(settings.or(from_file).validate()?)
}
