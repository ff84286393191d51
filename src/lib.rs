//! Tanist proves with fresh flows that Kilo's leaders forward, and moves the leader when one
//! does not.
//!
//! Data flows one way; nobody looks back up:
//!
//! ```text
//! observe (IO) ─▶ evidence (types) ─▶ diagnose (pure) ─▶ decide (pure) ─▶ act (IO)
//!      ▲                                                                    │
//!      └────────────── the mesh: sockets, kernel, Kubernetes ◀──────────────┘
//! ```
//!
//! Only the two engines see all five: [`sidecar`], the loop of every node, and [`arbiter`], the
//! loop of the one process that holds the lease. The same [`diagnose`] and [`decide`] run in
//! production, in [`simulate`] and in the replay of a recorded [`journal`]. `tests/architecture.rs`
//! holds each layer to its imports.

pub mod act;
pub mod admin;
pub mod arbiter;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod decide;
pub mod diagnose;
pub mod evidence;
pub mod inject;
pub mod journal;
pub mod judge;
pub mod lab;
pub mod metrics;
pub mod net;
pub mod observe;
pub mod operator;
pub mod sidecar;
pub mod simulate;
pub mod telemetry;
