//! What Tanist costs while nothing happens: CPU, memory, probes sent and probes relayed, measured
//! over a quiet span of a whole mesh whose users are off, beside the goals.
//!
//! CPU and memory are the kernel's account of Tanist's processes on each node. Bytes are counted on each
//! node by the packet filter, IP headers included; what they say they sent is shown beside.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use serde::Serialize;
use tokio::time::sleep;

use super::chronicle::Chronicle;
use super::mesh::Mesh;
use super::namespace::{self, Inside, Namespace};
use super::network::Host;
use super::run::{self, Options};
use super::timeline::Timeline;
use crate::evidence::{Location, NodeName};

mod counters;
mod process;
mod table;

pub use counters::Bytes;

use counters::Counted;
use process::Usage;

/// How long Tanist may take until it trusts the mesh and has vetted heirs: thirty nodes on two
/// cores need their time.
const PATIENCE: Duration = Duration::from_secs(300);

/// The verdict of a location that is well.
const FORWARDS: &str = "forwards";

/// What went wrong with the measurement.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The mesh.
    #[error(transparent)]
    Run(#[from] run::Error),
    /// A namespace.
    #[error("could not reach a node")]
    Namespace(#[from] namespace::Error),
    /// A node's counters.
    #[error("could not count on {node}")]
    Counters {
        /// Where.
        node: NodeName,
        /// Why it failed.
        #[source]
        source: counters::Error,
    },
    /// A node's processes.
    #[error("could not look at Tanist's processes on {node}")]
    Process {
        /// Where.
        node: NodeName,
        /// Why it failed.
        #[source]
        source: process::Error,
    },
    /// Tanist does not get ready.
    #[error("Tanist did not trust the mesh within {} s: {why}", PATIENCE.as_secs())]
    NotReady {
        /// What is missing.
        why: String,
    },
}

/// What a node is in its location.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// It probes at the rate of all others together.
    Member,
    /// It probes at full rate.
    Witness,
    /// It leads, and probes at full rate.
    Leader,
}

/// What one node cost.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeCost {
    /// The node.
    pub node: NodeName,
    /// What it is.
    pub role: Role,
    /// Whether it holds the lease, and so judges the whole mesh too.
    pub holds_lease: bool,
    /// How long it was watched, in seconds.
    pub seconds: f64,
    /// CPU time of its processes, in percent of one core.
    pub cpu_percent: f64,
    /// Their memory at the end.
    pub memory: Usage,
    /// Bytes and packets over the span.
    pub bytes: Bytes,
    /// Probes that they say they sent, by flow.
    pub probes: BTreeMap<String, u64>,
}

/// What the whole mesh cost.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cost {
    /// The program's version.
    pub version: &'static str,
    /// Locations and nodes in each.
    pub mesh: [usize; 2],
    /// How long it was watched, in seconds.
    pub seconds: f64,
    /// Every node.
    pub nodes: Vec<NodeCost>,
    /// Whether the lease changed hands or a leader changed meanwhile, which spoils the figures.
    pub disturbed: Vec<String>,
}

/// Builds a mesh with Tanist in it, waits until it is trusted, and measures what it costs.
pub async fn measure(
    (options, span): (&Options, Duration),
    (inside, wan): (Inside, Namespace),
    timeline: &Timeline,
) -> Result<(Cost, Mesh), Error> {
    let (mut mesh, launch, chronicle) = run::begin(options, inside, wan, timeline).await?;
    mesh.start_tanist(&launch).await.map_err(run::Error::from)?;
    timeline.now(&launch.told());
    mesh.traffic.stop();
    trusted(&mesh, &chronicle).await?;
    timeline.now("Tanist trusts every leader, and every location has been vetted; users are off");

    let before = standing(&chronicle);
    for host in mesh.network.hosts.values() {
        let set_up = counters::set_up(&host.host).await;
        set_up.map_err(|source| Error::Counters { node: host.place.name.clone(), source })?;
    }
    timeline.now(&format!("measuring for {span:?}"));
    let first = samples(&mut mesh).await?;
    sleep(span).await;
    let last = samples(&mut mesh).await?;
    let after = standing(&chronicle);
    timeline.now("measured");

    let nodes = last.into_iter().filter_map(|(node, last)| {
        let role = before.roles.get(&node).copied().unwrap_or(Role::Member);
        let holds_lease = before.holder.as_ref() == Some(&node);
        first.get(&node).map(|first| first.cost((node, role, holds_lease), last))
    });
    let cost = Cost {
        version: env!("CARGO_PKG_VERSION"),
        mesh: [options.locations, options.nodes],
        seconds: span.as_secs_f64(),
        nodes: nodes.collect(),
        disturbed: before.differences(&after),
    };
    Ok((cost, mesh))
}

/// Waits until Tanist trusts every leader and has heirs where there can be some.
async fn trusted(mesh: &Mesh, chronicle: &Chronicle) -> Result<(), Error> {
    let began = Instant::now();
    while let Some(why) = unready(mesh, chronicle) {
        if began.elapsed() > PATIENCE {
            return Err(Error::NotReady { why });
        }
        sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}

fn unready(mesh: &Mesh, chronicle: &Chronicle) -> Option<String> {
    let known = chronicle.locations();
    let topology = &mesh.network.topology;
    let lacks = |location: &Location| {
        let Some(status) = known.get(location) else { return Some("nothing is said".to_owned()) };
        if status.verdict.as_deref() != Some(FORWARDS) {
            return Some(status.because.clone().unwrap_or_default());
        }
        let vetted = status.heirs.iter().any(|heir| heir.fit);
        let can = topology.members(location).count() > 2;
        (can && !vetted).then(|| "no heir is fit".to_owned())
    };
    topology.locations().iter().find_map(|at| Some(format!("{at}: {}", lacks(at)?)))
}

/// Who is what at one time.
struct Standing {
    roles: BTreeMap<NodeName, Role>,
    holder: Option<NodeName>,
}

impl Standing {
    fn differences(&self, after: &Self) -> Vec<String> {
        let leaders = |standing: &Self| {
            let leads =
                |(node, role): (&NodeName, &Role)| (*role == Role::Leader).then(|| node.clone());
            standing.roles.iter().filter_map(leads).collect::<BTreeSet<_>>()
        };
        let changes = [
            (self.holder != after.holder, "the lease changed hands"),
            (leaders(self) != leaders(after), "a leader changed"),
        ];
        let changes = changes.into_iter().filter(|(changed, _)| *changed);
        changes.map(|(_, what)| what.to_owned()).collect()
    }
}

fn standing(chronicle: &Chronicle) -> Standing {
    let known = chronicle.locations();
    let mut roles = BTreeMap::new();
    for plan in known.into_values().filter_map(|status| status.plan) {
        roles.extend(plan.witnesses.into_iter().map(|node| (node, Role::Witness)));
        roles.extend(plan.leader.map(|node| (node, Role::Leader)));
    }

    Standing { roles, holder: chronicle.holder() }
}

/// All that is counted on one node at one time.
struct Sample {
    at: Instant,
    cpu: Duration,
    memory: Usage,
    counted: Counted,
}

async fn samples(mesh: &mut Mesh) -> Result<BTreeMap<NodeName, Sample>, Error> {
    let nodes = mesh.stations().map(|station| (station.host.clone(), station.processes()));
    let nodes = nodes.collect::<Vec<_>>();
    let processes = process::outer();
    let samples = nodes.into_iter().map(|(host, pids)| sample(host, pids, &processes));
    Ok(try_join_all(samples).await?.into_iter().collect())
}

async fn sample(
    host: Host,
    pids: Vec<u32>,
    processes: &BTreeMap<u32, u32>,
) -> Result<(NodeName, Sample), Error> {
    let node = host.place.name.clone();
    let outer = pids.iter().map(|pid| processes.get(pid).copied()).collect::<Vec<_>>();
    let (cpu, memory) =
        process::sum(&outer).map_err(|source| Error::Process { node: node.clone(), source })?;
    let at = Instant::now();
    let counted = counters::read(&host.host).await;
    let counted = counted.map_err(|source| Error::Counters { node: node.clone(), source })?;
    Ok((node, Sample { at, cpu, memory, counted }))
}

impl Sample {
    /// Returns what a node cost from this sample to a later one.
    fn cost(&self, (node, role, holds_lease): (NodeName, Role, bool), last: Self) -> NodeCost {
        let seconds = last.at.saturating_duration_since(self.at).as_secs_f64();
        let cpu = last.cpu.saturating_sub(self.cpu).as_secs_f64();
        NodeCost {
            node,
            role,
            holds_lease,
            seconds,
            cpu_percent: 100.0 * cpu / seconds,
            memory: last.memory,
            bytes: last.counted.bytes.since(&self.counted.bytes),
            probes: counters::since(&self.counted.probes, &last.counted.probes),
        }
    }
}
