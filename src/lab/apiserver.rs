//! A Kubernetes API server in this process, real enough that an agent, `kube` and `kubectl` cannot
//! tell: discovery, Tables, watches that resume, four kinds of patch, optimistic concurrency,
//! custom resources with their schemas, field ownership. Plain HTTP, state in memory, any bearer
//! token is let in. It can be slow, throttle, hang, refuse and cut its watches on demand, and tells
//! whoever subscribes of every write.

mod admit;
mod apply;
mod builtin;
mod columns;
mod connection;
mod control;
mod definition;
mod discovery;
mod faults;
mod http;
mod json;
mod managed;
mod openapi;
mod patch;
mod path;
mod read;
mod resource;
mod schema;
mod selector;
mod shape;
mod status;
mod store;
mod validate;
mod view;
mod watch;
mod write;

use std::io;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use store::Store;

pub use faults::{Fault, Faults};

/// How many writes a slow subscriber may lag behind before it misses some.
const BACKLOG: usize = 4096;

/// Serving ended otherwise than by being told to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The listener failed.
    #[error("serving the Kubernetes API")]
    Serve(#[source] io::Error),
}

/// What kind of write a [`Write`] was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// POST, or what else made an object that was not there.
    Create,
    /// PUT.
    Update,
    /// PATCH of any kind.
    Patch,
    /// DELETE, or the removal of the last finalizer.
    Delete,
}

/// A write that was committed.
#[derive(Debug, Clone)]
pub struct Write {
    /// When.
    pub at: Instant,
    /// The revision that it made.
    pub revision: u64,
    /// What was done.
    pub verb: Verb,
    /// The kind of object: `nodes`, `meshlocations.tanist.dev`.
    pub resource: String,
    /// The object's namespace; empty for one without.
    pub namespace: String,
    /// The object's name.
    pub name: String,
    /// The `User-Agent` of who did it.
    pub user_agent: String,
    /// The bearer token of who did it, which stands for a user here.
    pub user: String,
    /// The object before.
    pub old: Option<Arc<Value>>,
    /// The object after.
    pub new: Option<Arc<Value>>,
}

/// The server. Clones are the same server.
#[derive(Debug, Clone)]
pub struct Server {
    faults: Faults,
    store: Arc<Store>,
}

impl Default for Server {
    fn default() -> Self {
        Self::new()
    }
}

impl Server {
    /// Makes a server that holds the namespaces and nothing else.
    #[must_use]
    pub fn new() -> Self {
        let store = Store::new(broadcast::Sender::new(BACKLOG));
        for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
            store.add_namespace(name);
        }
        Self { faults: Faults::default(), store: Arc::new(store) }
    }

    /// Serves on a listener until told to end; then connections are reset. May be called for any
    /// number of listeners.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn serve(
        &self,
        listener: TcpListener,
        cancel: CancellationToken,
    ) -> Result<(), Error> {
        let listener = connection::Listener { tcp: listener, faults: self.faults.clone() };
        let server = self.clone();
        let app = Router::new().fallback(async move |request| http::answer(server, request).await);

        let ended = tokio::select! {
            ended = axum::serve(listener, app) => ended.map_err(Error::Serve),
            () = cancel.cancelled() => Ok(()),
        };
        self.faults.drop_connections();

        ended
    }

    /// Returns the handle that breaks and mends this server.
    #[must_use]
    pub const fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Forgets the history of writes, so that a watch that must resume is answered 410 Gone.
    pub fn compact(&self) {
        self.store.compact();
    }

    /// Returns all writes from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Write> {
        self.store.writes.subscribe()
    }

    /// Returns a kubeconfig for a server at `url`.
    #[must_use]
    pub fn kubeconfig(url: &str) -> String {
        Self::kubeconfig_as(url, "lab")
    }

    /// Returns a kubeconfig that shows up as `user` in the writes that are told of.
    #[must_use]
    pub fn kubeconfig_as(url: &str, user: &str) -> String {
        format!(
            "apiVersion: v1\n\
             kind: Config\n\
             clusters: [{{name: lab, cluster: {{server: \"{url}\"}}}}]\n\
             users: [{{name: \"{user}\", user: {{token: \"{user}\"}}}}]\n\
             contexts: [{{name: lab, context: {{cluster: lab, user: \"{user}\"}}}}]\n\
             current-context: lab\n"
        )
    }
}

#[cfg(test)]
mod tests;
