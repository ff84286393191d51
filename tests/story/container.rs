//! What a container runtime does to a process, as far as it can matter here: files of its own,
//! mounted as the pod says, a root that cannot be written to, its user and its capabilities.
//!
//! This very program, run again, becomes the container's process.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use serde::{Deserialize, Serialize};

/// The first argument of a run that is to become a container.
pub(crate) const VERB: &str = "--container";

/// Of the machine's own files a program needs its libraries, and what the kernel shows.
const SHARED: [&str; 6] = ["/lib", "/lib64", "/usr", "/proc", "/sys", "/dev"];

/// A process in a container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Container {
    /// A folder to put its root on.
    pub(crate) root: PathBuf,
    /// The program.
    pub(crate) program: PathBuf,
    /// Its arguments.
    pub(crate) arguments: Vec<String>,
    /// Its environment, all of it.
    pub(crate) environment: BTreeMap<String, String>,
    /// What is mounted, by where.
    pub(crate) mounts: BTreeMap<PathBuf, Mount>,
    /// Its user and group.
    pub(crate) user: u32,
    /// Its capabilities, as manifests name them.
    pub(crate) capabilities: Vec<String>,
}

/// A volume.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Mount {
    /// The folder.
    pub(crate) source: PathBuf,
    /// Whether it cannot be written to.
    pub(crate) read_only: bool,
}

/// Returns the file that describes the container which this process is to become, if it is.
pub(crate) fn asked() -> Option<PathBuf> {
    let mut arguments = std::env::args_os().skip(1);
    (arguments.next()? == VERB).then(|| arguments.next().map(PathBuf::from))?
}

/// Becomes the container's process; comes back only if that fails.
pub(crate) fn become_it(file: &Path) -> ExitCode {
    let failed = std::fs::read(file)
        .context("read it")
        .and_then(|text| Ok(serde_json::from_slice::<Container>(&text)?))
        .and_then(|container| container.enter());
    if let Err(error) = failed {
        eprintln!("{}: {error:#}", file.display());
    }
    ExitCode::FAILURE
}

impl Container {
    fn enter(self) -> anyhow::Result<()> {
        unshare(CloneFlags::CLONE_NEWNS).context("unshare mounts")?;
        mount_at("tmpfs", &self.root, Some("tmpfs"), MsFlags::empty())?;
        for shared in SHARED.map(Path::new).into_iter().filter(|shared| shared.exists()) {
            self.bind(shared, shared)?;
        }
        for (target, Mount { source, read_only }) in &self.mounts {
            let target = self.bind(source, target)?;
            if *read_only {
                close(&target)?;
            }
        }
        let program = self.root.join("tanist");
        std::fs::write(&program, [])?;
        mount_at(&self.program, &program, None, MsFlags::MS_BIND)?;
        close(&self.root)?;

        nix::unistd::chroot(&self.root).context("enter the root")?;
        std::env::set_current_dir("/")?;
        Err(self.command()?.exec()).context("run setpriv of util-linux")
    }

    /// Mounts a folder inside; returns where.
    fn bind(&self, source: &Path, target: &Path) -> anyhow::Result<PathBuf> {
        let target = self.root.join(target.strip_prefix("/").unwrap_or(target));
        std::fs::create_dir_all(&target)?;
        mount_at(source, &target, None, MsFlags::MS_BIND | MsFlags::MS_REC)?;
        Ok(target)
    }

    fn command(&self) -> anyhow::Result<Command> {
        let kept = self.capabilities.iter().map(|name| format!(",+{}", name.to_lowercase()));
        let mut command = Command::new("/usr/bin/setpriv");
        command.args(["--no-new-privs", "--inh-caps=-all", "--clear-groups"]);
        command.arg(format!("--bounding-set=-all{}", kept.collect::<String>()));
        if self.user != 0 {
            if !is_mapped(self.user)? {
                bail!("user {} is not mapped here: run this test as root", self.user);
            }
            command.args([format!("--reuid={}", self.user), format!("--regid={}", self.user)]);
        }
        command.arg("/tanist").args(&self.arguments).env_clear().envs(&self.environment);
        Ok(command)
    }
}

/// Tells whether a user exists in this user namespace.
fn is_mapped(user: u32) -> anyhow::Result<bool> {
    let map = std::fs::read_to_string("/proc/self/uid_map")?;
    let covers = |line: &str| {
        let mut numbers = line.split_whitespace().map(str::parse::<u64>);
        let (Some(Ok(first)), Some(_), Some(Ok(count))) =
            (numbers.next(), numbers.next(), numbers.next())
        else {
            return false;
        };
        (first..first + count).contains(&u64::from(user))
    };
    Ok(map.lines().any(covers))
}

fn mount_at(
    source: impl AsRef<Path>,
    target: &Path,
    kind: Option<&str>,
    flags: MsFlags,
) -> anyhow::Result<()> {
    let mounted = mount(Some(source.as_ref()), target, kind, flags, None::<&Path>);
    mounted.with_context(|| format!("mount {}", target.display()))
}

/// Makes a mount read-only.
fn close(target: &Path) -> anyhow::Result<()> {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount_at("none", target, None, flags)
}
