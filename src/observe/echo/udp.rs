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
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::{BindError, Desk};

/// The longest request that is answered: a jumbo frame.
const LONGEST: usize = 9216;
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

    Ok(socket)
}

fn finish(socket: Socket, address: SocketAddr) -> io::Result<UdpSocket> {
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

/// Answers until the task is dropped.
pub(super) async fn serve(socket: UdpSocket, desk: Arc<Desk>) {
    let mut buffer = vec![0; LONGEST];
    let mut control = nix::cmsg_space!(libc::in6_pktinfo);

    loop {
        if let Err(error) = socket.readable().await {
            tracing::warn!(%error, "UDP responder cannot wait for requests");
            return;
        }
        for _ in 0..TURN {
            let received =
                socket.try_io(Interest::READABLE, || receive(&socket, &mut buffer, &mut control));
            match received {
                Ok(request) => answer(&socket, &desk, &mut buffer, request),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // An ICMP error of an earlier answer, or the like: nothing of this request.
                Err(_) => {}
            }
        }
        tokio::task::yield_now().await;
    }
}

fn answer(socket: &UdpSocket, desk: &Desk, buffer: &mut [u8], request: Option<Request>) {
    let Some(Request { length, from, to }) = request else { return };
    let bytes = &mut buffer[..length];
    if desk.answer(bytes, from) && send(socket, bytes, (to, from)).is_err() {
        desk.unsent();
    }
}

/// One datagram, as it arrived.
struct Request {
    length: usize,
    from: SocketAddr,
    to: IpAddr,
}

fn receive(
    socket: &UdpSocket,
    buffer: &mut [u8],
    control: &mut [u8],
) -> io::Result<Option<Request>> {
    let mut parts = [IoSliceMut::new(buffer)];
    let message = recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        &mut parts,
        Some(control),
        MsgFlags::MSG_DONTWAIT,
    )?;

    let from = message.address.as_ref().and_then(socket_address);
    let to = message.cmsgs()?.find_map(destination);
    Ok(from.zip(to).map(|(from, to)| Request { length: message.bytes, from, to }))
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
