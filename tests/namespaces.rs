//! The lab's walls, in real namespaces: this test runs itself again inside them, so it has no
//! harness. Where namespaces are forbidden it fails and says what to do.
#![expect(clippy::print_stderr, reason = "a test without a harness tells its own results")]

#[path = "inside/again.rs"]
mod again;

use std::process::ExitCode;

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

use tanist::lab::faults::Fault;
use tanist::lab::firewall;
use tanist::lab::namespace::{Error, Inside, Namespace};
use tanist::lab::network::{Host, Network};
use tanist::lab::topology::Topology;
use tanist::net::{Hop, Netlink, Route, Rule, Vxlan};
use tokio::net::UdpSocket;

/// How long an answer may take on a machine that does much else.
const ANSWER: Duration = Duration::from_secs(3);

/// How long an answer that must not come is waited for.
const SILENCE: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    again::inside(run)
}

fn run(inside: &Inside) -> anyhow::Result<u8> {
    tokio::runtime::Runtime::new()?.block_on(async {
        walls(inside).await?;
        eprintln!("walls: ok");
        netlink().await?;
        eprintln!("netlink: ok");
        network().await?;
        eprintln!("network: ok");
        faults().await?;
        eprintln!("faults: ok");
        Ok(0)
    })
}

/// Each namespace has its own interfaces and its own `/run`, and children live in it too.
async fn walls(inside: &Inside) -> anyhow::Result<()> {
    assert!(inside.folder.is_dir(), "the folder is seen from inside");
    assert!(inside.loopback.local_addr().is_ok(), "the listener came through");

    let (one, two) = (Namespace::spawn("one").await?, Namespace::spawn("two").await?);
    one.run(async || std::fs::write("/run/mine", "one")).await??;
    let seen = two.run(async || std::path::Path::new("/run/mine").exists()).await?;
    assert!(!seen, "/run is shared");

    let mut network = Vec::new();
    for namespace in [&one, &two] {
        let mut command = tokio::process::Command::new("readlink");
        command.arg("/proc/self/ns/net").stdout(std::process::Stdio::piped());
        let output = namespace.command(command).await?.wait_with_output().await?;
        network.push(output.stdout);
    }
    assert_ne!(network[0], network[1], "children share a network");

    let panicked = one.run(async || std::panic::resume_unwind(Box::new("on purpose"))).await;
    let panicked: Result<(), Error> = panicked;
    assert!(matches!(panicked, Err(Error::Gone { .. })), "a panic is an error, not a hang");
    assert_eq!(two.run(async || 7).await?, 7, "others live on");

    Ok(())
}

/// What is set is what is read back, and what is removed is gone.
async fn netlink() -> anyhow::Result<()> {
    let (here, there) = (Namespace::spawn("here").await?, Namespace::spawn("there").await?);
    let network = there.network();

    here.run(async move || {
        let net = Netlink::open()?;
        net.add_bridge("br").await?;
        net.add_veth("a", "b", network.as_fd()).await?;
        net.plug("a", "br").await?;
        net.set_mtu("br", 1400).await?;
        net.add_address("br", "10.0.0.1/24".parse()?).await?;
        for name in ["lo", "br", "a"] {
            net.set_up(name).await?;
        }
        let link = net.link("br").await?;
        assert_eq!((link.up, link.mtu), (true, 1400));
        assert_eq!(net.addresses("br").await?, ["10.0.0.1/24".parse()?]);

        let vxlan = Vxlan {
            name: "flannel.1".to_owned(),
            vni: 1,
            port: 8472,
            over: link.index,
            local: Ipv4Addr::new(10, 0, 0, 1),
            address: [2, 0, 0, 0, 0, 1],
        };
        net.add_vxlan(&vxlan).await?;
        net.set_up(&vxlan.name).await?;
        assert_eq!(net.link(&vxlan.name).await?.address, Some(vxlan.address));
        let peer = (Ipv4Addr::new(10, 42, 2, 0), Ipv4Addr::new(10, 0, 0, 2));
        net.add_overlay_peer(&vxlan.name, [2, 0, 0, 0, 0, 2], peer).await?;
        net.add_overlay_peer(&vxlan.name, [2, 0, 0, 0, 0, 2], peer).await?;

        routes(&net).await
    })
    .await?
}

async fn routes(net: &Netlink) -> anyhow::Result<()> {
    let overlay = net.link("flannel.1").await?.index;
    let gateway = Hop::OnLink(Ipv4Addr::new(10, 42, 2, 0));
    let main = Route::new("10.42.2.0/24".parse()?, gateway, overlay);
    let own = Route { table: 1107, hop: Hop::OnLink(Ipv4Addr::new(10, 42, 3, 0)), ..main };
    let direct = Route::new("10.9.0.0/16".parse()?, Hop::Direct, net.link("br").await?.index);
    for route in [main, own, direct] {
        net.set_route(&route).await?;
        net.set_route(&route).await?;
    }
    assert_eq!(net.routes(1107).await?, [own]);
    let routes = net.routes(Route::MAIN).await?;
    assert!(routes.contains(&main) && routes.contains(&direct), "{routes:?}");
    net.remove_route(&own).await?;
    assert!(net.routes(1107).await?.is_empty());
    let twice = net.remove_route(&own).await.expect_err("it is gone");
    assert!(twice.not_there());

    let rule = Rule {
        priority: Some(900),
        link: Some("br".to_owned()),
        destination: Some("10.42.0.0/16".parse()?),
        mark: Some(7),
        ..Rule::new(1107)
    };
    net.add_rule(&rule).await?;
    assert!(net.rules().await?.contains(&rule));
    assert!(net.add_rule(&rule).await.is_err_and(|error| error.already_there()));
    net.remove_rule(&rule).await?;
    assert!(!net.rules().await?.contains(&rule));

    net.remove_link("a").await?;
    assert!(net.link("a").await.is_err_and(|error| error.not_there()));
    Ok(())
}

/// Pods of one location reach each other over the overlay, and nodes of two over the WAN.
async fn network() -> anyhow::Result<()> {
    let network = Network::build(Topology::new(2, 2)?, Namespace::spawn("wan").await?).await?;
    let hosts = network.hosts.values().collect::<Vec<_>>();
    let [one, two, other, _] = hosts.as_slice() else { anyhow::bail!("not four hosts") };

    assert!(heard(&one.pod, &two.pod, two.place.pod().addr()).await?);
    assert!(heard(&one.host, &other.host, other.place.wan().addr()).await?);

    network.unplug(&two.place).await?;
    let without_cables = heard(&one.pod, &two.pod, two.place.pod().addr()).await?;
    assert!(!without_cables, "a node without cables hears");
    network.plug(&two.place).await?;
    assert!(heard(&one.pod, &two.pod, two.place.pod().addr()).await?);

    Ok(())
}

/// Says whether datagrams from one namespace are heard in another.
async fn heard(from: &Namespace, by: &Namespace, at: Ipv4Addr) -> anyhow::Result<bool> {
    let listener = by.run(async || std::net::UdpSocket::bind("0.0.0.0:0")).await??;
    let to = (at, listener.local_addr()?.port());
    let speaker = from.run(async || std::net::UdpSocket::bind("0.0.0.0:0")).await??;
    listener.set_read_timeout(Some(Duration::from_millis(100)))?;

    // A port that was just plugged in may drop the first ones.
    for _ in 0..50 {
        speaker.send_to(b"!", to)?;
        if listener.recv(&mut [0; 1]).is_ok() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Each fault breaks what it says and spares the rest, and lifting it heals.
async fn faults() -> anyhow::Result<()> {
    let network = Network::build(Topology::new(1, 2)?, Namespace::spawn("wan").await?).await?;
    let hosts = network.hosts.values().collect::<Vec<_>>();
    let [leader, member] = hosts.as_slice() else { anyhow::bail!("not two hosts") };
    let remote = tunnel(leader, member).await?;
    member.pod.start(echo).await?;

    let to = SocketAddr::from((member.place.pod().addr(), 7000));
    let kept = flows(&remote, to, 1).await?;
    let mut tries = 0;
    while answered(&kept, 10, 1).await != 1 {
        tries += 1;
        anyhow::ensure!(tries < 10, "no flow passes before any fault is set");
    }

    // fault, how many of 20 fresh flows pass at least and at most, whether the old one does, large
    for (fault, least, most, small, large) in [
        ("new-flows", 0, 0, 1, 1),
        ("vxlan-wedge", 0, 2, 1, 1),
        ("partial:50", 2, 18, 2, 2),
        ("one-way", 0, 0, 0, 0),
        ("mtu:1200", 20, 20, 1, 0),
        ("probes-dropped", 20, 20, 1, 1),
    ] {
        let rules = fault.parse::<Fault>()?.rules(&leader.place, &network.topology);
        let Some(rules) = rules else { anyhow::bail!("no rules for {fault}") };
        firewall::apply(&leader.host, rules.set).await?;

        let fresh = answered(&flows(&remote, to, 20).await?, 10, least).await;
        assert!((least..=most).contains(&fresh), "{fault}: {fresh} of 20 fresh flows pass");
        // A part of all ports may hold that of the old flow or not.
        if small < 2 {
            assert_eq!(answered(&kept, 10, small).await, small, "{fault}: the old flow");
            assert_eq!(answered(&kept, 1300, large).await, large, "{fault}: a large packet");
        }

        firewall::apply(&leader.host, rules.lift).await?;
        assert_eq!(answered(&kept, 1300, 1).await, 1, "{fault} is lifted");
        let fresh = answered(&flows(&remote, to, 20).await?, 10, 20).await;
        assert_eq!(fresh, 20, "{fault} is lifted");
    }

    Ok(())
}

/// Makes a remote namespace that the leader reaches by a cable called kilo0.
async fn tunnel(leader: &Host, member: &Host) -> anyhow::Result<Namespace> {
    let remote = Namespace::spawn("remote").await?;
    let (network, back) = (remote.network(), Hop::OnLink(leader.place.overlay()));

    let near = async move || {
        let net = Netlink::open()?;
        net.add_veth("kilo0", "eth0", network.as_fd()).await?;
        net.add_address("kilo0", "10.99.0.1/24".parse()?).await?;
        net.set_up("kilo0").await?;
        anyhow::Ok(())
    };
    let far = async || {
        let net = Netlink::open()?;
        net.add_address("eth0", "10.99.0.2/24".parse()?).await?;
        net.set_up("eth0").await?;
        let (link, gateway) = (net.link("eth0").await?.index, Hop::Via("10.99.0.1".parse()?));
        net.set_route(&Route::new("0.0.0.0/0".parse()?, gateway, link)).await?;
        anyhow::Ok(())
    };
    let home = async move || {
        let net = Netlink::open()?;
        let link = net.link("flannel.1").await?.index;
        net.set_route(&Route::new("10.99.0.0/24".parse()?, back, link)).await?;
        anyhow::Ok(())
    };
    leader.host.run(near).await??;
    remote.run(far).await??;
    member.host.run(home).await??;

    Ok(remote)
}

async fn echo() {
    let socket = UdpSocket::bind("0.0.0.0:7000").await.expect("the port is free");
    let mut packet = [0; 1500];
    while let Ok((length, from)) = socket.recv_from(&mut packet).await {
        let _sent = socket.send_to(&packet[..length], from).await;
    }
}

async fn flows(from: &Namespace, to: SocketAddr, many: usize) -> anyhow::Result<Vec<UdpSocket>> {
    let sockets = from.run(async move || {
        let socket = || {
            let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
            socket.connect(to)?;
            socket.set_nonblocking(true)?;
            std::io::Result::Ok(socket)
        };
        (0..many).map(|_| socket()).collect::<Result<Vec<_>, _>>()
    });

    Ok(sockets.await??.into_iter().map(UdpSocket::from_std).collect::<Result<_, _>>()?)
}

/// Counts how many of the flows are answered, of which so many must be.
async fn answered(flows: &[UdpSocket], size: usize, least: usize) -> usize {
    let patience = if least > 0 { ANSWER } else { SILENCE };
    let ask = async |flow: &UdpSocket| {
        let mut packet = [0; 1500];
        // An answer that came too late for an earlier question is none to this one.
        while flow.try_recv(&mut packet).is_ok() {}
        let _sent = flow.send(&vec![0; size]).await;
        let answer = tokio::time::timeout(patience, flow.recv(&mut packet));
        matches!(answer.await, Ok(Ok(_)))
    };
    let answers = futures::future::join_all(flows.iter().map(ask)).await;
    answers.into_iter().filter(|answer| *answer).count()
}
