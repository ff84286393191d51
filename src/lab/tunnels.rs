//! Looks at the tunnel of every node of a location, and notices which comes up.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;
use tokio::time::sleep;

use super::figures::Struck;
use super::mesh::{Error, Mesh};
use super::station::TUNNEL;
use crate::evidence::NodeName;
use crate::net::Netlink;

/// How often we look.
const GLANCE: Duration = Duration::from_millis(20);

/// The tunnels of the nodes of one location, as long as this is not dropped.
pub struct Tunnels {
    seen: Arc<Mutex<Vec<(NodeName, Instant)>>>,
    told: usize,
    watches: Vec<AbortHandle>,
}

impl Tunnels {
    /// Begins to look at the tunnel of every node of a location.
    pub async fn start(mesh: &Mesh, struck: &Struck) -> Result<Self, Error> {
        let mut tunnels = Self { seen: Arc::default(), told: 0, watches: Vec::new() };

        for place in mesh.network.topology.members(&struck.location) {
            let Some(host) = mesh.network.hosts.get(&place.name) else { continue };
            let (seen, node) = (Arc::clone(&tunnels.seen), place.name.clone());
            let watch = host.host.start(async move || watch_tunnel(&seen, &node).await).await?;
            tunnels.watches.push(watch);
        }
        Ok(tunnels)
    }

    /// Returns which have come up since we were last asked.
    pub fn up(&mut self) -> Vec<(NodeName, Instant)> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let news = seen[self.told..].to_vec();
        self.told += news.len();

        news
    }
}

impl Drop for Tunnels {
    fn drop(&mut self) {
        for watch in &self.watches {
            watch.abort();
        }
    }
}

async fn watch_tunnel(seen: &Mutex<Vec<(NodeName, Instant)>>, node: &NodeName) {
    let Ok(net) = Netlink::open() else { return };

    let mut up = true;
    loop {
        let is_up = net.link(TUNNEL).await.is_ok_and(|link| link.up);
        if is_up && !up {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.push((node.clone(), Instant::now()));
        }
        up = is_up;
        sleep(GLANCE).await;
    }
}
