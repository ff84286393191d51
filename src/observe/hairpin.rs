//! A one-way test of an heir's forwarding, before it leads: frames sent through it, counted beyond.
//!
//! ```text
//!       frames: link layer to the heir, IP to the counter's pod range
//!  M1 ───────────────▶ heir ───────────────▶ M2, which counts them and never answers
//!   └──────────── how many? ────────────────▶ M2's node address, past overlay and heir
//! ```
//!
//! The frames leave by a packet socket of the overlay's device, so no route or rule is installed,
//! and our own connection tracking sees nothing. Since nothing comes back, M2 may be the incumbent,
//! even a sick one: it only receives. Each frame is a new flow. The test cannot see rules on the
//! heir that name its WireGuard interface. So far for flannel's VXLAN over IPv4 only.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use super::probe::{Aim, Prober};
use super::wire::{self, Body};
use crate::evidence::{Hairpin, Target};

mod device;
mod frame;

use device::Device;
use frame::{Ends, frame};

/// Frames in one test: as many as a burst of probes.
const FRAMES: u32 = 16;
/// Between two frames: a test is no burst that a queue might drop.
const GAP: Duration = Duration::from_millis(10);
/// How often the counter is asked, for how long each time, and how long after one another: frames
/// may be slower than the first question.
const QUESTIONS: usize = 4;
const PATIENCE: Duration = Duration::from_millis(300);
const PAUSE: Duration = Duration::from_millis(100);

/// Why an heir cannot be tested.
#[derive(Debug, thiserror::Error)]
pub enum Untestable {
    /// An address of the heir's or the counter's is not known, or not of IPv4.
    #[error("no overlay address of {node} is known")]
    Address {
        /// Of whom.
        node: String,
    },
    /// Packet sockets need a capability that we do not have.
    #[error("no packet socket is permitted")]
    NotPermitted,
    /// This node has no such overlay device, or none with the addresses needed.
    #[error("there is no overlay device {device} with a link-layer and an IPv4 address")]
    NoDevice {
        /// Its name.
        device: String,
    },
    /// Our own kernel refused.
    #[error("{doing}")]
    Local {
        /// What we tried.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Every source port was used within the last three minutes.
    #[error("find a source port not used within the last three minutes")]
    PortsUsedUp,
    /// The counter did not say how many arrived.
    #[error("{node} did not say how many frames arrived")]
    Uncounted {
        /// Who was asked.
        node: String,
    },
}

/// Tests heirs by way of one overlay device.
#[derive(Debug, Clone)]
pub struct Hairpins {
    /// The overlay's device, such as `flannel.1`.
    pub device: String,
    /// The port of all responders.
    pub port: u16,
}

impl Hairpins {
    /// Sends frames through the heir, and asks the counter how many arrived.
    pub async fn test(
        &self,
        prober: &Prober,
        heir: &Target,
        counter: &Target,
    ) -> Result<Hairpin, Untestable> {
        let unknown = |target: &Target| Untestable::Address { node: target.node.to_string() };
        let mac = heir.overlay_mac.as_deref().and_then(mac).ok_or_else(|| unknown(heir))?;
        let Some(IpAddr::V4(to)) = counter.pod_address else { return Err(unknown(counter)) };
        let Some(node) = counter.node_address else { return Err(unknown(counter)) };
        let address = SocketAddr::new(node, self.port);
        let aim = Aim { to: counter.node.clone(), address, source: None };

        let device = Device::open(&self.device)?;
        let test = self.send(prober, &device, mac, to).await?;
        let counted = count(prober, &aim, test).await;
        let counted = counted.ok_or_else(|| Untestable::Uncounted { node: aim.to.to_string() })?;

        Ok(Hairpin {
            heir: heir.node.clone(),
            counter: counter.node.clone(),
            sent: FRAMES,
            counted,
            age_ms: 0,
            ever_passed: false,
        })
    }

    /// Sends all frames of a test; returns its number.
    async fn send(
        &self,
        prober: &Prober,
        device: &Device,
        heir: [u8; 6],
        to: Ipv4Addr,
    ) -> Result<u32, Untestable> {
        let first = prober.hairpin_packet();
        for index in 0..FRAMES {
            let packet = wire::Packet { body: Body::Hairpin { frame: index }, ..first };
            let port = prober.next_port().ok_or(Untestable::PortsUsedUp)?;
            let ends = Ends {
                hardware: (device.mac, heir),
                source: SocketAddrV4::new(device.address, port),
                destination: SocketAddrV4::new(to, self.port),
            };
            device.send(&frame(&ends, &prober.encode(&packet)))?;
            tokio::time::sleep(GAP).await;
        }

        Ok(first.nonce.sequence)
    }
}

/// Asks until all are counted, or often enough.
async fn count(prober: &Prober, aim: &Aim, test: u32) -> Option<u32> {
    let mut counted = None;
    for _ in 0..QUESTIONS {
        counted = counted.max(prober.count(aim, test, PATIENCE).await);
        if counted == Some(FRAMES) {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }

    counted
}

/// Reads a link-layer address such as `02:42:0a:00:00:01`.
fn mac(text: &str) -> Option<[u8; 6]> {
    let is_byte = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
    let byte = |part| is_byte(part).then(|| u8::from_str_radix(part, 16).ok()).flatten();
    let bytes: Vec<_> = text.split(':').map(byte).collect::<Option<_>>()?;

    bytes.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::mac;

    #[test]
    fn reads_link_layer_addresses() {
        assert_eq!(mac("02:42:0a:FF:00:01"), Some([2, 0x42, 10, 255, 0, 1]));
        for text in [
            "",
            "02:42:0a:ff:00",
            "02:42:0a:ff:00:01:02",
            "2:42:0a:ff:00:01",
            "gg:42:0a:ff:00:01",
            "+2:42:0a:ff:00:01",
        ] {
            assert_eq!(mac(text), None, "{text}");
        }
    }
}
