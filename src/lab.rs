//! A whole mesh on one Linux machine, in namespaces of its own.

pub mod apiserver;
pub mod namespace;
