//! What a Kubernetes API server must do, asked of the lab's own. With
//! `TANIST_CONFORMANCE_KUBECONFIG=FILE` the same is asked of whatever server that file names: a real
//! `kube-apiserver` passes too.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

#[path = "apiserver/client.rs"]
mod client;
#[path = "apiserver/custom.rs"]
mod custom;
#[path = "apiserver/ownership.rs"]
mod ownership;
#[path = "apiserver/patches.rs"]
mod patches;
#[path = "apiserver/reads.rs"]
mod reads;
#[path = "apiserver/watches.rs"]
mod watches;
#[path = "apiserver/writes.rs"]
mod writes;
