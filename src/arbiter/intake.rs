//! From what the watches hold to inputs: what differs from the last look.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::act::leader::progress;
use crate::cluster::objects::{
    MeshLocation, MeshLocationStatus, MovePhase, MoveRecord, RelayReport, SlimNode,
    mesh_location_name, unread_annotations, unreadable_annotations,
};
use crate::cluster::watch::Objects;
use crate::decide::{Intent, Memory, Mode};
use crate::evidence::{Epoch, Location, Node, NodeName, UnixTime};
use crate::judge::Input;

/// What the last look held.
#[derive(Debug, Default)]
pub(super) struct Intake {
    nodes: Objects<SlimNode>,
    reports: Option<Objects<RelayReport>>,
    locations: Objects<MeshLocation>,
    read: BTreeMap<NodeName, Node>,
    intents: BTreeMap<Location, Intent>,
    /// Objects that name a location whose object bears another name.
    misnamed: BTreeMap<Location, Vec<String>>,
    /// The names of objects that cannot be read, each with why.
    unreadable: BTreeMap<String, String>,
    peers: Option<usize>,
}

impl Intake {
    /// Returns the Nodes that came, changed or went.
    pub(super) fn nodes(&mut self, now: &Objects<SlimNode>, topology_label: &str) -> Vec<Input> {
        let mut inputs = Vec::new();
        for object in changed(&self.nodes, now) {
            let node = object.read(topology_label);
            self.read.insert(node.name.clone(), node.clone());
            inputs.push(Input::Node(Box::new(node)));
        }
        for name in gone(&self.nodes, now) {
            let name = NodeName(name);
            self.read.remove(&name);
            inputs.push(Input::NodeGone(name));
        }
        self.nodes.clone_from(now);
        inputs
    }

    /// Returns the reports that came or changed; those of the first look are old ones. Whoever may
    /// write one node's report must not speak for another.
    pub(super) fn reports(&mut self, now: &Objects<RelayReport>) -> Vec<Input> {
        let before = self.reports.replace(now.clone());
        let first = before.is_none();
        let before = before.unwrap_or_default();
        let own = changed(&before, now).filter(|object| is_own_word(object));
        let reports = own.map(|object| {
            let report = Box::new(object.spec.report.clone());
            if first { Input::OldReport(report) } else { Input::Report(report) }
        });
        reports.collect()
    }

    /// Takes the objects of the locations as they are now; on the first look they tell what the
    /// last arbiter knew.
    pub(super) fn locations(&mut self, now: &Objects<MeshLocation>, epoch: Epoch) -> Vec<Input> {
        let known: BTreeSet<&Location> =
            self.locations.values().map(|object| &object.spec.location).collect();
        let (own, misnamed): (Objects<_>, Objects<_>) = now
            .iter()
            .map(|(name, object)| (name.clone(), Arc::clone(object)))
            .partition(|(name, object)| *name == mesh_location_name(&object.spec.location));
        let unknown = own.values().filter(|object| !known.contains(&object.spec.location));
        let inputs = unknown.flat_map(|object| remembered(object, epoch)).collect();

        self.locations = own;
        self.misnamed.clear();
        for (name, object) in misnamed {
            self.misnamed.entry(object.spec.location.clone()).or_default().push(name);
        }
        inputs
    }

    /// Takes note of the locations' objects that cannot be read.
    pub(super) fn unreadable(&mut self, now: BTreeMap<String, String>) {
        self.unreadable = now;
    }

    /// Tells whether a location has an object that cannot be read.
    pub(super) fn is_unreadable(&self, location: &Location) -> bool {
        !self.unreadable.is_empty() && self.unreadable.contains_key(&mesh_location_name(location))
    }

    /// Returns how many Kilo Peers there are, if that has changed.
    pub(super) fn peers(&mut self, count: usize) -> Option<Input> {
        let before = self.peers.replace(count);
        (before != Some(count)).then_some(Input::KiloPeers(count))
    }

    /// Returns what the operator now wants, where it differs from the last look; nothing special of
    /// a location that is gone with all its nodes and its object.
    pub(super) fn intents(&mut self) -> Vec<Input> {
        let mut intents: BTreeMap<Location, Intent> = BTreeMap::new();
        for object in self.locations.values() {
            intents.insert(object.spec.location.clone(), object.spec.intent());
        }
        for (location, names) in &self.misnamed {
            let complaints = names.iter().map(|name| misnamed(name, location));
            intents.entry(location.clone()).or_default().complaints.extend(complaints);
        }
        for node in self.read.values() {
            let intent = intents.entry(node.location.clone()).or_default();
            intent.read_node(node);
            if let Some(object) = self.nodes.get(&node.name.0) {
                intent.complaints.extend(unreadable_annotations(object, node));
            }
            intent.complaints.extend(unread_annotations(node));
        }
        self.hold_unreadable(&mut intents);
        let before = std::mem::replace(&mut self.intents, intents);
        let differing =
            self.intents.iter().filter(|(location, intent)| before.get(*location) != Some(*intent));
        let gone = before.keys().filter(|location| !self.intents.contains_key(*location));
        let unsaid = Intent::default();
        differing
            .chain(gone.map(|location| (location, &unsaid)))
            .map(|(location, intent)| Input::Intent(location.clone(), Box::new(intent.clone())))
            .collect()
    }

    /// What the operator wants of a location whose object cannot be read is not known: it may be a
    /// pause.
    fn hold_unreadable(&self, intents: &mut BTreeMap<Location, Intent>) {
        if self.unreadable.is_empty() {
            return;
        }
        for (location, intent) in intents {
            let name = mesh_location_name(location);
            if let Some(why) = self.unreadable.get(&name) {
                intent.pause = Some(format!("its MeshLocation {name} cannot be read"));
                intent.complaints.push(format!(
                    "MeshLocation {name} cannot be read, so nothing is moved in this location until \
                     it is mended, or deleted and made anew: {why}"
                ));
            }
        }
    }

    /// Returns what the operator wants of a location.
    pub(super) fn intent(&self, location: &Location) -> Option<&Intent> {
        self.intents.get(location)
    }

    /// Returns the mode in force in a location.
    pub(super) fn mode(&self, location: &Location, otherwise: Mode) -> Mode {
        self.intent(location).and_then(|intent| intent.mode).unwrap_or(otherwise)
    }

    /// Returns the object of a location, if it is there.
    pub(super) fn object(&self, location: &Location) -> Option<&Arc<MeshLocation>> {
        self.locations.values().find(|object| object.spec.location == *location)
    }
}

fn changed<'a, K>(before: &'a Objects<K>, now: &'a Objects<K>) -> impl Iterator<Item = &'a Arc<K>> {
    now.iter()
        .filter(|(name, object)| !before.get(*name).is_some_and(|old| Arc::ptr_eq(old, object)))
        .map(|(_, object)| object)
}

/// What an object says that bears another name than its location's is not heeded: of two that
/// contradict each other, nobody could tell which one holds.
fn misnamed(name: &str, location: &Location) -> String {
    format!(
        "MeshLocation {name} names location {:?}, whose object is {}; it is not read",
        location.0,
        mesh_location_name(location)
    )
}

fn gone<K>(before: &Objects<K>, now: &Objects<K>) -> Vec<String> {
    before.keys().filter(|name| !now.contains_key(*name)).cloned().collect()
}

/// Returns what the last arbiter knew of a location.
fn remembered(object: &MeshLocation, epoch: Epoch) -> Vec<Input> {
    let location = &object.spec.location;
    let Some(status) = &object.status else { return Vec::new() };
    let mut inputs = Vec::new();
    let unfinished = status.moving.as_ref().filter(|record| is_forward(record));
    let wish = unfinished.and_then(|record| record.wish.as_ref());
    if status.memory.is_some() || wish.is_some() {
        let mut memory = memory(location, status);
        if let Some(wish) = wish {
            memory.take_over(wish);
        }
        inputs.push(Input::Memory(location.clone(), Box::new(memory)));
    }
    if let (Some(leader), Some(since)) = (&status.leader, &status.since) {
        let since = UnixTime(since.0.as_millisecond());
        inputs.push(Input::LeaderSince(location.clone(), leader.clone(), since));
    }
    if status.moving.is_some() {
        let progress = progress(status.moving.as_ref(), epoch);
        inputs.push(Input::Progress(location.clone(), progress));
    }
    inputs
}

/// Returns the memory in a status. One that cannot be read is left behind: it was edited by hand,
/// and starting afresh moves nothing.
fn memory(location: &Location, status: &MeshLocationStatus) -> Memory {
    let Some(memory) = &status.memory else { return Memory::default() };
    serde_json::from_value(memory.clone())
        .inspect_err(|error| {
            tracing::warn!(
                %location, %error,
                "The memory in the MeshLocation cannot be read; starting afresh"
            );
        })
        .unwrap_or_default()
}

/// Tells whether a move on record is not being put back.
const fn is_forward(record: &MoveRecord) -> bool {
    matches!(record.phase, MovePhase::Recorded | MovePhase::Written)
}

/// Tells whether a report is the word of the node that it is called after.
fn is_own_word(object: &RelayReport) -> bool {
    object.metadata.name.as_deref() == Some(object.spec.report.node.0.as_str())
}

#[cfg(test)]
mod tests;
