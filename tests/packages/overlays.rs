//! Every overlay, applied whole.

use std::path::Path;

use anyhow::{Context as _, ensure};
use http::Method;
use kube::Client;
use serde_json::{Value, json};

use crate::cluster::{apply, ask, kustomize};
use crate::server::Server;

/// Where a client in a pod looks for its token.
const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

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
        for object in &objects {
            if matches!(object["kind"].as_str(), Some("DaemonSet" | "Deployment")) {
                admitted(&admin, object).await.with_context(|| overlay.clone())?;
            }
        }
    }
    let old = kustomize("tests/packages/before-1.30")?;
    ensure!(has(&old, "DaemonSet", "tanist-agent"), "the old cluster has no agents");
    for object in &old {
        let kind = object["kind"].as_str().unwrap_or_default();
        ensure!(!kind.contains("Admission"), "a policy for a cluster that does not know any");
    }
    let sidecar = kustomize("tests/packages/sidecar")?;
    apply(&admin, &sidecar).await?;
    let kilo = sidecar.iter().find(|object| object["kind"] == "DaemonSet");
    has_its_own_token(&admitted(&admin, kilo.context("no DaemonSet")?).await?)
}

/// Makes the pod of a workload, dry, and returns what admission made of it: that its account and
/// its priority are there, and that the namespace takes it.
async fn admitted(admin: &Client, workload: &Value) -> anyhow::Result<Value> {
    let template = &workload["spec"]["template"];
    let namespace = workload["metadata"]["namespace"].as_str().context("no namespace")?;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "one", "labels": template["metadata"]["labels"]},
        "spec": template["spec"],
    });
    let path = format!("/api/v1/namespaces/{namespace}/pods?dryRun=All");
    let answer = ask(admin, (Method::POST, &path), "application/json", &pod).await?;
    answer.granted().with_context(|| format!("no pod of {}", workload["metadata"]["name"]))
}

/// Admission mounts the pod's token into every container that has nothing in its place: Kilo's gets
/// it, ours has our own.
fn has_its_own_token(pod: &Value) -> anyhow::Result<()> {
    let mounts = |container: usize| {
        let mounts = pod["spec"]["containers"][container]["volumeMounts"].as_array();
        let here = mounts.into_iter().flatten().filter(|mount| mount["mountPath"] == TOKEN);
        here.filter_map(|mount| mount["name"].as_str()).collect::<Vec<_>>()
    };
    let kilos = mounts(0);
    ensure!(kilos.len() == 1 && kilos[0].starts_with("kube-api-access-"), "Kilo has {kilos:?}");
    ensure!(mounts(1) == ["tanist-token"], "Tanist has {:?}", mounts(1));
    Ok(())
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
