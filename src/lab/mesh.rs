//! The running mesh: network, control plane, and what runs on every node; and the faults in it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::apiserver;
use super::control::{self, ControlPlane};
use super::faults::{Fault, Usual};
use super::firewall;
use super::namespace::{self, Inside, Namespace};
use super::network::{self, Network};
use super::station::{self, Launch, Station};
use super::topology::{Place, Topology};
use super::traffic::{Fresh, Traffic};
use crate::evidence::kilo::leaders;
use crate::evidence::{Location, NodeName, UnixTime};

/// How long fresh flows must pass between all locations before the mesh counts as settled.
const CALM: Duration = Duration::from_millis(1500);

/// How long the mesh may take to settle.
const PATIENCE: Duration = Duration::from_secs(180);

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
    stations: BTreeMap<NodeName, Station>,
}

impl Mesh {
    /// Builds network and control plane, and starts Kilo on every node, `times` as fast as usual,
    /// and the users. To be called on the WAN's thread, and used there.
    pub async fn start(
        topology: Topology,
        wan: Namespace,
        inside: Inside,
        times: u32,
    ) -> Result<Self, Error> {
        let network = Network::build(topology, wan).await?;
        let control = ControlPlane::start(inside.loopback, &inside.folder).await?;
        control.register(&network.topology).await?;

        let mut stations = BTreeMap::new();
        for (name, host) in &network.hosts {
            let failed = |source| Error::Station { node: name.clone(), source };
            let mut station = Station::new(host.clone(), times).await.map_err(failed)?;
            station.start_kilo().await.map_err(failed)?;
            stations.insert(name.clone(), station);
        }
        let traffic = Traffic::start(&network).await?;

        Ok(Self { network, control, traffic, stations })
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

    /// Starts a sidecar on every node.
    pub async fn start_sidecars(&mut self, launch: &Launch) -> Result<(), Error> {
        for (node, station) in &mut self.stations {
            let started = station.start_sidecar(&self.control, launch).await;
            started.map_err(|source| Error::Station { node: node.clone(), source })?;
        }
        Ok(())
    }

    /// Tells every sidecar to end, and waits until they have.
    pub async fn stop_sidecars(&mut self) {
        futures::future::join_all(self.stations.values_mut().map(Station::stop_sidecar)).await;
    }

    /// Returns a node and what runs on it.
    pub fn station(&mut self, node: &NodeName) -> Result<&mut Station, Error> {
        self.stations.get_mut(node).ok_or_else(|| Error::NoNode(node.clone()))
    }

    /// Returns all nodes and what runs on them.
    pub fn stations(&mut self) -> impl Iterator<Item = &mut Station> {
        self.stations.values_mut()
    }

    /// Sets a fault, on a node if it strikes one.
    pub async fn strike(&mut self, fault: &Fault, node: Option<&NodeName>) -> Result<(), Error> {
        if let Fault::WanCut(one, other) = fault {
            return self.cut(fault, [one, other], Change::Set).await;
        }
        if *fault == Fault::ApiDown {
            self.control.server.faults().set(apiserver::Fault::Refuse);
            return Ok(());
        }

        for place in self.targets(fault, node)? {
            self.strike_at(fault, &place).await?;
        }
        Ok(())
    }

    async fn strike_at(&mut self, fault: &Fault, place: &Place) -> Result<(), Error> {
        let network = &self.network;
        let station = self.stations.get_mut(&place.name);
        let station = station.ok_or_else(|| Error::NoNode(place.name.clone()))?;

        match fault {
            Fault::ForwardOff => forwarding(&station.host.host, "0").await?,
            Fault::NodeDead | Fault::MemberDead => {
                network.unplug(place).await?;
                station.kill_sidecar().await;
                station.kill_kilo().await;
            }
            Fault::AgentDead => station.kill_kilo().await,
            Fault::AgentRestart => {
                let failed = |source| Error::Station { node: place.name.clone(), source };
                station.stop_kilo().await;
                station.start_kilo().await.map_err(failed)?;
            }
            Fault::CpuStarved => station.starve(),
            Fault::NewFlows
            | Fault::VxlanWedge
            | Fault::Partial(_)
            | Fault::OneWay
            | Fault::Mtu(_)
            | Fault::ProbesDropped
            | Fault::WanCut(..)
            | Fault::ApiDown => self.filter(fault, place, Change::Set).await?,
        }

        Ok(())
    }

    /// Lifts a fault. What it killed is started again.
    pub async fn lift(
        &mut self,
        fault: &Fault,
        node: Option<&NodeName>,
        launch: Option<&Launch>,
    ) -> Result<(), Error> {
        if let Fault::WanCut(one, other) = fault {
            return self.cut(fault, [one, other], Change::Lift).await;
        }
        if *fault == Fault::ApiDown {
            self.control.server.faults().lift();
            return Ok(());
        }

        for place in self.targets(fault, node)? {
            self.lift_at(fault, &place, launch).await?;
        }
        Ok(())
    }

    async fn lift_at(
        &mut self,
        fault: &Fault,
        place: &Place,
        launch: Option<&Launch>,
    ) -> Result<(), Error> {
        let failed = |source| Error::Station { node: place.name.clone(), source };
        let station = self.stations.get_mut(&place.name);
        let station = station.ok_or_else(|| Error::NoNode(place.name.clone()))?;

        match fault {
            Fault::ForwardOff => forwarding(&station.host.host, "1").await?,
            Fault::NodeDead | Fault::MemberDead => {
                self.network.plug(place).await?;
                station.start_kilo().await.map_err(failed)?;
                if let Some(launch) = launch {
                    station.start_sidecar(&self.control, launch).await.map_err(failed)?;
                }
            }
            Fault::AgentDead => station.start_kilo().await.map_err(failed)?,
            Fault::AgentRestart => {}
            Fault::CpuStarved => station.feed(),
            Fault::NewFlows
            | Fault::VxlanWedge
            | Fault::Partial(_)
            | Fault::OneWay
            | Fault::Mtu(_)
            | Fault::ProbesDropped
            | Fault::WanCut(..)
            | Fault::ApiDown => self.filter(fault, place, Change::Lift).await?,
        }

        Ok(())
    }

    /// Returns where a fault strikes.
    fn targets(&self, fault: &Fault, node: Option<&NodeName>) -> Result<Vec<Place>, Error> {
        let topology = &self.network.topology;

        match (node, fault.usual()) {
            (Some(node), _) => {
                let place = topology.place(node).ok_or_else(|| Error::NoNode(node.clone()))?;
                Ok(vec![place.clone()])
            }
            (None, Usual::Everywhere) => Ok(topology.places.clone()),
            (None, Usual::Leader | Usual::Member | Usual::Mesh) => {
                Err(Error::NoTarget(fault.clone()))
            }
        }
    }

    /// Returns the node that a fault strikes if nobody says: in that location its leader, or its
    /// first member.
    #[must_use]
    pub fn usual(&self, fault: &Fault, location: &Location, leader: &NodeName) -> Option<NodeName> {
        match fault.usual() {
            Usual::Mesh | Usual::Everywhere => None,
            Usual::Leader => Some(leader.clone()),
            Usual::Member => {
                let mut members = self.network.topology.members(location);
                members.find(|place| place.name != *leader).map(|place| place.name.clone())
            }
        }
    }

    async fn cut(
        &self,
        fault: &Fault,
        locations: [&Location; 2],
        change: Change,
    ) -> Result<(), Error> {
        for location in locations {
            let mut members = self.network.topology.members(location).peekable();
            if members.peek().is_none() {
                return Err(Error::NoLocation(location.clone()));
            }
            for place in members {
                self.filter(fault, place, change).await?;
            }
        }
        Ok(())
    }

    async fn filter(&self, fault: &Fault, place: &Place, change: Change) -> Result<(), Error> {
        let Some(rules) = fault.rules(place, &self.network.topology) else { return Ok(()) };
        let host = self.network.hosts.get(&place.name);
        let host = host.ok_or_else(|| Error::NoNode(place.name.clone()))?;

        let rules = match change {
            Change::Set => rules.set,
            Change::Lift => rules.lift,
        };
        let changed = firewall::apply(&host.host, rules).await;
        changed.map_err(|source| Error::Firewall { node: place.name.clone(), source })
    }
}

#[derive(Clone, Copy)]
enum Change {
    Set,
    Lift,
}

async fn forwarding(host: &Namespace, value: &'static str) -> Result<(), Error> {
    const SETTING: &str = "net/ipv4/ip_forward";

    let set = host.run(async move || std::fs::write(format!("/proc/sys/{SETTING}"), value)).await?;
    let setting = SETTING.to_owned();
    set.map_err(|source| network::Error::Setting { setting, source }.into())
}

/// Returns the wall time, by which Kilo judges readiness.
#[must_use]
pub fn now() -> UnixTime {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    UnixTime(since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX)))
}

/// Returns the folder of the sidecars' logs, made if it is not there.
pub fn logs(folder: &Path) -> std::io::Result<std::path::PathBuf> {
    let logs = folder.join("logs");
    std::fs::create_dir_all(&logs)?;

    Ok(logs)
}
