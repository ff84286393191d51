//! One incident: a fault is set, watched, lifted; and on the way the arbiter may be killed.

use std::str::FromStr;
use std::time::{Duration, Instant};

use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::time::sleep;

use super::chronicle::{Happening, What};
use super::faults::{Fault, Where};
use super::figures::{Figures, Mover, Struck};
use super::harm::Harm;
use super::launch::Launch;
use super::mesh::{self, Mesh};
use super::run::{Error, Run};
use super::vigil::{Phase, Vigil};
use super::watch::{Until, Watch};
use crate::cluster::objects::MovePhase;
use crate::evidence::kilo::{Change, leader_of, members, promotion};
use crate::evidence::{Location, NodeName, UnixTime};

/// The annotation that makes a leader.
const LEADER: &str = "kilo.squat.ai/leader";

/// How long a person waits before the annotation is moved.
const HESITATION: Duration = Duration::from_secs(4);

/// How much slower the API server takes a move's writes while its arbiter is to be killed, so that
/// it can be killed between two of them.
const SLOWLY: Duration = Duration::from_millis(250);

/// How often we look for the step at which an arbiter is to be killed.
const GLANCE: Duration = Duration::from_millis(2);

/// How long we wait for that step, and for the next arbiter.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long Kilo takes to elect somebody once all agents are back.
const ELECTION: Duration = Duration::from_secs(2);

/// How far a move has come when its arbiter is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The record is written, and no annotation.
    Recorded,
    /// The heir is annotated, the old leader still is too.
    Annotated,
    /// All annotations are as they should be; the record does not say so yet.
    AllAnnotated,
    /// The record says so; what remains is to see fresh flows pass.
    Verifying,
}

/// There is no such step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not recorded, annotated, all-annotated or verifying")]
pub struct NoSuchStep(String);

impl FromStr for Step {
    type Err = NoSuchStep;

    fn from_str(text: &str) -> Result<Self, NoSuchStep> {
        match text {
            "recorded" => Ok(Self::Recorded),
            "annotated" => Ok(Self::Annotated),
            "all-annotated" => Ok(Self::AllAnnotated),
            "verifying" => Ok(Self::Verifying),
            _ => Err(NoSuchStep(text.to_owned())),
        }
    }
}

impl Step {
    /// Tells whether a move away from this leader has come so far.
    fn is_reached(self, what: &What, struck: &Struck) -> bool {
        let here = &struck.location;
        match self {
            Self::Recorded => {
                matches!(what, What::Move(location, record)
                    if location == here && record.phase == MovePhase::Recorded)
            }
            // The old leader is annotated as well: see `crown`.
            Self::Annotated => matches!(what, What::Annotated(node) if *node != struck.leader),
            Self::AllAnnotated => matches!(what, What::Unannotated(node) if *node == struck.leader),
            Self::Verifying => matches!(what, What::Written(location) if location == here),
        }
    }
}

impl Run<'_> {
    /// Picks whom the fault strikes in this turn: locations take turns.
    pub(super) async fn target(&self, turn: usize) -> Result<Harm, Error> {
        let leaders = self.mesh.leaders().await?;
        let fault = &self.options.order.fault;
        let place = &self.options.order.place;
        let topology = &self.mesh.network.topology;
        let ordered = match place {
            Where::Node(node) => self.mesh.location(node).cloned(),
            Where::Holder => {
                let holder = self.vigil.chronicle.holder();
                holder.and_then(|node| self.mesh.location(&node).cloned())
            }
            Where::Usual => fault.between().map(|[one, _]| one.clone()),
        };
        let locations = topology.locations();
        // The second location first: in the first live those who sort first everywhere.
        let location = ordered.unwrap_or_else(|| locations[(turn + 1) % locations.len()].clone());

        let leader = leaders.get(&location).cloned();
        let leader = leader.ok_or_else(|| mesh::Error::NoLocation(location.clone()))?;
        let node = match place {
            Where::Node(node) => Some(node.clone()),
            Where::Holder | Where::Usual => self.mesh.usual(fault, &location, &leader),
        };
        let struck = Struck { location, leader };
        Ok(Harm { fault: fault.clone(), struck, node })
    }

    /// Sets the fault and watches it.
    pub(super) async fn incident(
        &mut self,
        harm: &Harm,
        mover: Mover,
        until: Until,
    ) -> Result<Figures, Error> {
        let fault = &harm.fault;
        let here = Some(harm.struck.location.clone());
        self.vigil.enter(Phase {
            name: format!("while {fault} was watched in {}", harm.struck.location),
            tanist: here.clone().filter(|_| mover == Mover::Tanist),
            hand: here.filter(|_| mover == Mover::Hand),
            kilo: fault.unsettles_kilo(),
        });
        self.mesh.traffic.forget();

        let launch = Some(&self.launch).filter(|_| mover == Mover::Tanist);
        let watched = (&self.mesh, &self.vigil, self.timeline);
        let what = (fault.clone(), harm.node.clone());
        let mut watch = Watch::start(watched, harm.struck.clone(), what, mover).await?;
        let place = harm.node.as_ref().map(|node| format!(" on {node}")).unwrap_or_default();
        self.timeline.now(&format!("fault {fault} is set{place}"));
        let kill = self.options.kill.filter(|_| mover == Mover::Tanist);
        if kill.is_some() {
            self.slow_moves();
        }
        watch.during(self.mesh.strike(harm, launch)).await?;
        if is_over(fault) {
            self.timeline.now(&format!("fault {fault} is over"));
        }
        if matches!(fault, Fault::ApiDown(_)) {
            watch.during(self.until_back(mesh::now())).await;
            self.timeline.now("every Kilo agent has checked in again");
        }

        if mover == Mover::Hand {
            watch.watch(Until::Passed(HESITATION)).await;
            watch.during(promote(&self.mesh, &harm.struck.location)).await?;
        }
        if let (Some(step), Some(launch)) = (kill, launch) {
            let killer = Killer { vigil: &self.vigil, struck: &harm.struck, step };
            let killed = watch.during(killer.kill(&mut self.mesh)).await?;
            if let Some(node) = killed {
                self.timeline.now(&format!("the arbiter of {node} is killed: {step:?}"));
                watch.killed(node.clone());
                watch.during(killer.until_succeeded(&node)).await;
                watch.during(self.mesh.start_tanist_on(&node, launch)).await?;
                self.timeline.now(&format!("the arbiter of {node} is started again"));
            }
        }
        watch.watch(until).await;
        Ok(watch.figures())
    }

    /// Lets the arbiter's writes take their time.
    fn slow_moves(&self) {
        let holder = self.vigil.chronicle.holder();
        let place = holder.and_then(|node| self.mesh.network.topology.place(&node).cloned());
        if let Some(place) = place {
            self.mesh.control.slow_moves(SLOWLY, place.wan().addr().into());
        }
    }

    /// Watches a fault that is in force already.
    pub(super) async fn incident_in_force(
        &mut self,
        harm: &Harm,
        until: Until,
    ) -> Result<Figures, Error> {
        self.vigil.enter(Phase {
            name: format!("while {} was in force from the start", harm.fault),
            ..Phase::default()
        });
        self.mesh.traffic.forget();
        let watched = (&self.mesh, &self.vigil, self.timeline);
        let what = (harm.fault.clone(), harm.node.clone());
        let mut watch = Watch::start(watched, harm.struck.clone(), what, Mover::Tanist).await?;
        self.timeline.now(&format!("fault {} is in force since before Tanist", harm.fault));
        watch.watch(until).await;
        Ok(watch.figures())
    }

    /// Lifts the fault and waits until the mesh is at rest.
    pub(super) async fn heal(&mut self, harm: &Harm, launch: Option<&Launch>) -> Result<(), Error> {
        let fault = &harm.fault;
        self.vigil.enter(Phase {
            name: format!("after {fault} in {} was lifted", harm.struck.location),
            kilo: fault.unsettles_kilo(),
            ..Phase::default()
        });
        self.mesh.lift(harm, launch).await?;
        self.timeline.count_from(None);
        self.timeline.now(&format!("fault {fault} is lifted"));

        if fault.unsettles_kilo() {
            self.until_back(UnixTime(0)).await;
            self.idle_until(Instant::now() + ELECTION).await;
        }
        let leaders = self.mesh.settle().await?;
        self.vigil.look();
        self.timeline.now(&format!("fresh flows pass; leaders: {}", super::run::list(&leaders)));
        Ok(())
    }

    /// Waits until every node is Ready by Kilo's rules, and its agent has checked in since then.
    async fn until_back(&self, then: UnixTime) {
        let all = self.mesh.network.topology.places.len();
        let back = || self.vigil.chronicle.ready_since(then) == all;
        until(back, Duration::from_millis(100)).await;
    }

    /// Annotates the leader of a location, as an operator might have: then a move takes two writes.
    pub(super) async fn crown(&self, struck: &Struck) -> Result<(), Error> {
        annotate(&self.mesh, &struck.leader, Some("true")).await?;
        self.timeline.now(&format!("{} is annotated, as an operator might have", struck.leader));
        Ok(())
    }
}

/// Tells whether a fault is over by itself once it was set.
const fn is_over(fault: &Fault) -> bool {
    matches!(fault, Fault::ApiDown(_) | Fault::Rollout | Fault::TanistRollout | Fault::AgentRestart)
}

/// Moves a location's leader as a careful person would: adds before it removes.
async fn promote(mesh: &Mesh, location: &Location) -> Result<(), Error> {
    let cluster = mesh.control.mesh(mesh::now()).await.map_err(mesh::Error::from)?;
    let leader = leader_of(&cluster, location);
    let members = members(&cluster, location).into_iter();
    let heir = members.rev().find(|node| Some(node.name.clone()) != leader.map(|l| l.name.clone()));
    let Some(heir) = heir else { return Ok(()) };

    for change in promotion(&cluster, &heir.name) {
        let value = (change.change == Change::Add).then_some("true");
        annotate(mesh, &change.node, value).await?;
    }
    Ok(())
}

async fn annotate(mesh: &Mesh, node: &NodeName, value: Option<&str>) -> Result<(), Error> {
    let annotation = json!({ "metadata": { "annotations": { LEADER: value } } });
    let (nodes, patch) = (mesh.control.nodes(), Patch::Merge(annotation));
    let written = nodes.patch(&node.0, &PatchParams::default(), &patch).await;
    written
        .map(|_| ())
        .map_err(|source| Error::Annotate { node: node.clone(), source: Box::new(source) })
}

/// Kills the arbiter in the middle of a move.
struct Killer<'a> {
    vigil: &'a Vigil<'a>,
    struck: &'a Struck,
    step: Step,
}

impl Killer<'_> {
    /// Waits for the step, and kills whoever holds the lease then: by SIGKILL, so that nothing is
    /// given back. Returns whom; nobody if the step is not reached.
    async fn kill(&self, mesh: &mut Mesh) -> Result<Option<NodeName>, Error> {
        let known = self.vigil.chronicle.after(0).len();
        let reached = |happening: &Happening| self.step.is_reached(&happening.what, self.struck);
        let seen = || self.vigil.chronicle.after(known).iter().any(reached);
        let reached = until(seen, GLANCE).await;

        let holder = self.vigil.chronicle.holder().filter(|_| reached);
        if let Some(holder) = &holder {
            mesh.station(holder)?.kill_arbiter().await;
        }
        mesh.control.answer();
        Ok(holder)
    }

    /// Waits until somebody else holds the lease.
    async fn until_succeeded(&self, killed: &NodeName) {
        let other = || self.vigil.chronicle.holder().is_some_and(|holder| holder != *killed);
        until(other, Duration::from_millis(100)).await;
    }
}

/// Waits until something is so, as long as our patience lasts; tells whether it came about.
async fn until(is_so: impl Fn() -> bool, glance: Duration) -> bool {
    let began = Instant::now();
    while !is_so() {
        if began.elapsed() > PATIENCE {
            return false;
        }
        sleep(glance).await;
    }
    true
}
