//! Thin, typed Kubernetes: the objects, one watch, one lease.

mod connect;
pub mod lease;
mod list;
pub mod objects;
pub mod watch;

pub use connect::{Clients, ConnectError, as_person, connect};
pub use list::{Listed, list};
