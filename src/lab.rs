//! A whole mesh on one Linux machine, in namespaces of its own.

pub mod apiserver;
pub mod control;
pub mod faults;
pub mod firewall;
pub mod kilo;
pub mod mesh;
pub mod namespace;
pub mod network;
pub mod station;
pub mod topology;
pub mod traffic;
pub mod wireguard;
