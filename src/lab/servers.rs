//! The real Kubernetes API server and etcd, as processes on the WAN's loopback, with RBAC and
//! admission on.
//!
//! ```text
//! nodes ──▶ WAN address ──┐
//!                         ├── gate ──▶ kube-apiserver ──▶ etcd     one network namespace
//! kubectl ─▶ loopback ────┘                                        and one pid namespace
//! ```

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tokio::process::{Child, Command};
use tokio::time::sleep;

use super::audit;
use super::gate::{Gate, Threshold};
use super::topology::SERVER;

/// Where the API server listens.
const APISERVER: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 6444));

/// Where etcd listens, for clients and for its peers, of which it has none.
const ETCD: [&str; 2] = ["http://127.0.0.1:2379", "http://127.0.0.1:2380"];

/// Where the API server writes down the requests of accounts.
const AUDIT: &str = "audit.log";

/// How long both may take to start: the API server some seconds, on a busy machine a minute.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often we look whether they have.
const LOOK: Duration = Duration::from_millis(100);

/// What went wrong with a real server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or a socket.
    #[error("could not {tried}")]
    Io {
        /// What was tried.
        tried: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// It cannot be run.
    #[error("could not run {program}", program = program.display())]
    Run {
        /// The program.
        program: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// It ended.
    #[error("{name} ended ({how}); it said last: {said}")]
    Ended {
        /// Which.
        name: &'static str,
        /// How.
        how: ExitStatus,
        /// The last lines of its log.
        said: String,
    },
    /// It does not get ready.
    #[error("{name} was not ready within {} s; it said last: {said}", PATIENCE.as_secs())]
    NotReady {
        /// Which.
        name: &'static str,
        /// The last lines of its log.
        said: String,
    },
}

fn io(tried: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io { tried, source }
}

/// Which programs to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// The API server.
    pub apiserver: PathBuf,
    /// Its store.
    pub etcd: PathBuf,
}

/// The running servers and the gate before them. They are gone when dropped.
#[derive(Debug)]
pub struct Servers {
    /// The only way to the API server.
    pub gate: Gate,
    /// The certificates by which it is known, in PEM.
    pub authority: String,
    /// Where the API server writes down the requests of accounts.
    pub audit: PathBuf,
    apiserver: Server,
    etcd: Server,
}

/// One of them.
#[derive(Debug)]
struct Server {
    name: &'static str,
    process: Child,
    log: PathBuf,
}

impl Servers {
    /// Starts both in the current thread's namespaces, and returns when they can be asked. `tokens`
    /// is what a `--token-auth-file` holds; `folder` gets their state and their logs.
    pub async fn start(programs: &Programs, folder: &Path, tokens: &str) -> Result<Self, Error> {
        let folder = folder.join("servers");
        fs::create_dir_all(&folder).map_err(io("make a folder for the servers"))?;
        fs::write(folder.join("tokens"), tokens).map_err(io("write the servers' tokens"))?;
        fs::write(folder.join("audit-policy.json"), audit::POLICY)
            .map_err(io("write the servers' audit policy"))?;

        let etcd = Server::start("etcd", &programs.etcd, &folder, &etcd_arguments(&folder))?;
        let arguments = apiserver_arguments(&folder);
        let apiserver = Server::start("kube-apiserver", &programs.apiserver, &folder, &arguments)?;

        let gate = Gate::new(APISERVER);
        let (authority, audit) = (String::new(), folder.join(AUDIT));
        let mut servers = Self { gate, authority, audit, apiserver, etcd };
        servers.authority = servers.listening(&folder.join("apiserver.crt")).await?;
        Ok(servers)
    }

    /// Lets clients come from there.
    pub async fn admit(&self, threshold: Threshold) -> Result<(), Error> {
        self.gate.forward(threshold).await.map_err(io("listen for the API server's clients"))
    }

    /// Waits until the API server listens, and returns its certificate, which it makes itself.
    async fn listening(&mut self, certificate: &Path) -> Result<String, Error> {
        let began = Instant::now();
        while tokio::net::TcpStream::connect(APISERVER).await.is_err() {
            self.wait(began).await?;
        }
        fs::read_to_string(certificate).map_err(io("read the API server's certificate"))
    }

    /// Waits a moment for what was begun then; fails if it takes too long or a server has ended.
    pub async fn wait(&mut self, began: Instant) -> Result<(), Error> {
        self.etcd.alive()?;
        self.apiserver.alive()?;
        if began.elapsed() > PATIENCE {
            let name = self.apiserver.name;
            return Err(Error::NotReady { name, said: last_lines(&self.apiserver.log) });
        }
        sleep(LOOK).await;
        Ok(())
    }
}

impl Server {
    fn start(
        name: &'static str,
        program: &Path,
        folder: &Path,
        arguments: &[String],
    ) -> Result<Self, Error> {
        let log = folder.join(format!("{name}.log"));
        let output = fs::File::create(&log).and_then(|file| Ok((file.try_clone()?, file)));
        let (stdout, stderr) = output.map_err(io("make a log of a server"))?;

        let spawned = Command::new(program)
            .args(arguments)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .kill_on_drop(true)
            .spawn();
        let process = spawned.map_err(|source| Error::Run { program: program.into(), source })?;
        Ok(Self { name, process, log })
    }

    fn alive(&mut self) -> Result<(), Error> {
        match self.process.try_wait().map_err(io("look after a server"))? {
            None => Ok(()),
            Some(how) => Err(Error::Ended { name: self.name, how, said: last_lines(&self.log) }),
        }
    }
}

fn etcd_arguments(folder: &Path) -> Vec<String> {
    let [clients, peers] = ETCD;
    let data = folder.join("etcd").display().to_string();

    // Nothing outlives the lab, so nothing need reach the disk.
    let flags = ["--unsafe-no-fsync", "--log-level=warn"].map(str::to_owned).into_iter();
    let values = [
        ("data-dir", data),
        ("listen-client-urls", clients.to_owned()),
        ("advertise-client-urls", clients.to_owned()),
        ("listen-peer-urls", peers.to_owned()),
        ("initial-advertise-peer-urls", peers.to_owned()),
        ("initial-cluster", format!("default={peers}")),
    ];
    flags.chain(values.map(|(flag, value)| format!("--{flag}={value}"))).collect()
}

fn apiserver_arguments(folder: &Path) -> Vec<String> {
    let file = |name: &str| folder.join(name).display().to_string();

    let values = [
        ("etcd-servers", ETCD[0].to_owned()),
        ("bind-address", APISERVER.ip().to_string()),
        ("secure-port", APISERVER.port().to_string()),
        // For the certificate, by which clients know it wherever they come through the gate.
        ("advertise-address", SERVER.to_string()),
        ("cert-dir", folder.display().to_string()),
        ("endpoint-reconciler-type", "none".to_owned()),
        ("authorization-mode", "RBAC".to_owned()),
        ("token-auth-file", file("tokens")),
        ("audit-policy-file", file("audit-policy.json")),
        ("audit-log-path", file(AUDIT)),
        ("service-account-issuer", "https://tanist.test".to_owned()),
        // The key of its certificate, which it has made by the time it needs one for this.
        ("service-account-key-file", file("apiserver.key")),
        ("service-account-signing-key-file", file("apiserver.key")),
        ("service-cluster-ip-range", "10.43.0.0/16".to_owned()),
    ];
    values.map(|(flag, value)| format!("--{flag}={value}")).into()
}

fn last_lines(log: &Path) -> String {
    let log = fs::read_to_string(log).unwrap_or_default();
    let last = log.lines().rev().take(3).collect::<Vec<_>>();
    last.into_iter().rev().collect::<Vec<_>>().join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let none = PathBuf::from("/nowhere/etcd");
        let programs = Programs { apiserver: "/bin/true".into(), etcd: none };

        let error = Servers::start(&programs, folder.path(), "").await.unwrap_err();
        assert_eq!(error.to_string(), "could not run /nowhere/etcd");
    }

    #[tokio::test]
    async fn a_server_that_ends_is_told_with_its_last_words() {
        let folder = tempfile::tempdir().unwrap();
        let programs = Programs { apiserver: "/bin/true".into(), etcd: "/bin/false".into() };

        let error = Servers::start(&programs, folder.path(), "").await.unwrap_err();
        let said = error.to_string();
        assert!(said.contains(" ended (exit status: "), "{said}");
    }
}
