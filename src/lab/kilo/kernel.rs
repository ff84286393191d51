//! Puts a topology into the kernel, in Kilo's order. What was put there is remembered only here:
//! an agent that starts anew does not know its predecessor's routes and leaves them be.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};

use super::{Agent, Error};
use crate::evidence::NodeName;
use crate::evidence::kilo::topology::{self, Device, KILO_TABLE, MAIN_TABLE, Topology};
use crate::lab::wireguard::Wireguard;
use crate::net::{self, Hop, Netlink};

/// The kernel, as far as the agent has its hands in it.
pub(super) struct Kernel {
    node: NodeName,
    netlink: Netlink,
    wireguard: Arc<Wireguard>,
    overlay: String,
    uplink: String,
    routes: BTreeSet<net::Route>,
    rules: BTreeSet<net::Rule>,
}

impl Kernel {
    pub(super) fn open(agent: &Agent) -> Result<Self, Error> {
        Ok(Self {
            node: agent.node.clone(),
            netlink: Netlink::open()?,
            wireguard: Arc::clone(&agent.wireguard),
            overlay: agent.overlay.clone(),
            uplink: agent.uplink.clone(),
            routes: BTreeSet::new(),
            rules: BTreeSet::new(),
        })
    }

    /// Returns the MTU of the interface that leads out.
    pub(super) async fn underlay_mtu(&self) -> Result<u32, Error> {
        Ok(self.netlink.link(&self.uplink).await?.mtu)
    }

    /// Makes everything as wished. The first failure ends it, as in Kilo: the next apply goes on.
    pub(super) async fn apply(&mut self, wish: &Topology) -> Result<(), Error> {
        self.netlink.set_mtu(self.wireguard.name(), wish.mtu).await?;

        match &wish.tunnel {
            Some(tunnel) => {
                self.set_address(tunnel.address).await?;
                if self.wireguard.configure(tunnel).await? {
                    let peers = tunnel.peers.len();
                    tracing::debug!(node = %self.node, peers, "WireGuard peers replaced");
                }
                self.wireguard.up().await?;
            }
            None => self.wireguard.down().await?,
        }

        self.set_routes(wish).await?;
        self.set_rules(wish).await
    }

    /// Gives `kilo0` this address and no other.
    async fn set_address(&self, wish: Ipv4Net) -> Result<(), Error> {
        let name = self.wireguard.name();
        let have = self.netlink.addresses(name).await?;
        for old in have.iter().filter(|old| **old != wish) {
            self.netlink.remove_address(name, *old).await?;
        }
        if !have.contains(&wish) {
            self.netlink.add_address(name, wish).await?;
        }

        Ok(())
    }

    /// Removes what is no longer wished, then adds what is missing: each changed prefix is without
    /// a route for a moment.
    async fn set_routes(&mut self, wish: &Topology) -> Result<(), Error> {
        let tunnel = self.netlink.link(self.wireguard.name()).await?.index;
        let overlay = self.netlink.link(&self.overlay).await?.index;
        let link = |device| match device {
            Device::Kilo => tunnel,
            Device::Overlay => overlay,
        };
        let wanted: BTreeSet<_> = wish
            .routes
            .iter()
            .filter_map(|route| kernel_route(route, link(route.device)))
            .collect();

        let obsolete: Vec<_> = self.routes.difference(&wanted).copied().collect();
        self.remove_routes(&obsolete).await?;

        // Kilo looks at the main table only: the routes in its own are set anew each time.
        let present: BTreeSet<_> = self.netlink.routes(MAIN_TABLE).await?.into_iter().collect();
        for route in wanted.difference(&present) {
            self.netlink.set_route(route).await?;
        }
        self.routes = wanted;

        Ok(())
    }

    /// Removes routes, except those in Kilo's own table, which it forgets.
    async fn remove_routes(&mut self, routes: &[net::Route]) -> Result<(), Error> {
        for route in routes {
            if route.table == MAIN_TABLE {
                gone(self.netlink.remove_route(route).await)?;
            }
            self.routes.remove(route);
        }

        Ok(())
    }

    async fn set_rules(&mut self, wish: &Topology) -> Result<(), Error> {
        let wanted: BTreeSet<_> =
            wish.rules.iter().filter_map(|rule| self.kernel_rule(rule)).collect();

        for rule in self.rules.difference(&wanted) {
            gone(self.netlink.remove_rule(rule).await)?;
        }
        let ignoring_priority = |rule| net::Rule { priority: None, ..rule };
        let present = self.netlink.rules().await?.into_iter().map(ignoring_priority);
        let present: BTreeSet<_> = present.collect();
        for rule in wanted.difference(&present) {
            self.netlink.add_rule(rule).await?;
        }
        self.rules = wanted;

        Ok(())
    }

    fn kernel_rule(&self, rule: &topology::Rule) -> Option<net::Rule> {
        Some(net::Rule {
            link: Some(self.wireguard.name().to_owned()),
            destination: Some(v4_net(rule.destination)?),
            ..net::Rule::new(KILO_TABLE)
        })
    }

    /// Removes all that this agent has set, but leaves `kilo0` as it is.
    pub(super) async fn clean_up(&mut self) -> Result<(), Error> {
        let routes: Vec<_> = self.routes.iter().copied().collect();
        self.remove_routes(&routes).await?;
        for rule in std::mem::take(&mut self.rules) {
            gone(self.netlink.remove_rule(&rule).await)?;
        }

        Ok(())
    }
}

/// Takes it as removed if it is not there: a link that went down took its routes with it.
fn gone(removed: Result<(), net::Error>) -> Result<(), net::Error> {
    match removed {
        Err(error) if error.not_there() => Ok(()),
        other => other,
    }
}

/// Returns a route for the kernel; the lab has IPv4 only.
fn kernel_route(route: &topology::Route, link: u32) -> Option<net::Route> {
    let hop = match route.gateway {
        Some(IpAddr::V4(gateway)) => Hop::OnLink(gateway),
        Some(IpAddr::V6(_)) => return None,
        None => Hop::Direct,
    };
    let source = match route.source {
        Some(IpAddr::V4(source)) => Some(source),
        Some(IpAddr::V6(_)) | None => None,
    };

    let bare = net::Route::new(v4_net(route.destination)?, hop, link);
    Some(net::Route { table: route.table, source, ..bare })
}

fn v4_net(net: IpNet) -> Option<Ipv4Net> {
    match net {
        IpNet::V4(net) => Some(net),
        IpNet::V6(_) => None,
    }
}
