//! UDP: one datagram out, one back.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::net::sockopt;
use socket2::{Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::refusal::{is_refusal, keep_errors};
use super::{AFTER_ERROR, Aim, Overdue, ProbeResult, Prober, Unsent, lock};
use crate::evidence::Flow;
use crate::observe::wire::{Body, Class, LENGTH, Packet, encode_padded};

/// The longest answer that is read: a jumbo frame.
const LONGEST: usize = 9216;
/// Of how many addresses the widest packet is remembered: more than one node probes.
const REMEMBERED: usize = 512;
/// What IPv4 and UDP, or IPv6 and UDP, put before the packet.
const HEADERS_V4: u32 = 28;
const HEADERS_V6: u32 = 48;

impl Prober {
    /// Sends one datagram on a flow of its own.
    pub(super) async fn new_udp(
        &self,
        aim: &Aim,
        wait: Duration,
    ) -> Result<(ProbeResult, Option<Overdue>), Unsent> {
        let socket = self.connect_udp(aim, |_| Ok(()))?;
        let request = self.request(Flow::NewUdp);
        let sent = Instant::now();
        let result = self.exchange(&socket, &request, 0, wait).await.map(result)?;
        let lost = matches!(result, ProbeResult::Lost);

        Ok((result, lost.then_some(Overdue { socket, request, sent })))
    }

    /// Waits for an answer that is overdue, until so long after the flow was opened; returns the
    /// round trip, if it comes.
    pub async fn late_answer(&self, overdue: Overdue, longest: Duration) -> Option<Duration> {
        let Overdue { socket, request, sent } = overdue;
        let left = longest.saturating_sub(sent.elapsed());
        let received = timeout(left, self.receive(&socket, &request, LENGTH)).await;

        matches!(received, Ok(Ok(Body::Answer(_)))).then(|| sent.elapsed())
    }

    /// Sends one datagram with DF set, as large as the interface carries, on a flow of its own; if a
    /// router on the way says what it carries instead, one as large as that. The answer is as large.
    pub(super) async fn large(&self, aim: &Aim, wait: Duration) -> Result<ProbeResult, Unsent> {
        let socket = self.connect_udp(aim, |socket| probe_mtu(socket, aim.address))?;
        let request = self.request(Flow::Large);

        match self.exchange(&socket, &request, self.widest(&socket, aim), wait).await {
            Err(Unsent::Local { source, .. }) if is_too_big(&source) => {
                // The interface itself has become narrower: what was remembered is void.
                lock(&self.widest).remove(&aim.address.ip());
                let length = self.widest(&socket, aim);
                self.exchange(&socket, &request, length, wait).await.map(result)
            }
            Ok(Exchange { refusal: Some(error), .. }) if is_too_big(&error) => {
                let Some(told) = mtu(&socket, aim.address) else { return Ok(ProbeResult::TooBig) };
                let (request, length) = (self.request(Flow::Large), payload(told, aim.address));
                match self.exchange(&socket, &request, length, wait).await? {
                    Exchange { refusal: Some(error), .. } if is_too_big(&error) => {
                        Ok(ProbeResult::TooBig)
                    }
                    exchange => Ok(result(exchange)),
                }
            }
            exchange => exchange.map(result),
        }
    }

    /// Asks for the count of a hairpin test.
    pub(super) async fn ask_count(
        &self,
        aim: &Aim,
        test: u32,
        wait: Duration,
    ) -> Result<Option<Body>, Unsent> {
        let socket = self.connect_udp(aim, |_| Ok(()))?;
        let question = self.packet(Class::HAIRPIN, Body::Count { test });
        let Exchange { answer, .. } = self.exchange(&socket, &question, 0, wait).await?;

        Ok(answer.map(|(body, _)| body))
    }

    /// Opens a UDP socket on a port of its own.
    pub(super) fn connect_udp(
        &self,
        aim: &Aim,
        prepare: impl Fn(&Socket) -> std::io::Result<()>,
    ) -> Result<UdpSocket, Unsent> {
        let socket = self.open(aim, Type::DGRAM, Protocol::UDP)?;
        prepare(&socket).map_err(Unsent::local("prepare the socket"))?;
        keep_errors(&socket, aim.address).map_err(Unsent::local("prepare the socket"))?;
        socket.connect(&aim.address.into()).map_err(Unsent::local("find a route"))?;

        UdpSocket::from_std(socket.into()).map_err(Unsent::local("register the socket"))
    }

    /// Sends the packet, of at least that length, and waits for its answer and no other.
    pub(super) async fn exchange(
        &self,
        socket: &UdpSocket,
        packet: &Packet,
        length: usize,
        wait: Duration,
    ) -> Result<Exchange, Unsent> {
        let bytes = encode_padded(packet, &self.keys(), length);
        let sent = Instant::now();
        socket.send(&bytes).await.map_err(Unsent::local("send the request"))?;

        let received = timeout(wait, self.receive(socket, packet, bytes.len())).await;
        let (answer, refusal) = match received {
            Ok(Ok(answer)) => (Some((answer, sent.elapsed())), None),
            Ok(Err(refusal)) => (None, Some(refusal)),
            Err(_elapsed) => (None, None),
        };
        Ok(Exchange { answer, refusal })
    }

    /// Waits for the answer, or for the far end's word that there will be none, or a router's that
    /// the packet is too big.
    async fn receive(
        &self,
        socket: &UdpSocket,
        packet: &Packet,
        length: usize,
    ) -> Result<Body, std::io::Error> {
        let mut buffer = vec![0; length.min(LONGEST)];
        loop {
            match socket.recv(&mut buffer).await {
                Ok(length) => {
                    if let Some(answer) = self.answer_to(packet, &buffer[..length]) {
                        return Ok(answer);
                    }
                }
                Err(error) if is_too_big(&error) => return Err(error),
                Err(error) if is_refusal(&error, socket, socket.peer_addr()?) => return Err(error),
                // A router may say that there is no way, or a filter reject what it will let pass
                // in a moment: there may be a way before the time is up.
                Err(_) => tokio::time::sleep(AFTER_ERROR).await,
            }
        }
    }

    /// Returns the length of the largest packet that the interface towards `aim` carries. What the
    /// kernel has learned of the way beyond since does not count: it would hide what is sought.
    fn widest(&self, socket: &UdpSocket, aim: &Aim) -> usize {
        let known = mtu(socket, aim.address).unwrap_or(0);
        let mut widest = lock(&self.widest);
        if widest.len() >= REMEMBERED {
            widest.clear();
        }
        let widest = widest.entry(aim.address.ip()).or_insert(known);
        *widest = known.max(*widest);

        payload(*widest, aim.address)
    }
}

/// Returns how long a datagram's payload may be in a packet of that size.
fn payload(mtu: u32, to: SocketAddr) -> usize {
    let headers = if to.is_ipv4() { HEADERS_V4 } else { HEADERS_V6 };
    mtu.saturating_sub(headers).min(LONGEST as u32) as usize
}

/// What came back: the answer and how long it took, or word that there will be none, or neither.
pub(super) struct Exchange {
    pub(super) answer: Option<(Body, Duration)>,
    pub(super) refusal: Option<std::io::Error>,
}

pub(super) fn result(exchange: Exchange) -> ProbeResult {
    match exchange {
        Exchange { answer: Some((Body::Answer(seen), round_trip)), .. } => {
            ProbeResult::Answered { round_trip, seen: Some(seen) }
        }
        Exchange { refusal: Some(error), .. } if !is_too_big(&error) => ProbeResult::Refused,
        Exchange { .. } => ProbeResult::Lost,
    }
}

fn is_too_big(error: &std::io::Error) -> bool {
    error.raw_os_error() == Some(libc::EMSGSIZE)
}

/// Sets DF, whatever the kernel has learned of the way.
fn probe_mtu(socket: &Socket, to: SocketAddr) -> std::io::Result<()> {
    match to {
        SocketAddr::V4(_) => {
            sockopt::set_ip_mtu_discover(socket, sockopt::Ipv4PathMtuDiscovery::PROBE)?;
        }
        SocketAddr::V6(_) => {
            sockopt::set_ipv6_mtu_discover(socket, sockopt::Ipv6PathMtuDiscovery::PROBE)?;
        }
    }
    Ok(())
}

/// Returns what the kernel knows of the way's MTU at present.
fn mtu(socket: &UdpSocket, to: SocketAddr) -> Option<u32> {
    match to {
        SocketAddr::V4(_) => sockopt::ip_mtu(socket).ok(),
        SocketAddr::V6(_) => sockopt::ipv6_mtu(socket).ok(),
    }
}
