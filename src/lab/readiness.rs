//! Waits until Tanist could judge, so that what it then does, or does not, means something.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::faults::{Fault, Where};
use super::figures::Struck;
use super::mesh;
use super::run::{Error, QUIET, Run};
use super::shape;
use crate::cluster::objects::MeshLocationStatus;
use crate::evidence::{Location, NodeName};

/// How long Tanist may take until it trusts the mesh and has vetted heirs.
pub(super) const READY: Duration = Duration::from_secs(150);

/// How often we look.
const GLANCE: Duration = Duration::from_millis(200);

impl Run<'_> {
    /// Starts Tanist on every node; first where the lease is to be, if that matters, and waits until
    /// it is there.
    pub(super) async fn start_tanist(&mut self, struck: &Struck) -> Result<(), Error> {
        let first = self.first_holder(struck);
        self.launch.arbiters = shape::arbiters(&self.mesh.network.topology, first.as_ref());
        if let Some(first) = first {
            self.mesh.start_tanist_on(&first, &self.launch).await?;
            let began = Instant::now();
            while self.vigil.chronicle.holder().as_ref() != Some(&first) {
                if began.elapsed() > READY {
                    let why = format!("{first} does not hold the lease");
                    return Err(Error::NotReady { why });
                }
                self.vigil.look();
                sleep(GLANCE).await;
            }
        }
        self.mesh.start_tanist(&self.launch).await?;
        self.vigil.look();
        self.timeline.now(&self.launch.told());
        Ok(())
    }

    /// Returns who is to hold the lease first: a leader that dies with it is found out later than
    /// one that dies without it.
    fn first_holder(&self, struck: &Struck) -> Option<NodeName> {
        let order = &self.options.order;
        if order.place == Where::Holder {
            return Some(struck.leader.clone());
        }
        let mut places = self.mesh.network.topology.places.iter();
        let other = places.rfind(|place| place.name != struck.leader);
        other.filter(|_| order.fault == Fault::NodeDead).map(|place| place.name.clone())
    }

    /// Waits until Tanist trusts every leader, and would move that of this location: it has an heir
    /// there, if there can be one, and has seen no other leader for long enough.
    pub(super) async fn ready(&mut self, location: &Location) -> Result<(), Error> {
        let began = Instant::now();
        while let Some(why) = self.unready(location) {
            self.vigil.look();
            self.all_alive()?;
            if began.elapsed() > READY {
                return Err(Error::NotReady { why });
            }
            sleep(GLANCE).await;
        }

        self.vigil.look();
        let heirs = self.vigil.chronicle.locations().into_iter().map(|(location, status)| {
            let fit = status.heirs.iter().filter(|heir| heir.fit);
            let fit = fit.map(|heir| heir.node.to_string()).collect::<Vec<_>>().join(", ");
            format!("{location}: {fit}")
        });
        let heirs = heirs.collect::<Vec<_>>().join("; ");
        self.timeline.now(&format!("Tanist trusts every leader; fit heirs: {heirs}"));
        Ok(())
    }

    fn unready(&self, struck: &Location) -> Option<String> {
        let known = self.vigil.chronicle.locations();
        let trusted = |status: &MeshLocationStatus| status.verdict.as_deref() == Some("forwards");
        for location in self.mesh.network.topology.locations() {
            let status = known.get(&location);
            if !status.is_some_and(trusted) {
                let because = status.and_then(|status| status.because.clone()).unwrap_or_default();
                return Some(format!("{location} is not trusted yet: {because}"));
            }
        }

        let status = known.get(struck)?;
        let vetted = status.heirs.iter().any(|heir| heir.fit);
        if self.options.nodes > 2 && !vetted {
            return Some(format!("{struck} has no fit heir yet: {:?}", status.heirs));
        }
        let quiet = i64::from(QUIET.div_ceil(self.options.times));
        let since = status.since.as_ref().map_or(0, |since| since.0.as_second());
        let young = mesh::now().seconds() - since <= quiet;
        young.then(|| format!("the leader of {struck} has been seen for less than {quiet} s"))
    }

    fn all_alive(&mut self) -> Result<(), Error> {
        for station in self.mesh.stations() {
            let Some((part, how)) = station.ended() else { continue };
            let node: NodeName = station.host.place.name.clone();
            let log = self.launch.log(part, &node);
            let log = std::fs::read_to_string(log).unwrap_or_default();
            let last = log.lines().rev().take(3).collect::<Vec<_>>();
            let log = last.into_iter().rev().collect::<Vec<_>>().join(" | ");
            return Err(Error::Ended { part, node, how: how.to_string(), log });
        }
        Ok(())
    }

    /// Waits for so long, and tells what happens meanwhile.
    pub(super) async fn idle_until(&self, then: Instant) {
        while Instant::now() < then {
            self.vigil.look();
            sleep(GLANCE.min(then.saturating_duration_since(Instant::now()))).await;
        }
    }
}
