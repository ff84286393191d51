//! The loop of the one process that judges and moves leaders: the holder of the lease.
//!
//! ```text
//! stand for the lease ─▶ reign: look ─▶ judge ─▶ tell, publish, hand moves to the actor ─┐
//!        ▲                       ▲────────────────────────────────────────────────────────┤
//!        └────── the lease is lost, the wall clock was set, or we are told to stop ───────┘
//! ```
//!
//! A reign keeps nothing that the next one needs: what must outlive it stands in the objects.

use std::time::Duration;

use kube::Client;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::act::hooks::{HookError, Hooks};
use crate::act::leader::Mover;
use crate::admin::Admin;
use crate::cluster::lease::{Campaign, Candidate, KubeServer, Leadership, Timing, draw_identity};
use crate::cluster::{self, Clients, ConnectError};
use crate::config::Config;
use crate::metrics::{ArbiterMetrics, Leading};

mod actor;
mod clock;
mod conditions;
mod handicap;
mod incidents;
mod intake;
mod publish;
mod reign;
mod stopwatch;
mod transitions;

use reign::Reign;

/// The name of the lease.
const LEASE: &str = "tanist";

/// Why an arbiter ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no way to the API server.
    #[error("cannot reach the API server")]
    Connect(#[from] ConnectError),
    /// A webhook cannot be called.
    #[error("cannot use a webhook")]
    Hook(#[from] HookError),
}

/// Stands for the lease and rules whenever it holds it, until cancelled; then gives it back.
///
/// # Errors
/// If the credentials cannot be read.
pub async fn run(config: &Config, admin: Admin, cancel: CancellationToken) -> Result<(), Error> {
    let metrics = admin.metrics.register(ArbiterMetrics::register);
    let hooks = Hooks::new(config.hook_before.as_deref(), config.hook_after.as_deref())?;
    let Clients { api, lease, server, .. } = cluster::connect(config.kubeconfig.as_deref()).await?;
    let (handicap_sender, handicap) = watch::channel(Duration::ZERO);
    let name = config.node.clone().unwrap_or_else(|| "arbiter".to_owned());
    let usual = Timing::default();
    let campaign = Campaign {
        identity: draw_identity(&name),
        // Where Kilo's agents are told to settle sooner, as in the lab, they miss the server sooner.
        timing: Timing { away: config.return_quiet.clamp(usual.renew_within, usual.away), ..usual },
        handicap,
        wall: jiff::Timestamp::now,
    };
    let lease = KubeServer::new(lease, &config.namespace, LEASE);
    let (candidate, leadership) = Candidate::new(lease, campaign);
    let election = tokio::spawn(candidate.run(cancel.clone()));

    tokio::select! {
        () = cancel.cancelled() => {}
        () = rule((config, &api, &hooks), &metrics, leadership) => {}
        () = handicap::follow((config, &api), &server, handicap_sender) => {}
    }
    // The lease is given back before the process ends, so that the next arbiter need not wait.
    let _ended = election.await;
    Ok(())
}

/// Reigns whenever this process holds the lease.
async fn rule(
    (config, api, hooks): (&Config, &Client, &Hooks),
    metrics: &ArbiterMetrics,
    mut leadership: Leadership,
) {
    loop {
        let Some(fence) = leadership.current() else {
            leadership.changed().await;
            continue;
        };
        tracing::info!(%fence, "Holding the lease");
        let label = &config.topology_label;
        let mover = Mover::new(api.clone(), leadership.clone(), label, hooks.clone());
        metrics.hold(Leading::Yes);
        let known = (mover, leadership.returned());
        tokio::select! {
            // What it may still have under way must not meet what the next one writes: that needs a
            // term of its own.
            () = Reign::begin(config, api, known, metrics.clone()).rule() => {
                leadership.resign(fence.clone());
                ended(leadership.clone(), &fence).await;
            }
            () = ended(leadership.clone(), &fence) => {}
        }
        metrics.hold(Leading::No);
        tracing::info!(%fence, "The lease is lost");
    }
}

/// Waits until the term of `fence` is over.
async fn ended(mut leadership: Leadership, fence: &cluster::lease::Fence) {
    while leadership.is_current(fence) {
        leadership.changed().await;
    }
}
