//! Stands in for the kubelets: makes a process of each container of a Pod, on the Pod's node, with
//! what the Pod says it gets, and starts again what ended. What it does not understand it refuses.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use kube::Client;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tanist::lab::namespace::Namespace;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use crate::cluster::{MERGE, ask};
use crate::container::{Container, Mount, VERB};
use crate::until::{LOOK, until};

/// Where a Pod finds its token.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// How long a process that was told to end may take before it is killed.
const GRACE: Duration = Duration::from_secs(10);

/// All kubelets.
pub(crate) struct Kubelet {
    admin: Client,
    nodes: BTreeMap<String, Namespace>,
    folder: PathBuf,
    authority: String,
    pods: BTreeMap<String, Pod>,
}

/// A Pod that runs.
struct Pod {
    node: String,
    admin: u16,
    process: Arc<Process>,
    stop: CancellationToken,
    ended: tokio::task::JoinHandle<()>,
}

/// The process of a Pod.
#[derive(Default)]
struct Process(Mutex<Life>);

#[derive(Default)]
struct Life {
    pid: Option<Pid>,
    /// How often somebody killed it.
    killed: usize,
    /// How it ended, each time that nobody had told it to.
    ends: Vec<String>,
}

impl Process {
    fn life(&self) -> std::sync::MutexGuard<'_, Life> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kubelet {
    /// Starts with no Pods. `authority` is what Pods know the API server by.
    pub(crate) fn new(
        admin: Client,
        nodes: BTreeMap<String, Namespace>,
        folder: &Path,
        authority: String,
    ) -> Self {
        Self { admin, nodes, folder: folder.join("pods"), authority, pods: BTreeMap::new() }
    }

    /// Runs a Pod that the API server has.
    pub(crate) async fn run(&mut self, pod: &Value) -> anyhow::Result<()> {
        let name = text(&pod["metadata"]["name"])?;
        let node = text(&pod["spec"]["nodeName"])?;
        let namespace = self.nodes.get(&node).with_context(|| format!("no node {node}"))?.clone();
        let containers = pod["spec"]["containers"].as_array().context("no containers")?;
        ensure!(pod["spec"]["hostNetwork"] == true, "{name} is to have a network of its own");
        let [container] = containers.as_slice() else { bail!("{name} has not one container") };
        let admin = port(container, "admin")?;

        let folder = self.folder.join(&name);
        std::fs::create_dir_all(folder.join("root"))?;
        let container = self.container(pod, container, &folder).await?;
        let file = folder.join("container.json");
        std::fs::write(&file, serde_json::to_vec(&container)?)?;

        let (process, stop) = (Arc::new(Process::default()), CancellationToken::new());
        let log = folder.join("log");
        let keep = keep(namespace, (file, log), Arc::clone(&process), stop.clone());
        let ended = tokio::spawn(keep);
        self.pods.insert(name, Pod { node, admin, process, stop, ended });
        Ok(())
    }

    /// Ends a Pod's process in good order; its volumes go.
    pub(crate) async fn end(&mut self, name: &str) -> anyhow::Result<()> {
        let pod = self.pods.remove(name).with_context(|| format!("no Pod {name}"))?;
        pod.stop.cancel();
        pod.ended.await?;
        std::fs::remove_dir_all(self.folder.join(name))?;
        Ok(())
    }

    /// Returns the names of all Pods that run.
    pub(crate) fn names(&self) -> Vec<String> {
        self.pods.keys().cloned().collect()
    }

    /// Waits until a Pod says that it is ready.
    pub(crate) async fn ready(&self, name: &str) -> anyhow::Result<()> {
        let pod = self.pods.get(name).with_context(|| format!("no Pod {name}"))?;
        let node = self.nodes[&pod.node].clone();
        let log = self.folder.join(name).join("log");
        let what = format!("{name} is ready");
        let ready = until(&what, async || is_ready(&node, pod.admin).await).await;
        ready.with_context(|| std::fs::read_to_string(log).unwrap_or_default())
    }

    /// Waits until all Pods are ready.
    pub(crate) async fn all_ready(&self) -> anyhow::Result<()> {
        for name in self.pods.keys() {
            self.ready(name).await?;
        }
        Ok(())
    }

    /// Kills, as SIGKILL does, the process of an account on a node; it is started again at once.
    pub(crate) fn kill(&self, account: &str, node: &str) -> anyhow::Result<()> {
        let (_, pod) = self.pod_of(account, node)?;
        let mut life = pod.process.life();
        let pid = life.pid.take().context("it does not run")?;
        life.killed += 1;
        kill(pid, Signal::SIGKILL)?;
        Ok(())
    }

    /// Returns the folder of a volume of the Pod of an account on a node.
    pub(crate) fn volume_of(
        &self,
        (account, node): (&str, &str),
        volume: &str,
    ) -> anyhow::Result<PathBuf> {
        let (name, _) = self.pod_of(account, node)?;
        Ok(self.folder.join(name).join("volumes").join(volume))
    }

    fn pod_of(&self, account: &str, node: &str) -> anyhow::Result<(&String, &Pod)> {
        let mut pods = self.pods.iter();
        let pod = pods.find(|(name, pod)| name.starts_with(account) && pod.node == node);
        pod.with_context(|| format!("no {account} on {node}"))
    }

    /// Returns what ended although nobody had ended it.
    pub(crate) fn unasked(&self) -> Vec<String> {
        let unasked = |(name, pod): (&String, &Pod)| {
            let life = pod.process.life();
            (life.ends.len() > life.killed).then(|| format!("{name}: {:?}", life.ends))
        };
        self.pods.iter().filter_map(unasked).collect()
    }

    async fn container(
        &self,
        pod: &Value,
        container: &Value,
        folder: &Path,
    ) -> anyhow::Result<Container> {
        ensure!(container["command"].is_null(), "a command in place of the image's");
        let security = &container["securityContext"];
        ensure!(security["readOnlyRootFilesystem"] == true, "a root that can be written to");
        ensure!(security["capabilities"]["drop"] == json!(["ALL"]), "{security}");
        let capabilities = strings(&security["capabilities"]["add"]);
        let user = security["runAsUser"].as_u64().context("no user")?;
        let mut mounts = BTreeMap::new();
        for mount in container["volumeMounts"].as_array().into_iter().flatten() {
            let volumes = pod["spec"]["volumes"].as_array().context("no volumes")?;
            let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]);
            let source = self.volume(pod, volume.context("no such volume")?, folder).await?;
            let read_only = mount["readOnly"] == true;
            mounts.insert(text(&mount["mountPath"])?.into(), Mount { source, read_only });
        }
        ensure!(mounts.contains_key(Path::new(ACCOUNT)), "no token is mounted");
        Ok(Container {
            root: folder.join("root"),
            program: env!("CARGO_BIN_EXE_tanist").into(),
            arguments: strings(&container["args"]),
            environment: self.environment(pod, container).await?,
            mounts,
            user: u32::try_from(user)?,
            capabilities,
        })
    }

    async fn environment(
        &self,
        pod: &Value,
        container: &Value,
    ) -> anyhow::Result<BTreeMap<String, String>> {
        // What every Pod is told: a Service that leads nowhere here.
        let service =
            [("KUBERNETES_SERVICE_HOST", "10.96.0.1"), ("KUBERNETES_SERVICE_PORT", "443")];
        let mut environment: BTreeMap<_, _> =
            service.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        for from in container["envFrom"].as_array().into_iter().flatten() {
            let reference = &from["configMapRef"];
            let data = self.read("configmaps", pod, &text(&reference["name"])?).await?;
            match data {
                Some(map) => environment.extend(texts(&map["data"])),
                None => ensure!(reference["optional"] == true, "{reference} is not there"),
            }
        }
        for variable in container["env"].as_array().into_iter().flatten() {
            let value = match variable["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
                Some("spec.nodeName") => text(&pod["spec"]["nodeName"])?,
                Some("metadata.namespace") => text(&pod["metadata"]["namespace"])?,
                Some(other) => bail!("no field {other}"),
                None => text(&variable["value"])?,
            };
            environment.insert(text(&variable["name"])?, value);
        }
        Ok(environment)
    }

    /// Makes a volume; returns its folder.
    async fn volume(&self, pod: &Value, volume: &Value, folder: &Path) -> anyhow::Result<PathBuf> {
        let there = folder.join("volumes").join(text(&volume["name"])?);
        std::fs::create_dir_all(&there)?;
        if volume["emptyDir"].is_object() {
            // Whatever user the container has.
            std::fs::set_permissions(&there, Permissions::from_mode(0o777))?;
            return Ok(there);
        }
        if let Some(name) = volume["secret"]["secretName"].as_str() {
            let secret = self.read("secrets", pod, name).await?.context("no such Secret")?;
            let mode = volume["secret"]["defaultMode"].as_u64().unwrap_or(0o644);
            for (name, value) in texts(&secret["data"]) {
                let file = there.join(name);
                std::fs::write(&file, STANDARD.decode(value)?)?;
                let mode = Permissions::from_mode(u32::try_from(mode)?);
                std::fs::set_permissions(&file, mode)?;
            }
            return Ok(there);
        }
        let sources = volume["projected"]["sources"].as_array().into_iter().flatten();
        for source in sources {
            if source["serviceAccountToken"].is_object() {
                std::fs::write(there.join("token"), self.token(pod).await?)?;
            } else if source["configMap"]["name"] == "kube-root-ca.crt" {
                std::fs::write(there.join("ca.crt"), &self.authority)?;
            } else if source["downwardAPI"].is_object() {
                std::fs::write(there.join("namespace"), text(&pod["metadata"]["namespace"])?)?;
            } else {
                bail!("no volume like {source}");
            }
        }
        ensure!(there.join("token").exists(), "no volume like {volume}");
        Ok(there)
    }

    /// Asks for a token that is bound to the Pod, and so names its node.
    async fn token(&self, pod: &Value) -> anyhow::Result<String> {
        let (metadata, spec) = (&pod["metadata"], &pod["spec"]);
        let path = format!(
            "/api/v1/namespaces/{}/serviceaccounts/{}/token",
            text(&metadata["namespace"])?,
            text(&spec["serviceAccountName"])?
        );
        let body = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"expirationSeconds": 3607, "boundObjectRef": {
                "apiVersion": "v1", "kind": "Pod", "name": metadata["name"], "uid": metadata["uid"],
            }},
        });
        let made = ask(&self.admin, (Method::POST, &path), "application/json", &body).await?;
        text(&made.granted()?["status"]["token"])
    }

    async fn read(&self, kind: &str, pod: &Value, name: &str) -> anyhow::Result<Option<Value>> {
        let namespace = text(&pod["metadata"]["namespace"])?;
        let path = format!("/api/v1/namespaces/{namespace}/{kind}/{name}");
        let answer = ask(&self.admin, (Method::GET, &path), MERGE, &Value::Null).await?;
        if answer.code == 404 { Ok(None) } else { answer.granted().map(Some) }
    }
}

/// Keeps a process running until it is told to stop.
async fn keep(
    node: Namespace,
    (file, log): (PathBuf, PathBuf),
    process: Arc<Process>,
    stop: CancellationToken,
) {
    while !stop.is_cancelled() {
        let started = start(&node, &file, &log).await;
        let mut child = match started {
            Ok(child) => child,
            Err(error) => {
                process.life().ends.push(format!("{error:#}"));
                return;
            }
        };
        process.life().pid = pid(&child);
        tokio::select! {
            ended = child.wait() => {
                let mut life = process.life();
                life.pid = None;
                life.ends.push(ended.map_or_else(|error| error.to_string(), |how| how.to_string()));
            }
            () = stop.cancelled() => return finish(child).await,
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn start(node: &Namespace, file: &Path, log: &Path) -> anyhow::Result<Child> {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(VERB).arg(file).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    Ok(node.command(command).await?)
}

async fn finish(mut child: Child) {
    if let Some(pid) = pid(&child) {
        // It may have ended by itself.
        let _ended = kill(pid, Signal::SIGTERM);
    }
    if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
        let _killed = child.kill().await;
    }
}

fn pid(child: &Child) -> Option<Pid> {
    child.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw)
}

async fn is_ready(node: &Namespace, port: u16) -> bool {
    let asked = node.run(async move || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: it\r\nConnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    });
    asked.await.is_ok_and(|answer| answer.is_ok_and(|text| text.starts_with("HTTP/1.1 200")))
}

fn port(container: &Value, name: &str) -> anyhow::Result<u16> {
    let mut ports = container["ports"].as_array().into_iter().flatten();
    let port = ports.find(|port| port["name"] == name).context("no such port")?;
    Ok(u16::try_from(port["containerPort"].as_u64().context("no number")?)?)
}

pub(crate) fn text(value: &Value) -> anyhow::Result<String> {
    Ok(value.as_str().with_context(|| format!("{value} is no text"))?.to_owned())
}

fn strings(value: &Value) -> Vec<String> {
    let all = value.as_array().into_iter().flatten();
    all.filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

fn texts(value: &Value) -> BTreeMap<String, String> {
    let all = value.as_object().into_iter().flatten();
    all.filter_map(|(key, text)| Some((key.clone(), text.as_str()?.to_owned()))).collect()
}
