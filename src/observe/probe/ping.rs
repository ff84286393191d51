//! ICMP echo with an id of its own: dies with connection tracking, lives through what depends on
//! the outer flow. The payload is a signed request, so that a reply proves who sent it.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::{AFTER_ERROR, Aim, ProbeResult, Prober, Unsent};
use crate::evidence::Flow;
use crate::observe::wire::{LENGTH, encode};

/// An ICMP header: type, code, checksum, id, sequence.
const HEADER: usize = 8;
/// Of a request and of its reply, by family.
const TYPES_V4: (u8, u8) = (8, 0);
const TYPES_V6: (u8, u8) = (128, 129);

impl Prober {
    /// Sends one echo request with an id of its own.
    pub(super) async fn ping(&self, aim: &Aim, wait: Duration) -> Result<ProbeResult, Unsent> {
        let socket = raw(aim)?;
        let (asks, replies) = if aim.address.is_ipv4() { TYPES_V4 } else { TYPES_V6 };
        let id = self.echo_id.fetch_add(1, Relaxed).to_be_bytes();
        let payload = encode(&self.request(Flow::Ping), &self.keys());
        let echo = echo(asks, id, &payload);

        let sent = Instant::now();
        socket.send(&echo).await.map_err(Unsent::local("send the echo request"))?;

        let reply = [&[replies, 0][..], &id, &[0, 1], &payload].concat();
        let received = timeout(wait, receive(&socket, aim.address, &reply)).await;
        Ok(match received {
            Ok(()) => ProbeResult::Answered { round_trip: sent.elapsed(), seen: None },
            Err(_elapsed) => ProbeResult::Lost,
        })
    }
}

/// Opens a raw socket. To tokio it is a datagram socket like any other: it only waits for it.
fn raw(aim: &Aim) -> Result<UdpSocket, Unsent> {
    let protocol = if aim.address.is_ipv4() { Protocol::ICMPV4 } else { Protocol::ICMPV6 };
    let socket = Socket::new(Domain::for_address(aim.address), Type::RAW, Some(protocol));
    let socket = socket.map_err(|source| {
        if source.kind() == io::ErrorKind::PermissionDenied {
            Unsent::NotPermitted
        } else {
            Unsent::Local { doing: "open a raw socket", source }
        }
    })?;
    socket.set_nonblocking(true).map_err(Unsent::local("open a raw socket"))?;
    if let Some(source) = aim.source {
        let source = SocketAddr::new(source, 0).into();
        socket.bind(&source).map_err(Unsent::local("bind the source address"))?;
    }

    let to = SocketAddr::new(aim.address.ip(), 0).into();
    socket.connect(&to).map_err(Unsent::local("find a route"))?;
    UdpSocket::from_std(socket.into()).map_err(Unsent::local("register the socket"))
}

/// Waits for that reply. A raw socket gets every ICMP message of its peer.
async fn receive(socket: &UdpSocket, from: SocketAddr, reply: &[u8]) {
    let mut buffer = [0; 60 + HEADER + LENGTH];
    loop {
        match socket.recv(&mut buffer).await {
            Ok(length) if is_reply(&buffer[..length], from, reply) => return,
            Ok(_of_somebody_else) => {}
            // A router says that there is no way: the reply may still come.
            Err(_) => tokio::time::sleep(AFTER_ERROR).await,
        }
    }
}

/// Compares all but the checksum. A raw IPv4 socket delivers the IP header too.
fn is_reply(bytes: &[u8], from: SocketAddr, reply: &[u8]) -> bool {
    let skip = match (from, bytes.first()) {
        (SocketAddr::V4(_), Some(first)) => usize::from(first & 0x0f) * 4,
        (SocketAddr::V6(_), _) => 0,
        (SocketAddr::V4(_), None) => return false,
    };
    let message = bytes.get(skip..).unwrap_or_default();

    message.len() == reply.len() + 2 && message[..2] == reply[..2] && message[4..] == reply[2..]
}

/// Returns an echo request. The kernel makes the checksum of ICMPv6, not of ICMPv4.
fn echo(kind: u8, id: [u8; 2], payload: &[u8]) -> Vec<u8> {
    let mut message = [&[kind, 0, 0, 0][..], &id, &[0, 1], payload].concat();
    let sum = crate::observe::checksum::internet(&[&message]);
    message[2..4].copy_from_slice(&sum.to_be_bytes());

    message
}
