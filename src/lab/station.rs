//! What runs on one node: WireGuard and Kilo's agent in this process, Tanist's sidecar as the
//! process that users run.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use super::access::{self, Access, User};
use super::journals;
use super::kg;
use super::kilo::{self, Agent, Timing};
use super::mesh;
use super::namespace;
use super::network::Host;
use super::servers;
use super::wireguard::{self, RETRY, Wireguard};
use crate::telemetry::Chain;

/// Kilo's interface.
pub const TUNNEL: &str = "kilo0";

/// What went wrong on a node.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its namespace.
    #[error("could not reach the node")]
    Namespace(#[from] namespace::Error),
    /// Its WireGuard interface.
    #[error("could not make {TUNNEL}")]
    Wireguard(#[from] wireguard::Error),
    /// Its credentials.
    #[error("could not give it credentials")]
    Access(#[from] access::Error),
    /// Kilo's own agent.
    #[error("could not run Kilo's own agent")]
    Kg(#[from] kg::Error),
    /// Its sidecar's files.
    #[error("could not write {path}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// No randomness for a key.
    #[error("could not draw a key")]
    Key,
}

/// What a sidecar is started with.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The program.
    pub program: PathBuf,
    /// Its arguments, but those that differ from node to node.
    pub arguments: Vec<String>,
    /// Where its log goes.
    pub logs: PathBuf,
}

impl Launch {
    /// Returns the arguments by which the arbiter of a node keeps a journal of its own, unless
    /// whoever runs the lab keeps one.
    fn journal(&self, node: &str) -> Vec<std::ffi::OsString> {
        if self.arguments.iter().any(|argument| argument.starts_with("--journal")) {
            return Vec::new();
        }
        vec!["--journal".into(), journals::file(&self.logs, node).into()]
    }
}

/// Programs of the user's that take the place of the lab's own parts.
#[derive(Debug, Clone, Default)]
pub struct Programs {
    /// In place of the embedded API server.
    pub servers: Option<servers::Programs>,
    /// In place of the embedded agent.
    pub kg: Option<PathBuf>,
}

/// One node and what runs on it.
pub struct Station {
    /// Its namespaces.
    pub host: Host,
    access: Access,
    wireguard: Arc<Wireguard>,
    timing: Timing,
    kg: Option<PathBuf>,
    kilo: Option<Kilo>,
    sidecar: Option<Child>,
    starving: Option<AbortHandle>,
}

/// A running Kilo agent.
enum Kilo {
    /// The lab's own, on the node's thread.
    Embedded { abort: AbortHandle, end: CancellationToken, ended: CancellationToken },
    /// The real one, a process.
    Real(Child),
}

impl Station {
    /// Makes the node's WireGuard interface; nothing runs yet. Time runs `times` as fast for the
    /// embedded Kilo and for WireGuard.
    pub async fn new(
        host: Host,
        access: &Access,
        (times, real): (u32, &Programs),
    ) -> Result<Self, Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|_| Error::Key)?;
        let retry = RETRY / times;

        let made = host.host.run(async move || Wireguard::create(TUNNEL, key, retry).await);
        let wireguard = Arc::new(made.await??);
        if real.kg.is_some() {
            kg::prepare(&host, &access.folder, &key).await?;
            follow_link(&host, Arc::clone(&wireguard)).await?;
        }

        let (timing, kg, access) = (Timing::faster(times), real.kg.clone(), access.clone());
        let (kilo, sidecar, starving) = (None, None, None);
        Ok(Self { host, access, wireguard, timing, kg, kilo, sidecar, starving })
    }

    /// Returns its WireGuard interface.
    #[must_use]
    pub fn wireguard(&self) -> Arc<Wireguard> {
        Arc::clone(&self.wireguard)
    }

    /// Starts the Kilo agent.
    pub async fn start_kilo(&mut self) -> Result<(), Error> {
        let started = match &self.kg {
            Some(program) => self.start_real_kilo(program).await?,
            None => self.start_embedded_kilo().await?,
        };
        self.kilo = Some(started);
        Ok(())
    }

    async fn start_real_kilo(&self, program: &Path) -> Result<Kilo, Error> {
        let kubeconfig = self.access.kubeconfig(&User::Kilo(self.host.place.name.clone()))?;
        let folder = &self.access.folder;
        let logs =
            mesh::logs(folder).map_err(|s| Error::File { path: folder.clone(), source: s })?;
        Ok(Kilo::Real(kg::start(&self.host, program, &kubeconfig, &logs).await?))
    }

    async fn start_embedded_kilo(&self) -> Result<Kilo, Error> {
        let place = &self.host.place;
        let api = self.access.config(&User::Kilo(place.name.clone())).await?;
        let addresses = (place.wan().addr(), place.internal());
        let mut agent = Agent::new(place.name.clone(), api, Arc::clone(&self.wireguard), addresses);
        agent.timing = self.timing;

        let (end, ended) = (CancellationToken::new(), CancellationToken::new());
        let (until, done) = (end.clone(), ended.clone().drop_guard());
        let run = async move || {
            let _done = done;
            if let Err(error) = kilo::run(agent, until).await {
                tracing::error!(error = %Chain(&error), "A Kilo agent ended");
            }
        };
        let abort = self.host.host.start(run).await?;
        Ok(Kilo::Embedded { abort, end, ended })
    }

    /// Ends the Kilo agent in good order, so that it cleans up.
    pub async fn stop_kilo(&mut self) {
        match self.kilo.take() {
            Some(Kilo::Embedded { end, ended, .. }) => {
                end.cancel();
                ended.cancelled().await;
            }
            Some(Kilo::Real(process)) => self.end(process, "A Kilo agent had to be killed").await,
            None => {}
        }
    }

    /// Kills the Kilo agent: what it set in the kernel stays.
    pub async fn kill_kilo(&mut self) {
        match self.kilo.take() {
            Some(Kilo::Embedded { abort, ended, .. }) => {
                abort.abort();
                ended.cancelled().await;
            }
            Some(Kilo::Real(mut process)) => {
                // It may have ended by itself.
                let _killed = process.kill().await;
            }
            None => {}
        }
    }

    /// Tells a process to end, and waits until it has.
    async fn end(&self, mut process: Child, late: &'static str) {
        signal(&process, Signal::SIGTERM);
        let patience = tokio::time::timeout(Duration::from_secs(10), process.wait());
        if patience.await.is_err() {
            tracing::warn!(node = %self.host.place.name, "{late}");
        }
    }

    /// Starts the sidecar.
    pub async fn start_sidecar(&mut self, launch: &Launch) -> Result<(), Error> {
        let name = &self.host.place.name;
        let log = launch.logs.join(format!("{name}.log"));
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&log);
        let (file, error) = file
            .and_then(|file| Ok((file.try_clone()?, file)))
            .map_err(|source| Error::File { path: log, source })?;

        let mut command = Command::new(&launch.program);
        command
            .args(&launch.arguments)
            .args(["--node-name", &name.0])
            .arg("--kubeconfig")
            .arg(self.access.kubeconfig(&User::Tanist(name.clone()))?)
            .args(launch.journal(&name.0))
            .env_clear()
            .envs(["PATH", "RUST_LOG", "RUST_BACKTRACE"].into_iter().filter_map(inherited))
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(error);

        self.sidecar = Some(self.host.host.command(command).await?);
        Ok(())
    }

    /// Tells the sidecar to end, and waits until it has.
    pub async fn stop_sidecar(&mut self) {
        if let Some(sidecar) = self.sidecar.take() {
            self.end(sidecar, "A sidecar had to be killed").await;
        }
    }

    /// Kills the sidecar.
    pub async fn kill_sidecar(&mut self) {
        if let Some(mut sidecar) = self.sidecar.take() {
            // It may have ended by itself.
            let _killed = sidecar.kill().await;
        }
    }

    /// Returns the sidecar's process id in the lab, if it runs.
    #[must_use]
    pub fn sidecar(&self) -> Option<u32> {
        self.sidecar.as_ref().and_then(Child::id)
    }

    /// Returns how the sidecar ended, if it was started and has.
    pub fn sidecar_ended(&mut self) -> Option<std::process::ExitStatus> {
        self.sidecar.as_mut().and_then(|sidecar| sidecar.try_wait().ok().flatten())
    }

    /// Lets the sidecar run for only 5 of every 100 ms.
    pub fn starve(&mut self) {
        let Some(pid) = self.sidecar.as_ref().and_then(pid) else { return };

        let starve = async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(100));
            while kill(pid, Signal::SIGCONT).is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
                // Gone: the next turn sees it.
                let _stopped = kill(pid, Signal::SIGSTOP);
                ticks.tick().await;
            }
        };
        self.starving = Some(tokio::spawn(starve).abort_handle());
    }

    /// Lets the sidecar run again.
    pub fn feed(&mut self) {
        if let Some(starving) = self.starving.take() {
            starving.abort();
            if let Some(sidecar) = &self.sidecar {
                signal(sidecar, Signal::SIGCONT);
            }
        }
    }
}

/// Keeps the node's WireGuard to its link, which is all that Kilo's own agent sets.
async fn follow_link(host: &Host, wireguard: Arc<Wireguard>) -> Result<(), Error> {
    let follow = async move || {
        if let Err(error) = wireguard.follow_link().await {
            tracing::error!(error = %Chain(&error), "WireGuard no longer follows its link");
        }
    };
    host.host.start(follow).await?;
    Ok(())
}

fn signal(process: &Child, signal: Signal) {
    if let Some(pid) = pid(process) {
        // Gone: then there is nobody to be told.
        let _told = kill(pid, signal);
    }
}

fn pid(process: &Child) -> Option<Pid> {
    process.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw)
}

fn inherited(name: &'static str) -> Option<(&'static str, std::ffi::OsString)> {
    std::env::var_os(name).map(|value| (name, value))
}

/// Draws a probe key, and returns the file that holds it.
pub fn draw_key(folder: &Path) -> Result<PathBuf, Error> {
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|_| Error::Key)?;

    let path = folder.join("probe.key");
    let line = key.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let written = std::fs::write(&path, line + "\n");
    written.map(|()| path.clone()).map_err(|source| Error::File { path, source })
}
