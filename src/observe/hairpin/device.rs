//! The overlay's device, and a packet socket on it.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd as _;

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{LinkAddr, SockaddrStorage, bind};
use socket2::{Domain, Socket, Type};

use super::Untestable;

/// A packet socket that sends, and hears nothing.
#[derive(Debug)]
pub(super) struct Device {
    socket: Socket,
    /// The device's own link-layer address.
    pub(super) mac: [u8; 6],
    /// The device's own IPv4 address.
    pub(super) address: Ipv4Addr,
}

impl Device {
    /// Opens a socket on the device of that name.
    pub(super) fn open(name: &str) -> Result<Self, Untestable> {
        let (mut link, mut address) = (None, None);
        let addresses = getifaddrs().map_err(local("list the devices"))?;
        for each in addresses.filter(|each| each.interface_name == name) {
            let storage = each.address.as_ref();
            link = link.or_else(|| storage.and_then(SockaddrStorage::as_link_addr).copied());
            address =
                address.or_else(|| storage.and_then(SockaddrStorage::as_sockaddr_in).copied());
        }
        let no_device = || Untestable::NoDevice { device: name.to_owned() };
        let link: LinkAddr = link.ok_or_else(no_device)?;

        // Of protocol 0, so that nothing is ever queued on it.
        let socket = Socket::new(Domain::PACKET, Type::RAW, None).map_err(refused)?;
        bind(socket.as_raw_fd(), &link).map_err(local("bind to the overlay device"))?;
        socket.set_nonblocking(true).map_err(local("prepare the packet socket"))?;

        let mac = link.addr().ok_or_else(no_device)?;
        let address = address.ok_or_else(no_device)?.ip();
        Ok(Self { socket, mac, address })
    }

    /// Sends one frame.
    pub(super) fn send(&self, frame: &[u8]) -> Result<(), Untestable> {
        self.socket.send(frame).map(|_all| ()).map_err(local("send a frame"))
    }
}

fn refused(source: io::Error) -> Untestable {
    if source.kind() == io::ErrorKind::PermissionDenied {
        Untestable::NotPermitted
    } else {
        Untestable::Local { doing: "open a packet socket", source }
    }
}

fn local<E: Into<io::Error>>(doing: &'static str) -> impl Fn(E) -> Untestable {
    move |source| Untestable::Local { doing, source: source.into() }
}
