//! The embedded Kilo agent on meshes in namespaces: whom it elects, what it installs, what it
//! leaves behind. This test runs itself again inside namespaces, so it has no harness; where they
//! are forbidden it fails and says what to do.
#![expect(clippy::print_stderr, reason = "a test without a harness tells its own results")]

#[path = "inside/again.rs"]
mod again;
#[path = "kilo/mesh.rs"]
mod mesh;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use mesh::{Mesh, until};
use tanist::evidence::kilo::key;
use tanist::evidence::kilo::topology::{Peer, Tunnel};
use tanist::lab::apiserver::Fault;
use tanist::lab::kilo::Timing;
use tanist::lab::wireguard::{RETRY, Wireguard};
use tanist::net::Netlink;

fn main() -> ExitCode {
    again::inside(|_| run())
}

fn run() -> anyhow::Result<u8> {
    tokio::runtime::Runtime::new()?.block_on(async {
        wireguard_does_as_the_kernel_does().await?;
        eprintln!("wireguard does as the kernel does: ok");
        one_leads_per_location_and_all_reach_all().await?;
        eprintln!("one leads per location and all reach all: ok");
        an_annotation_moves_the_leader().await?;
        eprintln!("an annotation moves the leader: ok");
        a_stopped_agent_leaves_and_comes_back().await?;
        eprintln!("a stopped agent leaves and comes back: ok");
        a_killed_agent_leaves_all_as_it_was().await?;
        eprintln!("a killed agent leaves all as it was: ok");
        after_an_outage_agents_believe_themselves_alone().await?;
        eprintln!("after an outage agents believe themselves alone: ok");
        a_silent_server_holds_agents_up().await?;
        eprintln!("a silent server holds agents up: ok");
        Ok(0)
    })
}

/// Link, socket and sessions belong together, and peers are replaced only where they differ.
async fn wireguard_does_as_the_kernel_does() -> anyhow::Result<()> {
    let mesh = Mesh::build(&[("one", 1), ("two", 1)]).await?;
    let key = |seed| async move { Wireguard::create("wg0", [seed; 32], RETRY).await };
    let one = mesh.on("one-1", move || key(1)).await??;
    let two = mesh.on("two-1", move || key(2)).await??;
    let of_one = tunnel(&two, "10.9.0.1/24", ("198.51.100.2:5000", "10.9.0.2/32"))?;
    let of_two = tunnel(&one, "10.9.0.2/24", ("198.51.100.1:5000", "10.9.0.1/32"))?;
    let (key_of_one, key_of_two) = (one.public_key(), two.public_key());

    let two = mesh.on("two-1", async move || raise(&two, &of_two).await.map(|()| two)).await??;
    mesh.on("one-1", async move || {
        raise(&one, &of_one).await?;
        shake_hands(&one, key_of_two).await?;
        assert!(!one.configure(&of_one).await?, "nothing differs");
        assert!(one.read().await.peers[&key_of_two].last_handshake.is_some(), "it is kept");

        let net = Netlink::open()?;
        one.down().await?;
        assert!(!net.link("wg0").await?.up);
        tokio::net::UdpSocket::bind("0.0.0.0:5000").await?;
        one.up().await?;
        assert!(net.link("wg0").await?.up);
        assert_eq!(one.read().await.peers[&key_of_two].last_handshake, None, "it begins anew");

        read_by_others().await
    })
    .await??;
    assert!(two.read().await.peers[&key_of_one].received > 0);

    Ok(())
}

fn tunnel(peer: &Wireguard, own: &str, (at, allowed): (&str, &str)) -> anyhow::Result<Tunnel> {
    let set_up = Peer {
        preshared_key: None,
        endpoint: Some(at.parse()?),
        allowed_ips: [allowed.parse()?].into(),
        keepalive: Duration::ZERO,
    };
    let peers = BTreeMap::from([(peer.public_key(), set_up)]);
    Ok(Tunnel { address: own.parse()?, listen_port: 5000, peers })
}

async fn raise(wireguard: &Wireguard, tunnel: &Tunnel) -> anyhow::Result<()> {
    assert!(wireguard.configure(tunnel).await?, "the first set-up is news");
    assert!(!wireguard.configure(tunnel).await?, "the same again is none");
    Netlink::open()?.add_address(wireguard.name(), tunnel.address).await?;
    Ok(wireguard.up().await?)
}

async fn shake_hands(wireguard: &Wireguard, peer: [u8; 32]) -> anyhow::Result<()> {
    let socket = tokio::net::UdpSocket::bind("10.9.0.1:0").await?;
    until("a session", async || {
        let _unreachable_yet = socket.send_to(b"hello", "10.9.0.2:9").await;
        wireguard.read().await.peers[&peer].last_handshake.is_some()
    })
    .await;
    Ok(())
}

async fn read_by_others() -> anyhow::Result<()> {
    let read = tokio::task::spawn_blocking(|| {
        let name = "wg0".parse::<wireguard_control::InterfaceName>()?;
        let device = wireguard_control::Device::get(&name, wireguard_control::Backend::Userspace)?;
        anyhow::Ok((device.listen_port, device.peers.len()))
    });
    assert_eq!(read.await??, (Some(5000), 1), "others can read it");
    Ok(())
}

async fn one_leads_per_location_and_all_reach_all() -> anyhow::Result<()> {
    let mut mesh = Mesh::build(&[("onprem", 3), ("cloud", 3), ("edge", 1)]).await?;
    mesh.start_all(Timing::default()).await?;
    mesh.settled(&["onprem-1", "cloud-1", "edge-1"]).await?;

    for (name, node) in &mesh.nodes {
        until(&format!("{name} sees all nodes"), async || {
            mesh.says(name, "kilo_nodes").await == Some(7.0)
        })
        .await;
        let leads = name.0.ends_with("-1");
        until(
            &format!("{name} says whether it leads, and kilo0 is up then: {leads}"),
            async || {
                let up = node.is_up().await;
                mesh.leads(&name.0).await == leads && up.is_ok_and(|up| up == leads)
            },
        )
        .await;
        until(&format!("{name} says since when it runs"), async || {
            mesh.says(name, "process_start_time_seconds").await > Some(1e9)
        })
        .await;
        let annotations = mesh.annotations(name).await?;
        let address = annotations[key::ENDPOINT].parse::<SocketAddr>()?;
        assert_eq!(address.ip(), node.host.place.wan().addr());
        assert_eq!(annotations[key::INTERNAL_IP], node.host.place.internal().to_string());
    }

    let leader = &mesh.nodes[&"cloud-1".into()];
    assert_eq!(leader.wireguard.read().await.peers.len(), 2, "one peer per other location");
    Ok(())
}

async fn an_annotation_moves_the_leader() -> anyhow::Result<()> {
    let mut mesh = Mesh::build(&[("onprem", 2), ("cloud", 3)]).await?;
    mesh.start_all(Timing::faster(10)).await?;
    mesh.settled(&["onprem-1", "cloud-1"]).await?;

    mesh.annotate("cloud-2", key::LEADER, Some("false")).await?;
    mesh.settled(&["onprem-1", "cloud-2"]).await?;
    until("cloud-2 says that it leads", async || {
        let said = mesh.annotations(&"cloud-2".into()).await;
        said.is_ok_and(|said| said.get(key::WIREGUARD_IP).is_some_and(|ip| ip == "10.4.0.1/16"))
    })
    .await;
    let old = &mesh.nodes[&"cloud-1".into()];
    assert!(!old.is_up().await?, "the old leader's kilo0 is down");

    mesh.annotate("cloud-2", key::LEADER, None).await?;
    mesh.settled(&["onprem-1", "cloud-1"]).await
}

async fn a_stopped_agent_leaves_and_comes_back() -> anyhow::Result<()> {
    let mut mesh = Mesh::build(&[("onprem", 2), ("cloud", 2)]).await?;
    mesh.start_all(Timing::default()).await?;
    mesh.settled(&["onprem-1", "cloud-1"]).await?;

    mesh.stop("cloud-1").await?;
    let annotations = mesh.annotations(&"cloud-1".into()).await?;
    for key in [key::ENDPOINT, key::INTERNAL_IP, key::KEY, key::LAST_SEEN, key::WIREGUARD_IP] {
        assert!(!annotations.contains_key(key), "{key} is left behind");
    }
    let node = &mesh.nodes[&"cloud-1".into()];
    assert!(node.is_up().await?, "kilo0 stays up");
    assert!(!node.routes_through_kilo0().await?, "its routes are gone");
    assert!(mesh.metrics(&"cloud-1".into()).await.is_err(), "nobody answers");
    until("cloud-2 leads", async || mesh.leads("cloud-2").await).await;

    mesh.start("cloud-1", Timing::default()).await?;
    mesh.settled(&["onprem-1", "cloud-1"]).await
}

async fn a_killed_agent_leaves_all_as_it_was() -> anyhow::Result<()> {
    let mut mesh = Mesh::build(&[("onprem", 1), ("cloud", 3)]).await?;
    // Nobody takes over before a session that began anew has had its five seconds.
    let timing = Timing { stale: Duration::from_secs(30), ..Timing::faster(10) };
    mesh.start_all(timing).await?;
    mesh.settled(&["onprem-1", "cloud-1"]).await?;

    mesh.kill("cloud-1").await?;
    let node = &mesh.nodes[&"cloud-1".into()];
    assert!(mesh.metrics(&"cloud-1".into()).await.is_err(), "nobody answers");
    assert!(node.is_up().await? && node.routes_through_kilo0().await?, "the kernel goes on");
    mesh.passes("onprem-1", "cloud-3").await;
    assert!(!mesh.leads("cloud-2").await, "they passed before anybody took over");

    until("others take over", async || mesh.leads("cloud-2").await).await;
    mesh.passes("onprem-1", "cloud-3").await;
    assert!(node.is_up().await? && node.routes_through_kilo0().await?, "it knows nothing of it");

    mesh.start("cloud-1", timing).await?;
    mesh.settled(&["onprem-1", "cloud-1"]).await
}

/// Agents whose check-ins are the youngest may see the others as stale before they are so
/// themselves, and act on it: from an outage of the API server come partial views, as Kilo's. Once
/// an agent's own check-in is stale too it leaves all as it is. When the server is back, an agent
/// whose check-in gets through before its watch finds all others stale: it leads a mesh of one and
/// has no peers.
async fn after_an_outage_agents_believe_themselves_alone() -> anyhow::Result<()> {
    let mut mesh = Mesh::build(&[("onprem", 2), ("cloud", 2)]).await?;
    // No watch tries again before all have checked in.
    let wait = Duration::from_secs(25);
    mesh.start_all(Timing { backoff: wait, backoff_limit: wait, ..Timing::faster(10) }).await?;
    mesh.settled(&["onprem-1", "cloud-1"]).await?;

    mesh.server.faults().set(Fault::Refuse);
    until("nobody is Ready", async || mesh.all_say("kilo_nodes", 0.0).await).await;
    let frozen = mesh.in_the_kernel().await?;
    mesh.all_reconcile_again().await;
    assert_eq!(mesh.in_the_kernel().await?, frozen, "whoever is stale itself changes nothing");

    mesh.server.faults().lift();
    until("each is alone", async || {
        mesh.all_say("kilo_nodes", 1.0).await && mesh.all_say("kilo_leader", 1.0).await
    })
    .await;
    until("nobody has a peer", async || {
        let mut peers = 0;
        for node in mesh.nodes.values() {
            peers += node.wireguard.read().await.peers.len();
        }
        peers == 0
    })
    .await;
    mesh.settled(&["onprem-1", "cloud-1"]).await
}

/// A request that is never answered holds an agent up until it is given up.
async fn a_silent_server_holds_agents_up() -> anyhow::Result<()> {
    let mut mesh = Mesh::build(&[("onprem", 2), ("cloud", 1)]).await?;
    mesh.start_all(Timing::faster(10)).await?;
    mesh.settled(&["onprem-1", "cloud-1"]).await?;

    mesh.server.faults().set(Fault::Hang);
    for name in mesh.nodes.keys() {
        until("a check-in fails", async || {
            mesh.says(name, "kilo_errors_total{event=\"checkin\"}").await > Some(0.0)
        })
        .await;
    }
    mesh.server.faults().lift();
    mesh.settled(&["onprem-1", "cloud-1"]).await
}
