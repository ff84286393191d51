//! The probe packet: encode, decode, authenticate. Pure.
//!
//! Version 1, frozen; the same over UDP and TCP, but that nothing trails it over TCP. All numbers
//! are big-endian.
//!
//! | at | bytes | field | meaning |
//! |---:|---:|---|---|
//! |  0 |  2 | magic | `TN` |
//! |  2 |  1 | version | 1 |
//! |  3 |  1 | kind | what follows at 24, see below |
//! |  4 |  1 | class | which kind of flow carries it ([`Class`]) |
//! |  5 |  1 | reserved | 0 from us, ignored |
//! |  6 |  2 | key | which key signed ([`KeyId`]) |
//! |  8 |  8 | prober | who asked, a hash of its node's name ([`ProberId`]) |
//! | 16 |  4 | incarnation | when the prober's process started ([`Nonce`]) |
//! | 20 |  4 | sequence | grows with each packet of that incarnation |
//! | 24 | 24 | body | by kind |
//! | 48 | 16 | tag | HMAC-SHA256 over all other bytes, cut to 16 |
//! | 64 |  … | trailing | of no meaning in version 1; signed, and echoed in the answer |
//!
//! | kind | name | body | answered with |
//! |---:|---|---|---|
//! | 1 | request | time of sending (8 bytes; of meaning to the prober only), zeros | 2, 64 bytes and all trailing |
//! | 2 | answer | source address that the responder saw (16 bytes, IPv4 mapped), source port (2), length (2), requests of this class heard from this incarnation, this one included (4) | – |
//! | 3 | hairpin | index of the frame (4), zeros; its sequence names the test | never |
//! | 4 | count | the test asked about (4), zeros | 5 |
//! | 5 | counted | frames heard of that test (4), zeros | – |
//!
//! An answer repeats all of the request but kind, body and tag, and is as long. A later version may
//! add meaning to the trailing bytes, but a version 1 responder still answers it.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use sha2::{Digest as _, Sha256};

use super::keys::{KeyId, Keyring, TAG};
use crate::evidence::{Flow, NodeName};

#[cfg(test)]
mod tests;

/// How long a packet is without trailing bytes.
pub const LENGTH: usize = 64;

/// How every packet begins.
pub(super) const MAGIC: [u8; 2] = *b"TN";
const VERSION: u8 = 1;
/// Where the body lies, and where the tag.
const BODY: usize = 24;
const SIGN: usize = LENGTH - TAG;

/// Names a prober on the wire: a hash of its node's name. Callers keep the names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProberId(pub u64);

impl From<&NodeName> for ProberId {
    fn from(node: &NodeName) -> Self {
        let hash = Sha256::new().chain_update(b"tanist prober v1").chain_update(&node.0).finalize();
        Self(hash.iter().take(8).fold(0, |id, byte| id << 8 | u64::from(*byte)))
    }
}

/// Names one packet of one prober.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nonce {
    /// When the prober's process started, Unix seconds: a later start has a greater one.
    pub incarnation: u32,
    /// Grows with each packet of this incarnation.
    pub sequence: u32,
}

/// Which kind of flow carries a packet: what the far end counts by. Unknown ones are counted and
/// answered like any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Class(pub u8);

impl Class {
    /// The frames of a hairpin test, and the questions about them.
    pub const HAIRPIN: Self = Self(32);

    /// Returns the kind of flow, where this version knows it.
    #[must_use]
    pub fn flow(self) -> Option<Flow> {
        FLOWS.iter().find(|(class, _)| *class == self).map(|(_, flow)| *flow)
    }
}

impl From<Flow> for Class {
    fn from(flow: Flow) -> Self {
        let known = FLOWS.iter().find(|(_, each)| *each == flow);
        known.map_or(Self(0), |(class, _)| *class)
    }
}

/// The numbers of the classes; frozen.
const FLOWS: [(Class, Flow); 7] = [
    (Class(1), Flow::NewUdp),
    (Class(2), Flow::NewTcp),
    (Class(3), Flow::Ping),
    (Class(4), Flow::KeptUdp),
    (Class(5), Flow::KeptTcp),
    (Class(6), Flow::Large),
    (Class(7), Flow::Control),
];

/// What a packet says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Who asked; an answer repeats it.
    pub prober: ProberId,
    /// Which of its packets; an answer repeats it.
    pub nonce: Nonce,
    /// How it travels; an answer repeats it.
    pub class: Class,
    /// What it is.
    pub body: Body,
}

/// The kinds of packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// Asks to be answered.
    Request {
        /// When, by the prober's clock; of meaning to the prober only.
        sent: u64,
    },
    /// Answers a request.
    Answer(Seen),
    /// Crosses an heir on its way to be counted; its sequence names the test.
    Hairpin {
        /// Which of the test's frames, from 0.
        frame: u32,
    },
    /// Asks how many frames of a hairpin test arrived.
    Count {
        /// The test.
        test: u32,
    },
    /// Answers that.
    Counted {
        /// How many different frames of it arrived.
        frames: u32,
    },
}

/// What a responder saw of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Where it came from.
    pub source: SocketAddr,
    /// How long it was.
    pub length: u16,
    /// How many requests of this class it got from this incarnation, this one included.
    pub heard: u32,
}

/// Why bytes are no packet of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Malformed {
    /// Less than a whole packet.
    #[error("the packet is cut short")]
    Short,
    /// Something else altogether.
    #[error("the packet is not ours")]
    Foreign,
    /// Ours, but of a version that is yet to come.
    #[error("the packet is of version {0}")]
    Version(u8),
    /// Signed with a key that we do not have, or changed on the way.
    #[error("the packet is not signed by any of our keys")]
    Forged,
    /// Signed, but of a kind that we do not know.
    #[error("the packet is of kind {0}")]
    Kind(u8),
}

/// A packet, and the key that signed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decoded {
    /// The packet.
    pub packet: Packet,
    /// The key to answer with: whoever asked has it.
    pub key: KeyId,
}

/// Returns the packet that `bytes` hold, trailing ones and all, if one of the keys signed it.
pub fn decode(bytes: &[u8], keys: &Keyring) -> Result<Decoded, Malformed> {
    let (head, tail) = bytes.split_first_chunk::<LENGTH>().ok_or(Malformed::Short)?;
    if head[..2] != MAGIC {
        return Err(Malformed::Foreign);
    }
    if head[2] != VERSION {
        return Err(Malformed::Version(head[2]));
    }

    let key = KeyId(u16::from_be_bytes(field(head, 6)));
    if !keys.verifies(key, [&head[..SIGN], tail], &field(head, SIGN)) {
        return Err(Malformed::Forged);
    }

    let packet = Packet {
        prober: ProberId(u64::from_be_bytes(field(head, 8))),
        nonce: Nonce { incarnation: number(head, 16), sequence: number(head, 20) },
        class: Class(head[4]),
        body: body(head)?,
    };
    Ok(Decoded { packet, key })
}

/// Returns the packet's bytes, signed with the first key, without trailing ones.
#[must_use]
pub fn encode(packet: &Packet, keys: &Keyring) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    seal(&mut bytes, &[], packet, (keys, keys.signing()));

    bytes
}

/// Returns the packet's bytes, signed with the first key, with zeros behind it up to `length`.
#[must_use]
pub fn encode_padded(packet: &Packet, keys: &Keyring, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length.max(LENGTH)];
    overwrite(&mut bytes, packet, (keys, keys.signing()));

    bytes
}

/// Puts a packet in the place of the one that `bytes` begin with, signed with the named key; what
/// trails it stays, and is signed too.
pub fn overwrite(bytes: &mut [u8], packet: &Packet, key: (&Keyring, KeyId)) {
    if let Some((head, tail)) = bytes.split_first_chunk_mut::<LENGTH>() {
        seal(head, tail, packet, key);
    }
}

fn seal(head: &mut [u8; LENGTH], tail: &[u8], packet: &Packet, (keys, id): (&Keyring, KeyId)) {
    let Packet { prober, nonce, class, body } = packet;
    let (kind, body) = body_bytes(body);

    head[..2].copy_from_slice(&MAGIC);
    head[2..6].copy_from_slice(&[VERSION, kind, class.0, 0]);
    head[6..8].copy_from_slice(&id.0.to_be_bytes());
    head[8..16].copy_from_slice(&prober.0.to_be_bytes());
    head[16..20].copy_from_slice(&nonce.incarnation.to_be_bytes());
    head[20..24].copy_from_slice(&nonce.sequence.to_be_bytes());
    head[BODY..SIGN].copy_from_slice(&body);

    let tag = keys.tag(id, [&head[..SIGN], tail]);
    head[SIGN..].copy_from_slice(&tag);
}

fn body_bytes(body: &Body) -> (u8, [u8; SIGN - BODY]) {
    let mut bytes = [0; SIGN - BODY];
    let kind = match body {
        Body::Request { sent } => {
            bytes[..8].copy_from_slice(&sent.to_be_bytes());
            1
        }
        Body::Answer(Seen { source, length, heard }) => {
            bytes[..16].copy_from_slice(&mapped(source.ip()).octets());
            bytes[16..18].copy_from_slice(&source.port().to_be_bytes());
            bytes[18..20].copy_from_slice(&length.to_be_bytes());
            bytes[20..].copy_from_slice(&heard.to_be_bytes());
            2
        }
        Body::Hairpin { frame: number } => leading(&mut bytes, *number, 3),
        Body::Count { test: number } => leading(&mut bytes, *number, 4),
        Body::Counted { frames: number } => leading(&mut bytes, *number, 5),
    };

    (kind, bytes)
}

fn leading(bytes: &mut [u8; SIGN - BODY], number: u32, kind: u8) -> u8 {
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    kind
}

fn body(head: &[u8; LENGTH]) -> Result<Body, Malformed> {
    let first = number(head, BODY);
    match head[3] {
        1 => Ok(Body::Request { sent: u64::from_be_bytes(field(head, BODY)) }),
        2 => Ok(Body::Answer(Seen {
            source: SocketAddr::new(
                Ipv6Addr::from(field::<16>(head, BODY)).to_canonical(),
                u16::from_be_bytes(field(head, BODY + 16)),
            ),
            length: u16::from_be_bytes(field(head, BODY + 18)),
            heard: number(head, BODY + 20),
        })),
        3 => Ok(Body::Hairpin { frame: first }),
        4 => Ok(Body::Count { test: first }),
        5 => Ok(Body::Counted { frames: first }),
        kind => Err(Malformed::Kind(kind)),
    }
}

const fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

fn number(head: &[u8; LENGTH], at: usize) -> u32 {
    u32::from_be_bytes(field(head, at))
}

/// Copies `N` bytes out; every caller's place lies within the packet.
fn field<const N: usize>(head: &[u8; LENGTH], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&head[at..at + N]);

    bytes
}
