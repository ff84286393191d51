use std::net::{IpAddr, SocketAddr};

use proptest::prelude::*;

use super::*;

const OLD: &str = "000102030405060708090a0b0c0d0e0f";
const NEW: &str = "101112131415161718191a1b1c1d1e1f";

fn keys(lines: &[&str]) -> Keyring {
    Keyring::parse(&lines.join("\n")).unwrap()
}

fn any_packet() -> impl Strategy<Value = Packet> {
    let address = any::<IpAddr>().prop_map(|address| address.to_canonical());
    let seen = (address, any::<u16>(), any::<u16>(), any::<u32>());
    let body = prop_oneof![
        any::<u64>().prop_map(|sent| Body::Request { sent }),
        seen.prop_map(|(address, port, length, heard)| {
            Body::Answer(Seen { source: SocketAddr::new(address, port), length, heard })
        }),
        any::<u32>().prop_map(|frame| Body::Hairpin { frame }),
        any::<u32>().prop_map(|test| Body::Count { test }),
        any::<u32>().prop_map(|frames| Body::Counted { frames }),
    ];

    (any::<u64>(), any::<u32>(), any::<u32>(), any::<u8>(), body).prop_map(
        |(prober, incarnation, sequence, class, body)| Packet {
            prober: ProberId(prober),
            nonce: Nonce { incarnation, sequence },
            class: Class(class),
            body,
        },
    )
}

fn request() -> Packet {
    Packet {
        prober: ProberId::from(&NodeName::from("cloud-1")),
        nonce: Nonce { incarnation: 0x6748_1234, sequence: 7 },
        class: Class::from(Flow::NewUdp),
        body: Body::Request { sent: 0x0102_0304_0506_0708 },
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The layout is frozen: a change of this text breaks every mesh with two versions in it.
#[test]
fn layout_of_version_1() {
    let answer = Packet {
        body: Body::Answer(Seen {
            source: "10.1.0.2:10000".parse().unwrap(),
            length: 64,
            heard: 3,
        }),
        ..request()
    };

    assert_eq!(hex(&encode(&request(), &keys(&[OLD]))), REQUEST);
    assert_eq!(hex(&encode(&answer, &keys(&[OLD]))), ANSWER);
}

/// Made by another program, from the table in the module's documentation.
const REQUEST: &str = concat!(
    "544e01010100df98b1cae53881625d4b",
    "67481234000000070102030405060708",
    "00000000000000000000000000000000",
    "673f8e5a7a5efcb101548b65185b065a",
);
const ANSWER: &str = concat!(
    "544e01020100df98b1cae53881625d4b",
    "67481234000000070000000000000000",
    "0000ffff0a0100022710004000000003",
    "7ba667d715f797751e88eb08019f7995",
);

/// What the fuzzer begins with: one packet of each kind, and one with trailing bytes.
#[test]
fn seeds_of_the_fuzzer_are_packets() {
    let keys = keys(&[OLD]);
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds/decode");
    let mut seeds: Vec<_> = std::fs::read_dir(folder).unwrap().map(Result::unwrap).collect();
    seeds.sort_by_key(std::fs::DirEntry::file_name);

    let kinds = seeds.iter().map(|seed| {
        let bytes = std::fs::read(seed.path()).unwrap();
        decode(&bytes, &keys).unwrap();
        bytes[3]
    });
    assert_eq!(kinds.collect::<Vec<_>>(), [2, 4, 5, 3, 1, 1]);
}

#[test]
fn classes_are_flows_and_back() {
    for (class, flow) in FLOWS {
        assert_eq!(Class::from(flow), class);
        assert_eq!(class.flow(), Some(flow));
    }
    assert_eq!(Class(0).flow(), None);
    assert_eq!(Class(200).flow(), None);
}

#[test]
fn refuses_what_is_not_ours() {
    let ours = keys(&[OLD]);
    let good = encode(&request(), &ours);
    let change = |at: usize, to: u8| {
        let mut bytes = good;
        bytes[at] = to;
        bytes.to_vec()
    };
    let kind = {
        let mut bytes = good;
        bytes[3] = 9;
        let tag = ours.tag(ours.signing(), [&bytes[..SIGN], &[]]);
        bytes[SIGN..].copy_from_slice(&tag);
        bytes.to_vec()
    };

    let table = [
        (vec![], Malformed::Short),
        (good[..63].to_vec(), Malformed::Short),
        (change(0, b'X'), Malformed::Foreign),
        (
            b"GET / HTTP/1.1\r\nHost: example.com\r\nUser-Agent: something long\r\n\r\n".to_vec(),
            Malformed::Foreign,
        ),
        (change(2, 2), Malformed::Version(2)),
        (change(6, good[6] ^ 1), Malformed::Forged),
        (change(63, good[63] ^ 1), Malformed::Forged),
        ([&good[..], b"x"].concat(), Malformed::Forged),
        (encode(&request(), &keys(&[NEW])).to_vec(), Malformed::Forged),
        (kind, Malformed::Kind(9)),
    ];
    for (bytes, why) in table {
        assert_eq!(decode(&bytes, &ours), Err(why), "{}", hex(&bytes));
    }
}

proptest! {
    #[test]
    fn comes_back_as_it_went(packet in any_packet(), trailing in 0..1400_usize) {
        let keys = keys(&[OLD, NEW]);
        let bytes = encode_padded(&packet, &keys, LENGTH + trailing);

        prop_assert_eq!(bytes.len(), LENGTH + trailing);
        prop_assert_eq!(decode(&bytes, &keys).map(|decoded| decoded.packet), Ok(packet));
    }

    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes, &keys(&[OLD]));
    }

    /// Past the checks of magic and version as well.
    #[test]
    fn believes_no_change(packet in any_packet(), trailing in 0..40_usize, bit in 0..832_usize) {
        let keys = keys(&[OLD]);
        let mut bytes = encode_padded(&packet, &keys, LENGTH + trailing);
        let bit = bit % (bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);

        prop_assert!(decode(&bytes, &keys).is_err());
    }

    #[test]
    fn echoes_what_trails(packet in any_packet(), trailing in prop::collection::vec(any::<u8>(), 0..100)) {
        let keys = keys(&[OLD]);
        let mut bytes = [&[0; LENGTH][..], &trailing].concat();
        overwrite(&mut bytes, &packet, (&keys, keys.signing()));

        prop_assert_eq!(&bytes[LENGTH..], trailing);
        prop_assert_eq!(decode(&bytes, &keys).map(|decoded| decoded.packet), Ok(packet));
    }
}
