//! Builds a topology in namespaces: bridges for the LANs and the WAN in one, and for each node one
//! for the host and one for its pod.

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use futures::future::try_join_all;
use ipnet::Ipv4Net;

use super::firewall;
use super::namespace::{self, Namespace};
use super::topology::{Place, SERVER, Topology};
use crate::evidence::NodeName;
use crate::net::{self, Hop, Netlink, Route, Vxlan};

/// The overlay's interface, as flannel calls it.
pub const OVERLAY: &str = "flannel.1";

/// The UDP port of the overlay.
pub const OVERLAY_PORT: u16 = 8472;

/// What went wrong when the network was built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A namespace.
    #[error("could not make the namespaces")]
    Namespace(#[from] namespace::Error),
    /// The kernel's network.
    #[error("could not wire {node}")]
    Wire {
        /// Where.
        node: String,
        /// Why it failed.
        #[source]
        source: net::Error,
    },
    /// A kernel setting.
    #[error("could not set {setting}")]
    Setting {
        /// Which.
        setting: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// The packet filter.
    #[error("could not set up the packet filter of {node}")]
    Firewall {
        /// Where.
        node: String,
        /// Why it failed.
        #[source]
        source: firewall::Error,
    },
}

/// A node's namespaces.
#[derive(Debug, Clone)]
pub struct Host {
    /// Where it is.
    pub place: Place,
    /// The host's own namespace.
    pub host: Namespace,
    /// Its pod's.
    pub pod: Namespace,
}

/// The whole network. It is gone when this and all copies of its namespaces are dropped.
#[derive(Debug)]
pub struct Network {
    /// What was built.
    pub topology: Topology,
    /// Where the bridges are; the API server listens here, at [`SERVER`].
    pub wan: Namespace,
    /// The nodes.
    pub hosts: BTreeMap<NodeName, Host>,
}

impl Network {
    /// Builds the network around a namespace for the WAN.
    pub async fn build(topology: Topology, wan: Namespace) -> Result<Self, Error> {
        let lans = topology.places.iter().map(|place| place.lan).max().unwrap_or_default();
        on(&wan, async move || lay_bridges(lans).await).await?;

        let hosts = topology.places.iter().map(|place| raise(place.clone(), &wan));
        let hosts = try_join_all(hosts).await?;
        let overlays = hosts.iter().map(|host| {
            let place = host.place.clone();
            let peers = topology.members(&place.location).filter(|peer| **peer != place);
            let peers = peers.cloned().collect::<Vec<_>>();
            on(&host.host, async move || lay_overlay(&place, &peers).await)
        });
        try_join_all(overlays).await?;

        let hosts = hosts.into_iter().map(|host| (host.place.name.clone(), host)).collect();
        Ok(Self { topology, wan, hosts })
    }

    /// Pulls both cables of a node.
    pub async fn unplug(&self, place: &Place) -> Result<(), Error> {
        let cables = cables(place);
        on(&self.wan, async move || {
            let net = Netlink::open()?;
            net.set_down(&cables[0]).await?;
            net.set_down(&cables[1]).await
        })
        .await
    }

    /// Puts both cables of a node back.
    pub async fn plug(&self, place: &Place) -> Result<(), Error> {
        let cables = cables(place);
        on(&self.wan, async move || {
            let net = Netlink::open()?;
            net.set_up(&cables[0]).await?;
            net.set_up(&cables[1]).await
        })
        .await
    }
}

/// Names the far ends of a node's cables: LAN, WAN.
fn cables(place: &Place) -> [String; 2] {
    [format!("lan{}-{}", place.lan, place.number), format!("wan-{}", place.number)]
}

/// Runs a task that wires something in a namespace.
async fn on<T, F>(
    namespace: &Namespace,
    task: impl FnOnce() -> F + Send + 'static,
) -> Result<T, Error>
where
    T: Send + 'static,
    F: Future<Output = Result<T, net::Error>> + 'static,
{
    let done = namespace.run(task).await?;
    done.map_err(|source| Error::Wire { node: namespace.name().to_owned(), source })
}

async fn lay_bridges(lans: u8) -> Result<(), net::Error> {
    let net = Netlink::open()?;

    for name in (1..=lans).map(|lan| format!("lan{lan}")).chain(["wan".to_owned()]) {
        net.add_bridge(&name).await?;
        net.set_up(&name).await?;
    }
    net.add_address("wan", Ipv4Net::new_assert(SERVER, 24)).await?;

    net.set_up("lo").await
}

/// Makes a node's namespaces and connects them.
async fn raise(place: Place, wan: &Namespace) -> Result<Host, Error> {
    let host = Namespace::spawn(&place.name.0).await?;
    let pod = Namespace::spawn(&format!("{}-pod", place.name)).await?;
    let host = Host { place, host, pod };

    let settings = host.host.run(async || settle()).await?;
    settings.map_err(|(setting, source)| Error::Setting { setting, source })?;

    let (there, place) = (host.host.network(), host.place.clone());
    on(wan, async move || {
        let net = Netlink::open()?;
        let [lan, wan] = cables(&place);
        for (name, peer, bridge) in
            [(&lan, "eth0", &*format!("lan{}", place.lan)), (&wan, "eth1", "wan")]
        {
            net.add_veth(name, peer, there.as_fd()).await?;
            net.plug(name, bridge).await?;
            net.set_up(name).await?;
        }
        Ok(())
    })
    .await?;

    let (there, place) = (host.pod.network(), host.place.clone());
    on(&host.host, async move || wire_host(&place, there.as_fd()).await).await?;
    let place = host.place.clone();
    on(&host.pod, async move || wire_pod(&place).await).await?;

    let filter = firewall::set_up(&host.host).await;
    filter
        .map_err(|source| Error::Firewall { node: host.place.name.to_string(), source })
        .map(|()| host)
}

/// Sets the kernel's settings that a Kubernetes node has, before there are interfaces, so that each
/// starts with them.
fn settle() -> Result<(), (String, std::io::Error)> {
    for (setting, value) in [
        ("net/ipv4/ip_forward", "1"),
        ("net/ipv4/conf/all/rp_filter", "0"),
        ("net/ipv4/conf/default/rp_filter", "0"),
    ] {
        let set = std::fs::write(format!("/proc/sys/{setting}"), value);
        set.map_err(|source| (setting.to_owned(), source))?;
    }

    Ok(())
}

async fn wire_host(place: &Place, pod: std::os::fd::BorrowedFd<'_>) -> Result<(), net::Error> {
    let net = Netlink::open()?;

    net.add_bridge("cni0").await?;
    net.add_veth("veth0", "eth0", pod).await?;
    net.plug("veth0", "cni0").await?;
    for (name, address) in
        [("eth0", place.internal()), ("eth1", place.wan()), ("cni0", place.bridge())]
    {
        net.add_address(name, address).await?;
    }
    for name in ["lo", "eth0", "eth1", "veth0", "cni0"] {
        net.set_up(name).await?;
    }

    // Kilo takes the MTU of the interface that the default route leaves by.
    let wan = net.link("eth1").await?.index;
    net.set_route(&Route::new(Ipv4Net::default(), Hop::Via(SERVER), wan)).await
}

async fn wire_pod(place: &Place) -> Result<(), net::Error> {
    let net = Netlink::open()?;

    // What Kilo's own CNI configuration gives pods.
    net.set_mtu("eth0", 1420).await?;
    net.add_address("eth0", place.pod()).await?;
    for name in ["lo", "eth0"] {
        net.set_up(name).await?;
    }

    let link = net.link("eth0").await?.index;
    net.set_route(&Route::new(Ipv4Net::default(), Hop::Via(place.bridge().addr()), link)).await
}

/// Makes the overlay as flannel does: with static entries for each peer of the same location.
async fn lay_overlay(place: &Place, peers: &[Place]) -> Result<(), net::Error> {
    let net = Netlink::open()?;
    let over = net.link("eth0").await?.index;

    net.add_vxlan(&Vxlan {
        name: OVERLAY.to_owned(),
        vni: 1,
        port: OVERLAY_PORT,
        over,
        local: place.internal().addr(),
        address: place.overlay_hardware(),
    })
    .await?;
    net.set_mtu(OVERLAY, 1450).await?;
    net.add_address(OVERLAY, Ipv4Net::from(place.overlay())).await?;
    net.set_up(OVERLAY).await?;

    let link = net.link(OVERLAY).await?.index;
    for peer in peers {
        let addresses = (peer.overlay(), peer.internal().addr());
        net.add_overlay_peer(OVERLAY, peer.overlay_hardware(), addresses).await?;
        net.set_route(&Route::new(peer.pods(), Hop::OnLink(peer.overlay()), link)).await?;
    }

    Ok(())
}
