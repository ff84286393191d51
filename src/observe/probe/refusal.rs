//! Who says that nobody listens: the far end, or a packet filter on the way that rejects the flow.
//!
//! Both send the same ICMP error, and the kernel hands the same "connection refused" to the socket.
//! Only its error queue tells the sender (`IP_RECVERR`, ip(7)).

use std::io::{self, ErrorKind, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};

use nix::sys::socket::sockopt::{Ipv4RecvErr, Ipv6RecvErr};
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrIn, SockaddrIn6, SockaddrLike, recvmsg, setsockopt,
};
use socket2::Socket;

/// Asks the kernel to keep who sent an ICMP error.
pub(super) fn keep_errors(socket: &Socket, to: SocketAddr) -> io::Result<()> {
    match to {
        SocketAddr::V4(_) => setsockopt(socket, Ipv4RecvErr, &true)?,
        SocketAddr::V6(_) => setsockopt(socket, Ipv6RecvErr, &true)?,
    }
    Ok(())
}

/// Tells whether an error is the far end's own refusal. A reset of TCP carries its name; of the
/// ICMP errors in the queue the last one counts. Whatever the error, the queue is empty afterwards:
/// it takes room in a socket that is kept.
pub(super) fn is_refusal(error: &io::Error, socket: &impl AsRawFd, to: SocketAddr) -> bool {
    let offender = offender(socket.as_raw_fd(), to);
    error.kind() == ErrorKind::ConnectionRefused && offender.is_none_or(|by| by == to.ip())
}

/// Empties the error queue; returns who sent the last of its ICMP errors, if there were any.
fn offender(socket: RawFd, to: SocketAddr) -> Option<IpAddr> {
    let next = || match to {
        SocketAddr::V4(_) => take::<SockaddrIn>(socket),
        SocketAddr::V6(_) => take::<SockaddrIn6>(socket),
    };
    std::iter::from_fn(next).flatten().last()
}

/// Takes one error off the queue; none if it is empty, and within it none if no address is told.
fn take<S: SockaddrLike>(socket: RawFd) -> Option<Option<IpAddr>> {
    let mut packet = [0; 128];
    let mut iov = [IoSliceMut::new(&mut packet)];
    let mut control = nix::cmsg_space!([u8; 256]);
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let received = recvmsg::<S>(socket, &mut iov, Some(&mut control), flags).ok()?;

    let address = |message| {
        if let ControlMessageOwned::Ipv4RecvErr(_, offender) = message {
            offender.map(|at| IpAddr::from(at.sin_addr.s_addr.to_ne_bytes()))
        } else if let ControlMessageOwned::Ipv6RecvErr(_, offender) = message {
            offender.map(|at| IpAddr::from(at.sin6_addr.s6_addr))
        } else {
            None
        }
    };
    Some(received.cmsgs().ok()?.find_map(address))
}
