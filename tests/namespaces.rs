//! The lab's walls, in real namespaces: this test runs itself again inside them, so it has no
//! harness. Where namespaces are forbidden it fails and says what to do.
#![expect(clippy::print_stderr, reason = "a test without a harness tells its own results")]

use std::process::ExitCode;

use std::net::Ipv4Addr;
use std::os::fd::AsFd;

use tanist::lab::namespace::{Error, Inside, Namespace, run_again_inside};
use tanist::lab::network::Network;
use tanist::lab::topology::Topology;
use tanist::net::{Hop, Netlink, Route, Rule, Vxlan};

fn main() -> ExitCode {
    let code = match Inside::take() {
        Ok(Some(inside)) => run(&inside),
        Ok(None) => run_again_inside().map_err(Into::into),
        Err(error) => Err(error.into()),
    };

    code.map_or_else(
        |error| {
            eprintln!("not run: {error:#}");
            ExitCode::FAILURE
        },
        ExitCode::from,
    )
}

fn run(inside: &Inside) -> anyhow::Result<u8> {
    tokio::runtime::Runtime::new()?.block_on(async {
        walls(inside).await?;
        eprintln!("walls: ok");
        netlink().await?;
        eprintln!("netlink: ok");
        network().await?;
        eprintln!("network: ok");
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
    let network = Network::build(Topology::new(2, 2)?).await?;
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

/// Says whether a datagram from one namespace is heard in another.
async fn heard(from: &Namespace, by: &Namespace, at: Ipv4Addr) -> anyhow::Result<bool> {
    let listener = by.run(async || std::net::UdpSocket::bind("0.0.0.0:0")).await??;
    let to = (at, listener.local_addr()?.port());
    let speaker = from.run(async || std::net::UdpSocket::bind("0.0.0.0:0")).await??;
    listener.set_read_timeout(Some(std::time::Duration::from_secs(1)))?;

    speaker.send_to(b"!", to)?;
    Ok(listener.recv(&mut [0; 1]).is_ok())
}
