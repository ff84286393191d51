//! One run of the lab: Kilo alone in the face of a fault, then Kilo with Tanist.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::time::{sleep, sleep_until};

use super::chronicle::{Chronicle, What};
use super::expect::Expect;
use super::faults::Order;
use super::figures::{Concern, Figures, Mover, Struck};
use super::mesh::{self, Mesh};
use super::namespace::{Inside, Namespace};
use super::report::{self, Report};
use super::station::{self, Launch};
use super::timeline::Timeline;
use super::topology::{self, Topology};
use super::watch::{Until, Watch};
use crate::cluster::objects::{MeshLocation, MeshLocationStatus, mesh_location_name};
use crate::decide::Mode;
use crate::evidence::kilo::{Change, leader_of, members, promotion};
use crate::evidence::{Location, NodeName};

/// How long a cure may take before the run is a failure.
const CURE: Duration = Duration::from_secs(45);

/// How long nothing may happen for a run to show that nothing happens; less if time runs faster.
const NOTHING: Duration = Duration::from_secs(40);

/// The least of it.
const NOTHING_FAST: Duration = Duration::from_secs(12);

/// How far apart faults are: then no outer port of one is remembered at the next.
const APART: Duration = Duration::from_secs(25);

/// How long Tanist may take until it trusts the mesh and has vetted heirs.
const READY: Duration = Duration::from_secs(150);

/// What went wrong with a run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The shape of the mesh.
    #[error(transparent)]
    Topology(#[from] topology::Error),
    /// The mesh.
    #[error(transparent)]
    Mesh(Box<mesh::Error>),
    /// Files of the sidecars.
    #[error("could not prepare the sidecars")]
    Station(#[from] station::Error),
    /// The folder of their logs.
    #[error("could not make the folder of logs")]
    Logs(#[source] std::io::Error),
    /// Tanist does not get ready.
    #[error("Tanist was not ready within {} s: {why}", READY.as_secs())]
    NotReady {
        /// What is missing.
        why: String,
    },
    /// A sidecar ended.
    #[error("the sidecar of {node} ended: {how}; its log ends: {log}")]
    SidecarEnded {
        /// Where.
        node: NodeName,
        /// How.
        how: String,
        /// Its last lines.
        log: String,
    },
    /// An incident could not be acknowledged.
    #[error("could not acknowledge the incident of {location}")]
    Acknowledge {
        /// Which location.
        location: Location,
        /// Why it failed.
        #[source]
        source: Box<kube::Error>,
    },
    /// An annotation could not be written by hand.
    #[error("could not annotate {node}")]
    Annotate {
        /// Which node.
        node: NodeName,
        /// Why it failed.
        #[source]
        source: Box<kube::Error>,
    },
}

impl From<mesh::Error> for Error {
    fn from(error: mesh::Error) -> Self {
        Self::Mesh(Box::new(error))
    }
}

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many locations.
    pub locations: usize,
    /// How many nodes in each.
    pub nodes: usize,
    /// What Tanist may do.
    pub mode: Mode,
    /// The fault, and where.
    pub order: Order,
    /// How often.
    pub runs: usize,
    /// How long to watch Kilo alone with the fault; not at all if zero.
    pub alone: Duration,
    /// How often a person moves the annotation, to compare with.
    pub by_hand: usize,
    /// How many times as fast Kilo runs.
    pub times: u32,
    /// The program whose `agent` is run on the nodes.
    pub program: PathBuf,
    /// More arguments for it.
    pub arguments: Vec<String>,
}

/// Runs the lab on the WAN's thread, and returns what it has shown and the mesh, still running.
pub async fn run(
    options: &Options,
    inside: Inside,
    wan: Namespace,
    timeline: &Timeline,
) -> Result<(Report, Mesh), Error> {
    let topology = Topology::new(options.locations, options.nodes)?;
    let launch = launch(options, &inside)?;
    let mesh = Mesh::start(topology, wan, inside, options.times).await?;
    let nodes = mesh.network.topology.places.len();
    timeline.now(&format!("network, API server and Kilo agents of {nodes} nodes are up"));
    let leaders = mesh.settle().await?;
    timeline.now(&format!("fresh flows pass between all locations; leaders: {}", list(&leaders)));

    let chronicle = Chronicle::start(&mesh.control.client);
    let (faults, failures) = (Vec::new(), Vec::new());
    let mut run = Run { options, launch, mesh, chronicle, timeline, faults, failures };
    run.alone().await?;
    run.with_tanist().await?;

    Ok(run.finish())
}

fn launch(options: &Options, inside: &Inside) -> Result<Launch, Error> {
    let key = station::draw_key(&inside.folder)?;
    let mut arguments = vec!["agent".to_owned(), "--with-arbiter".to_owned()];
    arguments.extend(["--mode".to_owned(), options.mode.to_string()]);
    arguments.extend(["--key-file".to_owned(), key.display().to_string()]);
    if options.runs > 1 {
        // What a person would rather not have, but thirty moves in a row need.
        let relaxed = ["--rest", "1s", "--rest-most", "1s", "--daily-moves", "1000"];
        arguments.extend(relaxed.map(str::to_owned));
    }
    if options.times > 1 {
        let settle = format!("{}s", QUIET.div_ceil(options.times));
        for quiet in ["--kilo-settle", "--quiet", "--return-quiet"] {
            arguments.extend([quiet.to_owned(), settle.clone()]);
        }
    }
    arguments.extend(options.arguments.iter().cloned());

    let logs = mesh::logs(&inside.folder).map_err(Error::Logs)?;
    Ok(Launch { program: options.program.clone(), arguments, logs })
}

struct Run<'a> {
    options: &'a Options,
    launch: Launch,
    mesh: Mesh,
    chronicle: Chronicle,
    timeline: &'a Timeline,
    faults: Vec<Figures>,
    failures: Vec<String>,
}

impl Run<'_> {
    /// Shows what Kilo does alone, and what a person can do.
    async fn alone(&mut self) -> Result<(), Error> {
        if self.options.alone.is_zero() {
            return Ok(());
        }

        let fault = &self.options.order.fault;
        self.timeline.headline(&format!("Kilo alone: {fault}"));
        let target = self.target(0).await?;
        let figures = self.incident(&target, Mover::Nobody, Until::Passed(self.options.alone));
        let figures = figures.await?;
        let relayed = figures.flows.get(&Concern::Relayed).copied().unwrap_or_default();
        let fate = if figures.moments.restored.is_some() { "back" } else { "still dark" };
        self.timeline.now(&format!(
            "{fate}: {} of {} relayed fresh flows lost; {} leads",
            relayed.lost,
            relayed.opened,
            figures.to.as_ref().unwrap_or(&figures.from),
        ));
        self.faults.push(figures);
        self.heal(&target, None).await?;

        for turn in 0..self.options.by_hand {
            self.timeline.headline(&format!("Kilo and a person who moves the annotation: {fault}"));
            let target = self.target(turn + 1).await?;
            let figures = self.incident(&target, Mover::Hand, Until::Healed(CURE)).await?;
            self.faults.push(figures);
            self.heal(&target, None).await?;
        }
        Ok(())
    }

    /// Shows what Tanist does.
    async fn with_tanist(&mut self) -> Result<(), Error> {
        self.timeline.headline(&format!("Kilo with Tanist: {}", self.options.order.fault));
        self.mesh.start_sidecars(&self.launch).await?;
        self.timeline.now("a Tanist sidecar runs on every node");

        for turn in 0..self.options.runs {
            let (struck, _) = self.target(turn).await?;
            self.ready(&struck.location).await?;
            let next = Instant::now() + APART;
            // Kilo may have another leader by now.
            let target = self.target(turn).await?;
            let until = match self.expect() {
                Expect::Move => Until::Healed(CURE),
                Expect::Nothing => Until::Passed((NOTHING / self.options.times).max(NOTHING_FAST)),
            };
            let figures = self.incident(&target, Mover::Tanist, until).await?;
            self.faults.push(figures);

            let launch = self.launch.clone();
            self.heal(&target, Some(&launch)).await?;
            if turn + 1 < self.options.runs {
                self.acknowledge(&target.0.location).await?;
                sleep_until(next.into()).await;
            }
        }
        Ok(())
    }

    /// Says, as a person would who has repaired it, that an incident is over: else the node that
    /// was struck stays in quarantine, and soon nobody is left to lead.
    async fn acknowledge(&self, location: &Location) -> Result<(), Error> {
        let status = self.chronicle.locations().remove(location).unwrap_or_default();
        let Some(past) = status.moves.first() else { return Ok(()) };

        let (name, incident) = (mesh_location_name(location), &past.incident);
        let patch = Patch::Merge(json!({ "spec": { "acknowledged": incident } }));
        let locations = Api::<MeshLocation>::all(self.mesh.control.client.clone());
        let written = locations.patch(&name, &PatchParams::default(), &patch).await;
        written.map(|_| ()).map_err(|source| Error::Acknowledge {
            location: location.clone(),
            source: Box::new(source),
        })
    }

    fn expect(&self) -> Expect {
        Expect::of(&self.options.order.fault, self.options.mode, self.options.nodes)
    }

    /// Picks whom the fault strikes in this turn: locations take turns.
    async fn target(&self, turn: usize) -> Result<(Struck, Option<NodeName>), Error> {
        let leaders = self.mesh.leaders().await?;
        let ordered = self.options.order.node.as_ref();
        let location = ordered.and_then(|node| self.mesh.location(node)).cloned();
        let locations = self.mesh.network.topology.locations();
        // The second location first: in the first live those who sort first everywhere.
        let location = location.unwrap_or_else(|| locations[(turn + 1) % locations.len()].clone());

        let leader = leaders.get(&location).cloned();
        let leader = leader.ok_or_else(|| mesh::Error::NoLocation(location.clone()))?;
        let fault = &self.options.order.fault;
        let node = ordered.cloned().or_else(|| self.mesh.usual(fault, &location, &leader));
        Ok((Struck { location, leader }, node))
    }

    /// Sets the fault and watches it.
    async fn incident(
        &mut self,
        (struck, node): &(Struck, Option<NodeName>),
        mover: Mover,
        until: Until,
    ) -> Result<Figures, Error> {
        let fault = self.options.order.fault.clone();
        self.mesh.traffic.forget();

        // Ready before the fault, so that nothing is missed while it is being set.
        let began = Instant::now();
        self.mesh.strike(&fault, node.as_ref()).await?;
        let watched = (&self.mesh, &self.chronicle, self.timeline);
        let mut watch =
            Watch::start(watched, struck.clone(), (fault.clone(), node.clone()), mover).await?;
        let place = node.as_ref().map(|node| format!(" on {node}")).unwrap_or_default();
        self.timeline.at(began, &format!("fault {fault} is set{place}"));

        if mover == Mover::Hand {
            watch.watch(Until::Passed(HESITATION)).await;
            self.promote(&struck.location).await?;
        }
        watch.watch(until).await;
        Ok(watch.figures())
    }

    /// Lifts the fault and waits until the mesh is at rest.
    async fn heal(
        &mut self,
        (_, node): &(Struck, Option<NodeName>),
        launch: Option<&Launch>,
    ) -> Result<(), Error> {
        let fault = &self.options.order.fault;
        let known = self.chronicle.after(0).len();
        self.mesh.lift(fault, node.as_ref(), launch).await?;
        self.timeline.count_from(None);
        self.timeline.now(&format!("fault {fault} is lifted"));
        let leaders = self.mesh.settle().await?;

        for happening in self.chronicle.after(known) {
            self.timeline.at(happening.at, &happening.what.to_string());
            if let What::Move(location, record) = happening.what {
                let late = format!("{fault}: lifted, and then {location} moved to {}", record.to);
                self.failures.push(late);
            }
        }
        self.timeline.now(&format!("fresh flows pass; leaders: {}", list(&leaders)));
        Ok(())
    }

    /// Moves a location's leader as a careful person would: adds before it removes.
    async fn promote(&self, location: &Location) -> Result<(), Error> {
        let cluster = self.mesh.control.mesh(mesh::now()).await.map_err(mesh::Error::from)?;
        let leader = leader_of(&cluster, location);
        let members = members(&cluster, location).into_iter();
        let heir =
            members.rev().find(|node| Some(node.name.clone()) != leader.map(|l| l.name.clone()));
        let Some(heir) = heir else { return Ok(()) };

        for change in promotion(&cluster, &heir.name) {
            let value = (change.change == Change::Add).then_some("true");
            let annotation = json!({ "metadata": { "annotations": { LEADER: value } } });
            let (node, nodes) = (&change.node, self.mesh.control.nodes());
            let written =
                nodes.patch(&node.0, &PatchParams::default(), &Patch::Merge(annotation)).await;
            written.map_err(|source| Error::Annotate {
                node: node.clone(),
                source: Box::new(source),
            })?;
        }
        Ok(())
    }

    /// Waits until Tanist trusts every leader, and would move that of this location: it has an heir
    /// there, if there can be one, and has seen no other leader for long enough.
    async fn ready(&mut self, location: &Location) -> Result<(), Error> {
        let began = Instant::now();
        while let Some(why) = self.unready(location) {
            self.all_alive()?;
            if began.elapsed() > READY {
                return Err(Error::NotReady { why });
            }
            sleep(Duration::from_millis(200)).await;
        }

        let heirs = self.chronicle.locations().into_iter().map(|(location, status)| {
            let fit = status.heirs.iter().filter(|heir| heir.fit);
            let fit = fit.map(|heir| heir.node.to_string()).collect::<Vec<_>>().join(", ");
            format!("{location}: {fit}")
        });
        let heirs = heirs.collect::<Vec<_>>().join("; ");
        self.timeline.now(&format!("Tanist trusts every leader; fit heirs: {heirs}"));
        Ok(())
    }

    fn unready(&self, struck: &Location) -> Option<String> {
        let known = self.chronicle.locations();
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
        let logs = self.launch.logs.clone();
        for station in self.mesh.stations() {
            let Some(how) = station.sidecar_ended() else { continue };
            let node = station.host.place.name.clone();
            let log = std::fs::read_to_string(logs.join(format!("{node}.log"))).unwrap_or_default();
            let last = log.lines().rev().take(3).collect::<Vec<_>>();
            let log = last.into_iter().rev().collect::<Vec<_>>().join(" | ");
            return Err(Error::SidecarEnded { node, how: how.to_string(), log });
        }
        Ok(())
    }

    fn finish(mut self) -> (Report, Mesh) {
        let alone = usize::from(!self.options.alone.is_zero());
        let seen = self.faults.iter().skip(alone).filter(|fault| fault.by != Mover::Hand);
        let seen = seen.flat_map(|fault| self.expect().failures(fault)).collect::<Vec<_>>();
        self.failures.extend(seen);

        let report = Report {
            version: env!("CARGO_PKG_VERSION"),
            mesh: [self.options.locations, self.options.nodes],
            timeline: self.timeline.entries(),
            parts: report::parts(&self.faults, Mover::Tanist),
            by_hand: report::parts(&self.faults, Mover::Hand),
            faults: self.faults,
            failures: self.failures,
        };
        (report, self.mesh)
    }
}

/// The annotation that makes a leader.
const LEADER: &str = "kilo.squat.ai/leader";

/// For so many seconds after a change of leader Tanist concludes nothing about a location.
const QUIET: u32 = 60;

/// How long a person waits before the annotation is moved.
const HESITATION: Duration = Duration::from_secs(4);

fn list(leaders: &BTreeMap<Location, NodeName>) -> String {
    leaders.values().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
