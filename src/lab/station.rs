//! What runs on one node: WireGuard and Kilo's agent in this process, Tanist as the processes that
//! users run.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use super::access::{self, Access, User};
use super::kg;
use super::kilo::{self, Agent, Timing};
use super::launch::Launch;
use super::mesh;
use super::namespace;
use super::network::Host;
use super::servers;
use super::shape::Part;
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
    /// The files of its processes.
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
    tanist: BTreeMap<Part, Child>,
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
        let (kilo, tanist, starving) = (None, BTreeMap::new(), None);
        Ok(Self { host, access, wireguard, timing, kg, kilo, tanist, starving })
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

    /// Starts a process of Tanist's with this kubeconfig.
    pub async fn start(
        &mut self,
        part: Part,
        kubeconfig: &Path,
        launch: &Launch,
    ) -> Result<(), Error> {
        let name = &self.host.place.name;
        let log = launch.log(part, name);
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&log);
        let (file, error) = file
            .and_then(|file| Ok((file.try_clone()?, file)))
            .map_err(|source| Error::File { path: log, source })?;

        let mut command = Command::new(&launch.program);
        command
            .args(launch.arguments(part, name))
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .env_clear()
            .envs(["PATH", "RUST_LOG", "RUST_BACKTRACE"].into_iter().filter_map(inherited))
            .env("POD_NAMESPACE", part.namespace())
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(error);
        if part == Part::Arbiter {
            // Beside the agent of the same host, as its workload has it.
            command.env("TANIST_ADMIN", "0.0.0.0:1110");
        }

        self.tanist.insert(part, self.host.host.command(command).await?);
        Ok(())
    }

    /// Tells all of Tanist's processes to end, and waits until they have.
    pub async fn stop_tanist(&mut self) {
        for (part, process) in std::mem::take(&mut self.tanist) {
            tracing::debug!(node = %self.host.place.name, %part, "A process of Tanist's is to end");
            self.end(process, "A process of Tanist's had to be killed").await;
        }
    }

    /// Kills all of Tanist's processes.
    pub async fn kill_tanist(&mut self) {
        for mut process in std::mem::take(&mut self.tanist).into_values() {
            // It may have ended by itself.
            let _killed = process.kill().await;
        }
    }

    /// Kills the process that stands for arbiter.
    pub async fn kill_arbiter(&mut self) {
        let parts = self.tanist.keys().copied().find(|part| part.arbitrates());
        if let Some(mut process) = parts.and_then(|part| self.tanist.remove(&part)) {
            // It may have ended by itself.
            let _killed = process.kill().await;
        }
    }

    /// Tells whether a process of Tanist's was started and not ended by us.
    #[must_use]
    pub fn runs(&self, part: Part) -> bool {
        self.tanist.contains_key(&part)
    }

    /// Returns the ids of Tanist's processes in the lab.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        self.tanist.values().filter_map(Child::id).collect()
    }

    /// Returns which of Tanist's processes has ended by itself, and how.
    pub fn ended(&mut self) -> Option<(Part, ExitStatus)> {
        let mut processes = self.tanist.iter_mut();
        processes.find_map(|(part, process)| Some((*part, process.try_wait().ok().flatten()?)))
    }

    /// Returns the process that probes.
    fn prober(&self) -> Option<&Child> {
        self.tanist.iter().find(|(part, _)| part.probes()).map(|(_, process)| process)
    }

    /// Lets what probes run for only 5 of every 100 ms.
    pub fn starve(&mut self) {
        let Some(pid) = self.prober().and_then(pid) else { return };

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

    /// Lets it run again.
    pub fn feed(&mut self) {
        if let Some(starving) = self.starving.take() {
            starving.abort();
            if let Some(prober) = self.prober() {
                signal(prober, Signal::SIGCONT);
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

fn inherited(name: &'static str) -> Option<(&'static str, OsString)> {
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
