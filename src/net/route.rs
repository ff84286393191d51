//! Routes of any table.

use std::net::Ipv4Addr;

use futures::TryStreamExt;
use ipnet::Ipv4Net;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use rtnetlink::RouteMessageBuilder;

use super::{Error, Netlink, refused};

/// The way to the next hop of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hop {
    /// The destination is on the link itself.
    Direct,
    /// Through a gateway that another route leads to.
    Via(Ipv4Addr),
    /// Through a gateway that is taken to be on the link.
    OnLink(Ipv4Addr),
}

/// A unicast route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route {
    /// Where it leads.
    pub destination: Ipv4Net,
    /// The next hop.
    pub hop: Hop,
    /// The index of the link it leaves by.
    pub link: u32,
    /// Its table; 254 is the main one.
    pub table: u32,
    /// The source address that it prefers.
    pub source: Option<Ipv4Addr>,
    /// Who owns it, as a number of the kernel's `rtprot`; 4 is «static».
    pub protocol: u8,
}

impl Route {
    /// The table that is looked at when no rule says otherwise.
    pub const MAIN: u32 = 254;

    /// Returns a static route in the main table.
    #[must_use]
    pub const fn new(destination: Ipv4Net, hop: Hop, link: u32) -> Self {
        Self { destination, hop, link, table: Self::MAIN, source: None, protocol: 4 }
    }

    fn message(&self) -> RouteMessage {
        let route = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(self.destination.network(), self.destination.prefix_len())
            .output_interface(self.link)
            .table_id(self.table)
            .protocol(RouteProtocol::from(self.protocol));
        let route = match self.hop {
            Hop::Direct => route.scope(RouteScope::Link),
            Hop::Via(gateway) => route.gateway(gateway),
            Hop::OnLink(gateway) => route.gateway(gateway).onlink(),
        };
        let route = match self.source {
            Some(source) => route.pref_source(source),
            None => route,
        };

        route.build()
    }

    fn read(message: &RouteMessage) -> Option<Self> {
        let header = &message.header;
        if header.address_family != AddressFamily::Inet || header.kind != RouteType::Unicast {
            return None;
        }

        let mut route = Self {
            destination: Ipv4Net::default(),
            hop: Hop::Direct,
            link: 0,
            table: header.table.into(),
            source: None,
            protocol: header.protocol.into(),
        };
        for attribute in &message.attributes {
            if let RouteAttribute::Destination(RouteAddress::Inet(to)) = attribute {
                route.destination = Ipv4Net::new(*to, header.destination_prefix_length).ok()?;
            } else if let RouteAttribute::Gateway(RouteAddress::Inet(gateway)) = attribute {
                let on_link = header.flags.contains(RouteFlags::Onlink);
                route.hop = if on_link { Hop::OnLink(*gateway) } else { Hop::Via(*gateway) };
            } else if let RouteAttribute::Oif(link) = attribute {
                route.link = *link;
            } else if let RouteAttribute::Table(table) = attribute {
                route.table = *table;
            } else if let RouteAttribute::PrefSource(RouteAddress::Inet(source)) = attribute {
                route.source = Some(*source);
            }
        }

        Some(route)
    }
}

/// The way that one packet would take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lookup {
    /// The gateway, if it is not on the link itself.
    pub gateway: Option<Ipv4Addr>,
    /// The index of the link it would leave by.
    pub link: Option<u32>,
}

impl Lookup {
    fn read(message: &RouteMessage) -> Self {
        let mut lookup = Self::default();
        for attribute in &message.attributes {
            if let RouteAttribute::Gateway(RouteAddress::Inet(gateway)) = attribute {
                lookup.gateway = Some(*gateway);
            } else if let RouteAttribute::Oif(link) = attribute {
                lookup.link = Some(*link);
            }
        }
        lookup
    }
}

impl Netlink {
    /// Returns the unicast routes of a table.
    pub async fn routes(&self, table: u32) -> Result<Vec<Route>, Error> {
        let _one_dump_per_socket = self.dump.lock().await;
        let every = RouteMessageBuilder::<Ipv4Addr>::new()
            .protocol(RouteProtocol::Unspec)
            .kind(RouteType::Unspec)
            .build();

        let routes = self.handle.route().get(every).execute().map_ok(|route| Route::read(&route));
        let routes = routes.try_collect::<Vec<_>>().await;
        let routes = routes.map_err(refused(|| "list routes".to_owned()))?;

        Ok(routes.into_iter().flatten().filter(|route| route.table == table).collect())
    }

    /// Asks which way a packet of this host's own to `address` would take, rules and all.
    pub async fn lookup(&self, address: Ipv4Addr) -> Result<Lookup, Error> {
        let one = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(address, 32).build();
        let refused = refused(|| format!("look up the route to {address}"));

        let mut found = self.handle.route().get(one).execute();
        let found = found.try_next().await.map_err(refused)?;
        Ok(found.as_ref().map(Lookup::read).unwrap_or_default())
    }

    /// Sets a route, in place of one that leads to the same destination in the same table.
    pub async fn set_route(&self, route: &Route) -> Result<(), Error> {
        let set = self.handle.route().add(route.message()).replace().execute().await;
        set.map_err(refused(|| format!("set the route to {}", route.destination)))
    }

    /// Removes a route.
    pub async fn remove_route(&self, route: &Route) -> Result<(), Error> {
        let removed = self.handle.route().del(route.message()).execute().await;
        removed.map_err(refused(|| format!("remove the route to {}", route.destination)))
    }
}
