//! Makes evidence: sockets, kernel facts, and the one clock of a node.
//!
//! [`schedule`] says what to probe and when, and keeps the counts; it is pure. The other files are
//! its hands and eyes.

mod checksum;
pub mod echo;
pub mod hairpin;
pub mod host;
pub mod keys;
pub mod probe;
pub mod schedule;
pub mod tunnel;
pub mod wire;
