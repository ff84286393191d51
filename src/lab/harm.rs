//! What is done to a running mesh: each fault, set and lifted.

use std::time::{Duration, Instant};

use kube::Api;
use tokio::time::sleep;

use super::faults::{Fault, Usual};
use super::figures::Struck;
use super::firewall;
use super::launch::Launch;
use super::mesh::{BACK, Error, Mesh, now};
use super::namespace::Namespace;
use super::network;
use super::station;
use super::topology::Place;
use crate::cluster::objects::RelayReport;
use crate::evidence::kilo::is_ready;
use crate::evidence::{Location, NodeName};

/// How often we look whether something is back.
const GLANCE: Duration = Duration::from_millis(200);

/// How long a pod that is replaced is away, as Kilo counts time.
const AWAY: Duration = Duration::from_secs(3);

/// A fault, and what it strikes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Harm {
    /// What breaks.
    pub fault: Fault,
    /// The leader in question, and its location.
    pub struck: Struck,
    /// The node where it breaks; none if it breaks on none in particular.
    pub node: Option<NodeName>,
}

#[derive(Clone, Copy)]
enum Change {
    Set,
    Lift,
}

impl Mesh {
    /// Sets a fault. What it restarts of Tanist is started with `launch`; without it, nothing runs.
    /// Returns once it is in force, or if it is over by itself, once it is.
    pub async fn strike(&mut self, harm: &Harm, launch: Option<&Launch>) -> Result<(), Error> {
        if let Fault::ApiDown(seconds) = harm.fault {
            self.control.refuse();
            sleep(Duration::from_secs(seconds.into()) / self.times).await;
            self.control.answer();
            return Ok(());
        }

        for place in self.targets(harm)? {
            self.strike_at(&harm.fault, &place, launch).await?;
        }
        Ok(())
    }

    async fn strike_at(
        &mut self,
        fault: &Fault,
        place: &Place,
        launch: Option<&Launch>,
    ) -> Result<(), Error> {
        let node = &place.name;
        match fault {
            Fault::ForwardOff => forwarding(&self.station(node)?.host.host, "0").await?,
            Fault::NodeDead | Fault::MemberDead => {
                self.network.unplug(place).await?;
                let station = self.station(node)?;
                station.kill_tanist().await;
                station.kill_kilo().await;
            }
            Fault::AgentDead => self.station(node)?.kill_kilo().await,
            Fault::AgentRestart | Fault::Rollout => self.restart_kilo(place).await?,
            Fault::TanistRollout => self.restart_tanist(place, launch).await?,
            Fault::CpuStarved => self.station(node)?.starve(),
            Fault::NewFlows
            | Fault::Rejected
            | Fault::VxlanWedge
            | Fault::Partial(_)
            | Fault::OneWay
            | Fault::OneWayBetween(..)
            | Fault::Mtu(_)
            | Fault::MtuBetween(..)
            | Fault::ProbesDropped
            | Fault::PortBlocked
            | Fault::WanCut(..)
            | Fault::ApiDown(_) => self.filter(fault, place, Change::Set).await?,
        }

        Ok(())
    }

    /// Restarts a Kilo agent in good order, and waits until its node is Ready by Kilo's rules.
    async fn restart_kilo(&mut self, place: &Place) -> Result<(), Error> {
        let failed = |source| Error::Station { node: place.name.clone(), source };
        let away = AWAY / self.times;
        let station = self.station(&place.name)?;
        station.stop_kilo().await;
        sleep(away).await;
        station.start_kilo().await.map_err(failed)?;
        let began = Instant::now();

        while began.elapsed() < BACK {
            let mesh = self.control.mesh(now()).await?;
            if mesh.nodes.get(&place.name).is_some_and(|node| is_ready(node, mesh.at)) {
                return Ok(());
            }
            sleep(GLANCE).await;
        }
        Err(Error::NotBack { what: "the Kilo agent", node: place.name.clone() })
    }

    /// Restarts Tanist on a node in good order, and waits until it has reported anew.
    async fn restart_tanist(
        &mut self,
        place: &Place,
        launch: Option<&Launch>,
    ) -> Result<(), Error> {
        let Some(launch) = launch else { return Ok(()) };
        let node = place.name.clone();
        self.station(&node)?.stop_tanist().await;
        sleep(AWAY / self.times).await;
        let began = (Instant::now(), now());
        self.start_tanist_on(&node, launch).await?;

        let reports = Api::<RelayReport>::all(self.control.client.clone());
        while began.0.elapsed() < BACK {
            let report = reports.get_opt(&node.0).await.ok().flatten();
            if report.is_some_and(|report| report.spec.report.written_ms > began.1.0) {
                return Ok(());
            }
            sleep(GLANCE).await;
        }
        Err(Error::NotBack { what: "Tanist", node })
    }

    /// Lifts a fault. What it killed is started again.
    pub async fn lift(&mut self, harm: &Harm, launch: Option<&Launch>) -> Result<(), Error> {
        if matches!(harm.fault, Fault::ApiDown(_)) {
            return Ok(());
        }

        for place in self.targets(harm)? {
            self.lift_at(&harm.fault, &place, launch).await?;
        }
        Ok(())
    }

    async fn lift_at(
        &mut self,
        fault: &Fault,
        place: &Place,
        launch: Option<&Launch>,
    ) -> Result<(), Error> {
        let failed = |source: station::Error| Error::Station { node: place.name.clone(), source };
        let node = &place.name;
        match fault {
            Fault::ForwardOff => forwarding(&self.station(node)?.host.host, "1").await?,
            Fault::NodeDead | Fault::MemberDead => {
                self.network.plug(place).await?;
                let station = self.station(node)?;
                station.start_kilo().await.map_err(failed)?;
                if let Some(launch) = launch {
                    self.start_tanist_on(node, launch).await?;
                }
            }
            Fault::AgentDead => self.station(node)?.start_kilo().await.map_err(failed)?,
            Fault::CpuStarved => self.station(node)?.feed(),
            Fault::AgentRestart | Fault::Rollout | Fault::TanistRollout | Fault::ApiDown(_) => {}
            Fault::NewFlows
            | Fault::Rejected
            | Fault::VxlanWedge
            | Fault::Partial(_)
            | Fault::OneWay
            | Fault::OneWayBetween(..)
            | Fault::Mtu(_)
            | Fault::MtuBetween(..)
            | Fault::ProbesDropped
            | Fault::PortBlocked
            | Fault::WanCut(..) => self.filter(fault, place, Change::Lift).await?,
        }

        Ok(())
    }

    /// Returns where a fault strikes.
    fn targets(&self, harm: &Harm) -> Result<Vec<Place>, Error> {
        let topology = &self.network.topology;

        if let Some(between) = harm.fault.between() {
            let members = between.map(|location| self.members(location));
            return members.into_iter().collect::<Result<Vec<_>, _>>().map(|all| all.concat());
        }
        match (&harm.node, harm.fault.usual()) {
            (Some(node), _) => {
                let place = topology.place(node).ok_or_else(|| Error::NoNode(node.clone()))?;
                Ok(vec![place.clone()])
            }
            (None, Usual::Everywhere) => Ok(topology.places.clone()),
            (None, Usual::Location) => self.members(&harm.struck.location),
            (None, Usual::Leader | Usual::Member | Usual::Mesh) => {
                Err(Error::NoTarget(harm.fault.clone()))
            }
        }
    }

    fn members(&self, location: &Location) -> Result<Vec<Place>, Error> {
        let members = self.network.topology.members(location).cloned().collect::<Vec<_>>();
        if members.is_empty() { Err(Error::NoLocation(location.clone())) } else { Ok(members) }
    }

    /// Returns the node that a fault strikes if nobody says: in that location its leader, or its
    /// first member.
    #[must_use]
    pub fn usual(&self, fault: &Fault, location: &Location, leader: &NodeName) -> Option<NodeName> {
        match fault.usual() {
            Usual::Mesh | Usual::Everywhere | Usual::Location => None,
            Usual::Leader => Some(leader.clone()),
            Usual::Member => {
                let mut members = self.network.topology.members(location);
                members.find(|place| place.name != *leader).map(|place| place.name.clone())
            }
        }
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

async fn forwarding(host: &Namespace, value: &'static str) -> Result<(), Error> {
    const SETTING: &str = "net/ipv4/ip_forward";

    let set = host.run(async move || std::fs::write(format!("/proc/sys/{SETTING}"), value)).await?;
    let setting = SETTING.to_owned();
    set.map_err(|source| network::Error::Setting { setting, source }.into())
}
