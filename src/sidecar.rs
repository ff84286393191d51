//! The loop of every node: answers probes, probes its share, tells what it saw.
//!
//! It watches one MeshLocation, its own location's, and its own Node, so its cost does not grow
//! with the mesh. Whatever the API server does, probing goes on.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::admin::{Admin, Pending};
use crate::evidence::NodeName;
use crate::metrics::ObserveMetrics;
use crate::net::Netlink;
use crate::observe::host::{Devices, Host};
use crate::observe::keys::{KeyError, KeyFile};
use crate::observe::schedule::{Rates, Schedule};
use crate::observe::tunnel::Tunnel;
use crate::telemetry::Chain;

mod clock;
mod engine;
mod hands;
mod pen;
mod plan;
mod report;
mod sight;
#[cfg(test)]
mod tests;
mod writer;

use clock::Clock;
use engine::{Engine, Identity, Inputs};
use hands::{Ports, RealHands};
use plan::{Cache, Plan};
use sight::{Eyes, Sight};

/// Where a node's kubelet listens, on every node of every distribution.
const KUBELET: u16 = 10250;

/// What a sidecar must know to run.
#[derive(Debug, Clone)]
pub struct SidecarConfig {
    /// The Node it runs on.
    pub node: NodeName,
    /// The port of the responder, UDP and TCP.
    pub port: u16,
    /// The file of probe keys.
    pub keys: PathBuf,
    /// The overlay's device, such as `flannel.1`; none: found by itself.
    pub overlay: Option<String>,
    /// The port of the Kilo agent's metrics on this host.
    pub kilo_port: u16,
    /// How long that agent must have run before this node is a witness.
    pub kilo_settle: Duration,
    /// Kilo's WireGuard device.
    pub kilo_device: String,
    /// The Node label that Kilo takes a location from.
    pub topology_label: String,
    /// How often to probe.
    pub rates: Rates,
    /// Where the last plan is kept for a start without the API; none: nowhere.
    pub cache: Option<PathBuf>,
}

/// Why a sidecar ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There are no keys to probe with.
    #[error("start to probe")]
    Keys(#[from] KeyError),
}

/// Runs until it is cancelled, and shows itself in `admin`, which somebody else serves.
pub async fn run(
    config: SidecarConfig,
    client: kube::Client,
    admin: Admin,
    cancel: CancellationToken,
) -> Result<(), Error> {
    let first_plan = admin.wait_for("the location's plan");
    let keys = KeyFile::new(config.keys.clone()).watch(KeyFile::POLL)?;
    let metrics = admin.metrics.register(ObserveMetrics::register);

    let cache = config.cache.clone().map(Cache::new);
    let kept = cache.as_ref().and_then(Cache::load).unwrap_or_default();
    let (plan_told, plan) = watch::channel(kept);
    let (sight_seen, sight) = watch::channel(Sight::default());

    let told = (config.node.clone(), config.topology_label.clone());
    let _follow = task(plan::follow(client.clone(), told, cache, plan_told));
    let eyes = eyes(&config);
    let _watch = task(eyes.watch(config.node.clone(), plan.clone(), metrics.clone(), sight_seen));
    let _ready = task(ready(plan.clone(), first_plan));

    let ports = Ports { echo: config.port, control: [config.kilo_port, KUBELET] };
    let shown = (metrics.clone(), admin.wait_for("the responder's port"));
    let hands = RealHands::new((&config.node, ports), keys, client, shown);
    let incarnation = hands.incarnation();
    let seed = getrandom::u64().unwrap_or_else(|_| u64::from(incarnation));
    let schedule = Schedule::new(config.node.clone(), config.rates, seed);
    let (clock, kilo_settle) = (Clock::start(), config.kilo_settle);
    let identity = Identity { node: config.node, incarnation, clock, kilo_settle };

    tracing::info!(node = %identity.node, incarnation, "Sidecar starts");
    let inputs = Inputs { plan, sight };
    Engine::new(identity, (schedule, hands), inputs, (admin, metrics)).run(cancel).await;
    tracing::info!("Sidecar ends");
    Ok(())
}

fn eyes(config: &SidecarConfig) -> Eyes {
    let netlink = Netlink::open()
        .inspect_err(|error| tracing::warn!(error = %Chain(error), "Devices stay unknown"))
        .ok();
    let devices = Devices { overlay: config.overlay.clone(), kilo: config.kilo_device.clone() };
    let tunnel = Tunnel::new(&config.kilo_device);
    Eyes::new(Host::new(devices, netlink), tunnel, config.kilo_port)
}

async fn ready(mut plan: watch::Receiver<Plan>, first: Pending) {
    if plan.wait_for(|plan| plan.assignment.is_some()).await.is_ok() {
        first.done();
    }
}

fn task(work: impl Future<Output = ()> + Send + 'static) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(work))
}
