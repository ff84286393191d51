//! The kept flows: one UDP flow and one TCP connection per aim, open between probes. What passes on
//! these says nothing of new flows, and that is what they are for.
//!
//! ```text
//! none ──▶ opened, asked ──▶ answered: kept; the result is still KeptIsNew
//!   ▲             └────────▶ not: closed, KeptIsNew      (of UDP see [`SETTLES`])
//!   └── a kept connection that breaks is lost once, and opened anew by the next probe
//! ```

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::tcp::{Connection, established};
use super::udp::result;
use super::{Aim, ProbeResult, Prober, Unsent, lock};
use crate::evidence::Flow;
use crate::observe::wire::LENGTH;

/// Connection tracking forgets a UDP flow after 30 s, and after 120 s one that still has traffic
/// when it is two seconds old (`nf_conntrack_udp_timeout` and `_stream`): visits are further apart
/// than the one, never than the other.
const SETTLES: Duration = Duration::from_millis(2_500);

/// What is kept for one aim; held by the probe that is under way.
type Slot<T> = Arc<tokio::sync::Mutex<Option<T>>>;

/// All kept flows.
#[derive(Debug, Default)]
pub(super) struct Flows {
    udp: Mutex<BTreeMap<Aim, Slot<Arc<UdpSocket>>>>,
    tcp: Mutex<BTreeMap<Aim, Slot<Connection>>>,
}

impl Flows {
    /// Closes all flows but those to these addresses.
    pub(super) fn retain(&self, addresses: impl Fn(IpAddr) -> bool) {
        lock(&self.udp).retain(|aim, _| addresses(aim.address.ip()));
        lock(&self.tcp).retain(|aim, _| addresses(aim.address.ip()));
    }
}

fn slot<T>(flows: &Mutex<BTreeMap<Aim, Slot<T>>>, aim: &Aim) -> Slot<T> {
    Arc::clone(lock(flows).entry(aim.clone()).or_default())
}

/// Sends one packet more on a new flow, if it is still kept by then. Whoever asks on it next passes
/// over the answer.
async fn settle(flow: Weak<UdpSocket>, packet: [u8; LENGTH]) {
    tokio::time::sleep(SETTLES).await;
    if let Some(socket) = flow.upgrade() {
        // What goes wrong now shows at the next visit.
        let _sent = socket.send(&packet).await;
    }
}

impl Prober {
    /// Sends one datagram on the UDP flow kept for the aim.
    pub(super) async fn kept_udp(&self, aim: &Aim, wait: Duration) -> Result<ProbeResult, Unsent> {
        let slot = slot(&self.kept.udp, aim);
        let mut kept = slot.try_lock().map_err(|_| Unsent::KeptIsBusy)?;
        let request = self.request(Flow::KeptUdp);

        if let Some(socket) = kept.as_ref() {
            // An error that came since the last probe would fail this one before it is sent.
            let _of_the_last = socket.take_error();
            return self.exchange(socket, &request, 0, wait).await.map(result);
        }
        let socket = self.connect_udp(aim, |_| Ok(()))?;
        if self.exchange(&socket, &request, 0, wait).await?.answer.is_some() {
            let socket = Arc::new(socket);
            let again = self.encode(&self.request(Flow::KeptUdp));
            tokio::spawn(settle(Arc::downgrade(&socket), again));
            *kept = Some(socket);
        }
        Err(Unsent::KeptIsNew)
    }

    /// Asks once on the TCP connection kept for the aim.
    pub(super) async fn kept_tcp(&self, aim: &Aim, wait: Duration) -> Result<ProbeResult, Unsent> {
        let slot = slot(&self.kept.tcp, aim);
        let mut kept = slot.try_lock().map_err(|_| Unsent::KeptIsBusy)?;

        let Some(connection) = kept.as_mut() else {
            *kept = self.open_kept_tcp(aim, wait).await?;
            return Err(Unsent::KeptIsNew);
        };
        let sent = Instant::now();
        let request = self.request(Flow::KeptTcp);
        match timeout(wait, self.converse(connection, &request)).await {
            Ok(Ok(seen)) => {
                Ok(ProbeResult::Answered { round_trip: sent.elapsed(), seen: Some(seen) })
            }
            Ok(Err(_broken)) => {
                *kept = None;
                Ok(ProbeResult::Lost)
            }
            // TCP goes on trying: the connection may yet recover.
            Err(_elapsed) => Ok(ProbeResult::Lost),
        }
    }

    async fn open_kept_tcp(&self, aim: &Aim, wait: Duration) -> Result<Option<Connection>, Unsent> {
        let stream = self.start_tcp(aim)?;
        let request = self.request(Flow::KeptTcp);
        let opened = async {
            let mut connection = Connection::new(established(stream, aim.address).await?);
            self.converse(&mut connection, &request).await?;
            std::io::Result::Ok(connection)
        };

        Ok(timeout(wait, opened).await.ok().and_then(Result::ok))
    }
}
