//! The commands of the documents, run as they stand there: installation in each way, rotation of
//! the key, removal.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use http::Method;
use kube::Client;
use serde_json::{Value, json};

use crate::cluster::{Answer, MERGE, apply, ask, ask_until, make_node, run};
use crate::server::{Server, tool};

const NODE: &str = "/api/v1/nodes/a";

/// Everything of ours that outlives a namespace.
const CLUSTER_WIDE: [&str; 6] = [
    "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles",
    "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings",
    "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
    "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings",
];

/// Each overlay as `docs/install.md` says, and one of them away again as `docs/removal.md` says.
pub(crate) async fn documents_install_by_kustomize() -> anyhow::Result<()> {
    for distribution in ["k3s", "kubeadm"] {
        for network in ["kilo-cni", "flannel", "cilium", "userspace"] {
            let overlay = format!("{distribution}-{network}");
            by_kustomize(distribution, &overlay).await.context(overlay)?;
        }
    }
    Ok(())
}

async fn by_kustomize(distribution: &str, overlay: &str) -> anyhow::Result<()> {
    let (server, admin) = cluster().await?;
    let mut script = blocks("docs/install.md", distribution)?;
    if overlay == "k3s-flannel" {
        script += &blocks("docs/removal.md", "k3s")?;
    }
    ensure!(script.contains("OVERLAY=k3s-flannel\n"), "no overlay is chosen:\n{script}");
    let script = script.replace("OVERLAY=k3s-flannel\n", &format!("OVERLAY={overlay}\n"));
    shell(&server, &script)?;
    if overlay == "k3s-flannel" {
        return nothing_is_left(&admin).await;
    }
    let api_server = get(&admin, "/api/v1/namespaces/tanist/configmaps/tanist-api-server").await?;
    let expected = match distribution {
        "k3s" => json!({"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "6444"}),
        _ => {
            json!({"KUBERNETES_SERVICE_HOST": "cp.example.org", "KUBERNETES_SERVICE_PORT": "6443"})
        }
    };
    ensure!(api_server["data"] == expected, "{}", api_server["data"]);
    has_key(&admin, "tanist").await?;
    get(&admin, "/apis/apps/v1/namespaces/tanist/daemonsets/tanist-agent").await?;
    Ok(())
}

/// The chart installed, its key rotated, and everything removed.
pub(crate) async fn documents_install_by_helm() -> anyhow::Result<()> {
    let (server, admin) = cluster().await?;
    shell(&server, &blocks("docs/install.md", "helm")?)?;
    let before = has_key(&admin, "tanist").await?;
    shell(&server, &blocks("docs/upgrade.md", "helm")?)?;
    let after = has_key(&admin, "tanist").await?;
    ensure!(before != after, "the rotation left the key as it was");
    shell(&server, &blocks("docs/removal.md", "helm")?)?;
    nothing_is_left(&admin).await
}

/// Both ways to a sidecar, and that they come to the same pod.
pub(crate) async fn documents_install_a_sidecar() -> anyhow::Result<()> {
    let mut pods = Vec::new();
    for way in ["sidecar", "inject"] {
        let (server, admin) = cluster().await?;
        shell(&server, &blocks("docs/install.md", way)?)?;
        let path = "/apis/apps/v1/namespaces/kube-system/daemonsets/kilo";
        let mut pod = get(&admin, path).await?["spec"]["template"]["spec"].clone();
        let image = pod["containers"][1]["image"].take();
        ensure!(image.is_string(), "{way}: no second container: {pod}");
        pods.push(pod);
        get(&admin, "/api/v1/namespaces/kube-system/secrets/tanist-sidecar-token").await?;
    }
    ensure!(pods[0] == pods[1], "kustomize makes\n{}\nand inject\n{}", pods[0], pods[1]);
    Ok(())
}

/// Starts a server with what the documents take for granted.
async fn cluster() -> anyhow::Result<(Server, Client)> {
    let server = Server::start().await?;
    let admin = server.admin().await?;
    make_node(&admin, "a", "cloud").await?;
    let moved = json!({"metadata": {"annotations": {
        "kilo.squat.ai/leader": "", "tanist.dev/leader-before": "absent", "tanist.dev/pin": "true",
    }}});
    ask(&admin, (Method::PATCH, NODE), MERGE, &moved).await?.granted()?;
    let kubeconfig =
        "clusters:\n- cluster:\n    server: https://cp.example.org:6443\n  name: \"\"\n";
    let cluster_info = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "cluster-info", "namespace": "kube-public"},
        "data": {"kubeconfig": kubeconfig},
    });
    apply(&admin, &[cluster_info]).await?;
    Ok((server, admin))
}

async fn has_key(admin: &Client, namespace: &str) -> anyhow::Result<Value> {
    let path = format!("/api/v1/namespaces/{namespace}/secrets/tanist-probe-keys");
    let keys = get(admin, &path).await?["data"]["keys"].take();
    // 32 bytes in base64 and a line end, in base64 again.
    ensure!(keys.as_str().is_some_and(|keys| keys.len() == 60), "not one key of 32 bytes");
    Ok(keys)
}

async fn nothing_is_left(admin: &Client) -> anyhow::Result<()> {
    let get = |path: String| async move {
        let none = |answer: &Answer| {
            answer.code == 404 || answer.body["items"].as_array().is_some_and(Vec::is_empty)
        };
        ask_until(admin, (Method::GET, &path), MERGE, &Value::Null, none).await
    };
    for list in CLUSTER_WIDE {
        get(format!("{list}?labelSelector=app.kubernetes.io/part-of%3Dtanist")).await?;
    }
    for list in ["daemonsets", "deployments"] {
        get(format!("/apis/apps/v1/namespaces/tanist/{list}")).await?;
    }
    for kind in ["meshlocations", "relayreports"] {
        get(format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{kind}.tanist.dev"))
            .await?;
    }
    // Without a controller a namespace goes no further.
    let namespace = self::get(admin, "/api/v1/namespaces/tanist").await?;
    ensure!(namespace["metadata"]["deletionTimestamp"].is_string(), "{namespace}");
    let node = self::get(admin, NODE).await?;
    let kept = json!({"kilo.squat.ai/location": "cloud", "example.org/rack": "7"});
    ensure!(node["metadata"]["annotations"] == kept, "left on the node: {node}");
    Ok(())
}

async fn get(admin: &Client, path: &str) -> anyhow::Result<Value> {
    ask(admin, (Method::GET, path), MERGE, &Value::Null).await?.granted()
}

/// Returns the commands of a document that are marked `<!-- run ... -->` for a way.
fn blocks(document: &str, way: &str) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(root().join(document))?;
    let mut script = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let marked = line.strip_prefix("<!-- run ").and_then(|line| line.strip_suffix(" -->"));
        if !marked.is_some_and(|ways| ways.split(' ').any(|known| known == way)) {
            continue;
        }
        ensure!(lines.next() == Some("```sh"), "{document}: no commands behind `{line}`");
        for line in lines.by_ref().take_while(|line| *line != "```") {
            script += line;
            script.push('\n');
        }
    }
    ensure!(!script.is_empty(), "{document} has no commands for {way}");
    Ok(script)
}

/// Runs commands as somebody would at the root of a checkout, but for the files they leave.
fn shell(server: &Server, script: &str) -> anyhow::Result<()> {
    let there = server.folder().join("checkout");
    std::fs::create_dir_all(&there)?;
    for folder in ["charts", "deploy", "tests"] {
        let link = there.join(folder);
        if !link.exists() {
            std::os::unix::fs::symlink(root().join(folder), link)?;
        }
    }
    let tools = [tool("helm")?, PathBuf::from(env!("CARGO_BIN_EXE_tanist")), kubectl()?];
    let folders = tools.iter().filter_map(|tool| tool.parent().map(Path::to_owned));
    let usual = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(folders.chain(std::env::split_paths(&usual)))?;

    let mut command = Command::new("sh");
    command.args(["-eu", "-c", script]).current_dir(&there).env("PATH", path);
    command.env("KUBECONFIG", server.admin_file()?).env("HOME", &there);
    run(&mut command).with_context(|| format!("of these commands:\n{script}"))?;
    Ok(())
}

fn kubectl() -> anyhow::Result<PathBuf> {
    let usual = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&usual).map(|folder| folder.join("kubectl"));
    match found.into_iter().find(|path| path.is_file()) {
        Some(path) => Ok(path),
        None => bail!("kubectl is missing: the documents' commands need it in PATH"),
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
