//! One arbiter at a time: client-go's leader election, on our own monotonic clock.
//!
//! ```text
//!            free, or unchanged for its whole duration by OUR clock,
//!            and the handicap is over: PUT with resourceVersion
//!  Watching ─────────────────────────────────────────────────────▶ Holding ⟲ PUT each `retry`
//!   ▲    ⟲ read each `retry`                                          │
//!   ├──────────── no renewal begun in the last `renew_within` ────────┤
//!   │             somebody else holds it (409, then a read)           │
//!   └──────────────────────────── resigned: released, then Watching ──┤
//!                                                shutdown ────────────┴──▶ released: holder "", 1 s
//! ```
//!
//! Two things keep holders apart. Every write is conditional on the version that was read, so that
//! of two takers one gets 409. And a holder stops by a timer that runs from the *start* of its last
//! good renewal, while others wait longer than that from when they *saw* it; no answer, late or
//! missing, can stretch it, and no wall clock is compared with another.
//!
//! A process that is suspended may wake up believing that it still holds the lease. It carries a
//! [`Fence`] into everything it writes, and its successor voids what it could still send
//! (see [`act::leader`](crate::act)).

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

mod candidate;
mod server;

pub use candidate::{Campaign, Candidate, draw_identity};
pub use server::{KubeServer, Server, ServerError};

/// The spans of an election.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// For how long others leave a lease alone that nobody renews.
    pub duration: Duration,
    /// For how long after the start of a good renewal the holder goes on; less than `duration`, so
    /// that what it began last has time to end.
    pub renew_within: Duration,
    /// The pause between two tries, lengthened by up to a fifth at random.
    pub retry: Duration,
    /// A server that has not answered for this long was away.
    pub away: Duration,
}

/// A server that has not answered for this long is away: half the time in which a Kilo agent checks
/// in, so that agents may have missed it too.
pub const AWAY: Duration = Duration::from_secs(15);

impl Default for Timing {
    /// Four tries fit into `renew_within`; a dead holder is replaced within some 12 s.
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(10),
            renew_within: Duration::from_secs(6),
            retry: Duration::from_millis(1500),
            away: AWAY,
        }
    }
}

/// Names one term of one lease: greater in each later term.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence {
    /// The uid of the lease.
    pub lease: String,
    /// How often it changed hands.
    pub transitions: i32,
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.lease, self.transitions)
    }
}

/// A text that is not a fence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read a fence from {0:?}")]
pub struct NotAFence(String);

impl FromStr for Fence {
    type Err = NotAFence;

    fn from_str(text: &str) -> Result<Self, NotAFence> {
        let parts = text.rsplit_once('/');
        let parsed = parts.and_then(|(lease, transitions)| {
            Some(Self { lease: lease.to_owned(), transitions: transitions.parse().ok()? })
        });
        parsed.ok_or_else(|| NotAFence(text.to_owned()))
    }
}

/// A term, and how long it lasts if it is not renewed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The term.
    pub fence: Fence,
    /// Its end.
    pub until: Instant,
}

/// Whether this process holds the lease: asked right before each write.
#[derive(Debug, Clone)]
pub struct Leadership {
    held: watch::Receiver<Option<Held>>,
    holder: watch::Receiver<Option<String>>,
    returned: watch::Receiver<Option<Instant>>,
    resigned: watch::Sender<Option<Fence>>,
}

impl Leadership {
    /// Returns the present term, if this process holds the lease at this very moment.
    #[must_use]
    pub fn current(&self) -> Option<Fence> {
        let held = self.held.borrow();
        held.as_ref().filter(|held| Instant::now() < held.until).map(|held| held.fence.clone())
    }

    /// Tells whether this term still lasts.
    #[must_use]
    pub fn is_current(&self, fence: &Fence) -> bool {
        self.current().is_some_and(|current| current == *fence)
    }

    /// Makes a leadership that a test gives and takes by hand.
    #[cfg(test)]
    pub(crate) fn by_hand() -> (watch::Sender<Option<Held>>, Self) {
        let (sender, held) = watch::channel(None);
        let (holder, returned) = (watch::channel(None).1, watch::channel(None).1);
        (sender, Self { held, holder, returned, resigned: watch::Sender::default() })
    }

    /// Returns when the API server last answered again after it had not for [`Timing::away`], or
    /// had not answered a process that had just started; none if it never did.
    ///
    /// A holder loses the lease long before it can call the server away, so whoever holds the next
    /// term has to ask this.
    #[must_use]
    pub fn returned(&self) -> Option<Instant> {
        *self.returned.borrow()
    }

    /// Gives the term of `fence` back, if it still lasts, and stands for the next one.
    pub fn resign(&self, fence: Fence) {
        self.resigned.send_replace(Some(fence));
    }

    /// Returns who holds the lease, as far as this process has seen.
    #[must_use]
    pub fn holder(&self) -> Option<String> {
        self.holder.borrow().clone()
    }

    /// Waits until a term begins or ends, by the timer too; for ever once the election is over.
    pub async fn changed(&mut self) {
        if self.held.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;
