//! What the process says of itself: logs, and how an error is told.

mod chain;

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

pub use chain::Chain;

/// What is logged unless told otherwise: one line per transition, and what people must know of.
pub const DEFAULT_FILTER: &str = "info";

/// Why nothing would be logged.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter does not parse.
    #[error("read the log filter {filter:?}")]
    Filter {
        /// The filter.
        filter: String,
        /// The cause.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// Something logs already.
    #[error("start to log")]
    Started(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Logs to standard error from now on: text on a terminal, else one JSON object a line. The filter
/// is of `tracing`'s form, such as `info,tanist::sidecar=debug`.
pub fn start(filter: &str) -> Result<(), Error> {
    let filter = EnvFilter::builder()
        .parse(filter)
        .map_err(|source| Error::Filter { filter: filter.to_owned(), source })?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);

    if std::io::stderr().is_terminal() {
        lines.try_init().map_err(Error::Started)
    } else {
        lines.json().flatten_event(true).with_current_span(false).try_init().map_err(Error::Started)
    }
}
