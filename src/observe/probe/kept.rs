//! The kept flows: one UDP flow and one TCP connection per aim, open between probes. What passes on
//! these says nothing of new flows, and that is what they are for.
//!
//! ```text
//! none ──▶ opened, asked ──▶ answered: kept; the result is still KeptIsNew
//!   ▲             └────────▶ not: closed, KeptIsNew
//!   └── a kept connection that breaks is lost once, and opened anew by the next probe
//! ```

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::tcp::{Connection, established};
use super::udp::result;
use super::{Aim, ProbeResult, Prober, Unsent, lock};
use crate::evidence::Flow;

/// What is kept for one aim; held by the probe that is under way.
type Slot<T> = Arc<tokio::sync::Mutex<Option<T>>>;

/// All kept flows.
#[derive(Debug, Default)]
pub(super) struct Flows {
    udp: Mutex<BTreeMap<Aim, Slot<UdpSocket>>>,
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
