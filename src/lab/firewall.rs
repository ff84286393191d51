//! Packet filter rules, by the `nft` program of the machine, which most faults are made of.

use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::namespace::{self, Namespace};

/// Rules that each node has from the start. They drop nothing. Conntrack must know the flows that
/// were there before a fault, as kube-proxy makes it do on a real node; and `seen` must know the
/// outer ports in use, so that a wedge spares them.
const ALWAYS: &str = "
table inet lab {
    set seen { type inet_service; flags dynamic,timeout; timeout 15s; size 65536; }
    chain wedge { }
    chain forward {
        type filter hook forward priority 0;
        ct state established counter
    }
    chain output {
        type filter hook output priority 0;
        oifname eth0 udp dport 8472 jump wedge
        oifname eth0 udp dport 8472 update @seen { udp sport }
    }
}
";

/// What went wrong with the packet filter.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program is not there.
    #[error("the lab needs the program nft: install the package nftables")]
    Missing(#[source] std::io::Error),
    /// The namespace is gone.
    #[error("could not run nft")]
    Namespace(#[from] namespace::Error),
    /// Writing to it or waiting for it failed.
    #[error("could not talk to nft")]
    Talk(#[source] std::io::Error),
    /// It refused.
    #[error("nft refused: {answer}")]
    Refused {
        /// What it said.
        answer: String,
    },
}

/// Checks that there is an `nft` to be run.
pub fn check() -> Result<(), Error> {
    let version = std::process::Command::new("nft").arg("--version").output();
    version.map(|_| ()).map_err(Error::Missing)
}

/// Gives a node the rules that each has from the start.
pub async fn set_up(node: &Namespace) -> Result<(), Error> {
    apply(node, ALWAYS.to_owned()).await
}

/// Applies rules on a node: all of them, or none.
pub async fn apply(node: &Namespace, rules: String) -> Result<(), Error> {
    node.run(async move || {
        let mut nft = Command::new("nft")
            .args(["--file", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(Error::Missing)?;

        if let Some(mut stdin) = nft.stdin.take() {
            stdin.write_all(rules.as_bytes()).await.map_err(Error::Talk)?;
        }
        let output = nft.wait_with_output().await.map_err(Error::Talk)?;

        if output.status.success() {
            Ok(())
        } else {
            let answer = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Err(Error::Refused { answer })
        }
    })
    .await?
}
