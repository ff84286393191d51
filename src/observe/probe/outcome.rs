//! Whom a probe asks, and what comes of it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;

use crate::evidence::NodeName;
use crate::observe::wire::{Packet, Seen};

/// Whom to probe.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Aim {
    /// The node.
    pub to: NodeName,
    /// One of its addresses, and the responder's port (of a control: the port to connect to).
    pub address: SocketAddr,
    /// The address to send from; the kernel's choice if none is named.
    pub source: Option<IpAddr>,
}

/// What came of one probe.
#[derive(Debug)]
pub struct Outcome {
    /// When the flow was opened.
    pub opened: Instant,
    /// What came of it.
    pub result: ProbeResult,
    /// Of a new UDP flow without an answer in time, what an answer may still come to.
    pub overdue: Option<Overdue>,
}

/// A flow that got no answer in time. Its socket stays open for one that comes late: what is slow
/// is not lost.
#[derive(Debug)]
pub struct Overdue {
    pub(super) socket: UdpSocket,
    pub(super) request: Packet,
    pub(super) sent: Instant,
}

/// What may come of a probe.
#[derive(Debug)]
pub enum ProbeResult {
    /// An answer came in time.
    Answered {
        /// From sending to the answer; of a new TCP connection, from the first SYN on.
        round_trip: Duration,
        /// What the far end saw; none for pings and controls.
        seen: Option<Seen>,
    },
    /// No answer came in time, or something on the way rejected the flow.
    Lost,
    /// The far end's own kernel says that nobody listens there, or hung up: the flow came through,
    /// our responder did not answer. Neither a loss on the way nor an authenticated proof of it.
    Refused,
    /// A router says that a large probe does not fit, nor did one of the size that it had told.
    TooBig,
    /// Nothing was sent, which is no evidence of loss.
    Unsent(Unsent),
}

/// Why a probe was not sent.
#[derive(Debug, thiserror::Error)]
pub enum Unsent {
    /// Our own kernel refused: no route, no such source address, a rule of our own firewall.
    #[error("{doing}")]
    Local {
        /// What we tried.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Every source port was used within the last three minutes, or is held by others.
    #[error("find a source port not used within the last three minutes")]
    PortsUsedUp,
    /// No raw socket is permitted to us.
    #[error("no raw socket is permitted")]
    NotPermitted,
    /// The kept flow was just opened anew: only its next probe tells anything about old flows.
    #[error("the kept flow is new")]
    KeptIsNew,
    /// A probe on the same kept flow is under way.
    #[error("the kept flow is busy")]
    KeptIsBusy,
}

impl Unsent {
    /// Returns what makes an error of the kernel's into one that says what was tried.
    pub(super) fn local(doing: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Local { doing, source }
    }
}
