//! The running mesh: network, control plane, and what runs on every node; and the faults in it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::control::{self, ControlPlane};
use super::faults::Fault;
use super::firewall;
use super::launch::Launch;
use super::namespace::{self, Inside, Namespace};
use super::network::{self, Network};
use super::shape::Shape;
use super::station::{self, Programs, Station};
use super::topology::Topology;
use super::traffic::{Fresh, Traffic};
use crate::evidence::kilo::leaders;
use crate::evidence::{Location, NodeName, UnixTime};

/// How long fresh flows must pass between all locations before the mesh counts as settled.
const CALM: Duration = Duration::from_millis(1500);

/// How long the mesh may take to settle.
const PATIENCE: Duration = Duration::from_secs(180);

/// How long something that was restarted may take until it is back.
pub(super) const BACK: Duration = Duration::from_secs(40);

/// What went wrong with the mesh.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The network.
    #[error("could not build the network")]
    Network(#[from] network::Error),
    /// A namespace.
    #[error("could not use a namespace")]
    Namespace(#[from] namespace::Error),
    /// The control plane.
    #[error("could not run the control plane")]
    Control(#[from] control::Error),
    /// A node.
    #[error("could not run node {node}")]
    Station {
        /// Which.
        node: NodeName,
        /// Why it failed.
        #[source]
        source: station::Error,
    },
    /// The packet filter.
    #[error("could not change the packet filter of {node}")]
    Firewall {
        /// Where.
        node: NodeName,
        /// Why it failed.
        #[source]
        source: firewall::Error,
    },
    /// No such node.
    #[error("there is no node {0}")]
    NoNode(NodeName),
    /// No such location.
    #[error("there is no location {0}")]
    NoLocation(Location),
    /// The fault strikes a node, and none was said.
    #[error("{0} strikes a node, and none was said")]
    NoTarget(Fault),
    /// What was restarted does not come back.
    #[error("{what} of {node} was not back within {} s", BACK.as_secs())]
    NotBack {
        /// What.
        what: &'static str,
        /// Where.
        node: NodeName,
    },
    /// It does not come to rest.
    #[error("the mesh did not settle within {} s: {why}", PATIENCE.as_secs())]
    Unsettled {
        /// What was seen last.
        why: String,
    },
}

/// A running mesh.
pub struct Mesh {
    /// The network.
    pub network: Network,
    /// The API server.
    pub control: ControlPlane,
    /// Its users.
    pub traffic: Traffic,
    /// How many times as fast Kilo runs.
    pub(super) times: u32,
    /// What runs on each node.
    pub(super) stations: BTreeMap<NodeName, Station>,
}

impl Mesh {
    /// Builds network and control plane, and starts Kilo on every node, `times` as fast as usual,
    /// and the users; of Tanist there is what its shape needs of the cluster. To be called on the WAN's thread, and used there.
    pub async fn start(
        topology: Topology,
        wan: Namespace,
        inside: Inside,
        (times, shape, real): (u32, Shape, &Programs),
    ) -> Result<Self, Error> {
        let network = Network::build(topology, wan).await?;
        let (topology, servers) = (&network.topology, real.servers.as_ref());
        let control =
            ControlPlane::start(inside.loopback, &inside.folder, topology, servers).await?;
        control.register(topology, shape).await?;

        let mut stations = BTreeMap::new();
        for (name, host) in &network.hosts {
            let failed = |source| Error::Station { node: name.clone(), source };
            let station = Station::new(host.clone(), &control.access, (times, real)).await;
            let mut station = station.map_err(failed)?;
            station.start_kilo().await.map_err(failed)?;
            stations.insert(name.clone(), station);
        }
        let traffic = Traffic::start(&network).await?;

        Ok(Self { network, control, traffic, times, stations })
    }

    /// Waits until every location has a leader and fresh flows pass between all of them.
    pub async fn settle(&self) -> Result<BTreeMap<Location, NodeName>, Error> {
        let began = Instant::now();

        loop {
            let why = match self.calm().await {
                Ok(leaders) => return Ok(leaders),
                Err(why) => why,
            };
            if began.elapsed() > PATIENCE {
                return Err(Error::Unsettled { why });
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Returns who leads if the mesh is at rest, else why it is not.
    async fn calm(&self) -> Result<BTreeMap<Location, NodeName>, String> {
        let leaders = self.leaders().await.map_err(|error| error.to_string())?;
        let locations = self.network.topology.locations();
        if let Some(none) = locations.iter().find(|location| !leaders.contains_key(location)) {
            return Err(format!("{none} has no leader"));
        }

        let recent = self.traffic.since(Instant::now() - CALM);
        if let Some(lost) = recent.iter().find(|flow| flow.answer.is_none()) {
            return Err(format!("a flow from {} to {} is lost", lost.pair.from, lost.pair.to));
        }
        for from in &locations {
            for to in locations.iter().filter(|to| *to != from) {
                if !recent.iter().any(|flow| self.runs(flow, from, to)) {
                    return Err(format!("no flow from {from} to {to} has ended yet"));
                }
            }
        }

        Ok(leaders)
    }

    fn runs(&self, flow: &Fresh, from: &Location, to: &Location) -> bool {
        self.location(&flow.pair.from) == Some(from) && self.location(&flow.pair.to) == Some(to)
    }

    /// Returns who leads each location by Kilo's rules.
    pub async fn leaders(&self) -> Result<BTreeMap<Location, NodeName>, Error> {
        let mesh = self.control.mesh(now()).await?;
        let leaders = leaders(&mesh).into_iter();

        Ok(leaders.map(|(location, node)| (location, node.name.clone())).collect())
    }

    /// Returns the location of a node.
    #[must_use]
    pub fn location(&self, node: &NodeName) -> Option<&Location> {
        self.network.topology.place(node).map(|place| &place.location)
    }

    /// Starts Tanist on every node, as far as it does not run there.
    pub async fn start_tanist(&mut self, launch: &Launch) -> Result<(), Error> {
        for node in self.stations.keys().cloned().collect::<Vec<_>>() {
            self.start_tanist_on(&node, launch).await?;
        }
        Ok(())
    }

    /// Starts what Tanist has on a node, as far as it does not run.
    pub async fn start_tanist_on(&mut self, node: &NodeName, launch: &Launch) -> Result<(), Error> {
        let station = self.stations.get_mut(node).ok_or_else(|| Error::NoNode(node.clone()))?;
        let failed = |source| Error::Station { node: node.clone(), source };
        for part in launch.parts(node) {
            if !station.runs(*part) {
                let kubeconfig = self.control.kubeconfig(*part, node).await?;
                station.start(*part, &kubeconfig, launch).await.map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Tells all of Tanist to end, and waits until it has.
    pub async fn stop_tanist(&mut self) {
        futures::future::join_all(self.stations.values_mut().map(Station::stop_tanist)).await;
    }

    /// Returns a node and what runs on it.
    pub fn station(&mut self, node: &NodeName) -> Result<&mut Station, Error> {
        self.stations.get_mut(node).ok_or_else(|| Error::NoNode(node.clone()))
    }

    /// Returns all nodes and what runs on them.
    pub fn stations(&mut self) -> impl Iterator<Item = &mut Station> {
        self.stations.values_mut()
    }
}

/// Returns the wall time, by which Kilo judges readiness.
#[must_use]
pub fn now() -> UnixTime {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    UnixTime(since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX)))
}

/// Returns the folder of the logs, made if it is not there.
pub fn logs(folder: &Path) -> std::io::Result<std::path::PathBuf> {
    let logs = folder.join("logs");
    std::fs::create_dir_all(&logs)?;

    Ok(logs)
}
