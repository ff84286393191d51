//! What happens in the cluster, as the objects tell it: who is annotated, who leads, what Tanist
//! says and does.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures::StreamExt;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use tokio::task::AbortHandle;

use super::control;
use super::mesh::now;
use crate::cluster::objects::{
    MeshLocation, MeshLocationStatus, MoveOutcome, MovePhase, MoveRecord, PastMove, SlimNode,
};
use crate::evidence::kilo::leaders;
use crate::evidence::{Location, Mesh, NodeName};

/// The verdict by which a leader is convicted.
pub const DARK: &str = "dark";

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
    /// A move ended.
    Ended(Location, PastMove),
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
            Self::Ended(location, past) => {
                let outcome = match past.outcome {
                    MoveOutcome::Verified => "verified",
                    MoveOutcome::Reverted => "reverted",
                    MoveOutcome::Abandoned => "abandoned",
                };
                write!(f, "{location}: the move to {} is {outcome}", past.to)
            }
        }
    }
}

/// Writes down what happens, from its start until it is dropped.
#[derive(Debug)]
pub struct Chronicle {
    pages: Arc<Pages>,
    watches: [AbortHandle; 2],
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
    happenings: Vec<Happening>,
}

impl Chronicle {
    /// Starts to watch Nodes and MeshLocations.
    #[must_use]
    pub fn start(client: &Client) -> Self {
        let pages = Arc::<Pages>::default();

        let nodes = tokio::spawn(Arc::clone(&pages).watch_nodes(Api::all(client.clone())));
        let locations = tokio::spawn(Arc::clone(&pages).watch_locations(Api::all(client.clone())));
        Self { pages, watches: [nodes.abort_handle(), locations.abort_handle()] }
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
}

impl Drop for Chronicle {
    fn drop(&mut self) {
        for watch in &self.watches {
            watch.abort();
        }
    }
}

impl Pages {
    async fn watch_nodes(self: Arc<Self>, api: Api<SlimNode>) {
        let mut events = watcher(api, watcher::Config::default()).default_backoff().boxed();

        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Apply(node) | Event::InitApply(node)) => self.node(node),
                Ok(Event::Delete(node)) => self.node_gone(node.name()),
                Ok(Event::Init | Event::InitDone) => {}
                Err(error) => tracing::debug!(%error, "The chronicle's watch of Nodes broke"),
            }
        }
    }

    async fn watch_locations(self: Arc<Self>, api: Api<MeshLocation>) {
        let mut events = watcher(api, watcher::Config::default()).default_backoff().boxed();

        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Apply(location) | Event::InitApply(location)) => self.location(location),
                Ok(Event::Delete(_) | Event::Init | Event::InitDone) => {}
                Err(error) => tracing::debug!(%error, "The chronicle's watch of locations broke"),
            }
        }
    }

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

    fn node_gone(&self, name: &str) {
        self.turn(|state| {
            state.nodes.remove(&NodeName::from(name));
            state.elect()
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
        let known = before.moving.as_ref().filter(|known| known.incident == record.incident);
        if known.is_none() {
            news.push(What::Move(location.clone(), record.clone()));
        }
        let written = |record: &MoveRecord| record.phase == MovePhase::Written;
        if written(record) && !known.is_some_and(written) {
            news.push(What::Written(location.clone()));
        }
    }
    let known = before.moves.iter().map(|past| &past.started.0).collect::<BTreeSet<_>>();
    let ended = after.moves.iter().filter(|past| !known.contains(&past.started.0));
    news.extend(ended.map(|past| What::Ended(location.clone(), past.clone())));

    news
}
