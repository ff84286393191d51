//! A real kube-apiserver on loopback with its etcd, for one check, gone when dropped.

use std::fs::File;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tempfile::TempDir;

/// A cold start takes some seconds; a machine that builds beside it takes more.
const START: Duration = Duration::from_secs(120);

/// Between two looks at something that is awaited.
pub(crate) const LOOK: Duration = Duration::from_millis(100);

/// The administrator's token.
pub(crate) const ADMIN: &str = "administrator";

/// Another address that the server's certificate is good for: where a mesh in namespaces has it.
const ADVERTISED: &str = "198.51.100.254";

/// What the server writes down of each request: who, what, and how it ended.
const AUDIT: &str = r#"{"apiVersion": "audit.k8s.io/v1", "kind": "Policy",
  "omitStages": ["RequestReceived"], "rules": [{"level": "Metadata"}]}"#;

/// A server with everything that a cluster has but controllers and nodes.
pub(crate) struct Server {
    folder: TempDir,
    port: u16,
    processes: Vec<Process>,
}

/// One of the two programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// The store.
    Etcd,
    /// The API server.
    Apiserver,
}

/// A program that can be started again as it was.
struct Process {
    part: Part,
    command: Command,
    child: Child,
}

impl Process {
    fn start(part: Part, mut command: Command) -> anyhow::Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().with_context(|| format!("cannot run {program}"))?;
        Ok(Self { part, command, child })
    }

    fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    fn kill(&mut self) {
        // It may have ended by itself: then there is nothing to end.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

impl Server {
    /// Starts etcd and kube-apiserver and waits until the latter is ready.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        Self::start_with(&[]).await
    }

    /// The same, with more arguments for kube-apiserver.
    pub(crate) async fn start_with(more: &[&str]) -> anyhow::Result<Self> {
        let (etcd, apiserver) = (program("etcd")?, program("kube-apiserver")?);
        let [client, peer, port] = free_ports()?;
        let mut server = Self { folder: tempfile::tempdir()?, port, processes: Vec::new() };
        let store = format!("http://127.0.0.1:{client}");
        let peers = format!("http://127.0.0.1:{peer}");
        server.write("tokens.csv", &format!("{ADMIN},{ADMIN},{ADMIN},system:masters\n"))?;
        server.write("accounts.pem", &signing_key()?)?;
        server.write("audit-policy.json", AUDIT)?;

        let mut command = Command::new(etcd);
        command.args(["--data-dir", &server.path("etcd"), "--unsafe-no-fsync"]);
        command.args(["--listen-client-urls", &store, "--advertise-client-urls", &store]);
        command.args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers]);
        command.args(["--initial-cluster", &format!("default={peers}")]);
        server.spawn(Part::Etcd, command)?;

        let mut command = Command::new(apiserver);
        command.args(["--etcd-servers", &store, "--bind-address", "127.0.0.1"]);
        command.args(["--secure-port", &port.to_string(), "--cert-dir", &server.path("certs")]);
        command.args(["--advertise-address", ADVERTISED]);
        command.args(["--authorization-mode", "RBAC", "--token-auth-file"]);
        command.args([server.path("tokens.csv"), "--service-account-issuer".to_owned()]);
        command.args(["https://tanist.test", "--service-account-key-file"]);
        command.args([server.path("accounts.pem"), "--service-account-signing-key-file".into()]);
        command.args([server.path("accounts.pem"), "--audit-policy-file".to_owned()]);
        command.args([server.path("audit-policy.json"), "--audit-log-path".to_owned()]);
        command.args([server.path("audit.log")]);
        command.args([
            "--audit-log-mode",
            "blocking",
            "--service-cluster-ip-range",
            "10.96.0.0/24",
        ]);
        command.args(more);
        server.spawn(Part::Apiserver, command)?;
        server.ready().await?;
        Ok(server)
    }

    /// Kills programs as SIGKILL does, both before either is started again, with what they stored.
    pub(crate) fn kill(&mut self, parts: &[Part]) -> anyhow::Result<()> {
        let mut struck: Vec<_> =
            self.processes.iter_mut().filter(|process| parts.contains(&process.part)).collect();
        struck.iter_mut().for_each(|process| process.kill());
        for process in struck {
            process.child = process.command.spawn()?;
        }
        Ok(())
    }

    /// Returns a client with all rights.
    pub(crate) async fn admin(&self) -> anyhow::Result<Client> {
        self.client(ADMIN).await
    }

    /// Returns a client with the rights of a token.
    pub(crate) async fn client(&self, token: &str) -> anyhow::Result<Client> {
        let kubeconfig = Kubeconfig::from_yaml(&self.kubeconfig(token))?;
        let options = KubeConfigOptions::default();
        Ok(Client::try_from(Config::from_custom_kubeconfig(kubeconfig, &options).await?)?)
    }

    /// Writes a kubeconfig with a token, for a program.
    pub(crate) fn kubeconfig_file(&self, name: &str, token: &str) -> anyhow::Result<PathBuf> {
        self.write(name, &self.kubeconfig(token))
    }

    /// Writes a kubeconfig with all rights, for a program.
    pub(crate) fn admin_file(&self) -> anyhow::Result<PathBuf> {
        self.kubeconfig_file("admin.kubeconfig", ADMIN)
    }

    /// Writes a file that goes with the server.
    pub(crate) fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.folder.path().join(name);
        File::create(&path)?.write_all(text.as_bytes())?;
        Ok(path)
    }

    /// Returns the folder that goes with the server.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns what the server wrote down of each request, as JSON lines.
    pub(crate) fn audit(&self) -> anyhow::Result<Vec<serde_json::Value>> {
        let text = std::fs::read_to_string(self.path("audit.log"))?;
        text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    fn kubeconfig(&self, token: &str) -> String {
        self.kubeconfig_at(&self.address(), token)
    }

    /// Returns where the server listens.
    pub(crate) fn address(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// Returns a kubeconfig for another way to the server.
    pub(crate) fn kubeconfig_at(&self, address: &str, token: &str) -> String {
        let certificate = self.path("certs/apiserver.crt");
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: it\n\
             clusters: [{{name: it, cluster: {{server: \"{address}\", \
             certificate-authority: \"{certificate}\"}}}}]\n\
             users: [{{name: it, user: {{token: \"{token}\"}}}}]\n\
             contexts: [{{name: it, context: {{cluster: it, user: it}}}}]\n"
        )
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn spawn(&mut self, part: Part, mut command: Command) -> anyhow::Result<()> {
        let log = File::create(self.path(part.log()))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.processes.push(Process::start(part, command)?);
        Ok(())
    }

    /// Waits until the API server can be asked.
    pub(crate) async fn ready(&mut self) -> anyhow::Result<()> {
        let waited = tokio::time::timeout(START, async {
            loop {
                if self.answers().await {
                    return Ok(());
                }
                for process in &mut self.processes {
                    if let Some(status) = process.ended()? {
                        bail!("a server ended with {status}");
                    }
                }
                tokio::time::sleep(LOOK).await;
            }
        });
        let waited = waited.await.unwrap_or_else(|_| bail!("not ready within {START:?}"));
        waited.with_context(|| format!("the servers' last words:\n{}", self.last_words()))
    }

    async fn answers(&self) -> bool {
        let Ok(client) = self.admin().await else { return false };
        let Ok(request) = http::Request::get("/readyz").body(Vec::new()) else { return false };
        client.request_text(request).await.is_ok()
    }

    fn last_words(&self) -> String {
        let mut words = String::new();
        for part in [Part::Etcd, Part::Apiserver] {
            let text = std::fs::read_to_string(self.path(part.log())).unwrap_or_default();
            let lines: Vec<_> = text.lines().collect();
            words += &lines[lines.len().saturating_sub(10)..].join("\n");
            words.push('\n');
        }
        words
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.processes.iter_mut().rev().for_each(Process::kill);
    }
}

impl Part {
    const fn log(self) -> &'static str {
        match self {
            Self::Etcd => "etcd.log",
            Self::Apiserver => "kube-apiserver.log",
        }
    }
}

/// Returns a server's program, or says how to get it.
fn program(name: &str) -> anyhow::Result<PathBuf> {
    find("TANIST_SERVERS", "out/servers", name, "make servers")
}

/// Returns a tool's program, or says how to get it.
pub(crate) fn tool(name: &str) -> anyhow::Result<PathBuf> {
    find("TANIST_TOOLS", "out/tools", name, "make packages")
}

fn find(variable: &str, folder: &str, name: &str, how: &str) -> anyhow::Result<PathBuf> {
    let folder = std::env::var_os(variable)
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), PathBuf::from);
    let path = folder.join(name);
    if path.is_file() {
        return Ok(path);
    }
    bail!(
        "{name} is missing in {}: run `{how}`, or name its folder in {variable}",
        folder.display()
    )
}

/// Finds ports of loopback that nobody uses just now.
pub(crate) fn free_ports<const N: usize>() -> anyhow::Result<[u16; N]> {
    let mut ports = [0; N];
    let mut held = Vec::new();
    for port in &mut ports {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}

/// Draws a P-256 key that signs the tokens of accounts, as PEM. The public half may be left out.
fn signing_key() -> anyhow::Result<String> {
    let mut key = vec![0x30, 0x31, 0x02, 0x01, 0x01, 0x04, 0x20];
    let mut secret = [0; 32];
    getrandom::fill(&mut secret)?;
    // Below the order of the curve, whatever was drawn.
    secret[0] &= 0x7f;
    key.extend(secret);
    key.extend([0xa0, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07]);
    let text = base64::engine::general_purpose::STANDARD.encode(key);
    let (first, second) = text.split_at(64);
    let (begin, end) = ("-----BEGIN EC PRIVATE KEY-----", "-----END EC PRIVATE KEY-----");
    Ok(format!("{begin}\n{first}\n{second}\n{end}\n"))
}
