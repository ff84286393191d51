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

use super::control::{self, ControlPlane};
use super::journals;
use super::kilo::{self, Agent, Timing};
use super::namespace;
use super::network::Host;
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
    Control(#[from] control::Error),
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

/// One node and what runs on it.
pub struct Station {
    /// Its namespaces.
    pub host: Host,
    wireguard: Arc<Wireguard>,
    timing: Timing,
    kilo: Option<Running>,
    sidecar: Option<Child>,
    starving: Option<AbortHandle>,
}

/// A running Kilo agent.
struct Running {
    abort: AbortHandle,
    end: CancellationToken,
    ended: CancellationToken,
}

impl Station {
    /// Makes the node's WireGuard interface; nothing runs yet. Time runs `times` as fast for Kilo
    /// and WireGuard.
    pub async fn new(host: Host, times: u32) -> Result<Self, Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|_| Error::Key)?;
        let retry = RETRY / times;

        let made = host.host.run(async move || Wireguard::create(TUNNEL, key, retry).await);
        let wireguard = Arc::new(made.await??);
        let timing = Timing::faster(times);
        Ok(Self { host, wireguard, timing, kilo: None, sidecar: None, starving: None })
    }

    /// Returns its WireGuard interface.
    #[must_use]
    pub fn wireguard(&self) -> Arc<Wireguard> {
        Arc::clone(&self.wireguard)
    }

    /// Starts the Kilo agent.
    pub async fn start_kilo(&mut self) -> Result<(), Error> {
        let place = &self.host.place;
        let api = control::config(&format!("kilo-{}", place.name)).await?;
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

        self.kilo = Some(Running { abort, end, ended });
        Ok(())
    }

    /// Ends the Kilo agent in good order, so that it cleans up.
    pub async fn stop_kilo(&mut self) {
        if let Some(kilo) = self.kilo.take() {
            kilo.end.cancel();
            kilo.ended.cancelled().await;
        }
    }

    /// Kills the Kilo agent: what it set in the kernel stays.
    pub async fn kill_kilo(&mut self) {
        if let Some(kilo) = self.kilo.take() {
            kilo.abort.abort();
            kilo.ended.cancelled().await;
        }
    }

    /// Starts the sidecar.
    pub async fn start_sidecar(
        &mut self,
        control: &ControlPlane,
        launch: &Launch,
    ) -> Result<(), Error> {
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
            .arg(control.kubeconfig(&format!("tanist-{name}"))?)
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
        self.signal(Signal::SIGTERM);
        if let Some(mut sidecar) = self.sidecar.take() {
            let patience = tokio::time::timeout(Duration::from_secs(10), sidecar.wait());
            if patience.await.is_err() {
                tracing::warn!(node = %self.host.place.name, "A sidecar had to be killed");
            }
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
        let Some(pid) = self.sidecar_pid() else { return };

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
            self.signal(Signal::SIGCONT);
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.sidecar_pid() {
            // Gone: then there is nobody to be told.
            let _told = kill(pid, signal);
        }
    }

    fn sidecar_pid(&self) -> Option<Pid> {
        self.sidecar().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw)
    }
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
