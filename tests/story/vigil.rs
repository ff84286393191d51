//! Sees every change of a leader, by Kilo's rules, whoever makes it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::ensure;
use futures::StreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use tanist::cluster::objects::SlimNode;
use tanist::evidence::kilo::{TOPOLOGY_LABEL, leaders};
use tanist::evidence::{Location, Mesh, NodeName};
use tanist::lab::mesh::now;

/// Who leads each location.
pub(crate) type Leaders = BTreeMap<Location, NodeName>;

/// The whole watch.
#[derive(Clone, Default)]
pub(crate) struct Vigil(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    nodes: BTreeMap<String, SlimNode>,
    present: Leaders,
    /// Every leader since the last look, in order.
    led: BTreeMap<Location, Vec<NodeName>>,
}

impl Vigil {
    /// Begins to watch. The watch goes on where it was when the server comes back, so that nothing
    /// is missed.
    pub(crate) fn begin(client: Client) -> Self {
        let vigil = Self::default();
        let seen = vigil.clone();
        tokio::spawn(async move {
            let mut events = watcher(Api::all(client), watcher::Config::default()).boxed();
            while let Some(event) = events.next().await {
                match event {
                    Ok(event) => seen.see(event),
                    // It is away: the watcher tries again by itself.
                    Err(_) => tokio::time::sleep(crate::until::LOOK).await,
                }
            }
        });
        vigil
    }

    fn see(&self, event: Event<SlimNode>) {
        let mut seen = self.seen();
        match event {
            Event::Apply(node) | Event::InitApply(node) => {
                seen.nodes.insert(node.name().to_owned(), node);
            }
            Event::Delete(node) => {
                seen.nodes.remove(node.name());
            }
            Event::Init | Event::InitDone => {}
        }
        let read = |node: &SlimNode| (NodeName::from(node.name()), node.read(TOPOLOGY_LABEL));
        let mesh = Mesh { nodes: seen.nodes.values().map(read).collect(), at: now() };
        for (location, leader) in leaders(&mesh) {
            let led = seen.led.entry(location.clone()).or_default();
            if led.last() != Some(&leader.name) {
                led.push(leader.name.clone());
            }
            seen.present.insert(location, leader.name.clone());
        }
    }

    /// Returns who leads now.
    pub(crate) fn leaders(&self) -> Leaders {
        self.seen().present.clone()
    }

    /// Forgets who led until now.
    pub(crate) fn look(&self) {
        let mut seen = self.seen();
        seen.led =
            seen.present.iter().map(|(at, leader)| (at.clone(), vec![leader.clone()])).collect();
    }

    /// Fails if anybody else has led since the last look: elsewhere nobody new at all.
    pub(crate) fn only(&self, location: &Location, allowed: &[&str]) -> anyhow::Result<()> {
        for (at, led) in &self.seen().led {
            let wrong: BTreeSet<_> = led.iter().skip(1).collect();
            let is_allowed = |node: &&NodeName| at == location && allowed.contains(&&*node.0);
            ensure!(wrong.iter().all(is_allowed), "leaders of {at}, one after the other: {led:?}");
        }
        Ok(())
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
