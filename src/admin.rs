//! What a process shows on its admin port: `/healthz`, `/readyz`, `/metrics`.
//!
//! Ready is a process whose named tasks are all done; `/readyz` names those that are not. Healthy
//! is one whose loops beat; `/healthz` names the loop that has stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

#[cfg(test)]
mod tests;

/// A loop that does not beat for this long has stopped; the slowest beats every few seconds.
const SILENT: Duration = Duration::from_secs(30);

/// Why the pages are not served.
#[derive(Debug, thiserror::Error)]
#[error("serve the admin pages on {address}")]
pub struct Error {
    address: SocketAddr,
    #[source]
    source: std::io::Error,
}

/// What all parts of a process show together; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Admin {
    /// The metrics.
    pub metrics: Metrics,
    state: Arc<Mutex<Shown>>,
}

#[derive(Debug, Default)]
struct Shown {
    pending: BTreeSet<&'static str>,
    beats: BTreeMap<&'static str, Instant>,
}

/// Something that the process must do before it is ready. Dropping it says that it is done.
#[derive(Debug)]
pub struct Pending {
    task: &'static str,
    state: Arc<Mutex<Shown>>,
}

impl Pending {
    /// Says that it is done.
    pub fn done(self) {}
}

impl Drop for Pending {
    fn drop(&mut self) {
        lock(&self.state).pending.remove(self.task);
    }
}

impl Admin {
    /// Names a task without which the process is not ready.
    #[must_use]
    pub fn wait_for(&self, task: &'static str) -> Pending {
        lock(&self.state).pending.insert(task);
        Pending { task, state: Arc::clone(&self.state) }
    }

    /// Says that a loop goes on.
    pub fn beat(&self, engine: &'static str) {
        lock(&self.state).beats.insert(engine, Instant::now());
    }

    /// Says that a loop has ended as it should.
    pub fn rest(&self, engine: &'static str) {
        lock(&self.state).beats.remove(engine);
    }

    /// Returns the tasks that are not done.
    #[must_use]
    pub fn pending(&self) -> Vec<&'static str> {
        lock(&self.state).pending.iter().copied().collect()
    }

    /// Returns the loops that have stopped.
    #[must_use]
    pub fn silent(&self) -> Vec<&'static str> {
        let shown = lock(&self.state);
        let silent = shown.beats.iter().filter(|(_, beat)| beat.elapsed() > SILENT);
        silent.map(|(engine, _)| *engine).collect()
    }

    /// Serves the pages, and `more` beside them, until cancelled.
    pub async fn serve(
        self,
        address: SocketAddr,
        more: Router,
        cancel: CancellationToken,
    ) -> Result<(), Error> {
        let failed = |source| Error { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let server = axum::serve(listener, self.pages().merge(more));
        server.with_graceful_shutdown(cancel.cancelled_owned()).await.map_err(failed)
    }

    /// Returns the pages.
    pub fn pages(self) -> Router {
        Router::new()
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .with_state(self)
    }
}

async fn healthz(State(admin): State<Admin>) -> impl IntoResponse {
    match admin.silent().as_slice() {
        [] => (StatusCode::OK, "ok\n".to_owned()),
        silent => (StatusCode::SERVICE_UNAVAILABLE, format!("stopped: {}\n", silent.join(", "))),
    }
}

async fn readyz(State(admin): State<Admin>) -> impl IntoResponse {
    match admin.pending().as_slice() {
        [] => (StatusCode::OK, "ready\n".to_owned()),
        pending => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("waits for: {}\n", pending.join(", ")))
        }
    }
}

/// Whoever asks for OpenMetrics gets it, as Prometheus does; anybody else the older text format.
async fn metrics(State(admin): State<Admin>, headers: HeaderMap) -> impl IntoResponse {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";
    let accepted = headers.get(header::ACCEPT).and_then(|accepted| accepted.to_str().ok());
    if accepted.is_some_and(|accepted| accepted.contains("application/openmetrics-text")) {
        ([(header::CONTENT_TYPE, OPEN_METRICS)], admin.metrics.text())
    } else {
        ([(header::CONTENT_TYPE, CLASSIC)], admin.metrics.classic_text())
    }
}

fn lock(state: &Mutex<Shown>) -> MutexGuard<'_, Shown> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
