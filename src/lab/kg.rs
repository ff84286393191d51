//! Kilo's own agent, as a process on a node that has all but the kernel's WireGuard.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nix::mount::{MsFlags, mount};
use tokio::process::{Child, Command};

use super::namespace;
use super::network::Host;

/// What went wrong with Kilo's own agent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program that it runs is not there.
    #[error("Kilo's agent needs the program {program}: install the package iptables")]
    Missing {
        /// Which.
        program: &'static str,
        /// Why it cannot be run.
        #[source]
        source: io::Error,
    },
    /// The node's namespaces.
    #[error(transparent)]
    Namespace(#[from] namespace::Error),
    /// A file.
    #[error("could not write {path}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A mount.
    #[error("could not mount {what}")]
    Mount {
        /// What.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: nix::Error,
    },
}

/// Checks that what Kilo's agent runs can be run.
pub fn check() -> Result<(), Error> {
    for program in ["iptables", "ip6tables"] {
        let version = std::process::Command::new(program).arg("--version").output();
        version.map_err(|source| Error::Missing { program, source })?;
    }
    Ok(())
}

/// Gives a node what the agent wants to find: its WireGuard's key, and its own name among the hosts,
/// for which it would else ask in vain for seconds.
pub async fn prepare(host: &Host, folder: &Path, key: &[u8; 32]) -> Result<(), Error> {
    let (name, address) = (host.place.name.clone(), host.place.internal().addr());
    let hosts = folder.join(format!("{name}.hosts"));
    write(&hosts, &format!("127.0.0.1 localhost\n{address} {name}\n"))?;

    let key = STANDARD.encode(key);
    host.host.run(async move || place(&hosts, &key)).await?
}

/// Puts both where the node that the current thread is on alone sees them. A folder that the machine
/// does not have cannot be made without a trace on the machine, so the one above it is covered.
fn place(hosts: &Path, key: &str) -> Result<(), Error> {
    let failed = |what| move |source| Error::Mount { what, source };
    let nothing = None::<&Path>;
    mount(Some("tmpfs"), "/var/lib", Some("tmpfs"), MsFlags::empty(), Some("mode=755"))
        .map_err(failed("/var/lib"))?;
    mount(Some(hosts), "/etc/hosts", nothing, MsFlags::MS_BIND, nothing)
        .map_err(failed("/etc/hosts"))?;

    let file = PathBuf::from("/var/lib/kilo/key");
    let made = fs::create_dir("/var/lib/kilo");
    made.map_err(|source| Error::File { path: file.clone(), source })?;
    write(&file, key)
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(|source| Error::File { path: path.to_owned(), source })
}

/// Starts the agent on a node, with the flags of a mesh beside flannel.
pub async fn start(
    host: &Host,
    program: &Path,
    kubeconfig: &Path,
    logs: &Path,
) -> Result<Child, Error> {
    let place = &host.place;
    let path = logs.join(format!("kg-{}.log", place.name));
    let file = fs::OpenOptions::new().create(true).append(true).open(&path);
    let (stdout, stderr) = file
        .and_then(|file| Ok((file.try_clone()?, file)))
        .map_err(|source| Error::File { path, source })?;

    let mut command = Command::new(program);
    command
        .args(["--create-interface=false", "--cni=false", "--compatibility=flannel"])
        .args(["--local=false", "--mesh-granularity=location", "--listen=:1107"])
        .arg(format!("--internal-cidr={}/32", place.internal().addr()))
        .arg(format!("--hostname={}", place.name))
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .env_clear()
        .envs(std::env::var_os("PATH").map(|value| ("PATH", value)))
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr);
    Ok(host.host.command(command).await?)
}
