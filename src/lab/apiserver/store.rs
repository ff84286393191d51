//! What is kept: objects by kind, one revision for all, and a bounded log per kind from which
//! watches resume.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use axum::body::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::{broadcast, watch};

use super::Write;
use super::admit;
use super::builtin;
use super::definition;
use super::resource::Resource;
use super::status::Failure;

/// How many changes of one kind can be resumed from.
const LOG: usize = 1024;

/// The revision before the first write. Above one, so that «1» is a revision too old, as it is in
/// any cluster that lives.
const FIRST: u64 = 100;

/// An object as it was at one revision.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) value: Arc<Value>,
    pub(super) revision: u64,
    json: OnceLock<Bytes>,
}

impl Object {
    /// Returns the kept form as JSON text, made once however many watch.
    pub(super) fn json(&self) -> Bytes {
        self.json.get_or_init(|| Bytes::from(self.value.to_string())).clone()
    }
}

/// One write as watches see it.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) revision: u64,
    pub(super) before: Option<Arc<Object>>,
    pub(super) after: Option<Arc<Object>>,
}

/// Namespace and name; the namespace is empty for what has none.
pub(super) type Key = (String, String);

/// All objects of one kind.
#[derive(Debug)]
pub(super) struct Shelf {
    pub(super) objects: BTreeMap<Key, Arc<Object>>,
    log: VecDeque<Arc<Change>>,
    /// Watches cannot resume from before this revision.
    oldest: u64,
    changed: watch::Sender<u64>,
}

/// Where a watch stands: what happened since, or that too much did.
pub(super) enum Since {
    Changes(Vec<Arc<Change>>),
    TooOld { oldest: u64 },
}

/// Everything that the server knows.
#[derive(Debug)]
pub(super) struct State {
    pub(super) revision: u64,
    resources: Vec<Arc<Resource>>,
    shelves: BTreeMap<String, Shelf>,
}

/// The state behind its lock, which is never held across an await.
#[derive(Debug)]
pub(super) struct Store {
    state: Mutex<State>,
    pub(super) writes: broadcast::Sender<Write>,
}

impl Store {
    pub(super) fn new(writes: broadcast::Sender<Write>) -> Self {
        let mut state = State {
            revision: FIRST,
            resources: builtin::resources().into_iter().map(Arc::new).collect(),
            shelves: BTreeMap::new(),
        };
        state.make_shelves();

        Self { state: Mutex::new(state), writes }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a namespace there, as the real server does for its own at start.
    pub(super) fn add_namespace(&self, name: &str) {
        let mut state = self.lock();
        let Some(resource) = state.resource("", "v1", "namespaces") else { return };
        let mut namespace = json!({"apiVersion": "v1", "kind": "Namespace",
                                   "metadata": {"name": name}});
        admit::begin(&resource, &mut namespace, Timestamp::now());
        state.commit(&resource, &(String::new(), name.to_owned()), Some(namespace));
    }

    /// Forgets the log, so that every watch that must resume is too old.
    pub(super) fn compact(&self) {
        let mut state = self.lock();
        let revision = state.revision;
        for shelf in state.shelves.values_mut() {
            shelf.log.clear();
            shelf.oldest = revision;
        }
    }
}

impl State {
    /// Returns all kinds of object.
    pub(super) fn resources(&self) -> &[Arc<Resource>] {
        &self.resources
    }

    /// Finds a kind of object.
    pub(super) fn resource(
        &self,
        group: &str,
        version: &str,
        plural: &str,
    ) -> Option<Arc<Resource>> {
        let found = self.resources.iter().find(|resource| {
            resource.group == group && resource.version == version && resource.plural == plural
        });
        found.cloned()
    }

    /// Finds a kind of object for a request, or says what is not there: it, or all of its group.
    pub(super) fn find(
        &self,
        group: &str,
        version: &str,
        plural: &str,
    ) -> Result<Arc<Resource>, Failure> {
        let served =
            |resource: &Arc<Resource>| resource.group == group && resource.version == version;
        match self.resource(group, version, plural) {
            Some(found) => Ok(found),
            None if self.resources.iter().any(served) => Err(Failure::no_such_path()),
            None => Err(Failure::no_such_group()),
        }
    }

    /// Returns the objects of one kind.
    pub(super) fn shelf(&self, resource: &Resource) -> Option<&Shelf> {
        self.shelves.get(&resource.storage_id())
    }

    /// Finds an object.
    pub(super) fn get(&self, resource: &Resource, key: &Key) -> Option<Arc<Object>> {
        self.shelf(resource)?.objects.get(key).cloned()
    }

    /// Tells whether a namespace is there.
    pub(super) fn has_namespace(&self, name: &str) -> bool {
        let key = (String::new(), name.to_owned());
        self.shelves.get("namespaces").is_some_and(|shelf| shelf.objects.contains_key(&key))
    }

    /// Puts an object in its place, or takes it away. Returns the state that was written; for a
    /// removal the last state, at the revision of the removal.
    pub(super) fn commit(
        &mut self,
        resource: &Resource,
        key: &Key,
        value: Option<Value>,
    ) -> Arc<Object> {
        self.revision += 1;
        let revision = self.revision;
        let Some(shelf) = self.shelves.get_mut(&resource.storage_id()) else {
            unreachable!("a resource has a shelf as long as it is served")
        };
        let written = shelf.commit(key, value, revision);
        if resource.id() == builtin::DEFINITIONS {
            self.redefine();
        }

        written
    }

    /// Derives the resources from the definitions.
    fn redefine(&mut self) {
        let definitions = self.shelves.get(builtin::DEFINITIONS);
        let definitions = definitions.into_iter().flat_map(|shelf| shelf.objects.values());
        let made = definitions.flat_map(|object| definition::resources(&object.value));
        let all = builtin::resources().into_iter().chain(made);
        self.resources = all.map(Arc::new).collect();

        self.make_shelves();
        let kept: Vec<_> = self.resources.iter().map(|resource| resource.storage_id()).collect();
        self.shelves.retain(|id, _| kept.contains(id));
    }

    fn make_shelves(&mut self) {
        for resource in &self.resources {
            self.shelves.entry(resource.storage_id()).or_insert_with(|| Shelf::new(self.revision));
        }
    }
}

impl Shelf {
    fn new(revision: u64) -> Self {
        Self {
            objects: BTreeMap::new(),
            log: VecDeque::new(),
            oldest: revision,
            changed: watch::Sender::new(revision),
        }
    }

    fn commit(&mut self, key: &Key, value: Option<Value>, revision: u64) -> Arc<Object> {
        let before = self.objects.remove(key);
        let last = || before.as_ref().map_or(Value::Null, |object| Value::clone(&object.value));
        let removed = value.is_none();
        let mut value = value.unwrap_or_else(last);
        value["metadata"]["resourceVersion"] = json!(revision.to_string());
        let written = Arc::new(Object { value: Arc::new(value), revision, json: OnceLock::new() });

        if !removed {
            self.objects.insert(key.clone(), Arc::clone(&written));
        }
        let after = (!removed).then(|| Arc::clone(&written));
        self.log.push_back(Arc::new(Change { revision, before, after }));
        if self.log.len() > LOG
            && let Some(forgotten) = self.log.pop_front()
        {
            self.oldest = forgotten.revision;
        }
        self.changed.send_replace(revision);

        written
    }

    /// Returns what happened after a revision.
    pub(super) fn since(&self, revision: u64) -> Since {
        if revision < self.oldest {
            return Since::TooOld { oldest: self.oldest };
        }
        let from = self.log.partition_point(|change| change.revision <= revision);
        Since::Changes(self.log.range(from..).cloned().collect())
    }

    /// Returns what tells of further changes; it ends with the shelf.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}
