//! WireGuard in user space, standing in for the kernel's: one `kilo0` in this process.
//!
//! It belongs to the node and not to the agent, so it outlives an agent that is killed, as the
//! kernel's interface does. What the kernel couples, and a TUN device does not, is coupled here: a
//! link that goes down closes the UDP socket and forgets all sessions.
//!
//! ```text
//!         up: link up, then resume (fresh sessions, socket open)
//! down ◀─────────────────────────────────────────────────────▶ up
//!         down: suspend (socket closed), then link down
//! ```

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use gotatun::device::configure::PeerStats;
use gotatun::device::uapi::UapiServer;
use gotatun::device::{self, DefaultDeviceTransports, Device, DeviceBuilder};
use gotatun::noise::TimerParams;
use gotatun::x25519::{PublicKey, StaticSecret};
use ipnet::IpNet;

use crate::evidence::kilo::topology::{Peer, Tunnel};
use crate::net::{self, LinkChanges, Netlink};

/// How long WireGuard waits for an answer to a handshake before it tries again.
pub const RETRY: Duration = Duration::from_secs(5);

/// How often we look whether a device that came up without peers has got some.
const LOOK: Duration = Duration::from_millis(20);

/// What the protocol adds to [`RETRY`] at random, at most.
const JITTER: Duration = Duration::from_millis(333);

/// What went wrong with a WireGuard interface.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The userspace device refused.
    #[error("could not {tried} WireGuard interface {name}")]
    Device {
        /// What was tried.
        tried: &'static str,
        /// Its name.
        name: String,
        /// Why not.
        #[source]
        source: device::Error,
    },
    /// The socket by which other programs read and set it could not be made.
    #[error("could not open the control socket of {name}: {reason}")]
    Socket {
        /// Its name.
        name: String,
        /// Why not; the library gives no more than a text.
        reason: String,
    },
    /// The kernel refused something about its link.
    #[error(transparent)]
    Link(#[from] net::Error),
}

/// How an interface is set up and what it has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The UDP port.
    pub listen_port: u16,
    /// The peers, by key.
    pub peers: BTreeMap<[u8; 32], PeerState>,
}

/// One peer as the device knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerState {
    /// Its set-up, with the endpoint where it was last heard.
    pub peer: Peer,
    /// How long ago the last handshake was; none without a session.
    pub last_handshake: Option<Duration>,
    /// Bytes received from it.
    pub received: u64,
    /// Bytes sent to it.
    pub sent: u64,
}

/// How far a device follows its link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coupling {
    /// The link is down, the device suspended.
    Down,
    /// The link is up, but there is nobody to talk to yet.
    Idle,
    /// The link is up and the socket open.
    Open,
}

/// One WireGuard interface in the network namespace where it was made. It is gone when dropped.
/// What changes it must run on the thread that made it, since it opens sockets.
pub struct Wireguard {
    name: String,
    public_key: [u8; 32],
    retry: Duration,
    device: Device<DefaultDeviceTransports>,
    netlink: Netlink,
}

impl Wireguard {
    /// Makes an interface in the current thread's namespaces, down and without peers, with a
    /// control socket under `/run/wireguard`. `retry` is [`RETRY`] unless time is to run faster.
    pub async fn create(name: &str, private_key: [u8; 32], retry: Duration) -> Result<Self, Error> {
        let failed = |source| Error::Device { tried: "make", name: name.to_owned(), source };
        let secret = StaticSecret::from(private_key);
        let public_key = PublicKey::from(&secret).to_bytes();
        let control = UapiServer::default_unix_socket(name, None, None)
            .map_err(|error| Error::Socket { name: name.to_owned(), reason: error.to_string() })?;

        let device = DeviceBuilder::new()
            .with_default_udp()
            .create_tun(name)
            .map_err(failed)?
            .with_private_key(secret)
            .with_uapi(control)
            .suspended(true)
            .build()
            .await
            .map_err(failed)?;

        Ok(Self { name: name.to_owned(), public_key, retry, device, netlink: Netlink::open()? })
    }

    /// Returns its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the key by which others know it.
    #[must_use]
    pub const fn public_key(&self) -> [u8; 32] {
        self.public_key
    }

    /// Returns how it is set up and what it has seen.
    pub async fn read(&self) -> State {
        self.device
            .read(async |device| State {
                listen_port: device.listen_port(),
                peers: device.peers().await.iter().map(peer_state).collect(),
            })
            .await
    }

    /// Makes port and peers as wished, and returns whether they were not. If anything differs, all
    /// peers are replaced, which ends all sessions: that is how Kilo does it.
    pub async fn configure(&self, wish: &Tunnel) -> Result<bool, Error> {
        let have = self.read().await;
        let peers = have.peers.iter().map(|(key, state)| (key, &state.peer));
        if have.listen_port == wish.listen_port && peers.eq(&wish.peers) {
            return Ok(false);
        }

        let replaced = self.device.write(async |device| {
            device.set_listen_port(wish.listen_port);
            if have.peers.is_empty() {
                // Also opens the socket, which a device without peers does not have.
                device.clear_peers();
            }
            for key in have.peers.keys() {
                device.remove_peer(&PublicKey::from(*key)).await;
            }
            device.add_peers(wish.peers.iter().map(|(key, peer)| self.peer(*key, peer)));
        });
        replaced.await.map_err(self.failed("configure"))?;

        Ok(true)
    }

    /// Sets the link up and begins anew with every peer; if it is up, nothing changes.
    pub async fn up(&self) -> Result<(), Error> {
        self.netlink.set_up(&self.name).await?;
        self.device.resume().await.map_err(self.failed("resume"))
    }

    /// Closes the socket, forgets all sessions and sets the link down.
    pub async fn down(&self) -> Result<(), Error> {
        self.device.suspend().await;
        Ok(self.netlink.set_down(&self.name).await?)
    }

    /// Couples the device to its link for ever: for an agent that knows only the link and the control
    /// socket, as Kilo's own does, which is used to the kernel's WireGuard.
    pub async fn follow_link(&self) -> Result<(), Error> {
        let mut changes = LinkChanges::open()?;
        let mut coupling = Coupling::Down;
        if self.netlink.link(&self.name).await?.up {
            coupling = self.come_up().await?;
        }

        loop {
            let change = tokio::select! {
                change = changes.next() => change,
                () = tokio::time::sleep(LOOK), if coupling == Coupling::Idle => {
                    coupling = self.come_up().await?;
                    continue;
                }
            };
            let Some(link) = change else { return Ok(()) };
            if link.name == self.name {
                coupling = self.follow(coupling, link.up).await?;
            }
        }
    }

    async fn follow(&self, coupling: Coupling, up: bool) -> Result<Coupling, Error> {
        match (coupling, up) {
            (Coupling::Down, true) => self.come_up().await,
            (Coupling::Idle | Coupling::Open, false) => {
                self.device.suspend().await;
                Ok(Coupling::Down)
            }
            (same, _) => Ok(same),
        }
    }

    /// Begins anew with every peer. A device without peers opens no socket, not even when peers come
    /// by its control socket later.
    async fn come_up(&self) -> Result<Coupling, Error> {
        let alone = self.device.read(async |device| device.peers().await.is_empty()).await;
        if alone {
            return Ok(Coupling::Idle);
        }
        self.device.resume().await.map_err(self.failed("resume"))?;
        Ok(Coupling::Open)
    }

    fn peer(&self, key: [u8; 32], wish: &Peer) -> device::Peer {
        let mut peer = device::Peer::new(PublicKey::from(key));
        peer.endpoint = wish.endpoint;
        peer.preshared_key = wish.preshared_key;
        peer.keepalive = u16::try_from(wish.keepalive.as_secs()).ok().filter(|&every| every != 0);
        peer.allowed_ips =
            wish.allowed_ips.iter().filter_map(|net| net.to_string().parse().ok()).collect();

        if self.retry == RETRY {
            return peer;
        }
        let retry = self.retry..=self.retry + JITTER.mul_f64(self.retry.div_duration_f64(RETRY));
        peer.dangerously_with_timer_params(TimerParams {
            rekey_timeout: retry,
            ..TimerParams::default()
        })
    }

    fn failed(&self, tried: &'static str) -> impl FnOnce(device::Error) -> Error {
        move |source| Error::Device { tried, name: self.name.clone(), source }
    }
}

fn peer_state(stats: &PeerStats) -> ([u8; 32], PeerState) {
    let canonical = |at: SocketAddr| SocketAddr::new(at.ip().to_canonical(), at.port());
    let net = |net: &dyn ToString| net.to_string().parse::<IpNet>().ok();
    let state = PeerState {
        peer: Peer {
            preshared_key: stats.peer.preshared_key,
            endpoint: stats.peer.endpoint.map(canonical),
            allowed_ips: stats.peer.allowed_ips.iter().filter_map(|ip| net(ip)).collect(),
            keepalive: Duration::from_secs(stats.peer.keepalive.unwrap_or_default().into()),
        },
        last_handshake: stats.stats.last_handshake,
        received: stats.stats.rx_bytes as u64,
        sent: stats.stats.tx_bytes as u64,
    };

    (stats.peer.public_key.to_bytes(), state)
}
