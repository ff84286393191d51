//! Who speaks where nobody answers: datagrams from one node of each location but one, to a node of
//! every other. So the sessions of the silent location are begun from outside only.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use crate::evidence::Location;
use crate::lab::mesh::Mesh;
use crate::lab::namespace;

/// How often each speaks.
const EVERY: Duration = Duration::from_millis(40);

/// The discard port: nobody listens there.
const NOBODY: u16 = 9;

/// The running callers. They stop when this is dropped.
pub(super) struct Callers(Vec<AbortHandle>);

impl Callers {
    /// Starts them in all locations but the silent one.
    pub(super) async fn start(mesh: &Mesh, silent: &Location) -> Result<Self, namespace::Error> {
        let topology = &mesh.network.topology;
        let locations = topology.locations();
        let ends = locations.iter().filter_map(|at| Some((at, topology.members(at).last()?)));
        let ends = ends.collect::<Vec<_>>();

        let mut callers = Self(Vec::new());
        for (at, place) in ends.iter().filter(|(at, _)| *at != silent) {
            let Some(host) = mesh.network.hosts.get(&place.name) else { continue };
            let others = ends.iter().filter(|(other, _)| other != at);
            let others = others.map(|(_, to)| SocketAddr::from((to.pod().addr(), NOBODY)));
            let others = others.collect::<Vec<_>>();
            callers.0.push(host.pod.start(async move || call(&others).await).await?);
        }
        Ok(callers)
    }
}

impl Drop for Callers {
    fn drop(&mut self) {
        for caller in &self.0 {
            caller.abort();
        }
    }
}

async fn call(others: &[SocketAddr]) {
    let Ok(socket) = UdpSocket::bind("0.0.0.0:0").await else { return };
    loop {
        for other in others {
            // That nobody can be reached is what is being measured.
            let _unreachable = socket.send_to(b"?", other).await;
        }
        sleep(EVERY).await;
    }
}
