//! The asking side: one fresh flow per probe, and the kept flows for contrast.
//!
//! Every probe opens a socket of its own with a source port of its own, so that connection tracking
//! sees a new flow and VXLAN picks an outer port anew. Source ports are walked, not drawn
//! ([`PortWalk`]): drawn ones repeat, and a probe that rides an old flow passes through a dead
//! relay. An answer counts only if it is signed and repeats the nonce of the one request that its
//! socket sent.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::watch;

use super::keys::Keyring;
use super::wire::{self, Body, Class, Nonce, Packet, ProberId};
use crate::evidence::{Flow, NodeName};

mod kept;
mod outcome;
mod ping;
mod ports;
mod refusal;
mod tcp;
#[cfg(test)]
mod tests;
mod udp;

pub use outcome::{Aim, Outcome, Overdue, ProbeResult, Unsent};
pub use ports::PortWalk;

/// How many ports that others hold are passed over in one probe.
const TRIES: usize = 64;
/// How long a probe waits before it listens again after an error: errors must not make it spin.
const AFTER_ERROR: Duration = Duration::from_millis(1);

/// Opens flows for one node, and judges what comes back.
#[derive(Debug)]
pub struct Prober {
    id: ProberId,
    incarnation: u32,
    keys: watch::Receiver<Arc<Keyring>>,
    sequence: AtomicU32,
    echo_id: AtomicU16,
    ports: Mutex<PortWalk>,
    used_up: AtomicBool,
    widest: Mutex<BTreeMap<IpAddr, u32>>,
    kept: kept::Flows,
}

impl Prober {
    /// Starts a new incarnation of the node's prober.
    #[must_use]
    pub fn new(node: &NodeName, keys: watch::Receiver<Arc<Keyring>>) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let micros = now.subsec_micros();

        Self {
            id: ProberId::from(node),
            incarnation: now.as_secs() as u32,
            keys,
            // A process that starts within the same second begins above what this one sent.
            sequence: AtomicU32::new(micros),
            echo_id: AtomicU16::new(micros as u16),
            ports: Mutex::new(PortWalk::new(ports::free_range(), micros)),
            used_up: AtomicBool::new(false),
            widest: Mutex::default(),
            kept: kept::Flows::default(),
        }
    }

    /// Returns the number of this start of the process: greater than that of any earlier start, as
    /// long as the clock is not set back.
    #[must_use]
    pub const fn incarnation(&self) -> u32 {
        self.incarnation
    }

    /// Opens one flow of the kind, and waits for what comes of it, at most as long as told. Kept
    /// flows stay open between calls.
    pub async fn probe(&self, flow: Flow, aim: &Aim, timeout: Duration) -> Outcome {
        let opened = Instant::now();
        let mut overdue = None;
        let result = match flow {
            Flow::NewUdp => self.new_udp(aim, timeout).await.map(|(result, may_come)| {
                overdue = may_come;
                result
            }),
            Flow::NewTcp => self.new_tcp(aim, timeout).await,
            Flow::Ping => self.ping(aim, timeout).await,
            Flow::KeptUdp => self.kept_udp(aim, timeout).await,
            Flow::KeptTcp => self.kept_tcp(aim, timeout).await,
            Flow::Large => self.large(aim, timeout).await,
            Flow::Control => self.control(aim, timeout).await,
        };
        let result = result.unwrap_or_else(ProbeResult::Unsent);
        tracing::trace!(?flow, to = %aim.to, address = %aim.address, ?result, "Probed");

        Outcome { opened, result, overdue }
    }

    /// Asks how many frames of one of our hairpin tests arrived there; none if nobody answered.
    pub async fn count(&self, aim: &Aim, test: u32, timeout: Duration) -> Option<u32> {
        match self.ask_count(aim, test, timeout).await {
            Ok(Some(Body::Counted { frames })) => Some(frames),
            Ok(_) | Err(_) => None,
        }
    }

    /// Returns the first packet of a new hairpin test; its sequence is the test's number.
    pub(super) fn hairpin_packet(&self) -> Packet {
        self.packet(Class::HAIRPIN, Body::Hairpin { frame: 0 })
    }

    /// Returns the packet's bytes, signed.
    pub(super) fn encode(&self, packet: &Packet) -> [u8; wire::LENGTH] {
        wire::encode(packet, &self.keys())
    }

    /// Returns a source port that no probe used in the last minutes.
    pub(super) fn next_port(&self) -> Option<u16> {
        let port = lock(&self.ports).next(Instant::now());
        let was_used_up = self.used_up.swap(port.is_none(), Relaxed);
        if port.is_none() && !was_used_up {
            tracing::warn!("Every source port was used within three minutes: probes are left out");
        }

        port
    }

    /// Closes the kept flows to all addresses but these.
    pub fn retain(&self, addresses: impl Fn(IpAddr) -> bool) {
        self.kept.retain(addresses);
    }

    /// Returns a packet with a nonce of its own.
    fn packet(&self, class: Class, body: Body) -> Packet {
        let nonce = Nonce { incarnation: self.incarnation, sequence: self.next_sequence() };
        Packet { prober: self.id, nonce, class, body }
    }

    fn request(&self, flow: Flow) -> Packet {
        let sent = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.packet(flow.into(), Body::Request { sent: sent.as_micros() as u64 })
    }

    fn next_sequence(&self) -> u32 {
        self.sequence.fetch_add(1, Relaxed)
    }

    fn keys(&self) -> Arc<Keyring> {
        Arc::clone(&self.keys.borrow())
    }

    /// Returns what the bytes answer to that very packet; none if they do not.
    fn answer_to(&self, asked: &Packet, bytes: &[u8]) -> Option<Body> {
        let packet = wire::decode(bytes, &self.keys()).ok()?.packet;
        let is_ours = packet.prober == asked.prober && packet.nonce == asked.nonce;
        let answers = matches!(packet.body, Body::Answer(_) | Body::Counted { .. });

        (is_ours && answers).then_some(packet.body)
    }

    /// Opens a socket towards `aim`, on a source port that no probe used in the last minutes.
    fn open(&self, aim: &Aim, kind: Type, protocol: Protocol) -> Result<Socket, Unsent> {
        let any: IpAddr = match aim.address {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let source = aim.source.unwrap_or(any);
        let socket = Socket::new(Domain::for_address(aim.address), kind, Some(protocol));
        let socket = socket.map_err(Unsent::local("open a socket"))?;
        socket.set_nonblocking(true).map_err(Unsent::local("open a socket"))?;

        for _ in 0..TRIES {
            let port = self.next_port().ok_or(Unsent::PortsUsedUp)?;
            match socket.bind(&SocketAddr::new(source, port).into()) {
                Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(Unsent::local("bind the source address")(error)),
                Ok(()) => return Ok(socket),
            }
        }
        Err(Unsent::PortsUsedUp)
    }
}

/// Nothing panics while it holds one of these, and if it did, they would still be whole.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
