use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

use super::limit::Rate;
use super::*;
use crate::evidence::Flow;
use crate::observe::probe::{Aim, ProbeResult, Prober};
use crate::observe::wire::{Class, Nonce, ProberId};

const OLD: &str = "000102030405060708090a0b0c0d0e0f";
const NEW: &str = "101112131415161718191a1b1c1d1e1f";
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Long enough for any answer on loopback; no test waits for it to pass.
const AMPLE: Duration = Duration::from_secs(20);

fn ring(lines: &[&str]) -> Arc<Keyring> {
    Arc::new(Keyring::parse(&lines.join("\n")).unwrap())
}

fn responder(keys: &[&str]) -> Responder {
    Responder::anywhere(&watch::channel(ring(keys)).1)
}

impl Responder {
    /// Listens on any port. One that is free for TCP may be another test's for UDP: then on the next.
    pub(crate) fn anywhere(keys: &watch::Receiver<Arc<Keyring>>) -> Self {
        let bind = || Self::bind(0, keys.clone(), Limits::default());
        let found = std::iter::repeat_with(bind).take(10).find_map(Result::ok);
        found.expect("some port is free for UDP and TCP")
    }
}

fn packet(incarnation: u32, sequence: u32, body: Body) -> Packet {
    Packet {
        prober: ProberId(1),
        nonce: Nonce { incarnation, sequence },
        class: Class::from(Flow::NewUdp),
        body,
    }
}

fn request(incarnation: u32, sequence: u32) -> Packet {
    packet(incarnation, sequence, Body::Request { sent: 0 })
}

#[derive(Debug, PartialEq, Clone, Copy)]
enum Said {
    Heard(u32),
    Frames(u32),
    Nothing,
}

fn said(judgement: Judgement) -> Said {
    match judgement {
        Judgement::Answer { heard } => Said::Heard(heard),
        Judgement::Counted { frames } => Said::Frames(frames),
        Judgement::Silence => Said::Nothing,
    }
}

#[test]
fn answers_each_request_once_and_the_newest_process_only() {
    let begun = Instant::now();
    let mut table = Table::new(Limits::default(), begun);
    let hairpin = |frame| Body::Hairpin { frame };
    let count = |test| Body::Count { test };

    #[rustfmt::skip]
    let steps = [
        // second  packet                              said
        (0,  request(5, 100),                   Said::Heard(1)),
        (0,  request(5, 100),                   Said::Nothing),
        (0,  request(5, 102),                   Said::Heard(2)),
        (0,  request(5, 101),                   Said::Heard(3)),  // late, but not seen yet
        (0,  request(5, 101),                   Said::Nothing),
        (0,  request(5, 700),                   Said::Heard(4)),
        (0,  request(5, 188),                   Said::Nothing),   // older than the window
        (0,  request(5, 189),                   Said::Heard(5)),  // the oldest within it
        (0,  packet(5, 9, hairpin(0)),          Said::Nothing),
        (0,  packet(5, 9, hairpin(0)),          Said::Nothing),
        (0,  packet(5, 9, hairpin(63)),         Said::Nothing),
        (0,  packet(5, 9, hairpin(64)),         Said::Nothing),   // more than a test has
        (0,  packet(5, 701, count(9)),          Said::Frames(2)),
        (0,  packet(5, 702, count(8)),          Said::Frames(0)),
        (1,  request(6, 3),                     Said::Heard(1)),  // restarted
        (1,  packet(6, 4, count(9)),            Said::Frames(0)),
        (1,  request(5, 703),                   Said::Nothing),   // a recording of the old one
        (10, request(5, 703),                   Said::Nothing),
        (11, request(5, 703),                   Said::Heard(1)),  // the clock was set back
        (11, request(6, 3),                     Said::Heard(1)),  // and forth
    ];
    for (second, packet, expected) in steps {
        let now = begun + Duration::from_secs(second);
        assert_eq!(said(table.judge(&packet, HERE, now)), expected, "{packet:?} at {second} s");
    }
    let Counts { answered, hairpins, repeated, stale, .. } = table.counts;
    assert_eq!((answered, hairpins, repeated, stale), (11, 2, 3, 2));
}

#[test]
fn tells_what_was_heard_by_class_and_age() {
    let begun = Instant::now();
    let mut table = Table::new(Limits::default(), begun);
    let at = |second| begun + Duration::from_secs(second);
    let tcp = |sequence| Packet { class: Class::from(Flow::NewTcp), ..request(1, sequence) };

    for second in 0..100 {
        table.judge(&request(1, 2 * second), HERE, at(second.into()));
    }
    table.judge(&tcp(199), HERE, at(99));
    table.judge(&Packet { class: Class(99), ..request(1, 201) }, HERE, at(99));
    table.judge(&Packet { class: Class(98), ..request(1, 203) }, HERE, at(99));

    let heard = |span, now| -> Vec<_> {
        let heard = table.heard(Duration::from_secs(span), at(now));
        heard.iter().map(|each| (each.class.0, each.received, each.age.as_secs())).collect()
    };
    // The whole seconds of the span and the present one.
    assert_eq!(heard(9, 99), [(0, 2, 0), (1, 10, 0), (2, 1, 0)]);
    assert_eq!(heard(20, 109), [(0, 2, 10), (1, 11, 10), (2, 1, 10)]);
    assert_eq!(heard(1_000, 99), [(0, 2, 0), (1, 64, 0), (2, 1, 0)]);
    assert_eq!(heard(9, 120), []);
}

#[test]
fn remembers_no_more_than_it_may() {
    let begun = Instant::now();
    let limits = Limits { remembered: 10, ..Limits::default() };
    let mut table = Table::new(limits, begun);

    for each in 0..1_000_u32 {
        let source = Ipv4Addr::from(each).into();
        let of_another = Packet { prober: ProberId(each.into()), ..request(1, 1) };
        table.judge(&of_another, source, begun + Duration::from_millis(each.into()));
        let (probers, sources) = table.remembered();
        assert!(probers <= 10 && sources <= 10);
    }
    // The newest are those remembered.
    let again = Packet { prober: ProberId(999), ..request(1, 1) };
    table.judge(&again, HERE, begun + Duration::from_secs(1));
    assert_eq!(table.counts.repeated, 1);
}

#[test]
fn limits_each_source_and_all_together() {
    let begun = Instant::now();
    let each = Duration::from_millis(10);
    let limits = Limits {
        source: Rate { each, burst: 5 },
        all: Rate { each, burst: 8 },
        ..Limits::default()
    };
    let mut table = Table::new(limits, begun);
    let mut sequence = 0;
    let mut answered = |source: u8, millis: u64, requests: u32| {
        let mut answered = 0;
        for _ in 0..requests {
            sequence += 1;
            let source = Ipv4Addr::new(10, 0, 0, source).into();
            let now = begun + Duration::from_millis(millis);
            answered +=
                u32::from(said(table.judge(&request(1, sequence), source, now)) != Said::Nothing);
        }
        answered
    };

    assert_eq!(answered(1, 0, 20), 5);
    assert_eq!(answered(2, 0, 20), 3);
    assert_eq!(answered(3, 0, 20), 0);
    assert_eq!(answered(1, 30, 20), 3);
    assert_eq!(answered(2, 1_000, 20), 5);
    assert_eq!(table.counts.limited, 84);
}

proptest! {
    /// Whatever order they come in: none is answered twice, and none that is new is refused as
    /// long as it is not older than the window.
    #[test]
    fn answers_none_twice(sequences in prop::collection::vec(0..2_000_u32, 1..300)) {
        let begun = Instant::now();
        let mut table = Table::new(Limits::default(), begun);
        let mut answered = BTreeSet::new();
        let mut newest = 0;
        for (index, sequence) in sequences.into_iter().enumerate() {
            // Slowly enough for the limits.
            let now = begun + Duration::from_millis(10 * index as u64);
            let answer = said(table.judge(&request(1, sequence), HERE, now)) != Said::Nothing;
            let in_window = sequence + 512 > newest;
            prop_assert_eq!(answer, in_window && answered.insert(sequence));
            newest = newest.max(sequence);
        }
    }
}

proptest! {
    /// Any signed packets, the odd ones of a peer gone mad included, at any time.
    #[test]
    fn bears_whatever_is_signed(
        packets in prop::collection::vec((odd(), odd(), odd(), any::<u8>(), 0..6_u8, 0..200_u64), 1..200),
    ) {
        let mut now = Instant::now();
        let mut table = Table::new(Limits { remembered: 3, ..Limits::default() }, now);
        for (prober, incarnation, sequence, class, kind, wait) in packets {
            let seen = Seen { source: (HERE, 1).into(), length: 64, heard: 1 };
            let body = match kind {
                0 | 1 => Body::Request { sent: 0 },
                2 => Body::Hairpin { frame: sequence },
                3 => Body::Count { test: incarnation },
                4 => Body::Answer(seen),
                _ => Body::Counted { frames: 1 },
            };
            let nonce = Nonce { incarnation, sequence };
            let packet = Packet { prober: ProberId(prober.into()), nonce, class: Class(class), body };
            now += Duration::from_secs(wait);
            table.judge(&packet, HERE, now);
            table.heard(Duration::from_secs(wait), now);
        }
        prop_assert!(table.remembered().0 <= 3);
    }
}

/// Numbers at the edges, and near each other.
fn odd() -> impl Strategy<Value = u32> {
    prop_oneof![0..5_u32, u32::MAX - 4..=u32::MAX, any::<u32>()]
}

/// A raw peer over UDP: sends any bytes, and tells the packets that come back.
struct Peer {
    socket: UdpSocket,
    keys: Arc<Keyring>,
}

impl Peer {
    async fn to(responder: &Responder) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(("127.0.0.1", responder.port())).await.unwrap();
        Self { socket, keys: ring(&[OLD]) }
    }

    async fn send(&self, bytes: &[u8]) {
        self.socket.send(bytes).await.unwrap();
    }

    async fn receive(&self) -> (Packet, Vec<u8>) {
        let mut bytes = vec![0; 9_000];
        let length = self.socket.recv(&mut bytes).await.unwrap();
        bytes.truncate(length);
        (wire::decode(&bytes, &self.keys).unwrap().packet, bytes)
    }
}

#[tokio::test]
async fn is_silent_to_all_that_is_not_a_new_signed_request() {
    let responder = responder(&[OLD]);
    let peer = Peer::to(&responder).await;
    let good = wire::encode(&request(1, 1), &ring(&[OLD]));
    let mut version = good;
    version[2] = 7;
    let answer = Body::Answer(Seen { source: "10.0.0.1:1".parse().unwrap(), length: 64, heard: 1 });

    peer.send(&good).await;
    assert_eq!(peer.receive().await.0.nonce.sequence, 1);
    for bytes in [&good[..], b"", b"garbage", &[0; 64], &[0xff; 1_400], &good[..63], &version] {
        peer.send(bytes).await;
    }
    peer.send(&wire::encode(&request(1, 2), &ring(&[NEW]))).await;
    peer.send(&wire::encode(&packet(1, 3, answer), &ring(&[OLD]))).await;
    peer.send(&wire::encode(&packet(1, 4, Body::Counted { frames: 1 }), &ring(&[OLD]))).await;
    peer.send(&wire::encode(&packet(1, 4, Body::Hairpin { frame: 1 }), &ring(&[OLD]))).await;
    // Over loopback nothing is reordered: had anything else been answered, it would come first.
    peer.send(&wire::encode(&request(1, 5), &ring(&[OLD]))).await;
    assert_eq!(peer.receive().await.0.nonce.sequence, 5);

    let expected = Counts {
        answered: 2,
        hairpins: 1,
        dropped: 5,
        malformed: 3,
        forged: 1,
        repeated: 1,
        ..Counts::default()
    };
    assert_eq!(responder.counts(), expected);
}

#[tokio::test]
async fn echoes_trailing_bytes_and_unknown_classes_and_is_never_longer() {
    let responder = responder(&[OLD]);
    let peer = Peer::to(&responder).await;
    let unknown = Packet { class: Class(200), ..request(1, 1) };
    let mut bytes = [&[0; 64][..], b"of a later version"].concat();
    let keys = ring(&[OLD]);
    wire::overwrite(&mut bytes, &unknown, (&keys, keys.signing()));

    peer.send(&bytes).await;
    let (answer, back) = peer.receive().await;
    let source = peer.socket.local_addr().unwrap();
    let seen = Seen { source, length: bytes.len() as u16, heard: 1 };
    assert_eq!(answer, Packet { body: Body::Answer(seen), ..unknown });
    assert_eq!(&back[64..], b"of a later version");
}

/// Two nodes through the three steps, at each of them half on the new file: every probe passes,
/// both ways, by UDP and TCP.
#[tokio::test]
async fn keys_rotate_without_a_dark_moment() {
    let steps: [&[&str]; 4] = [&[OLD], &[OLD, NEW], &[NEW, OLD], &[NEW]];
    let (one_keys, one_seen) = watch::channel(ring(steps[0]));
    let (two_keys, two_seen) = watch::channel(ring(steps[0]));
    let node = |name: &str, keys: &watch::Receiver<Arc<Keyring>>| {
        let responder = Responder::anywhere(keys);
        (Prober::new(&name.into(), keys.clone()), responder)
    };
    let (one, two) = (node("one", &one_seen), node("two", &two_seen));
    let mut passed = 0;

    for keys in &steps[1..] {
        for moves in [&one_keys, &two_keys] {
            moves.send(ring(keys)).unwrap();
            for (prober, responder) in [(&one.0, &two.1), (&two.0, &one.1)] {
                for flow in [Flow::NewUdp, Flow::NewTcp] {
                    let result = prober.probe(flow, &aim(responder), AMPLE).await.result;
                    assert!(matches!(result, ProbeResult::Answered { .. }), "{keys:?}: {result:?}");
                    passed += 1;
                }
            }
        }
    }
    assert_eq!(passed, 24);

    // Without the middle step it would be dark.
    one_keys.send(ring(&[OLD])).unwrap();
    let dark = one.0.probe(Flow::NewUdp, &aim(&two.1), Duration::from_millis(50)).await.result;
    assert!(matches!(dark, ProbeResult::Lost), "{dark:?}");
}

fn aim(responder: &Responder) -> Aim {
    let address = (Ipv4Addr::LOCALHOST, responder.port()).into();
    Aim { to: "two".into(), address, source: None }
}

/// Garbage as fast as one sender can, which the kernel drops before it takes any room, and
/// recordings and forgeries as fast as they are looked at: every honest probe passes, and nothing
/// is remembered of the rest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_does_not_hide_honest_probes() {
    let responder = Arc::new(responder(&[OLD]));
    let peer = Peer::to(&responder).await;
    let recorded = wire::encode(&request(1, 1), &ring(&[OLD]));
    let forged = wire::encode(&request(1, 2), &ring(&[NEW]));
    peer.send(&recorded).await;
    peer.receive().await;
    let floods = [
        tokio::spawn(garbage(responder.port())),
        tokio::spawn(lies(responder.clone(), recorded, forged)),
    ];

    let prober = Prober::new(&"one".into(), watch::channel(ring(&[OLD])).1);
    for passed in 0..200 {
        let Counts { forged, dropped, .. } = responder.counts();
        let result = prober.probe(Flow::NewUdp, &aim(&responder), AMPLE).await.result;
        assert!(matches!(result, ProbeResult::Answered { .. }), "{result:?} after {passed}");
        let flooded = async {
            while responder.counts().forged < forged + 50
                || responder.counts().dropped < dropped + 50
            {
                tokio::task::yield_now().await;
            }
        };
        let flooded = tokio::time::timeout(AMPLE, flooded).await;
        flooded.unwrap_or_else(|_| panic!("the flood has dried up: {:?}", responder.counts()));
    }
    for flood in floods {
        flood.abort();
    }

    let counts = responder.counts();
    assert_eq!(counts.answered, 201, "{counts:?}");
    assert!(counts.repeated >= 5_000, "{counts:?}");
    assert_eq!(counts.malformed, 0, "{counts:?}");
    assert_eq!(responder.desk.table().remembered(), (2, 1));
}

async fn garbage(port: u16) {
    loop {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        for bytes in [&[0x55; 1_200][..], b"TN", &[0; 64]].into_iter().cycle().take(99) {
            // Refused only when the kernel is short of memory.
            let _ = socket.send_to(bytes, ("127.0.0.1", port)).await;
        }
        tokio::task::yield_now().await;
    }
}

async fn lies(responder: Arc<Responder>, recorded: [u8; 64], forged: [u8; 64]) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let seen = || responder.counts().forged + responder.counts().repeated;
    loop {
        let before = seen();
        for _ in 0..25 {
            for lie in [&recorded, &forged] {
                socket.send_to(lie, ("127.0.0.1", responder.port())).await.unwrap();
            }
        }
        while seen() < before + 50 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn hangs_up_on_garbage_and_on_too_many_connections() {
    let responder = responder(&[OLD]);
    let connect = || TcpStream::connect(("127.0.0.1", responder.port()));

    let mut garbage = connect().await.unwrap();
    garbage.write_all(&[0; 64]).await.unwrap();
    assert_eq!(garbage.read(&mut [0; 64]).await.unwrap_or(0), 0);

    // Silent ones take all the places that one address has; the next is turned away.
    let mut silent = Vec::new();
    while responder.counts().hung_up < 2 {
        silent.push(connect().await.unwrap());
        tokio::task::yield_now().await;
        assert!(silent.len() < 1_000);
    }
    assert!(silent.len() > 30, "{}", silent.len());
    assert_eq!(responder.counts().malformed, 1);
}

#[tokio::test]
async fn says_which_port_it_could_not_bind() {
    let responder = responder(&[OLD]);
    let port = responder.port();
    let error = Responder::bind(port, watch::channel(ring(&[OLD])).1, Limits::default());

    assert_eq!(error.unwrap_err().to_string(), format!("listen for probes on TCP port {port}"));
}
