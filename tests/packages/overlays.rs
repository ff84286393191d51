//! Every overlay, applied whole.

use std::path::Path;

use anyhow::ensure;
use serde_json::Value;

use crate::cluster::{apply, kustomize};
use crate::server::Server;

/// Every folder of `deploy/overlays`, one of them for a cluster without admission policies, and the
/// sidecar in a Kilo manifest of our own making.
pub(crate) async fn every_overlay_is_accepted() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let admin = server.admin().await?;
    let overlays = overlays()?;
    ensure!(overlays.len() == 8, "k3s and kubeadm with four networks each: {overlays:?}");
    for overlay in overlays {
        let objects = kustomize(&overlay)?;
        ensure!(has(&objects, "DaemonSet", "tanist-agent"), "{overlay} has no agents");
        ensure!(has(&objects, "ValidatingAdmissionPolicy", "tanist-nodes"), "{overlay}: no policy");
        apply(&admin, &objects).await?;
    }
    let old = kustomize("tests/packages/before-1.30")?;
    ensure!(has(&old, "DaemonSet", "tanist-agent"), "the old cluster has no agents");
    for object in &old {
        let kind = object["kind"].as_str().unwrap_or_default();
        ensure!(!kind.contains("Admission"), "a policy for a cluster that does not know any");
    }
    apply(&admin, &kustomize("tests/packages/sidecar")?).await
}

fn overlays() -> anyhow::Result<Vec<String>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/overlays");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        names.push(format!("deploy/overlays/{}", entry?.file_name().to_string_lossy()));
    }
    names.sort();
    Ok(names)
}

fn has(objects: &[Value], kind: &str, name: &str) -> bool {
    objects.iter().any(|object| object["kind"] == kind && object["metadata"]["name"] == name)
}
