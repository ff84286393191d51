use std::collections::BTreeSet;
use std::net::{TcpStream, UdpSocket as StdUdpSocket};

use tokio::net::{TcpListener, UdpSocket};

use super::*;
use crate::observe::echo::{Limits, Responder};
use crate::observe::wire::Seen;

const KEY: &str = "000102030405060708090a0b0c0d0e0f";
const OTHER: &str = "101112131415161718191a1b1c1d1e1f";
/// Long enough for any answer on loopback; no test waits for it to pass.
const AMPLE: Duration = Duration::from_secs(20);
/// For what is never answered.
const SHORT: Duration = Duration::from_millis(50);

fn keys(lines: &[&str]) -> watch::Receiver<Arc<Keyring>> {
    watch::channel(Arc::new(Keyring::parse(&lines.join("\n")).unwrap())).1
}

fn prober() -> Prober {
    Prober::new(&"cloud-1".into(), keys(&[KEY]))
}

fn responder() -> Responder {
    Responder::anywhere(&keys(&[KEY]))
}

fn aim(address: &str, port: u16) -> Aim {
    let address = SocketAddr::new(address.parse().unwrap(), port);
    Aim { to: "cloud-2".into(), address, source: None }
}

fn seen(outcome: &Outcome) -> Seen {
    let ProbeResult::Answered { seen: Some(seen), .. } = outcome.result else {
        panic!("not answered: {outcome:?}")
    };
    seen
}

#[tokio::test]
async fn each_kind_is_answered_and_told_what_was_seen() {
    let (prober, responder) = (prober(), responder());

    // 127.0.0.2 is no address that the kernel would answer from by itself.
    for address in ["127.0.0.1", "127.0.0.2", "::1"] {
        let aim = aim(address, responder.port());
        for flow in [Flow::NewUdp, Flow::NewTcp, Flow::Large] {
            for heard in 1..=2 {
                let seen = seen(&prober.probe(flow, &aim, AMPLE).await);
                assert_eq!(
                    seen.source.ip().to_string(),
                    if address == "::1" { "::1" } else { "127.0.0.1" }
                );
                assert!((10_000..30_000).contains(&seen.source.port()), "{seen:?}");
                assert!(seen.heard >= heard);
                assert_eq!(seen.length > 64, flow == Flow::Large, "{seen:?}");
            }
        }
    }
    assert_eq!(
        seen(&prober.probe(Flow::NewUdp, &aim("127.0.0.1", responder.port()), AMPLE).await).heard,
        7
    );
}

#[tokio::test]
async fn sends_from_the_source_it_is_told() {
    let (prober, responder) = (prober(), responder());
    let aim =
        Aim { source: Some("127.0.0.9".parse().unwrap()), ..aim("127.0.0.1", responder.port()) };

    for flow in [Flow::NewUdp, Flow::NewTcp, Flow::Large] {
        let seen = seen(&prober.probe(flow, &aim, AMPLE).await);
        assert_eq!(seen.source.ip().to_string(), "127.0.0.9");
    }
}

#[tokio::test]
async fn kept_flows_stay_on_their_port() {
    let (prober, responder) = (prober(), responder());
    let aim = aim("127.0.0.1", responder.port());

    for flow in [Flow::KeptUdp, Flow::KeptTcp] {
        let first = prober.probe(flow, &aim, AMPLE).await.result;
        assert!(matches!(first, ProbeResult::Unsent(Unsent::KeptIsNew)), "{first:?}");

        let mut sources = BTreeSet::new();
        for _ in 0..3 {
            sources.insert(seen(&prober.probe(flow, &aim, AMPLE).await).source);
        }
        assert_eq!(sources.len(), 1);

        prober.retain(|_| false);
        let again = prober.probe(flow, &aim, AMPLE).await.result;
        assert!(matches!(again, ProbeResult::Unsent(Unsent::KeptIsNew)), "{again:?}");
    }
}

#[tokio::test]
async fn a_kept_connection_that_breaks_is_lost_once() {
    let prober = prober();
    let mut responder = responder();
    let port = responder.port();
    let aim = aim("127.0.0.1", port);
    prober.probe(Flow::KeptTcp, &aim, AMPLE).await;
    seen(&prober.probe(Flow::KeptTcp, &aim, AMPLE).await);

    drop(responder);
    // The old listener's tasks end at their next turn.
    responder = loop {
        match Responder::bind(port, keys(&[KEY]), Limits::default()) {
            Ok(responder) => break responder,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    let broken = prober.probe(Flow::KeptTcp, &aim, AMPLE).await.result;
    assert!(matches!(broken, ProbeResult::Lost), "{broken:?}");
    let anew = prober.probe(Flow::KeptTcp, &aim, AMPLE).await.result;
    assert!(matches!(anew, ProbeResult::Unsent(Unsent::KeptIsNew)), "{anew:?}");
    seen(&prober.probe(Flow::KeptTcp, &aim, AMPLE).await);
    drop(responder);
}

#[tokio::test]
async fn pings_with_a_new_id_each() {
    let prober = prober();

    for address in ["127.0.0.1", "127.0.0.2", "::1"] {
        let ids = prober.echo_id.load(Relaxed);
        let outcome = prober.probe(Flow::Ping, &aim(address, 0), AMPLE).await;
        assert!(matches!(outcome.result, ProbeResult::Answered { seen: None, .. }), "{outcome:?}");
        assert_eq!(prober.echo_id.load(Relaxed), ids.wrapping_add(1));
    }
}

#[tokio::test]
async fn a_control_is_answered_whether_somebody_listens_or_not() {
    let prober = prober();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();

    for _ in 0..2 {
        let outcome = prober.probe(Flow::Control, &aim("127.0.0.1", port), AMPLE).await;
        assert!(matches!(outcome.result, ProbeResult::Answered { seen: None, .. }), "{outcome:?}");
    }
    drop(listener);
    let outcome = prober.probe(Flow::Control, &aim("127.0.0.1", port), AMPLE).await;
    assert!(matches!(outcome.result, ProbeResult::Answered { seen: None, .. }), "{outcome:?}");
}

#[tokio::test]
async fn two_controls_are_lost_only_if_neither_is_reached() {
    let prober = prober();
    let (one, other) = (silent_port(), silent_port());
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();

    for (ports, reached) in [
        ([one.port, closed], true),
        ([closed, one.port], true),
        ([closed, closed], true),
        ([one.port, other.port], false),
    ] {
        let aims = ports.map(|port| aim("127.0.0.1", port));
        let result = prober.reach(aims, if reached { AMPLE } else { SHORT }).await;
        assert_eq!(matches!(result, ProbeResult::Answered { .. }), reached, "{ports:?} {result:?}");
        assert_eq!(matches!(result, ProbeResult::Lost), !reached, "{ports:?} {result:?}");
    }
}

/// A port whose SYNs are dropped: its queue is full and nobody accepts.
struct Silent {
    port: u16,
    _held: (Socket, Vec<TcpStream>),
}

fn silent_port() -> Silent {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();

    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, SHORT) {
        waiting.push(stream);
    }
    Silent { port: address.port(), _held: (socket, waiting) }
}

#[tokio::test]
async fn tells_lost_refused_and_unsent_apart() {
    let prober = prober();
    let silent = StdUdpSocket::bind("127.0.0.1:0").unwrap();
    let deaf = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (udp, tcp) = (silent.local_addr().unwrap().port(), deaf.local_addr().unwrap().port());
    for (flow, port) in [(Flow::NewUdp, udp), (Flow::Large, udp), (Flow::NewTcp, tcp)] {
        let result = prober.probe(flow, &aim("127.0.0.1", port), SHORT).await.result;
        assert!(matches!(result, ProbeResult::Lost), "{flow:?}: {result:?}");
    }

    drop((silent, deaf));
    for (flow, port) in [(Flow::NewUdp, udp), (Flow::Large, udp), (Flow::NewTcp, tcp)] {
        let result = prober.probe(flow, &aim("127.0.0.1", port), AMPLE).await.result;
        assert!(matches!(result, ProbeResult::Refused), "{flow:?}: {result:?}");
    }

    let foreign = Aim { source: Some("192.0.2.1".parse().unwrap()), ..aim("127.0.0.1", 9) };
    for flow in [
        Flow::NewUdp,
        Flow::NewTcp,
        Flow::Large,
        Flow::Ping,
        Flow::Control,
        Flow::KeptUdp,
        Flow::KeptTcp,
    ] {
        let result = prober.probe(flow, &foreign, AMPLE).await.result;
        let ProbeResult::Unsent(Unsent::Local { source, .. }) = result else {
            panic!("{flow:?}: {result:?}")
        };
        assert_eq!(source.kind(), std::io::ErrorKind::AddrNotAvailable, "{flow:?}");
    }
}

/// The far end of a relay that forgets nothing passes old flows only: a prober that took one port
/// twice would be answered. So this fails for any prober that keeps or draws its sockets.
#[tokio::test]
async fn no_two_probes_share_a_flow() {
    let (prober, responder) = (prober(), responder());
    let aim = aim("127.0.0.1", responder.port());
    let mut flows = BTreeSet::new();

    for _ in 0..200 {
        for flow in [Flow::NewUdp, Flow::NewTcp] {
            let seen = seen(&prober.probe(flow, &aim, AMPLE).await);
            assert!(flows.insert((flow, seen.source)), "{seen:?} was used before");
        }
    }
}

#[tokio::test]
async fn passes_over_ports_that_others_hold() {
    let (prober, responder) = (prober(), responder());
    let aim = aim("127.0.0.1", responder.port());
    let first = seen(&prober.probe(Flow::NewUdp, &aim, AMPLE).await).source.port();

    let taken = StdUdpSocket::bind(("0.0.0.0", first + 1));
    let second = seen(&prober.probe(Flow::NewUdp, &aim, AMPLE).await).source.port();
    assert!(second > first + 1 || taken.is_err(), "{second} after {first}");
}

#[tokio::test]
async fn says_so_when_the_ports_are_used_up() {
    let prober = prober();
    let responder = responder();
    let aim = aim("127.0.0.1", responder.port());
    *lock(&prober.ports) = PortWalk::new(20_000..=20_002, 0);

    let mut last = prober.probe(Flow::NewUdp, &aim, AMPLE).await.result;
    for _ in 0..3 {
        last = prober.probe(Flow::NewUdp, &aim, AMPLE).await.result;
    }
    assert!(matches!(last, ProbeResult::Unsent(Unsent::PortsUsedUp)), "{last:?}");
}

/// Whoever answers first with something else is not believed: not an answer to another request,
/// not one that another key signed, not the request sent back, not noise.
#[tokio::test]
async fn believes_only_the_answer_to_its_own_request() {
    let prober = prober();
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let aim = aim("127.0.0.1", socket.local_addr().unwrap().port());
    let ours = Keyring::parse(KEY).unwrap();

    let liar = async {
        let mut bytes = [0; 100];
        let (length, from) = socket.recv_from(&mut bytes).await.unwrap();
        let request = wire::decode(&bytes[..length], &ours).unwrap().packet;
        let answer =
            Packet { body: Body::Answer(Seen { source: from, length: 64, heard: 1 }), ..request };
        let another = Nonce { sequence: request.nonce.sequence + 1, ..request.nonce };
        let lies = [
            b"noise".to_vec(),
            bytes[..length].to_vec(),
            wire::encode(&answer, &Keyring::parse(OTHER).unwrap()).to_vec(),
            wire::encode(&Packet { nonce: another, ..answer }, &ours).to_vec(),
            wire::encode(&Packet { prober: ProberId(1), ..answer }, &ours).to_vec(),
        ];
        for lie in lies {
            socket.send_to(&lie, from).await.unwrap();
        }
        // The truth, marked.
        let truth = Body::Answer(Seen { source: from, length: 64, heard: 77 });
        socket
            .send_to(&wire::encode(&Packet { body: truth, ..request }, &ours), from)
            .await
            .unwrap();
    };
    let (outcome, ()) = tokio::join!(prober.probe(Flow::NewUdp, &aim, AMPLE), liar);

    assert_eq!(seen(&outcome).heard, 77);
}

#[tokio::test]
async fn an_answer_that_comes_late_still_comes() {
    let (prober, responder) = (prober(), responder());
    let slow = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let aim = aim("127.0.0.1", slow.local_addr().unwrap().port());
    let outcome = prober.probe(Flow::NewUdp, &aim, SHORT).await;
    assert!(matches!(outcome.result, ProbeResult::Lost), "{outcome:?}");

    let mut packet = [0; 64];
    let (_, asker) = slow.recv_from(&mut packet).await.unwrap();
    let beyond = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    beyond.send_to(&packet, ("127.0.0.1", responder.port())).await.unwrap();
    beyond.recv(&mut packet).await.unwrap();
    slow.send_to(b"not an answer", asker).await.unwrap();
    slow.send_to(&packet, asker).await.unwrap();
    let round_trip = prober.late_answer(outcome.overdue.unwrap(), AMPLE).await;
    assert!(round_trip.is_some_and(|trip| trip >= SHORT), "{round_trip:?}");

    let silent = prober.probe(Flow::NewUdp, &aim, SHORT).await.overdue.unwrap();
    assert_eq!(prober.late_answer(silent, SHORT * 2).await, None);
}
