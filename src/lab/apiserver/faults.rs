//! What can be wrong with the server, on demand: slow, throttling, silent, gone, forgetful of its
//! watches.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How the server treats every request from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fault {
    /// As it should.
    #[default]
    None,
    /// Each request waits this long before it is looked at.
    Slow(Duration),
    /// Each write of a Node or a MeshLocation waits this long: whatever a move is made of.
    SlowMoves(Duration),
    /// Each request is answered 429, with this `Retry-After`.
    Throttle(Duration),
    /// Requests are accepted and not looked at, and watches say nothing, until the fault is
    /// lifted; then all go on where they were, as after SIGSTOP and SIGCONT.
    Hang,
    /// Connections are reset, those that exist and those that come.
    Refuse,
}

/// The handle that breaks and mends one server. Clones act on the same server.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    fault: watch::Sender<Fault>,
    watches: Cut,
    connections: Cut,
}

impl Faults {
    /// Sets what is wrong, in place of what was.
    pub fn set(&self, fault: Fault) {
        self.inner.fault.send_replace(fault);
        if fault == Fault::Refuse {
            self.drop_connections();
        }
    }

    /// Ends what is wrong.
    pub fn lift(&self) {
        self.set(Fault::None);
    }

    /// Returns what is wrong.
    #[must_use]
    pub fn current(&self) -> Fault {
        *self.inner.fault.borrow()
    }

    /// Ends every running watch in good order, as a server does that drains.
    pub fn cut_watches(&self) {
        self.inner.watches.cut();
    }

    /// Resets every connection.
    pub fn drop_connections(&self) {
        self.inner.connections.cut();
    }

    /// Returns the token that ends the watches that run now.
    pub(super) fn watches(&self) -> CancellationToken {
        self.inner.watches.token()
    }

    /// Returns the token that resets the connections that exist now.
    pub(super) fn connections(&self) -> CancellationToken {
        self.inner.connections.token()
    }

    /// Waits while the server hangs.
    pub(super) async fn unhung(&self) {
        let mut fault = self.inner.fault.subscribe();
        // The sender lives in `self`: the wait cannot fail.
        let _ = fault.wait_for(|fault| *fault != Fault::Hang).await;
    }
}

/// A token that can be used up any number of times.
#[derive(Debug, Default)]
struct Cut(Mutex<CancellationToken>);

impl Cut {
    fn token(&self) -> CancellationToken {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn cut(&self) {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).cancel();
    }
}
