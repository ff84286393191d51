//! Namespaces: the lab's walls.
//!
//! The lab must touch nothing outside itself and leave nothing behind, whatever its end. So the
//! command runs itself again inside namespaces, as the init of a pid namespace: when that process
//! ends, the kernel kills every process in it and frees every network with it.
//!
//! ```text
//! tanist lab ──(listener on loopback, folder, unshare)──▶ tanist lab, pid 1 ──▶ a thread per node
//!   waits, passes signals on, removes the folder            user+mount+pid+net     net+mount, /run
//! ```
//!
//! A [`Namespace`] is one thread in a network and mount namespace of its own. What runs on it, and
//! what it spawns, is on that node.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::thread;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::{Pid, getegid, geteuid, getpid, mkdtemp};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, LocalSet, spawn_local};

/// Says to the command run again where its working folder is.
const FOLDER: &str = "TANIST_LAB_FOLDER";

/// What went wrong with a namespace.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel, or who configured it, does not let us.
    #[error(
        "the lab may not make namespaces here ({tried}): run it as root, or allow user namespaces \
         (sysctl kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000; on Ubuntu also \
         kernel.apparmor_restrict_unprivileged_userns=0; in a container give it --privileged)"
    )]
    Forbidden {
        /// What was tried.
        tried: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Something before or after the namespaces failed.
    #[error("could not {tried}")]
    Io {
        /// What was tried.
        tried: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The thread of a namespace ended before it answered.
    #[error("namespace {name} is gone")]
    Gone {
        /// Its name.
        name: String,
    },
}

fn forbidden(tried: &'static str) -> impl FnOnce(nix::Error) -> Error {
    move |source| Error::Forbidden { tried, source: source.into() }
}

fn failed(tried: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io { tried, source }
}

/// What the process outside hands to the one inside.
#[derive(Debug)]
pub struct Inside {
    /// Listens on the loopback of the machine, so that it can be reached from outside.
    pub loopback: TcpListener,
    /// A folder that both see and that is removed at the end.
    pub folder: PathBuf,
}

impl Inside {
    /// Returns what was handed over if this process is the one inside, else nothing.
    pub fn take() -> Result<Option<Self>, Error> {
        let Some(folder) = std::env::var_os(FOLDER) else { return Ok(None) };
        if getpid() != Pid::from_raw(1) {
            return Ok(None);
        }

        set_pdeathsig(Signal::SIGKILL).map_err(forbidden("die with the parent"))?;
        SigSet::all().thread_unblock().map_err(forbidden("unblock signals"))?;

        let stdin = io::stdin().as_fd().try_clone_to_owned();
        let loopback = TcpListener::from(stdin.map_err(failed("take over the listener"))?);

        Ok(Some(Self { loopback, folder: folder.into() }))
    }
}

/// Runs this very command line again inside namespaces of its own, and returns its exit code when
/// it and all it started have ended. Call it before the process has a second thread.
pub fn run_again_inside() -> Result<u8, Error> {
    let folder = Folder::create()?;
    let loopback = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let loopback = loopback.map_err(failed("listen on the loopback"))?;

    leave()?;

    let mut child = Command::new("/proc/self/exe")
        .args(std::env::args_os().skip(1).collect::<Vec<OsString>>())
        .env(FOLDER, &folder.0)
        .stdin(OwnedFd::from(loopback))
        .spawn()
        .map_err(failed("run the command again"))?;

    wait(&mut child)
}

/// Leaves the namespaces that we share with the machine. The next child is the init of the new pid
/// namespace.
fn leave() -> Result<(), Error> {
    let own = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNET;
    let (user, group) = (geteuid(), getegid());

    // Root needs no user namespace; where its power is curtailed, as in a container, one may help.
    if !(user.is_root() && unshare(own).is_ok()) {
        unshare(own | CloneFlags::CLONE_NEWUSER).map_err(forbidden("unshare"))?;

        for (file, line) in [
            ("/proc/self/setgroups", "deny".to_owned()),
            ("/proc/self/uid_map", format!("0 {user} 1")),
            ("/proc/self/gid_map", format!("0 {group} 1")),
        ] {
            let written = fs::write(file, line);
            written.map_err(|source| Error::Forbidden { tried: "map root", source })?;
        }
    }

    // Without this, what we mount would appear on the whole machine.
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&Path>, "/", None::<&Path>, private, None::<&Path>)
        .map_err(forbidden("make mounts private"))
}

/// Waits for the child's end, passing on the signals that ask us to end.
fn wait(child: &mut Child) -> Result<u8, Error> {
    let ours = [Signal::SIGCHLD, Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];
    let ours = ours.into_iter().collect::<SigSet>();
    ours.thread_block().map_err(forbidden("block signals"))?;
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap_or_default());

    loop {
        if let Some(status) = child.try_wait().map_err(failed("wait for the lab"))? {
            let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
            return Ok(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1));
        }

        match ours.wait() {
            Ok(Signal::SIGCHLD) | Err(_) => {}
            Ok(signal) => {
                // It may have ended meanwhile; the next turn sees it.
                let _ended = kill(pid, signal);
            }
        }
    }
}

/// The working folder, removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn create() -> Result<Self, Error> {
        // A process number comes again, in a container soon, and a lab that was killed left its folder.
        let made = mkdtemp(&std::env::temp_dir().join("tanist-lab-XXXXXX"));
        made.map(Self).map_err(|source| failed("create a working folder")(source.into()))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // There is nobody left to tell.
        let _removed = fs::remove_dir_all(&self.0);
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// A thread in a network and mount namespace of its own. It ends when its last handle is dropped.
#[derive(Debug, Clone)]
pub struct Namespace {
    name: Arc<str>,
    jobs: mpsc::UnboundedSender<Job>,
    network: Arc<OwnedFd>,
    thread: Arc<Path>,
}

impl Namespace {
    /// Starts a thread and gives it a network of its own, its own `/run` and its own `/sys`.
    pub async fn spawn(name: &str) -> Result<Self, Error> {
        let (jobs, queue) = mpsc::unbounded_channel();
        let (tell, told) = oneshot::channel();

        let started = thread::Builder::new().name(name.to_owned()).spawn(move || {
            let entered = enter().and_then(|entered| Ok((entered, runtime()?)));
            match entered {
                Ok((entered, runtime)) => {
                    if tell.send(Ok(entered)).is_ok() {
                        LocalSet::new().block_on(&runtime, work(queue));
                    }
                }
                // Whoever asked has gone: nobody wants to know.
                Err(error) => drop(tell.send(Err(error))),
            }
        });
        started.map_err(failed("start a thread"))?;

        let (network, thread) =
            told.await.map_err(|_gone| Error::Gone { name: name.to_owned() })??;
        Ok(Self { name: name.into(), jobs, network: network.into(), thread: thread.into() })
    }

    /// Returns its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the file that stands for its network, to move interfaces into it.
    #[must_use]
    pub fn network(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.network)
    }

    /// Returns its thread's folder under `/proc` as seen from outside, for `nsenter`.
    #[must_use]
    pub fn thread(&self) -> &Path {
        &self.thread
    }

    /// Runs a task on the thread and returns what it returned.
    pub async fn run<T, F>(&self, task: impl FnOnce() -> F + Send + 'static) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = T> + 'static,
    {
        let (tell, told) = oneshot::channel();

        self.start(async move || drop(tell.send(task().await))).await?;
        told.await.map_err(|_dropped| self.gone())
    }

    /// Starts a task on the thread and returns at once, with a handle to end it.
    pub async fn start<F>(
        &self,
        task: impl FnOnce() -> F + Send + 'static,
    ) -> Result<AbortHandle, Error>
    where
        F: Future<Output = ()> + 'static,
    {
        let (tell, told) = oneshot::channel();

        let job: Job = Box::new(move || drop(tell.send(spawn_local(task()).abort_handle())));
        self.jobs.send(job).map_err(|_closed| self.gone())?;
        told.await.map_err(|_dropped| self.gone())
    }

    /// Spawns a process inside the namespace; it dies when its handle is dropped.
    pub async fn command(
        &self,
        mut command: tokio::process::Command,
    ) -> Result<tokio::process::Child, Error> {
        // A child inherits the namespaces of the thread that forks it.
        let spawned = self.run(async move || command.kill_on_drop(true).spawn()).await?;
        spawned.map_err(failed("spawn a process"))
    }

    fn gone(&self) -> Error {
        Error::Gone { name: self.name.to_string() }
    }
}

/// Gives the current thread a network, a `/run` and a `/sys` of its own.
fn enter() -> Result<(OwnedFd, PathBuf), Error> {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
        .map_err(forbidden("unshare a network"))?;
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), Some("mode=755"))
        .map_err(forbidden("mount /run"))?;

    // `/sys` shows the network it was mounted in. Some containers forbid it, and few need it.
    let nothing = None::<&Path>;
    let _optional = mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), nothing);

    let network = fs::File::open("/proc/thread-self/ns/net");
    let thread = fs::read_link("/proc/thread-self").map(|link| Path::new("/proc").join(link));
    let network = network.map_err(failed("open the network"))?;
    let thread = thread.map_err(failed("find the thread"))?;

    Ok((network.into(), thread))
}

fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(failed("build a runtime"))
}

async fn work(mut queue: mpsc::UnboundedReceiver<Job>) {
    while let Some(job) = queue.recv().await {
        job();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_new_each_time() {
        let (one, two) = (Folder::create().unwrap(), Folder::create().unwrap());
        assert_ne!(one.0, two.0);

        drop(one);
        assert!(two.0.is_dir());
    }
}
