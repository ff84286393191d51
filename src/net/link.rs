//! Links: interfaces, their addresses and what a static overlay knows of its peers.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd};

use futures::TryStreamExt;
use ipnet::Ipv4Net;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::AddressAttribute;
use netlink_packet_route::link::{InfoData, InfoVeth, LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::neighbour::NeighbourFlags;
use rtnetlink::{
    AddressMessageBuilder, LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, LinkVxlan,
};

use super::{Error, Netlink, refused};

/// An interface as the kernel shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Link {
    /// Its number in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Whether it is set up.
    pub up: bool,
    /// The largest packet it carries.
    pub mtu: u32,
    /// Its hardware address, where it has one.
    pub address: Option<[u8; 6]>,
}

impl Link {
    pub(super) fn read(message: &LinkMessage) -> Self {
        let mut link = Self {
            index: message.header.index,
            up: message.header.flags.contains(LinkFlags::Up),
            ..Self::default()
        };

        for attribute in &message.attributes {
            if let LinkAttribute::IfName(name) = attribute {
                link.name.clone_from(name);
            } else if let LinkAttribute::Mtu(mtu) = attribute {
                link.mtu = *mtu;
            } else if let LinkAttribute::Address(address) = attribute {
                link.address = <[u8; 6]>::try_from(address.as_slice()).ok();
            }
        }

        link
    }
}

/// How the VXLAN of an overlay with static entries looks on one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vxlan {
    /// Its name.
    pub name: String,
    /// The network's number.
    pub vni: u32,
    /// The UDP port.
    pub port: u16,
    /// The index of the link that carries it.
    pub over: u32,
    /// The address its packets come from.
    pub local: Ipv4Addr,
    /// Its hardware address.
    pub address: [u8; 6],
}

impl Netlink {
    /// Returns the link of that name.
    pub async fn link(&self, name: &str) -> Result<Link, Error> {
        let mut found = self.handle.link().get().match_name(name).execute();

        match found.try_next().await {
            Ok(Some(message)) => Ok(Link::read(&message)),
            Ok(None) => Err(Error::NoLink { name: name.to_owned() }),
            Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == -libc::ENODEV => {
                Err(Error::NoLink { name: name.to_owned() })
            }
            Err(source) => Err(refused(|| format!("look for link {name}"))(source)),
        }
    }

    /// Returns all links by name.
    pub async fn links(&self) -> Result<BTreeMap<String, Link>, Error> {
        let _one_dump_per_socket = self.dump.lock().await;

        let links = self.handle.link().get().execute().map_ok(|message| Link::read(&message));
        let links = links.try_collect::<Vec<_>>().await;
        let links = links.map_err(refused(|| "list links".to_owned()))?;

        Ok(links.into_iter().map(|link| (link.name.clone(), link)).collect())
    }

    /// Adds a pair of virtual cables: `name` here, `peer` in the other namespace.
    pub async fn add_veth(
        &self,
        name: &str,
        peer: &str,
        there: BorrowedFd<'_>,
    ) -> Result<(), Error> {
        let other = LinkMessageBuilder::<LinkUnspec>::new().name(peer);
        let other = other.setns_by_fd(there.as_raw_fd()).build();
        let pair = LinkVeth::new(name, peer).set_info_data(InfoData::Veth(InfoVeth::Peer(other)));

        let added = self.handle.link().add(pair.build()).execute().await;
        added.map_err(refused(|| format!("add the pair {name} and {peer}")))
    }

    /// Adds a bridge.
    pub async fn add_bridge(&self, name: &str) -> Result<(), Error> {
        let added = self.handle.link().add(LinkBridge::new(name).build()).execute().await;
        added.map_err(refused(|| format!("add bridge {name}")))
    }

    /// Adds a VXLAN that learns nothing by itself.
    pub async fn add_vxlan(&self, vxlan: &Vxlan) -> Result<(), Error> {
        let message = LinkVxlan::new(&vxlan.name, vxlan.vni)
            .dev(vxlan.over)
            .local(vxlan.local)
            .port(vxlan.port)
            .learning(false)
            .address(vxlan.address.to_vec())
            .build();

        let added = self.handle.link().add(message).execute().await;
        added.map_err(refused(|| format!("add vxlan {}", vxlan.name)))
    }

    /// Removes a link.
    pub async fn remove_link(&self, name: &str) -> Result<(), Error> {
        let index = self.link(name).await?.index;

        let removed = self.handle.link().del(index).execute().await;
        removed.map_err(refused(|| format!("remove link {name}")))
    }

    /// Sets a link up.
    pub async fn set_up(&self, name: &str) -> Result<(), Error> {
        self.change(name, LinkUnspec::new_with_name(name).up(), "up").await
    }

    /// Sets a link down, which takes its routes with it.
    pub async fn set_down(&self, name: &str) -> Result<(), Error> {
        self.change(name, LinkUnspec::new_with_name(name).down(), "down").await
    }

    /// Sets the largest packet that a link carries.
    pub async fn set_mtu(&self, name: &str, mtu: u32) -> Result<(), Error> {
        self.change(name, LinkUnspec::new_with_name(name).mtu(mtu), "mtu").await
    }

    /// Makes a link a port of a bridge.
    pub async fn plug(&self, name: &str, bridge: &str) -> Result<(), Error> {
        let bridge = self.link(bridge).await?.index;
        self.change(name, LinkUnspec::new_with_name(name).controller(bridge), "bridge").await
    }

    async fn change(
        &self,
        name: &str,
        wish: LinkMessageBuilder<LinkUnspec>,
        what: &str,
    ) -> Result<(), Error> {
        let changed = self.handle.link().set(wish.build()).execute().await;
        changed.map_err(refused(|| format!("change {what} of link {name}")))
    }

    /// Gives a link an address; one that it has already is fine.
    pub async fn add_address(&self, name: &str, address: Ipv4Net) -> Result<(), Error> {
        let index = self.link(name).await?.index;
        let request = self.handle.address().add(index, address.addr().into(), address.prefix_len());

        let added = request.replace().execute().await;
        added.map_err(refused(|| format!("add address {address} to {name}")))
    }

    /// Takes an address from a link.
    pub async fn remove_address(&self, name: &str, address: Ipv4Net) -> Result<(), Error> {
        let index = self.link(name).await?.index;
        let message = AddressMessageBuilder::<Ipv4Addr>::new()
            .index(index)
            .address(address.addr(), address.prefix_len())
            .build();

        let removed = self.handle.address().del(message).execute().await;
        removed.map_err(refused(|| format!("remove address {address} from {name}")))
    }

    /// Returns the addresses of a link.
    pub async fn addresses(&self, name: &str) -> Result<Vec<Ipv4Net>, Error> {
        let index = self.link(name).await?.index;
        let every = self.every_address().await?.into_iter();
        Ok(every.filter(|(of, _)| *of == index).map(|(_, address)| address).collect())
    }

    /// Returns the addresses of all links, each with its link's index.
    pub async fn every_address(&self) -> Result<Vec<(u32, Ipv4Net)>, Error> {
        let _one_dump_per_socket = self.dump.lock().await;
        let every = self.handle.address().get().execute().try_collect::<Vec<_>>().await;
        let every = every.map_err(refused(|| "list addresses".to_owned()))?;

        let v4 = every.into_iter().filter(|message| message.header.family == AddressFamily::Inet);
        let nets = v4.flat_map(|message| {
            let (index, length) = (message.header.index, message.header.prefix_len);
            message.attributes.into_iter().filter_map(move |attribute| {
                let AddressAttribute::Local(std::net::IpAddr::V4(address)) = attribute else {
                    return None;
                };
                Some((index, Ipv4Net::new(address, length).ok()?))
            })
        });

        Ok(nets.collect())
    }

    /// Tells a VXLAN behind which address a hardware address is found, and to whom it belongs.
    pub async fn add_overlay_peer(
        &self,
        vxlan: &str,
        address: [u8; 6],
        (inner, outer): (Ipv4Addr, Ipv4Addr),
    ) -> Result<(), Error> {
        let index = self.link(vxlan).await?.index;
        let neighbours = self.handle.neighbours();
        let tried = || format!("add peer {inner} behind {outer} to {vxlan}");

        let behind = neighbours.add_bridge(index, &address).destination(outer.into());
        let behind = behind.flags(NeighbourFlags::Own).replace().execute().await;
        behind.map_err(refused(tried))?;

        let owner = neighbours.add(index, inner.into()).link_layer_address(&address);
        owner.replace().execute().await.map_err(refused(tried))
    }
}
