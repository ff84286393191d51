//! Packets of probes on a node, counted by its packet filter, and probes by the sidecar's own
//! count.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::process::Stdio;
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::timeout;

use crate::lab::firewall;
use crate::lab::namespace::{self, Namespace};

/// Where the sidecar shows its metrics.
const ADMIN: u16 = 1109;

/// How long it may take to show them.
const PATIENCE: Duration = Duration::from_secs(10);

/// What WireGuard adds to a packet: its header and tag, UDP and IP. The padding is left out.
pub(super) const WIREGUARD: u64 = 32 + 8 + 20;

/// Counts probes and their answers on their way: ours (1108), and those to the ports of others
/// that are probed for contrast. There are no other users of these in the lab.
const RULES: &str = "
table inet cost {
    counter asked { }
    counter datagrams { }
    counter answered { }
    counter relayed { }
    counter fresh { }
    counter hairpins { }
    counter wan { }
    chain output {
        type filter hook output priority 10;
        oifname lo return
        udp dport 1108 counter name datagrams
        meta l4proto { tcp, udp } th dport { 1107, 1108, 10250 } counter name asked
        icmp type echo-request counter name asked
        meta l4proto { tcp, udp } th sport { 1107, 1108, 10250 } counter name answered
        icmp type echo-reply counter name answered
    }
    chain forward {
        type filter hook forward priority 10;
        iifname flannel.1 oifname flannel.1 udp dport 1108 counter name hairpins return
        meta l4proto { tcp, udp } th dport { 1107, 1108, 10250 } counter name relayed
        meta l4proto { tcp, udp } th sport { 1107, 1108, 10250 } counter name relayed
        icmp type { echo-request, echo-reply } counter name relayed
        ct state new meta l4proto { tcp, udp } th dport { 1107, 1108, 10250 } counter name fresh
        ct state new icmp type echo-request counter name fresh
    }
    chain leave {
        type filter hook postrouting priority 10;
        oifname kilo0 jump cross
    }
    chain enter {
        type filter hook prerouting priority 10;
        iifname kilo0 jump cross
    }
    chain cross {
        meta l4proto { tcp, udp } th dport { 1107, 1108, 10250 } counter name wan
        meta l4proto { tcp, udp } th sport { 1107, 1108, 10250 } counter name wan
        icmp type { echo-request, echo-reply } counter name wan
    }
}
";

/// What went wrong with counting.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The packet filter.
    #[error("could not set up the counters")]
    Firewall(#[from] firewall::Error),
    /// The namespace is gone.
    #[error("could not reach it")]
    Namespace(#[from] namespace::Error),
    /// The counters cannot be read.
    #[error("could not read the counters")]
    Nft(#[source] io::Error),
    /// They read as something else.
    #[error("could not understand the counters")]
    Strange,
    /// The sidecar does not show its metrics.
    #[error("could not read the sidecar's metrics")]
    Metrics(#[source] io::Error),
}

/// Packets and their bytes, IP headers included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// What was counted on one node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Bytes {
    /// Requests that the node itself sent.
    pub asked: Tally,
    /// Of these, datagrams to responders.
    pub datagrams: Tally,
    /// Answers that it sent.
    pub answered: Tally,
    /// Probes and answers of others that it forwarded.
    pub relayed: Tally,
    /// Of these, the first packets of flows.
    pub fresh: Tally,
    /// Frames of hairpin tests that it forwarded.
    pub hairpins: Tally,
    /// Probes and answers that entered or left by Kilo's tunnel, WireGuard's part included.
    pub wan: Tally,
}

impl Tally {
    /// Returns the same packets, each inside so much more.
    pub(super) const fn within(self, more: u64) -> Self {
        Self { packets: self.packets, bytes: self.bytes + more * self.packets }
    }
}

impl Bytes {
    /// Returns what was counted since an earlier count.
    pub(super) fn since(&self, before: &Self) -> Self {
        let since = |now: Tally, then: Tally| Tally {
            packets: now.packets.saturating_sub(then.packets),
            bytes: now.bytes.saturating_sub(then.bytes),
        };
        Self {
            asked: since(self.asked, before.asked),
            datagrams: since(self.datagrams, before.datagrams),
            answered: since(self.answered, before.answered),
            relayed: since(self.relayed, before.relayed),
            fresh: since(self.fresh, before.fresh),
            hairpins: since(self.hairpins, before.hairpins),
            wan: since(self.wan, before.wan),
        }
    }
}

/// Everything counted on one node.
pub(super) struct Counted {
    pub(super) bytes: Bytes,
    /// Probes sent by the sidecar's own count, by flow.
    pub(super) probes: BTreeMap<String, u64>,
}

/// Begins to count on a node.
pub(super) async fn set_up(node: &Namespace) -> Result<(), Error> {
    Ok(firewall::apply(node, RULES.to_owned()).await?)
}

/// Returns what has been counted on a node.
pub(super) async fn read(node: &Namespace) -> Result<Counted, Error> {
    let (listing, metrics) =
        node.run(async || (list().await, timeout(PATIENCE, metrics()).await)).await?;
    let bytes = bytes(&listing.map_err(Error::Nft)?).ok_or(Error::Strange)?;
    let metrics = metrics.map_err(|_elapsed| io::ErrorKind::TimedOut.into());
    let metrics = metrics.and_then(|metrics| metrics).map_err(Error::Metrics)?;
    Ok(Counted { bytes, probes: probes(&metrics) })
}

/// Returns how many more of each there are.
pub(super) fn since(
    before: &BTreeMap<String, u64>,
    after: &BTreeMap<String, u64>,
) -> BTreeMap<String, u64> {
    let known = |flow: &String| before.get(flow).copied().unwrap_or_default();
    after.iter().map(|(flow, count)| (flow.clone(), count.saturating_sub(known(flow)))).collect()
}

async fn list() -> io::Result<Vec<u8>> {
    let listed = Command::new("nft")
        .args(["--json", "list", "counters", "table", "inet", "cost"])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?;
    if listed.status.success() {
        Ok(listed.stdout)
    } else {
        Err(io::Error::other(String::from_utf8_lossy(&listed.stderr).trim().to_owned()))
    }
}

fn bytes(listing: &[u8]) -> Option<Bytes> {
    let listing = serde_json::from_slice::<serde_json::Value>(listing).ok()?;
    let counters = listing.get("nftables")?.as_array()?;
    let tally = |name: &str| {
        let named = |entry: &&serde_json::Value| entry["counter"]["name"] == name;
        let counter = &counters.iter().find(named)?["counter"];
        Some(Tally { packets: counter["packets"].as_u64()?, bytes: counter["bytes"].as_u64()? })
    };
    Some(Bytes {
        asked: tally("asked")?,
        datagrams: tally("datagrams")?,
        answered: tally("answered")?,
        relayed: tally("relayed")?,
        fresh: tally("fresh")?,
        hairpins: tally("hairpins")?,
        wan: tally("wan")?.within(WIREGUARD),
    })
}

async fn metrics() -> io::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, ADMIN)).await?;
    let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

/// Reads how many probes of each flow were sent.
fn probes(metrics: &str) -> BTreeMap<String, u64> {
    let mut probes = BTreeMap::new();
    for line in metrics.lines() {
        let Some(line) = line.strip_prefix("tanist_sidecar_probes_total{") else { continue };
        let Some((labels, count)) = line.split_once("} ") else { continue };
        let label = |name: &str| {
            let values = labels.split(',').filter_map(|label| label.split_once('='));
            let (_, value) = values.into_iter().find(|(key, _)| *key == name)?;
            Some(value.trim_matches('"').to_owned())
        };
        if let (Some(flow), Some(result)) = (label("flow"), label("result"))
            && result != "unsent"
        {
            *probes.entry(flow).or_default() += count.trim().parse::<u64>().unwrap_or_default();
        }
    }
    probes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_that_were_sent_are_added_up_by_flow() {
        let metrics = "# TYPE tanist_sidecar_probes counter\n\
            tanist_sidecar_probes_total{flow=\"new-udp\",purpose=\"steady\",result=\"answered\"} 7\n\
            tanist_sidecar_probes_total{flow=\"new-udp\",purpose=\"burst\",result=\"lost\"} 2\n\
            tanist_sidecar_probes_total{flow=\"ping\",purpose=\"steady\",result=\"unsent\"} 5\n\
            tanist_sidecar_bursts_total{kind=\"inquest\"} 3\n";
        assert_eq!(probes(metrics), BTreeMap::from([("new-udp".to_owned(), 9)]));
    }

    #[test]
    fn what_wireguard_adds_is_counted_on_the_wan_only() {
        let names = ["asked", "datagrams", "answered", "relayed", "fresh", "hairpins", "wan"];
        let counters = names.map(
            |name| serde_json::json!({ "counter": { "name": name, "packets": 2, "bytes": 184 } }),
        );
        let listing = serde_json::json!({ "nftables": counters });
        let bytes = bytes(listing.to_string().as_bytes()).unwrap();
        assert_eq!(bytes.relayed, Tally { packets: 2, bytes: 184 });
        assert_eq!(bytes.wan, Tally { packets: 2, bytes: 304 });
        assert_eq!(super::bytes(b"{}"), None);
    }
}
