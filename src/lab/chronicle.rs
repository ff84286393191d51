//! What happens in the cluster, as the objects tell it: who is annotated, who leads, what Tanist
//! says and does.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::events::v1::Event as Telling;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use super::control;
use super::mesh::now;
use crate::cluster::objects::{
    MeshLocation, MeshLocationStatus, MoveOutcome, MovePhase, MoveRecord, PastMove, SlimNode,
};
use crate::evidence::kilo::{is_ready, leaders};
use crate::evidence::{Location, Mesh, Node, NodeName, UnixTime};

/// The verdict by which a leader is convicted.
pub const DARK: &str = "dark";

/// The verdict by which something is reported that is no reason to move the leader.
pub const IMPAIRED: &str = "impaired";

/// The name of the lease, which is in the namespace of the installation.
const LEASE: &str = "tanist";

/// The reason of Events that a person should act upon.
const ATTENTION: &str = "Attention";

/// How long a watch that broke rests: not long, since an outage of the API server is one of the
/// things to be seen.
const REST: Duration = Duration::from_millis(300);

/// Something that was seen to happen.
#[derive(Debug, Clone, PartialEq)]
pub struct Happening {
    /// When.
    pub at: Instant,
    /// What.
    pub what: What,
}

/// What can happen.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// A node got the leader annotation.
    Annotated(NodeName),
    /// A node lost it.
    Unannotated(NodeName),
    /// Kilo's rules name another leader.
    Leads(Location, NodeName),
    /// Tanist says something else of a location: the verdict, and because of what.
    Verdict(Location, String, String),
    /// A move is recorded.
    Move(Location, MoveRecord),
    /// All annotations of a move are written.
    Written(Location),
    /// The annotations of a move are being put back.
    Reverting(Location, MoveRecord),
    /// A move ended.
    Ended(Location, PastMove),
    /// Somebody else holds the lease, or nobody.
    Holder(Option<NodeName>),
    /// A person is told something.
    Attention(String),
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Annotated(node) => write!(f, "{node} is annotated"),
            Self::Unannotated(node) => write!(f, "{node} is no longer annotated"),
            Self::Leads(location, node) => write!(f, "{location}: {node} leads by Kilo's rules"),
            Self::Verdict(location, verdict, because) => {
                write!(f, "{location}: verdict {verdict}: {because}")
            }
            Self::Move(location, record) => {
                let from = record.from.as_ref().map_or("nobody", |node| &node.0);
                write!(f, "{location}: a move from {from} to {} is recorded", record.to)
            }
            Self::Written(location) => write!(f, "{location}: all annotations are written"),
            Self::Reverting(location, record) => {
                let why = record.reverting.as_deref().unwrap_or("no reason given");
                write!(f, "{location}: the move to {} is being undone: {why}", record.to)
            }
            Self::Holder(Some(node)) => write!(f, "{node} holds the lease"),
            Self::Holder(None) => write!(f, "nobody holds the lease"),
            Self::Attention(note) => write!(f, "a person is told: {note}"),
            Self::Ended(location, past) => {
                let outcome = match past.outcome {
                    MoveOutcome::Verified => "verified",
                    MoveOutcome::Reverted => "reverted",
                    MoveOutcome::Abandoned => "abandoned",
                };
                let note = past.note.as_deref().map(|note| format!(": {note}"));
                write!(f, "{location}: the move to {} is {outcome}", past.to)?;
                f.write_str(&note.unwrap_or_default())
            }
        }
    }
}

/// Writes down what happens, from its start until it is dropped.
#[derive(Debug)]
pub struct Chronicle {
    pages: Arc<Pages>,
    watches: [AbortHandle; 4],
}

#[derive(Debug, Default)]
struct Pages {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    nodes: BTreeMap<NodeName, SlimNode>,
    leaders: BTreeMap<Location, NodeName>,
    locations: BTreeMap<Location, MeshLocationStatus>,
    holder: Option<NodeName>,
    told: BTreeSet<String>,
    happenings: Vec<Happening>,
}

impl Chronicle {
    /// Starts to watch Nodes, MeshLocations, the lease and what people are told.
    #[must_use]
    pub fn start(client: &Client) -> Self {
        let pages = Arc::<Pages>::default();

        let nodes = follow(Arc::clone(&pages), Api::all(client.clone()), Pages::node);
        let locations = follow(Arc::clone(&pages), Api::all(client.clone()), Pages::location);
        let leases = follow(Arc::clone(&pages), Api::all(client.clone()), Pages::lease);
        let tellings = follow(Arc::clone(&pages), Api::all(client.clone()), Pages::telling);
        Self { pages, watches: [nodes, locations, leases, tellings] }
    }

    /// Returns all that happened after the first so many happenings.
    #[must_use]
    pub fn after(&self, known: usize) -> Vec<Happening> {
        let state = self.pages.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.happenings.get(known..).unwrap_or_default().to_vec()
    }

    /// Returns what Tanist last said of each location.
    #[must_use]
    pub fn locations(&self) -> BTreeMap<Location, MeshLocationStatus> {
        let state = self.pages.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.locations.clone()
    }

    /// Returns the node whose arbiter holds the lease.
    #[must_use]
    pub fn holder(&self) -> Option<NodeName> {
        let state = self.pages.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.holder.clone()
    }

    /// Returns how many nodes are Ready by Kilo's rules and have checked in since then.
    #[must_use]
    pub fn ready_since(&self, then: UnixTime) -> usize {
        let state = self.pages.state.lock().unwrap_or_else(PoisonError::into_inner);
        let nodes = state.nodes.values().cloned().collect::<Vec<_>>();
        let at = now();
        let is_back = |node: &Node| node.last_seen.is_some_and(|seen| seen >= then.seconds());
        control::read(&nodes).values().filter(|node| is_ready(node, at) && is_back(node)).count()
    }
}

impl Drop for Chronicle {
    fn drop(&mut self) {
        for watch in &self.watches {
            watch.abort();
        }
    }
}

/// Watches one kind, and lets `take` write down each object as it now is.
fn follow<K>(pages: Arc<Pages>, api: Api<K>, take: fn(&Pages, K)) -> AbortHandle
where
    K: kube::Resource<DynamicType = ()> + Clone + fmt::Debug + DeserializeOwned + Send + 'static,
{
    let watch = async move {
        let mut events = watcher(api, watcher::Config::default()).boxed();
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Apply(object) | Event::InitApply(object)) => take(&pages, object),
                Ok(Event::Delete(_) | Event::Init | Event::InitDone) => {}
                Err(error) => {
                    tracing::debug!(%error, kind = %K::kind(&()), "A watch of the chronicle broke");
                    sleep(REST).await;
                }
            }
        }
    };
    tokio::spawn(watch).abort_handle()
}

impl Pages {
    fn node(&self, node: SlimNode) {
        let name = NodeName::from(node.name());
        self.turn(|state| {
            let annotated = |node: &SlimNode| node.annotation("kilo.squat.ai/leader").is_some();
            let before = state.nodes.get(&name).is_some_and(annotated);
            let after = annotated(&node);
            state.nodes.insert(name.clone(), node);

            let mut news = Vec::new();
            if before != after {
                news.push(if after { What::Annotated(name) } else { What::Unannotated(name) });
            }
            news.extend(state.elect());
            news
        });
    }

    fn location(&self, object: MeshLocation) {
        let location = object.spec.location;
        let status = object.status.unwrap_or_default();
        self.turn(|state| {
            let before = state.locations.insert(location.clone(), status.clone());
            news(&location, &before.unwrap_or_default(), &status)
        });
    }

    fn lease(&self, lease: Lease) {
        if lease.name_any() != LEASE {
            return;
        }
        let holder = lease.spec.and_then(|spec| spec.holder_identity);
        let holder = holder.as_deref().and_then(|holder| holder.split('_').next());
        let holder = holder.filter(|name| !name.is_empty()).map(NodeName::from);
        self.turn(|state| {
            let before = std::mem::replace(&mut state.holder, holder.clone());
            if before == holder { Vec::new() } else { vec![What::Holder(holder)] }
        });
    }

    fn telling(&self, telling: Telling) {
        let (name, note) = (telling.name_any(), telling.note.unwrap_or_default());
        let about = telling.regarding.and_then(|regarding| regarding.kind);
        if telling.reason.as_deref() != Some(ATTENTION) || about.as_deref() == Some("Node") {
            return;
        }
        self.turn(
            |state| {
                if state.told.insert(name) { vec![What::Attention(note)] } else { Vec::new() }
            },
        );
    }

    fn turn(&self, change: impl FnOnce(&mut State) -> Vec<What>) {
        let at = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);

        let news = change(&mut state);
        if !news.is_empty() {
            let news = news.into_iter().map(|what| Happening { at, what });
            state.happenings.extend(news);
        }
    }
}

impl State {
    /// Applies Kilo's rules, and returns whom they newly name.
    fn elect(&mut self) -> Vec<What> {
        let nodes = self.nodes.values().cloned().collect::<Vec<_>>();
        let mesh = Mesh { nodes: control::read(&nodes), at: now() };

        let mut news = Vec::new();
        for (location, node) in leaders(&mesh) {
            let before = self.leaders.insert(location.clone(), node.name.clone());
            if before.as_ref() != Some(&node.name) {
                news.push(What::Leads(location, node.name.clone()));
            }
        }
        news
    }
}

/// Tells what is new in a location's status.
fn news(location: &Location, before: &MeshLocationStatus, after: &MeshLocationStatus) -> Vec<What> {
    let mut news = Vec::new();

    if let Some(verdict) = after.verdict.as_ref().filter(|_| before.verdict != after.verdict) {
        let because = after.because.clone().unwrap_or_default();
        news.push(What::Verdict(location.clone(), verdict.clone(), because));
    }
    if let Some(record) = &after.moving {
        news.extend(progress(location, before.moving.as_ref(), record));
    }
    let known = before.moves.iter().map(|past| &past.started.0).collect::<BTreeSet<_>>();
    let ended = after.moves.iter().filter(|past| !known.contains(&past.started.0));
    news.extend(ended.map(|past| What::Ended(location.clone(), past.clone())));

    news
}

/// Tells what is new in the record of a move.
fn progress(location: &Location, before: Option<&MoveRecord>, after: &MoveRecord) -> Vec<What> {
    let same = |known: &&MoveRecord| known.incident == after.incident && known.to == after.to;
    let known = before.filter(same);
    let mut news = Vec::new();

    if known.is_none() {
        news.push(What::Move(location.clone(), after.clone()));
    }
    let reached = |phase| after.phase == phase && known.is_none_or(|known| known.phase != phase);
    if reached(MovePhase::Written) {
        news.push(What::Written(location.clone()));
    }
    if reached(MovePhase::Reverting) {
        news.push(What::Reverting(location.clone(), after.clone()));
    }

    news
}

#[cfg(test)]
mod tests;
