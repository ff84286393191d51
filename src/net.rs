//! The kernel's network by netlink: plain data in and out, for the network namespace in which the
//! handle was opened.
//!
//! Only IPv4, and only what we use. The kernel allows one dump per socket and ignores most of a
//! dump's filters, so dumps wait for each other and are filtered here.

use tokio::task::AbortHandle;

pub use changes::LinkChanges;
pub use link::{Link, Vxlan};
pub use route::{Hop, Lookup, Route};
pub use rule::Rule;

mod changes;
mod link;
mod route;
mod rule;

/// What went wrong between us and the kernel.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No netlink socket.
    #[error("could not open a netlink socket")]
    Connect(#[source] std::io::Error),
    /// The kernel refused.
    #[error("could not {tried}")]
    Refused {
        /// What was tried, on what.
        tried: String,
        /// What the kernel said.
        #[source]
        source: rtnetlink::Error,
    },
    /// There is no link of that name.
    #[error("there is no link {name}")]
    NoLink {
        /// The name.
        name: String,
    },
}

impl Error {
    /// Returns whether the kernel said that there is such a thing already.
    #[must_use]
    pub fn already_there(&self) -> bool {
        self.code() == Some(-libc::EEXIST)
    }

    /// Returns whether the kernel said that there is no such thing (any more).
    #[must_use]
    pub fn not_there(&self) -> bool {
        let code = self.code();
        matches!(self, Self::NoLink { .. })
            || [libc::ENOENT, libc::ESRCH, libc::ENODEV].iter().any(|none| code == Some(-none))
    }

    fn code(&self) -> Option<i32> {
        match self {
            Self::Refused { source: rtnetlink::Error::NetlinkError(message), .. } => {
                Some(message.raw_code())
            }
            Self::Connect(_) | Self::Refused { .. } | Self::NoLink { .. } => None,
        }
    }
}

fn refused(tried: impl FnOnce() -> String) -> impl FnOnce(rtnetlink::Error) -> Error {
    move |source| Error::Refused { tried: tried(), source }
}

/// One netlink socket. It stays in the namespace where it was opened, whoever holds it.
#[derive(Debug)]
pub struct Netlink {
    handle: rtnetlink::Handle,
    /// One dump per socket: the kernel answers a second one with EBUSY.
    dump: tokio::sync::Mutex<()>,
    connection: AbortHandle,
}

impl Netlink {
    /// Opens a socket in the current thread's namespace, served by the current runtime.
    pub fn open() -> Result<Self, Error> {
        let (connection, handle, _messages) =
            rtnetlink::new_connection().map_err(Error::Connect)?;
        let connection = tokio::spawn(connection).abort_handle();

        Ok(Self { handle, dump: tokio::sync::Mutex::default(), connection })
    }
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.connection.abort();
    }
}
