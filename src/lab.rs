//! A whole mesh on one Linux machine, in namespaces of its own.

pub mod apiserver;
pub mod chronicle;
pub mod control;
pub mod expect;
pub mod faults;
pub mod figures;
pub mod firewall;
pub mod harm;
pub mod incident;
pub mod journals;
pub mod kilo;
pub mod mesh;
pub mod namespace;
pub mod network;
pub mod picture;
pub mod readiness;
pub mod report;
pub mod run;
pub mod scenarios;
pub mod station;
pub mod timeline;
pub mod topology;
pub mod traffic;
pub mod vigil;
pub mod watch;
pub mod wireguard;
