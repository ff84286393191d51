//! An Ethernet frame with an IPv4 and UDP packet in it.

use std::net::SocketAddrV4;

use crate::observe::checksum::internet;

const IPV4: [u8; 2] = [0x08, 0x00];
const UDP: u8 = 17;
const HOPS: u8 = 64;

/// From where to where, on each layer.
pub(super) struct Ends {
    /// Link-layer source and destination.
    pub(super) hardware: ([u8; 6], [u8; 6]),
    /// Address and port.
    pub(super) source: SocketAddrV4,
    /// Address and port.
    pub(super) destination: SocketAddrV4,
}

/// Returns the frame that carries the payload.
pub(super) fn frame(ends: &Ends, payload: &[u8]) -> Vec<u8> {
    let (from, to) = ends.hardware;
    let udp = udp(ends, payload);
    let ip = ip(ends, udp.len() + payload.len());

    [&to[..], &from, &IPV4, &ip, &udp, payload].concat()
}

fn ip(ends: &Ends, carried: usize) -> [u8; 20] {
    let mut header = [0; 20];
    header[0] = 0x45;
    header[2..4].copy_from_slice(&((20 + carried) as u16).to_be_bytes());
    // Never a fragment, so it needs no id.
    header[6] = 0x40;
    header[8..10].copy_from_slice(&[HOPS, UDP]);
    header[12..16].copy_from_slice(&ends.source.ip().octets());
    header[16..].copy_from_slice(&ends.destination.ip().octets());
    let sum = internet(&[&header]);
    header[10..12].copy_from_slice(&sum.to_be_bytes());

    header
}

fn udp(ends: &Ends, payload: &[u8]) -> [u8; 8] {
    let length = ((8 + payload.len()) as u16).to_be_bytes();
    let mut header = [0; 8];
    header[..2].copy_from_slice(&ends.source.port().to_be_bytes());
    header[2..4].copy_from_slice(&ends.destination.port().to_be_bytes());
    header[4..6].copy_from_slice(&length);

    let (from, to) = (ends.source.ip().octets(), ends.destination.ip().octets());
    let sum = internet(&[&from, &to, &[0, UDP], &length, &header, payload]);
    // Zero would mean that there is no checksum.
    header[6..].copy_from_slice(&if sum == 0 { 0xffff } else { sum }.to_be_bytes());
    header
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// A receiver sums all of it, checksums included, and must get nothing.
        #[test]
        fn checksums_cancel_out(
            source in any::<(u32, u16)>(),
            destination in any::<(u32, u16)>(),
            payload in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let end = |(address, port): (u32, u16)| SocketAddrV4::new(address.into(), port);
            let ends = Ends {
                hardware: ([1; 6], [2; 6]),
                source: end(source),
                destination: end(destination),
            };
            let frame = frame(&ends, &payload);
            let (ip, udp) = (&frame[14..34], &frame[34..]);

            prop_assert_eq!(&frame[..14], [2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 8, 0]);
            prop_assert_eq!(internet(&[ip]), 0);
            let length = (udp.len() as u16).to_be_bytes();
            prop_assert_eq!(internet(&[&ip[12..], &[0, UDP], &length, udp]), 0);
            prop_assert_eq!(usize::from(u16::from_be_bytes([ip[2], ip[3]])), frame.len() - 14);
        }
    }
}
