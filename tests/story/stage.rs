//! Everything that the story happens on: mesh, servers, the way between them, and who stands in for
//! the rest of a cluster; and what a person does there.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use http::Method;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::{Value, json};
use tanist::cluster::objects::{MeshLocation, MeshLocationStatus, mesh_location_name};
use tanist::evidence::Location;
use tanist::lab::journals;
use tanist::lab::mesh::now;
use tanist::lab::namespace::Namespace;
use tanist::lab::topology::SERVER;
use tokio::process::{Child, Command};

use crate::cluster::{MERGE, apply, ask, peers_of_kilo};
use crate::controllers::Controllers;
use crate::kubelet::{Kubelet, text};
use crate::mesh::Mesh;
use crate::proxy::Proxy;
use crate::server::{ADMIN, Server, tool};
use crate::until::awaited;
use crate::vigil::Vigil;
use crate::writes::Step;

/// Where Tanist is installed.
pub(crate) const NAMESPACE: &str = "tanist";

/// The chart.
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/tanist");

/// Which location the story is about, who leads it at first, and who is to lead it then.
pub(crate) const CLOUD: &str = "cloud";
pub(crate) const FIRST: &str = "cloud-1";
pub(crate) const HEIR: &str = "cloud-2";

/// The exit code of a command that was refused.
pub(crate) const REFUSED: i32 = 3;

/// Where arbiters agree on one of them.
pub(crate) const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/tanist/leases/tanist";

/// The port of the API server within the mesh.
const PORT: u16 = 6443;

/// Where the story happens.
pub(crate) struct Stage {
    pub(crate) mesh: Mesh,
    pub(crate) server: Server,
    pub(crate) proxy: Proxy,
    pub(crate) admin: Client,
    pub(crate) kubelet: Kubelet,
    pub(crate) controllers: Controllers,
    pub(crate) vigil: Vigil,
    kubeconfig: PathBuf,
    began: Instant,
}

/// What a program printed, and how it ended.
pub(crate) struct Printed {
    pub(crate) code: i32,
    pub(crate) text: String,
}

impl Stage {
    /// Sets all of it up; nothing of Tanist is there yet.
    pub(crate) async fn set(wan: Namespace) -> anyhow::Result<Self> {
        let began = Instant::now();
        let mesh = Mesh::build(wan).await?;
        let server = Server::start().await?;
        let admin = server.admin().await?;
        let certificates = server.folder().join("certs");
        let at = (SERVER, PORT).into();
        let proxy = Proxy::start(at, &server.address(), &certificates).await?;
        let inside = format!("https://{SERVER}:{PORT}");
        let kubeconfig = server.write("person", &server.kubeconfig_at(&inside, ADMIN))?;

        apply(&admin, &[peers_of_kilo()]).await?;
        apply(&admin, &kilo_account()).await?;
        let token = account_token(&admin).await?;
        let read = Kubeconfig::from_yaml(&server.kubeconfig_at(&inside, &token))?;
        let api = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
        mesh.start(&admin, &api, FIRST).await?;
        let vigil = Vigil::begin(server.admin().await?);

        let authority = std::fs::read_to_string(certificates.join("apiserver.crt"))?;
        let kubelet = Kubelet::new(admin.clone(), mesh.hosts(), server.folder(), authority);
        let nodes = mesh.hosts().into_keys().collect();
        let arbiters = ["onprem-2", "onprem-3", "cloud-3"].map(str::to_owned).to_vec();
        let controllers = Controllers::new(admin.clone(), NAMESPACE, nodes, arbiters);
        Ok(Self { mesh, server, proxy, admin, kubelet, controllers, vigil, kubeconfig, began })
    }

    /// Says what happens, and when.
    pub(crate) fn say(&self, line: &str) {
        eprintln!("{:8.3} s  {line}", self.began.elapsed().as_secs_f64());
    }

    /// Lets the controllers do their work.
    pub(crate) async fn reconcile(&mut self) -> anyhow::Result<usize> {
        self.controllers.reconcile(&mut self.kubelet).await
    }

    /// Lets the controllers replace Pods, an arbiter that holds the lease among them: it gives the
    /// lease back, so that nobody has to wait until it has run out.
    pub(crate) async fn replace(&mut self) -> anyhow::Result<usize> {
        let _earlier = self.proxy.writes();
        let pods = self.reconcile().await?;
        let writes = self.proxy.writes();
        let released = writes.iter().any(|write| write.step == Step::Release);
        ensure!(released, "the lease was left to run out");
        Ok(pods)
    }

    /// Runs helm.
    pub(crate) async fn helm(&self, verb: &str, arguments: &[&str]) -> anyhow::Result<()> {
        let mut command = Command::new(tool("helm")?);
        for folder in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env(folder, self.server.folder().join(folder));
        }
        command.args([verb, "tanist"]);
        if verb != "uninstall" {
            command.arg(CHART);
        }
        command.args(arguments).args(["--namespace", NAMESPACE, "--kubeconfig"]);
        let printed = run(command.arg(&self.kubeconfig)).await?;
        ensure!(printed.code == 0, "helm {verb}: {}", printed.text);
        Ok(())
    }

    /// Runs one of Tanist's commands as a person does.
    pub(crate) async fn tanist(&self, arguments: &[&str]) -> anyhow::Result<Printed> {
        run(&mut self.command(arguments)).await
    }

    /// Starts one of Tanist's commands as a person does; what it prints goes into a log.
    pub(crate) fn start(&self, arguments: &[&str]) -> anyhow::Result<Child> {
        let log = self.server.folder().join("commands.log");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
        let mut command = self.command(arguments);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(command.kill_on_drop(true).spawn()?)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tanist"));
        command.args(arguments).arg("--kubeconfig").arg(&self.kubeconfig);
        command
    }

    /// Runs one of Tanist's commands that must succeed.
    pub(crate) async fn person(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let printed = self.tanist(arguments).await?;
        ensure!(printed.code == 0, "tanist {arguments:?}: {}: {}", printed.code, printed.text);
        Ok(printed.text)
    }

    /// Moves the leader as a person does who is refused while the heir is not fit: a test of it that
    /// came late makes it so for some seconds.
    pub(crate) async fn moved(&self, to: &str) -> anyhow::Result<String> {
        let arguments = ["move", CLOUD, "--to", to, "--yes"];
        let printed = awaited(&format!("a move to {to} is granted"), async || {
            self.ready().await?;
            let printed = self.tanist(&arguments).await?;
            ensure!(printed.code != REFUSED, "{}", printed.text);
            Ok(printed)
        })
        .await?;
        ensure!(printed.code == 0, "tanist {arguments:?}: {}: {}", printed.code, printed.text);
        Ok(printed.text)
    }

    /// Reads one thing.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        ask(&self.admin, (Method::GET, path), MERGE, &Value::Null).await?.granted()
    }

    /// Merges a change into one thing.
    pub(crate) async fn patch(&self, path: &str, change: &Value) -> anyhow::Result<()> {
        ask(&self.admin, (Method::PATCH, path), MERGE, change).await?.granted().map(drop)
    }

    /// Reads what a location says.
    pub(crate) async fn location(&self, name: &str) -> anyhow::Result<MeshLocationStatus> {
        let name = mesh_location_name(&Location::from(name));
        let object = Api::<MeshLocation>::all(self.admin.clone()).get(&name).await?;
        Ok(object.status.unwrap_or_default())
    }

    /// Waits until a location says something.
    pub(crate) async fn said(
        &self,
        what: &str,
        so: impl Fn(&MeshLocationStatus) -> bool,
    ) -> anyhow::Result<MeshLocationStatus> {
        awaited(what, async || {
            let status = self.location(CLOUD).await?;
            ensure!(so(&status), "{}", serde_json::to_string(&status)?);
            Ok(status)
        })
        .await
    }

    /// Waits until a node leads the location by Kilo's rules.
    pub(crate) async fn led_by(&self, node: &str) -> anyhow::Result<()> {
        awaited(&format!("{node} leads"), async || {
            let leaders = self.vigil.leaders();
            let leader = leaders.get(&Location::from(CLOUD)).map(|leader| leader.0.clone());
            ensure!(leader.as_deref() == Some(node), "{leader:?} leads");
            Ok(())
        })
        .await
    }

    /// Returns the node of the arbiter that holds the lease.
    pub(crate) async fn holder(&self) -> anyhow::Result<String> {
        let holder = text(&self.get(LEASE).await?["spec"]["holderIdentity"])?;
        let (node, _chance) = holder.split_once('_').context("an identity without a node")?;
        Ok(node.to_owned())
    }

    /// Replays the journal of the arbiter that holds the lease, out of its Pod's volume; returns what
    /// is said of it.
    pub(crate) async fn replay(&self) -> anyhow::Result<String> {
        let arbiter = ("tanist-arbiter", &*self.holder().await?);
        let journal = self.kubelet.volume_of(arbiter, "journal")?.join("journal");
        let program = Path::new(env!("CARGO_BIN_EXE_tanist"));
        let replayed = journals::replay(program, &journal).await?;
        ensure!(replayed.same, "the journal: {}", replayed.said);
        Ok(replayed.said)
    }

    /// Waits until an arbiter holds the lease, and would follow a person's wish: it knows who leads
    /// and who could, and moves nobody.
    pub(crate) async fn ready(&self) -> anyhow::Result<()> {
        awaited("an arbiter holds the lease", async || {
            let lease = self.get(LEASE).await?;
            let holder = text(&lease["spec"]["holderIdentity"])?;
            let renewed = text(&lease["spec"]["renewTime"])?.parse::<jiff::Timestamp>()?;
            let age = now().0 - renewed.as_millisecond();
            ensure!(!holder.is_empty() && age < 3000, "{lease}");
            Ok(())
        })
        .await?;
        self.all_say("the arbiter knows the mesh", |verdict| verdict != "dark").await
    }

    /// Waits until moreover fresh flows pass everywhere.
    pub(crate) async fn trusted(&self) -> anyhow::Result<()> {
        self.ready().await?;
        self.all_say("fresh flows pass", |verdict| verdict == "forwards").await
    }

    async fn all_say(&self, what: &str, is_well: impl Fn(&str) -> bool) -> anyhow::Result<()> {
        for location in ["onprem", CLOUD] {
            awaited(&format!("{location}: {what}"), async || {
                let status = self.location(location).await?;
                let verdict = status.verdict.unwrap_or_default();
                ensure!(is_well(&verdict), "{verdict}: {:?}", status.because);
                ensure!(status.moving.is_none(), "{:?}", status.moving);
                let leaders = self.vigil.leaders();
                let leader = leaders.get(&Location::from(location));
                ensure!(status.leader.as_ref() == leader, "{:?}, not {leader:?}", status.leader);
                ensure!(status.heirs.len() == 2, "{:?}", status.heirs);
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    /// Waits until a node is fit to lead.
    pub(crate) async fn fit(&self, heir: &str) -> anyhow::Result<()> {
        self.trusted().await?;
        let is_fit = |status: &MeshLocationStatus| {
            status.heirs.iter().any(|known| known.fit && known.node.0 == heir)
        };
        self.said(&format!("{heir} is fit"), is_fit).await.map(drop)
    }

    /// Returns what people and controllers have annotated on each Node, ours and Kilo's leader.
    pub(crate) async fn annotations(&self) -> anyhow::Result<Vec<(String, Value)>> {
        let nodes = self.get("/api/v1/nodes").await?;
        let mut all = Vec::new();
        for node in nodes["items"].as_array().into_iter().flatten() {
            let mut annotations = node["metadata"]["annotations"].clone();
            let kept =
                |key: &str| !key.starts_with("kilo.squat.ai/") || key == "kilo.squat.ai/leader";
            if let Some(annotations) = annotations.as_object_mut() {
                annotations.retain(|key, _| kept(key));
            }
            all.push((text(&node["metadata"]["name"])?, annotations));
        }
        Ok(all)
    }
}

async fn run(command: &mut Command) -> anyhow::Result<Printed> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.with_context(|| format!("cannot run {command:?}"))?;
    let printed = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let text = printed(&output.stdout) + &printed(&output.stderr);
    Ok(Printed { code: output.status.code().unwrap_or(-1), text })
}

/// What Kilo's own manifests give its agent.
fn kilo_account() -> Vec<Value> {
    let role = "rbac.authorization.k8s.io/v1";
    vec![
        json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": "kilo", "namespace": "kube-system"},
        }),
        json!({
            "apiVersion": role, "kind": "ClusterRole", "metadata": {"name": "kilo"},
            "rules": [
                {"apiGroups": [""], "resources": ["nodes"], "verbs": ["list", "patch", "watch"]},
                {"apiGroups": ["kilo.squat.ai"], "resources": ["peers"], "verbs": ["list", "watch"]},
            ],
        }),
        json!({
            "apiVersion": role, "kind": "ClusterRoleBinding", "metadata": {"name": "kilo"},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "kilo",
            },
            "subjects": [{"kind": "ServiceAccount", "name": "kilo", "namespace": "kube-system"}],
        }),
    ]
}

async fn account_token(admin: &Client) -> anyhow::Result<String> {
    let path = "/api/v1/namespaces/kube-system/serviceaccounts/kilo/token";
    let body =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let made = ask(admin, (Method::POST, path), "application/json", &body).await?.granted()?;
    text(&made["status"]["token"])
}
