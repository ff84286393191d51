//! What the process says of itself: logs, and how an error is told.

mod chain;

pub use chain::Chain;
