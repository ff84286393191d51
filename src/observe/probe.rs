//! The asking side: one fresh flow per probe, and the kept flows for contrast.
//!
//! Every probe opens a socket of its own with a source port of its own, so that connection tracking
//! sees a new flow and VXLAN picks an outer port anew. Source ports are walked, not drawn
//! (`PortWalk`): drawn ones repeat, and a probe that rides an old flow passes through a dead
//! relay. An answer counts only if it is signed and repeats the nonce of the one request that its
//! socket sent.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::evidence::NodeName;

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
}

/// What may come of a probe.
#[derive(Debug)]
pub enum ProbeResult {
    /// An answer came in time.
    Answered {
        /// From sending to the answer; of TCP, from the first SYN on.
        round_trip: Duration,
        /// What the far end saw; none for pings and controls.
        seen: Option<super::wire::Seen>,
    },
    /// No answer came in time.
    Lost,
    /// The far end's kernel says that nobody listens there: the flow came through, our responder
    /// did not answer. Neither a loss on the way nor a proof of it.
    Refused,
    /// A router, or our own kernel, says that a large probe does not fit.
    TooBig {
        /// What would fit, where it is told.
        mtu: Option<u32>,
    },
    /// Nothing was sent, which is no evidence of loss.
    Unsent(Unsent),
}

/// Why a probe was not sent.
#[derive(Debug, thiserror::Error)]
pub enum Unsent {
    /// Our own kernel refused: no route, no such source address, no permission.
    #[error("{doing} failed")]
    Local {
        /// What we tried.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// Every source port was used within the last three minutes: too many probes.
    #[error("every source port was used less than three minutes ago")]
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
