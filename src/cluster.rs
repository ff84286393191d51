//! Thin, typed Kubernetes: the objects, one watch, one lease.

mod connect;
pub mod lease;

pub mod objects;
pub mod watch;

pub use connect::{Clients, ConnectError, as_person, connect};
