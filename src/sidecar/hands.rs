//! What the engine does to the world: opens flows, tests heirs, writes its report.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::writer::Writer;
use crate::admin::Pending;
use crate::evidence::{Flow, Hairpin, Heard, NodeName, Report};
use crate::metrics::ObserveMetrics;
use crate::observe::echo::{Counts, HeardCount, Limits, Responder};
use crate::observe::hairpin::Hairpins;
use crate::observe::keys::Keyring;
use crate::observe::probe::{Aim, Overdue, ProbeResult, Prober};
use crate::observe::schedule::{HairpinShot, Outcome, Shot};
use crate::telemetry::Chain;

/// How long one write of a report may take: after that a newer one is worth more.
const WRITE: Duration = Duration::from_secs(5);

/// Between two tries to bind the responder's port.
const REBIND: Duration = Duration::from_secs(5);

/// An answer that comes later than this after the flow was opened is of no use to anybody.
const LATEST: Duration = Duration::from_secs(2);

/// What the engine can do. A test has hands of its own.
pub(super) trait Hands: Send + Sync + 'static {
    /// A flow told as lost, whose answer may still come.
    type Overdue: Send;

    /// Opens one flow, from an address of ours.
    fn shoot(
        &self,
        shot: &Shot,
        source: Option<IpAddr>,
    ) -> impl Future<Output = (Outcome, Option<Self::Overdue>)> + Send;

    /// Waits for an answer that is overdue; none if it does not come.
    fn late_answer(
        &self,
        shot: &Shot,
        overdue: Self::Overdue,
    ) -> impl Future<Output = Option<Outcome>> + Send;

    /// Tests one heir over our overlay's device; none if nothing can be said.
    fn hairpin(
        &self,
        test: &HairpinShot,
        overlay: String,
    ) -> impl Future<Output = Option<Hairpin>> + Send;

    /// Writes the report; tells whether it is written.
    fn tell(&self, report: Report) -> impl Future<Output = bool> + Send;

    /// Returns what the responder has counted; none while it has no port.
    fn counts(&self) -> Option<Counts>;

    /// Returns who was heard lately; none while nobody could be.
    fn heard(&self) -> Option<Vec<HeardCount>>;

    /// Forgets the flows kept to all addresses but these.
    fn keep(&self, addresses: &[IpAddr]);
}

/// Sockets and the API server.
pub(super) struct RealHands {
    prober: Prober,
    ports: Ports,
    responder: Arc<Mutex<Option<Responder>>>,
    pen: tokio::sync::Mutex<Writer>,
    /// Whether the last report could not be written.
    unwritten: AtomicBool,
    metrics: ObserveMetrics,
}

/// Where each kind of flow goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ports {
    /// The responders'.
    pub(super) echo: u16,
    /// Ports that are not ours: Kilo's own and the kubelet's.
    pub(super) control: [u16; 2],
}

impl RealHands {
    /// Begins to answer, and is ready to ask.
    pub(super) fn new(
        (node, ports): (&NodeName, Ports),
        keys: watch::Receiver<Arc<Keyring>>,
        client: kube::Client,
        (metrics, listening): (ObserveMetrics, Pending),
    ) -> Self {
        let prober = Prober::new(node, keys.clone());
        let responder = Arc::default();
        tokio::spawn(listen((ports.echo, listening), keys, Arc::downgrade(&responder)));
        let pen = Writer::new(client, node);
        Self {
            prober,
            ports,
            responder,
            pen: pen.into(),
            unwritten: AtomicBool::new(false),
            metrics,
        }
    }

    /// Returns the number of this start of the process.
    pub(super) const fn incarnation(&self) -> u32 {
        self.prober.incarnation()
    }
}

impl Hands for RealHands {
    type Overdue = Overdue;

    async fn shoot(&self, shot: &Shot, source: Option<IpAddr>) -> (Outcome, Option<Self::Overdue>) {
        let aim = |port| {
            let address = SocketAddr::new(shot.address, port);
            Aim { to: shot.path.to.clone(), address, source }
        };
        let (result, overdue) = if shot.path.flow == Flow::Control {
            (self.prober.reach(self.ports.control.map(aim), shot.timeout).await, None)
        } else {
            let aim = aim(self.ports.echo);
            let probed = self.prober.probe(shot.path.flow, &aim, shot.timeout).await;
            (probed.result, probed.overdue)
        };
        let outcome = match result {
            ProbeResult::Answered { round_trip, .. } => Outcome::Answered { round_trip },
            ProbeResult::Lost => Outcome::Lost,
            // Who is told at each step what fits sends less: that is no black hole.
            ProbeResult::TooBig | ProbeResult::Refused | ProbeResult::Unsent(_) => Outcome::Unsent,
        };
        self.metrics.probed(shot, outcome);
        (outcome, overdue)
    }

    async fn late_answer(&self, shot: &Shot, overdue: Overdue) -> Option<Outcome> {
        let round_trip = self.prober.late_answer(overdue, LATEST).await?;
        let outcome = Outcome::Late { round_trip };
        self.metrics.probed(shot, outcome);
        Some(outcome)
    }

    async fn hairpin(&self, test: &HairpinShot, overlay: String) -> Option<Hairpin> {
        let hairpins = Hairpins { device: overlay, port: self.ports.echo };
        let tested = hairpins.test(&self.prober, &test.heir, &test.counter).await;
        let (heir, counter) = (&test.heir.node.0, &test.counter.node.0);
        match &tested {
            Ok(result) => {
                tracing::debug!(heir, counter, result.sent, result.counted, "Heir tested");
            }
            Err(error) => {
                let error = Chain(error).to_string();
                tracing::debug!(heir, counter, error, "Heir not tested");
            }
        }
        tested.ok()
    }

    async fn tell(&self, report: Report) -> bool {
        let bytes = super::report::size(&report);
        let mut pen = self.pen.lock().await;
        let failed = match tokio::time::timeout(WRITE, pen.write(report)).await {
            Ok(Ok(())) => {
                self.metrics.reported(bytes);
                if self.unwritten.swap(false, Ordering::Relaxed) {
                    tracing::info!("Reports are written again");
                }
                return true;
            }
            Ok(Err(error)) => Chain(&error).to_string(),
            Err(_) => format!("no answer within {WRITE:?}"),
        };
        // The first of a row says why; the others would only fill the log.
        if self.unwritten.swap(true, Ordering::Relaxed) {
            tracing::debug!(error = failed, "Report not written");
        } else {
            tracing::warn!(error = failed, "Report not written; trying again");
        }
        self.metrics.unreported();
        false
    }

    fn counts(&self) -> Option<Counts> {
        let responder = self.responder.lock().unwrap_or_else(PoisonError::into_inner);
        responder.as_ref().map(Responder::counts)
    }

    fn heard(&self) -> Option<Vec<HeardCount>> {
        let responder = self.responder.lock().unwrap_or_else(PoisonError::into_inner);
        responder.as_ref().map(|responder| responder.heard(Heard::SPAN))
    }

    fn keep(&self, addresses: &[IpAddr]) {
        self.prober.retain(|address| addresses.contains(&address));
    }
}

/// Binds the responder's port, however long somebody else holds it.
async fn listen(
    (port, listening): (u16, Pending),
    keys: watch::Receiver<Arc<Keyring>>,
    place: std::sync::Weak<Mutex<Option<Responder>>>,
) {
    let mut complained = false;
    loop {
        let bound = Responder::bind(port, keys.clone(), Limits::default());
        let Some(place) = place.upgrade() else { return };
        match bound {
            Ok(responder) => {
                tracing::info!(port, "Responder listens");
                *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(responder);
                listening.done();
                return;
            }
            Err(error) if !complained => {
                complained = true;
                let error = Chain(&error).to_string();
                tracing::warn!(error, "Responder cannot listen; trying again");
            }
            Err(_) => {}
        }
        drop(place);
        tokio::time::sleep(REBIND).await;
    }
}
