//! Probes and hairpins over a real network: a location of three nodes with an overlay, in
//! namespaces. This test runs itself again inside them, so it has no harness. Where namespaces are
//! forbidden it fails and says what to do.
#![expect(clippy::print_stderr, reason = "a test without a harness tells its own results")]

#[path = "inside/again.rs"]
mod again;

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tanist::evidence::{Flow, Target};
use tanist::lab::faults::Fault;
use tanist::lab::firewall;
use tanist::lab::namespace::Namespace;
use tanist::lab::network::{Host, Network, OVERLAY};
use tanist::lab::topology::Topology;
use tanist::net::Netlink;
use tanist::observe::echo::{Limits, PORT, Responder};
use tanist::observe::hairpin::{Hairpins, Untestable};
use tanist::observe::keys::Keyring;
use tanist::observe::probe::{Aim, ProbeResult, Prober, Unsent};
use tanist::observe::wire::Class;
use tokio::sync::watch;

/// How long to wait for an answer that must come, and for one that must not.
const AMPLE: Duration = Duration::from_secs(5);
const SHORT: Duration = Duration::from_millis(300);

fn main() -> ExitCode {
    again::inside(|_| run())
}

fn run() -> anyhow::Result<u8> {
    tokio::runtime::Runtime::new()?.block_on(async {
        let network = Network::build(Topology::new(1, 3)?, Namespace::spawn("wan").await?).await?;
        let hosts = network.hosts.values().collect::<Vec<_>>();
        let [tester, heir, counter] = hosts.as_slice() else { anyhow::bail!("not three hosts") };

        let responder = respond(counter).await?;
        large(tester, counter).await?;
        eprintln!("large: ok");
        rejected(tester, counter).await?;
        eprintln!("rejected: ok");
        hairpins(&network, [tester, heir, counter], &responder).await?;
        eprintln!("hairpins: ok");
        Ok(0)
    })
}

fn keys() -> anyhow::Result<watch::Receiver<Arc<Keyring>>> {
    let keys = Keyring::parse("000102030405060708090a0b0c0d0e0f")?;
    Ok(watch::channel(Arc::new(keys)).1)
}

async fn respond(on: &Host) -> anyhow::Result<Responder> {
    let keys = keys()?;
    Ok(on.host.run(async || Responder::bind(PORT, keys, Limits::default())).await??)
}

fn target(host: &Host) -> Target {
    let mac = host.place.overlay_hardware().map(|byte| format!("{byte:02x}"));
    Target {
        node: host.place.name.clone(),
        node_address: Some(host.place.internal().addr().into()),
        pod_address: Some(host.place.bridge().addr().into()),
        overlay_gateway: Some(host.place.overlay().into()),
        overlay_mac: Some(mac.join(":")),
    }
}

/// A large probe is as large as its own interface carries, or as what a router on the way says that
/// it carries instead; so the next time too, though the kernel has learned it by then. If what is as
/// large as that dies, it is lost. The answer leaves
/// from the address asked: the kernel by itself would take the overlay's.
async fn large(tester: &Host, counter: &Host) -> anyhow::Result<()> {
    let prober = Arc::new(Prober::new(&tester.place.name, keys()?));
    let address: IpAddr = counter.place.bridge().addr().into();

    let fits = probe(&tester.pod, &prober, Flow::Large, address).await?;
    let ProbeResult::Answered { seen: Some(seen), .. } = fits else {
        anyhow::bail!("not answered: {fits:?}")
    };
    assert_eq!(seen.length, 1420 - 28, "as large as the pod's interface carries");
    assert_eq!(seen.source.ip(), IpAddr::from(tester.place.pod().addr()));

    tester.host.run(async || Netlink::open()?.set_mtu(OVERLAY, 1200).await).await??;
    for _ in 0..2 {
        let fits = probe(&tester.pod, &prober, Flow::Large, address).await?;
        let ProbeResult::Answered { seen: Some(seen), .. } = fits else {
            anyhow::bail!("not answered: {fits:?}")
        };
        assert_eq!(seen.length, 1200 - 28, "as large as the router carries");
        let small = probe(&tester.pod, &prober, Flow::NewUdp, address).await?;
        assert!(matches!(small, ProbeResult::Answered { .. }), "{small:?}");
    }

    let rules = "table inet test {\nchain input {\ntype filter hook input priority 10;\n\
                 udp dport 1108 meta length > 1100 drop\n}\n}\n";
    firewall::apply(&counter.host, rules.to_owned()).await?;
    let dies = probe_within(SHORT, &tester.pod, &prober, Flow::Large, address).await?;
    assert!(matches!(dies, ProbeResult::Lost), "{dies:?}");
    firewall::apply(&counter.host, "delete table inet test".to_owned()).await?;

    // Its own interface becoming narrower is no finding about the way.
    tester.pod.run(async || Netlink::open()?.set_mtu("eth0", 1100).await).await??;
    let narrower = probe(&tester.pod, &prober, Flow::Large, address).await?;
    let ProbeResult::Answered { seen: Some(seen), .. } = narrower else {
        anyhow::bail!("not answered: {narrower:?}")
    };
    assert_eq!(seen.length, 1100 - 28);

    tester.host.run(async || Netlink::open()?.set_mtu(OVERLAY, 1450).await).await??;
    Ok(())
}

/// To be refused by a packet filter on the way is a loss; only the far end itself refuses. Old
/// flows pass such a filter.
async fn rejected(tester: &Host, counter: &Host) -> anyhow::Result<()> {
    let prober = Arc::new(Prober::new(&tester.place.name, keys()?));
    let address: IpAddr = counter.place.bridge().addr().into();
    let kept = probe(&tester.pod, &prober, Flow::KeptUdp, address).await?;
    assert!(matches!(kept, ProbeResult::Unsent(Unsent::KeptIsNew)), "{kept:?}");

    let rules = "table inet test {\nchain forward {\ntype filter hook forward priority 10;\n\
                 ct state new counter reject\n}\n}\n";
    firewall::apply(&tester.host, rules.to_owned()).await?;
    for flow in [Flow::NewUdp, Flow::NewTcp, Flow::Large, Flow::Control] {
        let result = probe_within(SHORT, &tester.pod, &prober, flow, address).await?;
        assert!(matches!(result, ProbeResult::Lost), "{flow:?}: {result:?}");
    }
    let kept = probe(&tester.pod, &prober, Flow::KeptUdp, address).await?;
    assert!(matches!(kept, ProbeResult::Answered { .. }), "{kept:?}");

    firewall::apply(&tester.host, "delete table inet test".to_owned()).await?;
    for flow in [Flow::NewUdp, Flow::NewTcp, Flow::Large, Flow::Control] {
        let result = probe(&tester.pod, &prober, flow, address).await?;
        assert!(matches!(result, ProbeResult::Answered { .. }), "{flow:?}: {result:?}");
    }
    Ok(())
}

async fn probe(
    from: &Namespace,
    prober: &Arc<Prober>,
    flow: Flow,
    to: IpAddr,
) -> anyhow::Result<ProbeResult> {
    probe_within(AMPLE, from, prober, flow, to).await
}

async fn probe_within(
    wait: Duration,
    from: &Namespace,
    prober: &Arc<Prober>,
    flow: Flow,
    to: IpAddr,
) -> anyhow::Result<ProbeResult> {
    let prober = Arc::clone(prober);
    let aim = Aim { to: "counter".into(), address: SocketAddr::new(to, PORT), source: None };
    let outcome = from.run(async move || prober.probe(flow, &aim, wait).await);

    Ok(outcome.await?.result)
}

/// All frames arrive through a healthy heir, none through one that does not forward, a part through
/// one whose overlay drops a part; the counter answers nothing but the question.
async fn hairpins(
    network: &Network,
    [tester, heir, counter]: [&Host; 3],
    responder: &Responder,
) -> anyhow::Result<()> {
    let prober = Arc::new(Prober::new(&tester.place.name, keys()?));
    let test = async |device: &str, heir: Target, counter: Target| {
        let prober = Arc::clone(&prober);
        let hairpins = Hairpins { device: device.to_owned(), port: PORT };
        tester.host.run(async move || hairpins.test(&prober, &heir, &counter).await).await
    };

    let healthy = test(OVERLAY, target(heir), target(counter)).await??;
    assert_eq!((healthy.sent, healthy.counted), (16, 16));
    assert_eq!((healthy.heir, healthy.counter), (target(heir).node, target(counter).node));

    forward(heir, "0").await?;
    let deaf = test(OVERLAY, target(heir), target(counter)).await??;
    assert_eq!((deaf.sent, deaf.counted), (16, 0), "an heir that does not forward");
    forward(heir, "1").await?;

    let rules = "partial:50".parse::<Fault>()?.rules(&heir.place, &network.topology);
    let Some(rules) = rules else { anyhow::bail!("no rules") };
    firewall::apply(&heir.host, rules.set).await?;
    let part = test(OVERLAY, target(heir), target(counter)).await??;
    assert!((1..16).contains(&part.counted), "{part:?}");
    firewall::apply(&heir.host, rules.lift).await?;
    assert_eq!(test(OVERLAY, target(heir), target(counter)).await??.counted, 16);

    let counts = responder.counts();
    assert_eq!(counts.hairpins, u64::from(32 + part.counted), "{counts:?}");
    let heard = responder.heard(Duration::from_secs(60));
    assert!(heard.iter().all(|heard| heard.class != Class::HAIRPIN), "hairpins are no requests");

    let nowhere = test("nowhere0", target(heir), target(counter)).await?;
    assert!(matches!(nowhere, Err(Untestable::NoDevice { .. })), "{nowhere:?}");
    let unmapped = Target { overlay_mac: None, ..target(heir) };
    let unknown = test(OVERLAY, unmapped, target(counter)).await?;
    assert!(matches!(unknown, Err(Untestable::Address { .. })), "{unknown:?}");
    let nobody = Target { node_address: target(heir).node_address, ..target(counter) };
    let silent = test(OVERLAY, target(heir), nobody).await?;
    assert!(matches!(silent, Err(Untestable::Uncounted { .. })), "{silent:?}");

    Ok(())
}

async fn forward(host: &Host, value: &'static str) -> anyhow::Result<()> {
    let set = async move || std::fs::write("/proc/sys/net/ipv4/ip_forward", value);
    Ok(host.host.run(set).await??)
}
