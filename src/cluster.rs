//! Thin, typed Kubernetes: the objects, one watch, one lease.

pub mod objects;
