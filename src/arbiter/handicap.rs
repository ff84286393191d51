//! How much longer than others a process waits before it takes a free lease: the lease should
//! outlive what it judges. Pure but for the question to the kernel.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use kube::{Api, Client};
use tokio::net::lookup_host;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::cluster::objects::MeshLocation;
use crate::cluster::watch::{Objects, Renewal, Watch};
use crate::config::Config;
use crate::evidence::{Assignment, NodeName};
use crate::net::{Lookup, Netlink};

/// On a leader: a move, or its death, would cost the lease too.
const LEADER: Duration = Duration::from_secs(2);

/// Where the way to the API server crosses the mesh: it fails together with what it is to judge.
const CROSSES: Duration = Duration::from_secs(4);

/// How often the kernel is asked again for its route, which changes with Kilo's topology.
const AGAIN: Duration = Duration::from_secs(30);

/// How long the resolver may take to know the API server.
const RESOLVE: Duration = Duration::from_secs(3);

/// Keeps the handicap up to date, for ever; `server` is the API server's name or address.
pub(super) async fn follow(
    (config, api): (&Config, &Client),
    server: &str,
    handicap: watch::Sender<Duration>,
) {
    let Some(me) = config.node.as_deref().map(NodeName::from) else {
        return std::future::pending().await;
    };
    let mut locations = Watch::<MeshLocation>::all(Api::all(api.clone()), Renewal::Seldom);
    let net = Netlink::open().ok();
    let mut servers = Vec::new();
    loop {
        if servers.is_empty() {
            servers = resolve(server).await;
        }
        let here = locations.objects().as_ref().map_or_else(Here::default, |all| find(all, &me));
        let way = match &net {
            Some(net) => way(net, &servers, &config.kilo_interface).await,
            None => Vec::new(),
        };
        let waits = handicap_of(&here, &way);
        handicap.send_if_modified(|before| std::mem::replace(before, waits) != waits);
        tokio::select! {
            () = locations.changed() => {}
            () = sleep(AGAIN) => {}
        }
    }
}

async fn resolve(server: &str) -> Vec<IpAddr> {
    let resolved = timeout(RESOLVE, lookup_host((server, 0))).await;
    let found = resolved.ok().and_then(Result::ok).into_iter().flatten();
    found.map(|address| address.ip()).collect()
}

/// What the objects say of the node that this process runs on.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Here {
    leads: bool,
    /// Addresses of its location's leader, if that is another node.
    leader: Vec<IpAddr>,
}

fn find(locations: &Objects<MeshLocation>, me: &NodeName) -> Here {
    let mut statuses = locations.values().filter_map(|object| object.status.as_ref());
    let leads = statuses.clone().any(|status| status.leader.as_ref() == Some(me));
    let mine = statuses.find_map(|status| {
        let plan = status.plan.as_ref()?;
        plan.members.iter().any(|member| member.node == *me).then_some(plan)
    });
    Here { leads, leader: mine.filter(|_| !leads).map(addresses).unwrap_or_default() }
}

fn addresses(plan: &Assignment) -> Vec<IpAddr> {
    let leader = plan.members.iter().filter(|member| Some(&member.node) == plan.leader.as_ref());
    leader.flat_map(|leader| [leader.node_address, leader.overlay_gateway]).flatten().collect()
}

/// One way to the API server, as the kernel would go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Out of Kilo's own device.
    Tunnel,
    /// Through this gateway.
    Via(Ipv4Addr),
    /// To a neighbour, or to ourselves.
    Direct,
}

/// Asks the kernel for the way to each address; what it does not know is left out.
async fn way(net: &Netlink, servers: &[IpAddr], kilo: &str) -> Vec<Way> {
    let tunnel = net.link(kilo).await.ok().map(|link| link.index);
    let mut ways = Vec::new();
    for server in servers {
        let IpAddr::V4(server) = server else { continue };
        if let Ok(found) = net.lookup(*server).await {
            ways.push(read(found, tunnel));
        }
    }
    ways
}

fn read(found: Lookup, tunnel: Option<u32>) -> Way {
    match found {
        Lookup { link: Some(link), .. } if Some(link) == tunnel => Way::Tunnel,
        Lookup { gateway: Some(gateway), .. } => Way::Via(gateway),
        Lookup { gateway: None, .. } => Way::Direct,
    }
}

/// Returns how much longer to wait. Only if every way crosses the mesh does the process depend on
/// it; on a service's address the kernel shows the way there and not on, so it counts as none.
fn handicap_of(here: &Here, ways: &[Way]) -> Duration {
    let crosses = |way: &Way| match way {
        Way::Tunnel => true,
        Way::Via(gateway) => here.leader.contains(&IpAddr::V4(*gateway)),
        Way::Direct => false,
    };
    if !ways.is_empty() && ways.iter().all(crosses) {
        CROSSES
    } else if here.leads {
        LEADER
    } else {
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Target;

    #[test]
    fn who_depends_on_the_mesh_waits_longest() {
        let leader = IpAddr::from([10, 2, 0, 14]);
        let gateway = |last| Way::Via(Ipv4Addr::new(10, 2, 0, last));
        let led = Here { leads: false, leader: vec![leader] };
        let leads = Here { leads: true, leader: Vec::new() };

        for (here, ways, seconds) in [
            (&Here::default(), vec![], 0),
            (&Here::default(), vec![Way::Direct], 0),
            (&Here::default(), vec![gateway(14)], 0),
            (&led, vec![], 0),
            (&led, vec![Way::Direct], 0),
            (&led, vec![gateway(1)], 0),
            (&led, vec![gateway(14)], 4),
            (&led, vec![gateway(14), Way::Direct], 0),
            (&led, vec![Way::Tunnel, gateway(14)], 4),
            (&leads, vec![], 2),
            (&leads, vec![Way::Direct], 2),
            (&leads, vec![Way::Tunnel], 4),
        ] {
            let waits = handicap_of(here, &ways);
            assert_eq!(waits, Duration::from_secs(seconds), "{here:?} {ways:?}");
        }
    }

    #[test]
    fn a_route_is_read_by_its_link_first() {
        let gateway = Ipv4Addr::new(10, 2, 0, 14);
        for (found, way) in [
            (Lookup { gateway: Some(gateway), link: Some(7) }, Way::Tunnel),
            (Lookup { gateway: Some(gateway), link: Some(2) }, Way::Via(gateway)),
            (Lookup { gateway: None, link: Some(2) }, Way::Direct),
            (Lookup::default(), Way::Direct),
        ] {
            assert_eq!(read(found, Some(7)), way, "{found:?}");
        }
        // Without Kilo's device nothing goes out of it.
        assert_eq!(read(Lookup { gateway: None, link: None }, None), Way::Direct);
    }

    #[test]
    fn the_leader_is_known_by_the_plan_of_our_own_location() {
        let object = |location: &str, nodes: [&str; 2]| {
            let target = |node: &str| Target {
                node: node.into(),
                node_address: Some(IpAddr::from([10, 0, 0, node.len() as u8])),
                pod_address: None,
                overlay_gateway: None,
                overlay_mac: None,
            };
            let mut object = MeshLocation::new(location, Default::default());
            object.status = Some(crate::cluster::objects::MeshLocationStatus {
                leader: Some(nodes[0].into()),
                plan: Some(Assignment {
                    leader: Some(nodes[0].into()),
                    members: nodes.map(target).to_vec(),
                    ..Assignment::default()
                }),
                ..Default::default()
            });
            (location.to_owned(), std::sync::Arc::new(object))
        };
        let all = Objects::from([object("one", ["a", "bb"]), object("two", ["ccc", "dddd"])]);

        for (me, leads, leader) in [
            ("a", true, vec![]),
            ("bb", false, vec![IpAddr::from([10, 0, 0, 1])]),
            ("dddd", false, vec![IpAddr::from([10, 0, 0, 3])]),
            ("stranger", false, vec![]),
        ] {
            assert_eq!(find(&all, &me.into()), Here { leads, leader }, "{me}");
        }
    }
}
