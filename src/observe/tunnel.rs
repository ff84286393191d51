//! WireGuard's own view of its peers: context for people, never evidence. A fresh handshake proves
//! nothing about fresh flows (measured).
//!
//! `wireguard-control` blocks without a deadline, lists no userspace devices on Linux, and prints
//! private keys when a device is printed. So it is called on a thread of its own, one call at a
//! time; userspace is asked only where there is a socket; and no device leaves this file.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, SystemTime};

use wireguard_control::{Backend, Device, InterfaceName};

/// A kernel answers at once, and so does a daemon that works.
const DEADLINE: Duration = Duration::from_secs(2);

/// Where userspace implementations listen.
const SOCKETS: &str = "/var/run/wireguard";

/// What WireGuard says of one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Its public key.
    pub key: [u8; 32],
    /// How long ago the last handshake was; none if there was none.
    pub handshake: Option<Duration>,
    /// Bytes received from it.
    pub received: u64,
    /// Bytes sent to it.
    pub sent: u64,
}

/// Asks one WireGuard device again and again.
#[derive(Debug)]
pub struct Tunnel {
    device: InterfaceName,
    busy: Arc<AtomicBool>,
}

impl Tunnel {
    /// Returns eyes on the device of that name; none if no device can have that name.
    #[must_use]
    pub fn new(device: &str) -> Option<Self> {
        let device = device.parse().ok()?;
        Some(Self { device, busy: Arc::default() })
    }

    /// Returns the device's peers; none where they are unknown: no device, no right to ask, no
    /// answer in time, or an earlier question still open.
    pub async fn peers(&self) -> Option<Vec<Peer>> {
        if self.busy.swap(true, SeqCst) {
            return None;
        }
        let (device, busy) = (self.device, Arc::clone(&self.busy));
        let asked = tokio::task::spawn_blocking(move || {
            let peers = ask(&device);
            busy.store(false, SeqCst);
            peers
        });
        tokio::time::timeout(DEADLINE, asked).await.ok()?.ok()?
    }
}

fn ask(device: &InterfaceName) -> Option<Vec<Peer>> {
    let socket = Path::new(SOCKETS).join(format!("{}.sock", device.as_str_lossy()));
    let backend = if socket.exists() { Backend::Userspace } else { Backend::Kernel };
    let now = SystemTime::now();

    let peers = Device::get(device, backend).ok()?.peers.into_iter().map(|peer| Peer {
        key: peer.config.public_key.0,
        // Where none ever was, some implementations say that it was in 1970.
        handshake: (peer.stats.last_handshake_time)
            .filter(|time| *time > SystemTime::UNIX_EPOCH)
            .map(|time| now.duration_since(time).unwrap_or_default()),
        received: peer.stats.rx_bytes,
        sent: peer.stats.tx_bytes,
    });
    // The kernel's answer may split one peer over several messages.
    let mut peers: Vec<_> = peers.collect();
    peers.sort_by_key(|peer| peer.key);
    peers.dedup_by_key(|peer| peer.key);
    Some(peers)
}

#[cfg(test)]
mod tests {
    use super::Tunnel;

    #[tokio::test]
    async fn an_absent_device_is_unknown() {
        assert_eq!(Tunnel::new("no-such-device").unwrap().peers().await, None);
        assert!(Tunnel::new("a name that no device can have").is_none());
    }
}
