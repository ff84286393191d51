//! What is wrong on this node itself: its tables, its switches, its devices. What cannot be read is
//! unknown, never healthy, and never a finding.
//!
//! Counters are compared with the last count, so a [`Host`] is kept and looked through again.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use ipnet::Ipv4Net;

use crate::evidence::{HostSettings, LocalCause, LocalFinding};
use crate::net::{Link, Netlink};

mod counters;
mod kilo;
#[cfg(test)]
mod tests;

pub use kilo::{AgentFacts, agent};

use counters::Counters;

/// A table this full drops what is new at any moment.
const NEARLY_FULL: f64 = 0.95;

/// Packets dropped for want of CPU between two counts, above which it is no accident.
const SOFTNET_DROPS: u64 = 100;

/// Packets dropped by the reverse-path filter between two counts: one stray packet is no finding.
const REVERSE_PATH_DROPS: u64 = 10;

/// Overlay devices by name, in the order in which one is taken for ours.
const OVERLAYS: [&str; 3] = ["flannel.", "cilium_vxlan", "tunl0"];

/// The devices of one node, by their part in the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Devices {
    /// The overlay's device; none: whichever is there.
    pub overlay: Option<String>,
    /// Kilo's WireGuard device.
    pub kilo: String,
}

/// What one look found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostFacts {
    /// What is wrong.
    pub local: Vec<LocalFinding>,
    /// An address that the host owns inside its pod range.
    pub pod_address: Option<IpAddr>,
    /// Every address that the host owns.
    pub addresses: Vec<IpAddr>,
    /// The name of the overlay's device.
    pub overlay: Option<String>,
    /// Its link-layer address, as `aa:bb:cc:dd:ee:ff`.
    pub overlay_mac: Option<String>,
    /// How the node is set.
    pub settings: Option<HostSettings>,
}

/// Who relays to another location.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relay {
    /// This host itself, into Kilo's WireGuard device.
    Kilo,
    /// The node with this gateway address.
    Gateway(Ipv4Addr),
}

/// Looks at one node again and again.
#[derive(Debug)]
pub struct Host {
    proc: PathBuf,
    devices: Devices,
    netlink: Option<Netlink>,
    overlay_seen: Option<String>,
    counters: Counters,
}

impl Host {
    /// Returns eyes on the node of the current network namespace. Without netlink they see less.
    #[must_use]
    pub fn new(devices: Devices, netlink: Option<Netlink>) -> Self {
        let proc = PathBuf::from("/proc");
        Self { proc, devices, netlink, overlay_seen: None, counters: Counters::default() }
    }

    /// Looks. `pod_range` is the node's; `preferred` an address of it that the CNI plugin names.
    pub async fn look(
        &mut self,
        pod_range: Option<Ipv4Net>,
        preferred: Option<IpAddr>,
    ) -> HostFacts {
        let mut facts = HostFacts::default();
        let links = self.links().await;
        let overlay = links.as_deref().and_then(|links| self.overlay(links)).cloned();

        facts.addresses = self.addresses().await;
        facts.pod_address = pod_range.and_then(|range| own(&facts.addresses, range, preferred));
        facts.settings = links.as_deref().map(|links| self.settings(links, overlay.as_ref()));
        facts.overlay_mac = overlay.as_ref().and_then(|link| link.address).map(mac);
        facts.local.extend(links.and_then(|_known| self.missing(overlay.as_ref())));
        facts.overlay = overlay.map(|link| link.name);
        facts.local.extend(self.conntrack());
        facts.local.extend(self.forwarding(facts.overlay.as_deref()));
        facts.local.extend(self.neighbours());
        facts
    }

    /// Returns what the counters show since the last count; the first time, nothing.
    pub fn count(&mut self) -> Vec<LocalFinding> {
        self.overflows().into_iter().chain(self.drops()).collect()
    }

    /// Returns who relays what this host sends to `address`: none if there is no route, or one
    /// that leads elsewhere.
    pub async fn relay_to(&self, address: Ipv4Addr) -> Option<Relay> {
        let netlink = self.netlink.as_ref()?;
        let way = netlink.lookup(address).await.ok()?;
        // A leader's routes name a gateway too: the far leader's address on Kilo's device.
        let kilo = netlink.link(&self.devices.kilo).await.ok();
        if way.link.is_some() && way.link == kilo.map(|kilo| kilo.index) {
            return Some(Relay::Kilo);
        }
        way.gateway.map(Relay::Gateway)
    }

    async fn links(&self) -> Option<Vec<Link>> {
        let links = self.netlink.as_ref()?.links().await.ok()?;
        Some(links.into_values().collect())
    }

    fn overlay<'a>(&self, links: &'a [Link]) -> Option<&'a Link> {
        if let Some(name) = &self.devices.overlay {
            return links.iter().find(|link| link.name == *name);
        }
        OVERLAYS.iter().find_map(|prefix| links.iter().find(|link| link.name.starts_with(prefix)))
    }

    /// An overlay counts as missing if it was named or seen up: some meshes have none, and the
    /// kernel makes devices of its own that nobody uses, as `tunl0` with the module ipip.
    fn missing(&mut self, found: Option<&Link>) -> Option<LocalFinding> {
        if let Some(link) = found.filter(|link| link.up) {
            self.overlay_seen = Some(link.name.clone());
        }
        let wanted = self.devices.overlay.as_ref().or(self.overlay_seen.as_ref())?;
        let detail = match found {
            Some(link) if link.up => return None,
            Some(link) => format!("overlay device {} is down", link.name),
            None => format!("overlay device {wanted} is gone"),
        };
        Some(LocalFinding { cause: LocalCause::OverlayMissing, detail })
    }

    async fn addresses(&self) -> Vec<IpAddr> {
        let Some(netlink) = &self.netlink else { return Vec::new() };
        let every = netlink.every_address().await.unwrap_or_default();
        every.into_iter().map(|(_, net)| IpAddr::from(net.addr())).collect()
    }

    /// The kernel takes the stricter of a device's own switch and that for all.
    fn settings(&self, links: &[Link], overlay: Option<&Link>) -> HostSettings {
        let kilo = links.iter().find(|link| link.name == self.devices.kilo);
        let filter = |device: &str| self.number(&format!("sys/net/ipv4/conf/{device}/rp_filter"));
        let all = filter("all");
        let strict = |link: &&Link| all.max(filter(&link.name)) == Some(1);
        let devices = [kilo, overlay].into_iter().flatten().filter(strict);
        HostSettings {
            kilo_mtu: kilo.map(|link| link.mtu),
            overlay_mtu: overlay.map(|link| link.mtu),
            strict_reverse_path: all.map(|_| devices.map(|link| link.name.clone()).collect()),
        }
    }

    fn conntrack(&self) -> Option<LocalFinding> {
        let used = self.number("sys/net/netfilter/nf_conntrack_count")?;
        let room = self.number("sys/net/netfilter/nf_conntrack_max")?;
        nearly_full(used, room).then(|| LocalFinding {
            cause: LocalCause::ConntrackFull,
            detail: format!("{used} of {room} connection tracking entries are used"),
        })
    }

    fn forwarding(&self, overlay: Option<&str>) -> Option<LocalFinding> {
        let switches = ["all", self.devices.kilo.as_str()].into_iter().chain(overlay);
        let off = switches.filter(|device| {
            self.number(&format!("sys/net/ipv4/conf/{device}/forwarding")) == Some(0)
        });
        let off: Vec<_> = off.map(|device| format!("net.ipv4.conf.{device}.forwarding")).collect();
        (!off.is_empty()).then(|| LocalFinding {
            cause: LocalCause::ForwardingOff,
            detail: format!("{} is 0, it should be 1", off.join(", ")),
        })
    }

    /// Permanent entries, as Flannel makes them, count towards no limit.
    fn neighbours(&self) -> Option<LocalFinding> {
        let used = counters::neighbours(&self.read("net/arp")?);
        let room = self.number("sys/net/ipv4/neigh/default/gc_thresh3")?;
        nearly_full(used, room).then(|| LocalFinding {
            cause: LocalCause::NeighboursFull,
            detail: format!("{used} of {room} neighbours are used"),
        })
    }

    fn overflows(&mut self) -> Option<LocalFinding> {
        let overflows = self.read("net/stat/arp_cache");
        let overflows = overflows.and_then(|text| counters::table_fulls(&text));
        let grown = self.counters.neighbour_overflows.grown(overflows);
        (grown > 0).then(|| LocalFinding {
            cause: LocalCause::NeighboursFull,
            detail: format!("the neighbour table overflowed {grown} times"),
        })
    }

    fn drops(&mut self) -> Vec<LocalFinding> {
        let softnet = self.read("net/softnet_stat").map(|text| counters::softnet_drops(&text));
        let softnet = self.counters.softnet.grown(softnet);
        let reverse = self.read("net/netstat");
        let reverse = reverse.and_then(|text| counters::ip_counter(&text, "IPReversePathFilter"));
        let reverse = self.counters.reverse_path.grown(reverse);

        let starved = (softnet >= SOFTNET_DROPS).then(|| LocalFinding {
            cause: LocalCause::SoftirqDrops,
            detail: format!("the kernel dropped {softnet} received packets for want of CPU"),
        });
        let filtered = (reverse >= REVERSE_PATH_DROPS).then(|| LocalFinding {
            cause: LocalCause::ReversePathFilter,
            detail: format!("strict reverse-path filtering dropped {reverse} packets"),
        });
        starved.into_iter().chain(filtered).collect()
    }

    fn read(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(self.proc.join(path)).ok()
    }

    fn number(&self, path: &str) -> Option<u64> {
        self.read(path)?.trim().parse().ok()
    }
}

fn nearly_full(used: u64, room: u64) -> bool {
    room > 0 && used as f64 >= room as f64 * NEARLY_FULL
}

/// Returns the host's own address within its pod range: what the CNI plugin names, else a bridge's
/// `.1`, else any other, and Flannel's `.0` last, since some stacks take it for a broadcast.
fn own(addresses: &[IpAddr], range: Ipv4Net, preferred: Option<IpAddr>) -> Option<IpAddr> {
    let within = |address: &&IpAddr| match address {
        IpAddr::V4(address) => range.contains(address),
        IpAddr::V6(_) => false,
    };
    let bridge = IpAddr::from(Ipv4Addr::from(u32::from(range.network()).wrapping_add(1)));
    let rank = |address: &&IpAddr| {
        let fits = [
            Some(**address) == preferred,
            **address == bridge,
            **address != IpAddr::from(range.network()),
        ];
        (fits.into_iter().position(|fits| fits).unwrap_or(fits.len()), **address)
    };
    let preferred = addresses.iter().filter(|address| Some(**address) == preferred);
    preferred.chain(addresses.iter().filter(within)).min_by_key(rank).copied()
}

fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}
