//! The answering side: one UDP and one TCP port on every address of the node.
//!
//! Each signed request is counted, and answered unless it is a repeat or comes too fast; the answer
//! says what arrived. Nothing unsigned is remembered, everything remembered is bounded
//! (`table`), and no answer is longer than its request, so that there is nothing to gain by
//! sending garbage, floods or recordings here.
//!
//! ```text
//!            decode              table                        answer
//! bytes ──▶ malformed, forged ─▶ repeated, stale, limited ──▶ from the address it was sent to
//!             (counted)            (counted)
//! ```

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::keys::{KeyId, Keyring};
use super::wire::{self, Body, Malformed, Packet, Seen};

mod entry;
mod limit;
mod table;
mod tcp;
#[cfg(test)]
mod tests;
mod udp;

pub use limit::Limits;
pub use table::HeardCount;
use table::{Judgement, Table};

/// The port that every responder listens on, unless told otherwise.
pub const PORT: u16 = 1108;

/// Why the responder cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("listen for probes on {transport} port {port}")]
pub struct BindError {
    transport: &'static str,
    port: u16,
    #[source]
    source: std::io::Error,
}

/// What a responder did with what it got, since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Requests answered.
    pub answered: u64,
    /// Hairpin frames counted.
    pub hairpins: u64,
    /// Datagrams that the kernel dropped for us: garbage, or more than we could take.
    pub dropped: u64,
    /// Other bytes that are no packet of ours.
    pub malformed: u64,
    /// Packets that none of our keys signed.
    pub forged: u64,
    /// Requests seen before, or older than what is remembered.
    pub repeated: u64,
    /// Requests of a process that has been replaced since.
    pub stale: u64,
    /// Requests beyond the rate limits.
    pub limited: u64,
    /// Answers that could not be sent.
    pub unsent: u64,
    /// Connections refused or ended early: too many, or silent.
    pub hung_up: u64,
}

/// Answers probes for as long as it lives.
#[derive(Debug)]
pub struct Responder {
    desk: Arc<Desk>,
    port: u16,
    _tasks: JoinSet<()>,
}

impl Responder {
    /// Listens on a UDP and a TCP port on all addresses, of IPv6 too where the kernel has it, and
    /// answers from a task of its own.
    pub fn bind(
        port: u16,
        keys: watch::Receiver<Arc<Keyring>>,
        limits: Limits,
    ) -> Result<Self, BindError> {
        let desk = Arc::new(Desk::new(keys, limits));
        let mut tasks = JoinSet::new();

        let (listener, port) = tcp::listen_v4(port)?;
        tasks.spawn(tcp::serve(listener, Arc::clone(&desk)));
        tasks.spawn(udp::serve(udp::bind_v4(port)?, Arc::clone(&desk)));
        if let Some(listener) = tcp::listen_v6(port)? {
            tasks.spawn(tcp::serve(listener, Arc::clone(&desk)));
        }
        if let Some(socket) = udp::bind_v6(port)? {
            tasks.spawn(udp::serve(socket, Arc::clone(&desk)));
        }

        Ok(Self { desk, port, _tasks: tasks })
    }

    /// Returns the port that it listens on.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Returns who was heard within the last `span`, of at most a minute, by prober and class.
    #[must_use]
    pub fn heard(&self, span: Duration) -> Vec<HeardCount> {
        self.desk.table().heard(span, Instant::now())
    }

    /// Returns what it did with what it got.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.desk.table().counts
    }
}

/// What the sockets share: the keys, and the table of who asked what.
#[derive(Debug)]
struct Desk {
    keys: watch::Receiver<Arc<Keyring>>,
    table: Mutex<Table>,
}

impl Desk {
    fn new(keys: watch::Receiver<Arc<Keyring>>, limits: Limits) -> Self {
        Self { keys, table: Mutex::new(Table::new(limits, Instant::now())) }
    }

    /// Puts the answer in the place of the request; false if there is none to be given.
    fn answer(&self, bytes: &mut [u8], from: SocketAddr) -> bool {
        let keys = Arc::clone(&self.keys.borrow());
        match self.judge(bytes, from, &keys) {
            Some((answer, key)) => {
                wire::overwrite(bytes, &answer, (&keys, key));
                true
            }
            None => false,
        }
    }

    fn judge(&self, bytes: &[u8], from: SocketAddr, keys: &Keyring) -> Option<(Packet, KeyId)> {
        let decoded = wire::decode(bytes, keys);
        let mut table = self.table();

        let decoded = match decoded {
            Ok(decoded) => decoded,
            Err(Malformed::Forged) => {
                table.counts.forged += 1;
                return None;
            }
            Err(
                Malformed::Short | Malformed::Foreign | Malformed::Version(_) | Malformed::Kind(_),
            ) => {
                table.counts.malformed += 1;
                return None;
            }
        };

        let packet = decoded.packet;
        let body = match table.judge(&packet, from.ip(), Instant::now()) {
            Judgement::Answer { heard } => {
                let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
                Body::Answer(Seen { source: from, length, heard })
            }
            Judgement::Counted { frames } => Body::Counted { frames },
            Judgement::Silence => return None,
        };
        Some((Packet { body, ..packet }, decoded.key))
    }

    /// Notes datagrams that the kernel dropped.
    fn dropped(&self, datagrams: u32) {
        if datagrams > 0 {
            self.table().counts.dropped += u64::from(datagrams);
        }
    }

    /// Notes an answer that could not be sent.
    fn unsent(&self) {
        self.table().counts.unsent += 1;
    }

    /// Notes a connection refused or ended early.
    fn hung_up(&self) {
        self.table().counts.hung_up += 1;
    }

    /// Nothing panics while it holds the table, and if it did, the table would still be whole.
    fn table(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns nothing where the kernel has no IPv6 (or has it switched off).
fn unless_absent<T>(bound: std::io::Result<T>) -> std::io::Result<Option<T>> {
    match bound {
        Ok(socket) => Ok(Some(socket)),
        Err(error)
            if matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
