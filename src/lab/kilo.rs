//! An agent that behaves as Kilo's does, slow and ugly parts included: it does what
//! `evidence::kilo` says Kilo would, at the times at which Kilo does it.
//!
//! ```text
//! API server ──watch──▶ store ──events──▶ view of the mesh ──differs, or resync──▶ apply
//!      ▲                                     │  ▲                                   │
//!      └────── own annotations ◀─ check-in ──┘  └── kilo0, routes, rules ◀──────────┘
//! ```
//!
//! One loop does everything in turn, so a check-in that hangs holds up all the rest; only the watch
//! goes on beside it, and it backs off for up to a minute when it fails. From these two come the
//! partial views during an outage of the API server and the agents that believe themselves alone
//! after it.

mod backend;
mod http;
mod kernel;
mod reflector;
mod view;

use std::io;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ipnet::Ipv4Net;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::wireguard::{self, Wireguard};
use crate::evidence::NodeName;
use crate::evidence::kilo::TOPOLOGY_LABEL;
use crate::net;

use backend::Backend;
use http::Metrics;
use view::View;

/// The port at which Kilo's agent tells of itself.
pub const HTTP_PORT: u16 = 1107;

/// The port of Kilo's WireGuard.
pub const WIREGUARD_PORT: u16 = 51820;

/// What went wrong with an agent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No client for the API server could be made.
    #[error("could not make a client for the API server")]
    Client(#[source] Box<kube::Error>),
    /// Its port is taken.
    #[error("could not listen on port {HTTP_PORT}")]
    Listen(#[source] io::Error),
    /// The kernel did not answer.
    #[error(transparent)]
    Kernel(#[from] net::Error),
    /// WireGuard could not be set up.
    #[error(transparent)]
    Wireguard(#[from] wireguard::Error),
    /// The API server refused or did not answer.
    #[error("could not {tried}")]
    Api {
        /// What was tried.
        tried: &'static str,
        /// Why not.
        #[source]
        source: Box<kube::Error>,
    },
    /// The API server took a request and never answered.
    #[error("could not {tried}: no answer in {after:?}")]
    Hung {
        /// What was tried.
        tried: &'static str,
        /// How long it waited.
        after: Duration,
    },
    /// A node's endpoint is a name, and nobody here resolves names.
    #[error("could not resolve the endpoint of {0}")]
    Unresolved(NodeName),
}

/// When an agent does what. The default is Kilo's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// From one check-in to the next.
    pub check_in: Duration,
    /// From one apply without cause to the next.
    pub resync: Duration,
    /// The age of a check-in at which a node no longer counts.
    pub stale: Duration,
    /// How long a request or a watch may be silent before its connection is given up.
    pub silence: Duration,
    /// The first wait after a failed watch; each further one is twice as long.
    pub backoff: Duration,
    /// The longest wait, before chance doubles it at most.
    pub backoff_limit: Duration,
    /// How long an apply is busy at most before it comes to `kilo0`: Kilo sees to its firewall
    /// first. It is why agents are done with the same news some ten milliseconds apart.
    pub firewall: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            check_in: Duration::from_secs(30),
            resync: Duration::from_secs(30),
            stale: Duration::from_secs(60),
            silence: Duration::from_secs(45),
            backoff: Duration::from_millis(800),
            backoff_limit: Duration::from_secs(30),
            firewall: Duration::from_millis(100),
        }
    }
}

impl Timing {
    /// Returns Kilo's timing, so many times as fast.
    #[must_use]
    pub fn faster(times: u32) -> Self {
        let Self { check_in, resync, stale, silence, backoff, backoff_limit, firewall } =
            Self::default();
        Self {
            check_in: check_in / times,
            resync: resync / times,
            stale: stale / times,
            silence: silence / times,
            backoff: backoff / times,
            backoff_limit: backoff_limit / times,
            firewall: firewall / times,
        }
    }
}

/// What an agent is told at its start.
#[derive(Clone)]
pub struct Agent {
    /// Its node.
    pub node: NodeName,
    /// How it reaches the API server.
    pub api: kube::Config,
    /// The node's WireGuard interface, which outlives the agent.
    pub wireguard: Arc<Wireguard>,
    /// The address that it takes for public.
    pub external: Ipv4Addr,
    /// The address within its location.
    pub internal: Ipv4Net,
    /// The UDP port of WireGuard.
    pub port: u16,
    /// The interface of the default route, which decides the MTU.
    pub uplink: String,
    /// The interface of the overlay.
    pub overlay: String,
    /// The label that names a node's location.
    pub topology_label: String,
    /// When it does what.
    pub timing: Timing,
}

impl Agent {
    /// Returns an agent with Kilo's defaults.
    #[must_use]
    pub fn new(
        node: NodeName,
        api: kube::Config,
        wireguard: Arc<Wireguard>,
        (external, internal): (Ipv4Addr, Ipv4Net),
    ) -> Self {
        Self {
            node,
            api,
            wireguard,
            external,
            internal,
            port: WIREGUARD_PORT,
            uplink: "eth1".to_owned(),
            overlay: "flannel.1".to_owned(),
            topology_label: TOPOLOGY_LABEL.to_owned(),
            timing: Timing::default(),
        }
    }
}

/// Runs an agent in the current thread's namespaces until it is told to end; then it removes its
/// routes, rules and annotations. Dropping the future instead is its sudden death: all that it set
/// in the kernel stays.
pub async fn run(mut agent: Agent, end: CancellationToken) -> Result<(), Error> {
    // Kilo's own client neither retries nor limits how long a watch may be silent.
    agent.api.default_retry = false;
    agent.api.read_timeout = None;
    let client = kube::Client::try_from(agent.api.clone())
        .map_err(|source| Error::Client(Box::new(source)))?;

    let metrics = Metrics::start();
    let listener = http::listen().await?;
    let (tell, events) = mpsc::unbounded_channel();
    let backend = Rc::new(Backend::new(client, &agent));
    let nodes = Rc::clone(&backend).watch_nodes(tell.clone());
    let vpn_peers = Rc::clone(&backend).watch_vpn_peers(tell);
    let mut view = View::new(agent, backend, metrics.clone())?;

    tokio::select! {
        never = nodes => never,
        never = vpn_peers => never,
        never = http::serve(listener, metrics) => never,
        () = view.run(events, &end) => {}
    }

    view.clean_up().await;
    Ok(())
}

/// Returns a random number from 0 to 1.
fn chance() -> f64 {
    // Without randomness all agents keep in step, which is only less real.
    f64::from(getrandom::u32().unwrap_or_default()) / f64::from(u32::MAX)
}
