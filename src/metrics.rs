//! What is counted: one struct per layer. Labels come from enums, so their number is known.
//!
//! A state worth an alert is a gauge; an event is a counter.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

mod arbiter;
mod classic;
mod observe;
pub mod page;

pub use arbiter::{ArbiterMetrics, Leading, Part};
pub use observe::ObserveMetrics;

/// All metrics of this process; clones share them.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Mutex<Registry>>);

impl Default for Metrics {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Registry::with_prefix("tanist"))))
    }
}

impl Metrics {
    /// Lets a layer register what it counts.
    pub fn register<Layer>(&self, layer: impl FnOnce(&mut Registry) -> Layer) -> Layer {
        layer(&mut self.registry())
    }

    /// Returns all metrics in the OpenMetrics text format.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry());
        text
    }

    /// Returns all metrics in the older text format, for whoever does not ask for OpenMetrics.
    #[must_use]
    pub fn classic_text(&self) -> String {
        classic::of(&self.text())
    }

    /// Returns metrics in which every series that there can be is there once, for the documentation.
    #[must_use]
    pub fn specimen() -> Self {
        let metrics = Self::default();
        metrics.register(ArbiterMetrics::register).show_all_labels();
        metrics.register(ObserveMetrics::register).show_all_labels();
        metrics
    }

    fn registry(&self) -> std::sync::MutexGuard<'_, Registry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
