//! The UDP side. The answer leaves from the address that the request was sent to, by `IP_PKTINFO`:
//! on a node with several addresses the kernel would else choose one by its routes, and the prober
//! would not know the answer for its own.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt,
    sockopt,
};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::{BindError, Desk};
use crate::observe::wire::{LENGTH, MAGIC};

/// The longest request that is answered: a jumbo frame.
const LONGEST: usize = 9216;
/// What the kernel's filter sees before the packet.
const UDP_HEADER: u32 = 8;
/// How much the kernel may keep for us, so that a flood leaves room for honest probes.
const RECEIVE_BUFFER: usize = 1 << 20;
/// After how many packets the other tasks get their turn.
const TURN: usize = 64;

/// Binds the port on all IPv4 addresses.
pub(super) fn bind_v4(port: u16) -> Result<UdpSocket, BindError> {
    let bind = || {
        let socket = open(Domain::IPV4)?;
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        finish(socket, (Ipv4Addr::UNSPECIFIED, port).into())
    };
    bind().map_err(|source| BindError { transport: "UDP", port, source })
}

/// Binds the port on all IPv6 addresses; none if the kernel has no IPv6.
pub(super) fn bind_v6(port: u16) -> Result<Option<UdpSocket>, BindError> {
    let bind = || {
        let socket = open(Domain::IPV6)?;
        socket.set_only_v6(true)?;
        setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        finish(socket, (Ipv6Addr::UNSPECIFIED, port).into())
    };
    super::unless_absent(bind()).map_err(|source| BindError {
        transport: "UDP (IPv6)",
        port,
        source,
    })
}

fn open(domain: Domain) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.attach_filter(&ours_only())?;
    setsockopt(&socket, sockopt::RxqOvfl, &1)?;

    Ok(socket)
}

/// Returns a program that has the kernel drop, before it takes room in the receive buffer, what is
/// too short for a packet of ours or does not begin like one.
fn ours_only() -> [SockFilter; 6] {
    const LOAD_LENGTH: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_LEN) as u16;
    const LOAD_HALF: u16 = (libc::BPF_LD | libc::BPF_H | libc::BPF_ABS) as u16;
    const AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
    const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let magic = u16::from_be_bytes(MAGIC);

    [
        SockFilter::new(LOAD_LENGTH, 0, 0, 0),
        SockFilter::new(AT_LEAST, 0, 3, UDP_HEADER + LENGTH as u32),
        SockFilter::new(LOAD_HALF, 0, 0, UDP_HEADER),
        SockFilter::new(EQUAL, 0, 1, magic.into()),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
}

fn finish(socket: Socket, address: SocketAddr) -> io::Result<UdpSocket> {
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

/// Answers until the task is dropped.
pub(super) async fn serve(socket: UdpSocket, desk: Arc<Desk>) {
    let mut buffer = vec![0; LONGEST];
    let mut control = nix::cmsg_space!(libc::in6_pktinfo, u32);
    let mut dropped = 0;

    loop {
        if let Err(error) = socket.readable().await {
            tracing::warn!(%error, "UDP responder cannot wait for requests");
            return;
        }
        for _ in 0..TURN {
            let received =
                socket.try_io(Interest::READABLE, || receive(&socket, &mut buffer, &mut control));
            match received {
                Ok(request) => {
                    desk.dropped(request.dropped.wrapping_sub(dropped));
                    dropped = request.dropped;
                    answer(&socket, &desk, &mut buffer[..request.length], request.ends);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // An ICMP error of an earlier answer, or the like: nothing of this request.
                Err(_) => {}
            }
        }
        tokio::task::yield_now().await;
    }
}

fn answer(socket: &UdpSocket, desk: &Desk, bytes: &mut [u8], ends: Option<Ends>) {
    let Some(Ends { from, to }) = ends else { return };
    if desk.answer(bytes, from) && send(socket, bytes, (to, from)).is_err() {
        desk.unsent();
    }
}

/// One datagram, as it arrived.
struct Request {
    length: usize,
    ends: Option<Ends>,
    /// How many datagrams the kernel has dropped on this socket so far.
    dropped: u32,
}

/// Where a datagram came from, and to which of our addresses.
struct Ends {
    from: SocketAddr,
    to: IpAddr,
}

fn receive(socket: &UdpSocket, buffer: &mut [u8], control: &mut [u8]) -> io::Result<Request> {
    let mut parts = [IoSliceMut::new(buffer)];
    let message = recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        &mut parts,
        Some(control),
        MsgFlags::MSG_DONTWAIT,
    )?;

    let from = message.address.as_ref().and_then(socket_address);
    let (mut to, mut dropped) = (None, 0);
    for control in message.cmsgs()? {
        if let ControlMessageOwned::RxqOvfl(count) = control {
            dropped = count;
        } else {
            to = to.or_else(|| destination(control));
        }
    }
    let ends = from.zip(to).map(|(from, to)| Ends { from, to });
    Ok(Request { length: message.bytes, ends, dropped })
}

fn destination(control: ControlMessageOwned) -> Option<IpAddr> {
    if let ControlMessageOwned::Ipv4PacketInfo(info) = control {
        return Some(Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)).into());
    }
    if let ControlMessageOwned::Ipv6PacketInfo(info) = control {
        return Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
    }
    None
}

fn socket_address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = storage.as_sockaddr_in().map(|v4| SocketAddr::from(*v4));
    v4.or_else(|| storage.as_sockaddr_in6().map(|v6| SocketAddr::from(*v6)))
}

/// Sends from one address to another. The interface is left to the routes: the way back need not be
/// the way in, except for link-local addresses, whose scope names the interface already.
fn send(socket: &UdpSocket, bytes: &[u8], (from, to): (IpAddr, SocketAddr)) -> io::Result<()> {
    let parts = [IoSlice::new(bytes)];
    let (v4, v6);
    let control = match from {
        IpAddr::V4(from) => {
            let address = libc::in_addr { s_addr: u32::from(from).to_be() };
            let any = libc::in_addr { s_addr: 0 };
            v4 = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: address, ipi_addr: any };
            ControlMessage::Ipv4PacketInfo(&v4)
        }
        IpAddr::V6(from) => {
            let ipi6_addr = libc::in6_addr { s6_addr: from.octets() };
            v6 = libc::in6_pktinfo { ipi6_ifindex: 0, ipi6_addr };
            ControlMessage::Ipv6PacketInfo(&v6)
        }
    };
    let to = SockaddrStorage::from(to);
    sendmsg(socket.as_raw_fd(), &parts, &[control], MsgFlags::MSG_DONTWAIT, Some(&to))?;

    Ok(())
}
