//! What people ask of a running mesh, and what they want of it: through the objects alone, with
//! their own credentials and without a way to any node.
//!
//! ```text
//! objects ─ View::read ─▶ View ─▶ status, why, history, cost, doctor   (pure: values and tables)
//!    ▲                                 │
//!    └──────────── steer ◀─────────────┘  a request, a pin, a pause, an acknowledgement
//! ```
//!
//! Whatever is shown is a value first, so that a machine gets by `-o json` what a person gets as a
//! table.

pub mod cost;
pub mod doctor;
pub mod history;
pub mod local;
pub mod status;
pub mod steer;
pub mod table;
pub mod view;
pub mod watch;
pub mod why;
pub mod words;

#[cfg(test)]
pub(crate) mod tests;

pub use view::{Error, NotFound, View};
