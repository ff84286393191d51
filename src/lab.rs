//! A whole mesh on one Linux machine, in namespaces of its own.

pub mod apiserver;
pub mod faults;
pub mod firewall;
pub mod kilo;
pub mod namespace;
pub mod network;
pub mod topology;
pub mod traffic;
pub mod wireguard;
