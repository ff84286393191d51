//! Watches: from a revision on, or from what is there; with bookmarks; until time is up, somebody
//! cuts them, or the log no longer reaches back.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures::{Stream, stream};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::faults::Faults;
use super::resource::{Conversion, Resource};
use super::selector::Selector;
use super::status::Failure;
use super::store::{Change, Object, Since, Store};
use super::view::View;

/// How often a watch that wants bookmarks gets one.
const BOOKMARKS: Duration = Duration::from_secs(60);

/// What a client asked to watch.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) resource: Arc<Resource>,
    pub(super) namespace: Option<String>,
    pub(super) selector: Selector,
    pub(super) view: View,
    pub(super) start: Start,
    pub(super) bookmarks: bool,
    pub(super) timeout: Duration,
}

/// Where a watch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// After a revision.
    After(u64),
    /// With what is there, as ADDED events.
    Present,
    /// With what is there and a bookmark that says where that ends (`sendInitialEvents`).
    PresentMarked,
}

/// One running watch.
struct Watch {
    request: Request,
    store: Arc<Store>,
    faults: Faults,
    cut: CancellationToken,
    changed: watch::Receiver<u64>,
    revision: u64,
    /// The last revision that the client was told of.
    told: u64,
    waiting: VecDeque<Bytes>,
    first_table: bool,
    ends: Instant,
    bookmark: Instant,
    over: bool,
}

/// Begins a watch, whose events are the body of the response.
pub(super) fn begin(
    store: &Arc<Store>,
    faults: &Faults,
    request: Request,
) -> Result<Body, Failure> {
    let state = store.lock();
    let shelf = state.shelf(&request.resource).ok_or_else(Failure::no_such_path)?;
    let now = Instant::now();
    let mut watch = Watch {
        store: Arc::clone(store),
        faults: faults.clone(),
        cut: faults.watches(),
        changed: shelf.subscribe(),
        revision: state.revision,
        told: state.revision,
        waiting: VecDeque::new(),
        first_table: true,
        ends: now + request.timeout,
        bookmark: now + BOOKMARKS,
        over: false,
        request,
    };
    match watch.request.start {
        Start::After(revision) => (watch.revision, watch.told) = (revision, revision),
        Start::Present | Start::PresentMarked => {
            for object in shelf.objects.values() {
                watch.added(object);
            }
        }
    }
    drop(state);
    if watch.request.start == Start::PresentMarked {
        let annotations = json!({"k8s.io/initial-events-end": "true"});
        watch.mark(&annotations);
    }

    Ok(Body::from_stream(watch.events()))
}

impl Watch {
    fn events(self) -> impl Stream<Item = Result<Bytes, Infallible>> {
        stream::unfold(self, async |mut watch| {
            let event = watch.next().await?;
            Some((Ok(event), watch))
        })
    }

    /// Waits for the next event; none when the watch is over.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            self.faults.unhung().await;
            if self.waiting.is_empty() && !self.over {
                self.catch_up();
            }
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            if self.over || self.cut.is_cancelled() {
                return None;
            }
            tokio::select! {
                () = self.cut.cancelled() => return None,
                () = sleep_until(self.ends) => {
                    self.over = true;
                    if self.request.bookmarks && self.told != self.revision {
                        self.mark(&Value::Null);
                    }
                }
                () = sleep_until(self.bookmark), if self.request.bookmarks => {
                    self.bookmark = Instant::now() + BOOKMARKS;
                    self.mark(&Value::Null);
                }
                change = self.changed.changed() => self.over = change.is_err(),
            }
        }
    }

    /// Turns what happened since into events.
    fn catch_up(&mut self) {
        let store = Arc::clone(&self.store);
        let state = store.lock();
        self.changed.mark_unchanged();
        let Some(shelf) = state.shelf(&self.request.resource) else {
            self.over = true;
            return;
        };
        match shelf.since(self.revision) {
            Since::Changes(changes) => {
                // What the client asked to start after may not have happened yet.
                self.revision = self.revision.max(state.revision);
                drop(state);
                for change in changes {
                    self.change(&change);
                }
            }
            Since::TooOld { oldest } => {
                let message = format!("too old resource version: {} ({oldest})", self.revision);
                let status = Failure::expired(&message).status().to_string();
                self.push("ERROR", &Bytes::from(status));
                self.over = true;
            }
        }
    }

    fn change(&mut self, change: &Change) {
        let meant = |object: &Option<Arc<Object>>| {
            object.as_ref().filter(|object| self.is_meant(object)).cloned()
        };
        match (meant(&change.before), meant(&change.after)) {
            (None, None) => return,
            (None, Some(new)) => self.tell("ADDED", &new),
            (Some(_), Some(new)) => self.tell("MODIFIED", &new),
            (Some(old), None) => {
                let mut last = Value::clone(&old.value);
                last["metadata"]["resourceVersion"] = json!(change.revision.to_string());
                let last = self.request.resource.to_wire(last);
                self.tell_value("DELETED", last);
            }
        }
        self.told = self.told.max(change.revision);
    }

    fn is_meant(&self, object: &Object) -> bool {
        let namespace = self.request.namespace.as_deref();
        let (found, _) = super::json::identity(&object.value);
        if namespace.is_some_and(|namespace| namespace != found) {
            return false;
        }
        self.request.selector.is_empty()
            || self.request.selector.matches(&wire(&self.request.resource, object))
    }

    fn added(&mut self, object: &Arc<Object>) {
        if self.is_meant(object) {
            self.tell("ADDED", object);
        }
    }

    fn tell(&mut self, kind: &str, object: &Object) {
        let plain = self.request.resource.rules.conversion == Conversion::None;
        if plain && self.request.view == View::Whole {
            self.push(kind, &object.json());
        } else {
            self.tell_value(kind, wire(&self.request.resource, object));
        }
    }

    fn tell_value(&mut self, kind: &str, object: Value) {
        let mut shown = self.request.view.one(&self.request.resource, object);
        if let View::Table(_) = self.request.view
            && !std::mem::replace(&mut self.first_table, false)
        {
            shown["columnDefinitions"] = Value::Null;
        }
        self.push(kind, &Bytes::from(shown.to_string()));
    }

    /// Sends a bookmark: the client has seen all up to this revision.
    fn mark(&mut self, annotations: &Value) {
        let resource = &self.request.resource;
        let mut metadata =
            json!({"resourceVersion": self.revision.to_string(), "creationTimestamp": null});
        if !annotations.is_null() {
            metadata["annotations"] = annotations.clone();
        }
        let object = match self.request.view {
            View::Whole => json!({"kind": resource.kind, "apiVersion": resource.api_version(),
                                  "metadata": metadata}),
            View::Metadata => json!({"kind": "PartialObjectMetadata",
                                     "apiVersion": "meta.k8s.io/v1", "metadata": metadata}),
            View::Table(_) => json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1",
                                     "metadata": metadata, "columnDefinitions": null,
                                     "rows": []}),
        };
        self.told = self.revision;
        self.push("BOOKMARK", &Bytes::from(object.to_string()));
    }

    fn push(&mut self, kind: &str, object: &Bytes) {
        let mut event = Vec::with_capacity(object.len() + 32);
        event.extend_from_slice(b"{\"type\":\"");
        event.extend_from_slice(kind.as_bytes());
        event.extend_from_slice(b"\",\"object\":");
        event.extend_from_slice(object);
        event.extend_from_slice(b"}\n");
        self.waiting.push_back(event.into());
    }
}

fn wire(resource: &Resource, object: &Object) -> Value {
    resource.to_wire(Value::clone(&object.value))
}
