//! One run of the lab: Kilo alone in the face of a fault, then Kilo with Tanist.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::chronicle::Chronicle;
use super::expect::{Expect, Trial};
use super::faults::{Onset, Order};
use super::figures::{Concern, Figures, Mover};
use super::incident::Step;
use super::journals;
use super::launch::Launch;
use super::mesh::{self, Mesh};
use super::namespace::{Inside, Namespace};
use super::readiness::READY;
use super::report::{self, Report};
use super::shape::{self, Part, Shape};
use super::station::{self, Programs};
use super::timeline::Timeline;
use super::topology::{self, Topology};
use super::vigil::{Change, Phase, Vigil};
use super::watch::Until;
use crate::cluster::objects::{MeshLocation, mesh_location_name};
use crate::decide::Mode;
use crate::evidence::{Location, NodeName};

/// How long a cure by hand may take.
const CURE: Duration = Duration::from_secs(45);

/// How far apart faults are: then no outer port of one is remembered at the next.
const APART: Duration = Duration::from_secs(25);

/// For how long after the last fault nobody may move anything.
const AFTERWARDS: Duration = Duration::from_secs(5);

/// For so many seconds after a change of leader Tanist concludes nothing about a location.
pub(super) const QUIET: u32 = 60;

/// What went wrong with a run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The shape of the mesh.
    #[error(transparent)]
    Topology(#[from] topology::Error),
    /// The mesh.
    #[error(transparent)]
    Mesh(Box<mesh::Error>),
    /// Files of Tanist's processes.
    #[error("could not prepare Tanist's files")]
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
    /// A process of Tanist's ended.
    #[error("the {part} of {node} ended: {how}; its log ends: {log}")]
    Ended {
        /// Which.
        part: Part,
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
    /// The journals.
    #[error(transparent)]
    Journals(#[from] journals::Error),
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
    /// At which step of a move its arbiter is killed, if at any.
    pub kill: Option<Step>,
    /// How many times as fast Kilo runs.
    pub times: u32,
    /// The program whose `agent` is run on the nodes.
    pub program: PathBuf,
    /// More arguments for it.
    pub arguments: Vec<String>,
    /// Where to keep the journal of the arbiter that acted.
    pub journal: Option<PathBuf>,
    /// Which of the lab's own parts are replaced by the real ones.
    pub real: Programs,
    /// In which shape Tanist is installed.
    pub shape: Shape,
}

/// Runs the lab on the WAN's thread, and returns what it has shown and the mesh, still running.
pub async fn run(
    options: &Options,
    inside: Inside,
    wan: Namespace,
    timeline: &Timeline,
) -> Result<(Report, Mesh), Error> {
    let (mesh, launch, chronicle) = begin(options, inside, wan, timeline).await?;
    let vigil = Vigil::new(chronicle, timeline);
    vigil.enter(Phase { name: "before the first fault".to_owned(), ..Phase::default() });
    let (faults, failures) = (Vec::new(), Vec::new());
    let mut run = Run { options, launch, mesh, vigil, timeline, faults, failures };
    run.alone().await?;
    run.with_tanist().await?;
    run.replay().await?;
    run.failures.extend(run.mesh.control.forbidden().map_err(mesh::Error::from)?);

    Ok(run.finish())
}

/// Builds the mesh and waits until it is at rest; Tanist does not run yet.
pub(super) async fn begin(
    options: &Options,
    inside: Inside,
    wan: Namespace,
    timeline: &Timeline,
) -> Result<(Mesh, Launch, Chronicle), Error> {
    let topology = Topology::new(options.locations, options.nodes)?;
    let launch = launch(options, &topology, &inside)?;
    let how = (options.times, options.shape, &options.real);
    let mesh = Mesh::start(topology, wan, inside, how).await?;
    let nodes = mesh.network.topology.places.len();
    timeline.now(&format!("network, API server and Kilo agents of {nodes} nodes are up"));
    let leaders = mesh.settle().await?;
    timeline.now(&format!("fresh flows pass between all locations; leaders: {}", list(&leaders)));

    let chronicle = Chronicle::start(&mesh.control.client);
    Ok((mesh, launch, chronicle))
}

fn launch(options: &Options, topology: &Topology, inside: &Inside) -> Result<Launch, Error> {
    let mut arguments = vec!["--mode".to_owned(), options.mode.to_string()];
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

    Ok(Launch {
        program: options.program.clone(),
        shape: options.shape,
        arbiters: shape::arbiters(topology, None),
        arguments,
        key: station::draw_key(&inside.folder)?,
        logs: mesh::logs(&inside.folder).map_err(Error::Logs)?,
    })
}

/// A run under way.
pub(super) struct Run<'a> {
    pub(super) options: &'a Options,
    pub(super) launch: Launch,
    pub(super) mesh: Mesh,
    pub(super) vigil: Vigil<'a>,
    pub(super) timeline: &'a Timeline,
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
        let until = Until::Passed(self.options.alone);
        let figures = self.incident(&target, Mover::Nobody, until).await?;
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
        let fault = self.options.order.fault.clone();
        self.timeline.headline(&format!("Kilo with Tanist: {fault}"));
        if fault.onset() == Onset::Before {
            return self.begin_with_fault().await;
        }
        let first = self.target(0).await?;
        if self.options.kill.is_some() {
            self.crown(&first.struck).await?;
        }
        self.start_tanist(&first.struck).await?;

        for turn in 0..self.options.runs {
            self.rest("while Tanist got ready");
            let struck = self.target(turn).await?.struck;
            self.ready(&struck.location).await?;
            let next = Instant::now() + APART;
            // Kilo may have another leader by now.
            let target = self.target(turn).await?;
            let figures = self.incident(&target, Mover::Tanist, self.expect().until).await?;
            self.faults.push(figures);

            let launch = self.launch.clone();
            self.heal(&target, Some(&launch)).await?;
            self.rest("between two faults");
            if turn + 1 < self.options.runs {
                self.acknowledge(&target.struck.location).await?;
                self.idle_until(next).await;
            }
        }
        self.idle_until(Instant::now() + AFTERWARDS).await;
        Ok(())
    }

    /// Shows what Tanist makes of a fault that was there before it.
    async fn begin_with_fault(&mut self) -> Result<(), Error> {
        let target = self.target(0).await?;
        let launch = self.launch.clone();
        self.mesh.strike(&target, None).await?;
        self.start_tanist(&target.struck).await?;
        let figures = self.incident_in_force(&target, self.expect().until).await?;
        self.faults.push(figures);

        self.heal(&target, Some(&launch)).await?;
        self.rest("after the last fault");
        self.idle_until(Instant::now() + AFTERWARDS).await;
        Ok(())
    }

    /// From now on nobody may change a leader.
    fn rest(&self, name: &str) {
        self.vigil.look();
        self.vigil.enter(Phase { name: name.to_owned(), ..Phase::default() });
    }

    /// Replays what the arbiters have written down.
    async fn replay(&mut self) -> Result<(), Error> {
        let found = journals::all(&self.launch.logs)?;
        for journal in &found {
            let replayed = journals::replay(&self.options.program, journal).await?;
            self.timeline.now(&format!("{} replayed: {}", replayed.name, replayed.said));
            if !replayed.same {
                self.failures.push(format!("{}: {}", replayed.name, replayed.said));
            }
        }
        if let Some(file) = &self.options.journal {
            journals::keep(&found, file)?;
        }
        Ok(())
    }

    /// Says, as a person would who has repaired it, that an incident is over: else the node that
    /// was struck stays in quarantine, and soon nobody is left to lead.
    async fn acknowledge(&self, location: &Location) -> Result<(), Error> {
        let status = self.vigil.chronicle.locations().remove(location).unwrap_or_default();
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
        Expect::of(Trial {
            fault: &self.options.order.fault,
            mode: self.options.mode,
            nodes: self.options.nodes,
            times: self.options.times,
            kill: self.options.kill.is_some(),
        })
    }

    fn finish(mut self) -> (Report, Mesh) {
        self.vigil.look();
        let expect = self.expect();
        let alone = usize::from(!self.options.alone.is_zero());
        let seen = self.faults.iter().skip(alone).filter(|fault| fault.by != Mover::Hand);
        self.failures.extend(seen.flat_map(|fault| expect.failures(fault)));
        let changes = self.vigil.changes();
        self.failures.extend(changes.iter().filter_map(Change::failure));

        let report = Report {
            version: env!("CARGO_PKG_VERSION"),
            mesh: [self.options.locations, self.options.nodes],
            expected: expect.to_string(),
            timeline: self.timeline.entries(),
            parts: report::parts(&self.faults, Mover::Tanist),
            by_hand: report::parts(&self.faults, Mover::Hand),
            faults: self.faults,
            changes,
            failures: self.failures,
        };
        (report, self.mesh)
    }
}

pub(super) fn list(leaders: &BTreeMap<Location, NodeName>) -> String {
    leaders.values().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
