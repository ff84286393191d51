//! A store-backed watch that can say how old its knowledge is.
//!
//! ```text
//! list (quorum) ─▶ watch from there ─▶ ended in time ─▶ watch again from the last version
//!      ▲                 │ 410 Gone, nonsense
//!      └── back-off ◀────┴── error: back off, watch again from the last version
//! ```
//!
//! kube's own watcher hides bookmarks, the only sign of life of a quiet watch, and so cannot tell
//! silence from a dead connection; who must refuse to act on a stale view has to know. Here every
//! watch ends after [`Renewal`] and is opened anew, and each answer counts as progress.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backon::BackoffBuilder as _;
use futures::StreamExt as _;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::list::{Listed, list};
use crate::telemetry::Chain;

/// Objects by name. One that has not changed is the same [`Arc`] as before.
pub type Objects<K> = BTreeMap<String, Arc<K>>;

/// What a watch needs of a kind.
pub trait Watched:
    Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static
{
}

impl<K> Watched for K where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static
{
}

/// How often a watch is opened anew: the bound on how long a dead connection goes unnoticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// Every ten seconds: for the arbiter, which must not act on a stale view.
    Often,
    /// Every four minutes: for a sidecar, whose probing goes on without the API.
    Seldom,
}

impl Renewal {
    const fn span(self) -> Duration {
        match self {
            Self::Often => Duration::from_secs(10),
            Self::Seldom => Duration::from_secs(240),
        }
    }
}

/// How a watch is doing.
#[derive(Debug, Clone, Default)]
pub struct Health {
    /// When the server last answered.
    pub progress: Option<Instant>,
    /// Why it did not, if it did not the last time.
    pub error: Option<String>,
    /// Objects that cannot be read, each with why: edited to nonsense, or of a later version. They
    /// are left out; the others are not affected.
    pub unreadable: BTreeMap<String, String>,
}

/// A watch on all objects of a kind, or on one. It ends when this is dropped.
pub struct Watch<K> {
    objects: watch::Receiver<Option<Objects<K>>>,
    health: Arc<Mutex<Health>>,
    _task: Arc<AbortOnDropHandle<()>>,
}

impl<K> Clone for Watch<K> {
    fn clone(&self) -> Self {
        Self {
            objects: self.objects.clone(),
            health: Arc::clone(&self.health),
            _task: Arc::clone(&self._task),
        }
    }
}

impl<K: Watched> Watch<K> {
    /// Watches all objects.
    #[must_use]
    pub fn all(api: Api<K>, renewal: Renewal) -> Self {
        Self::start(api, None, renewal)
    }

    /// Watches the one object of this name.
    #[must_use]
    pub fn one(api: Api<K>, name: &str, renewal: Renewal) -> Self {
        Self::start(api, Some(format!("metadata.name={name}")), renewal)
    }

    fn start(api: Api<K>, fields: Option<String>, renewal: Renewal) -> Self {
        let (sender, objects) = watch::channel(None);
        let health = Arc::new(Mutex::new(Health::default()));
        let follow =
            Follow { api, fields, span: renewal.span(), sender, health: Arc::clone(&health) };
        let task = Arc::new(AbortOnDropHandle::new(tokio::spawn(follow.run())));
        Self { objects, health, _task: task }
    }

    /// Returns what is known, marked as seen; nothing before the first list. Do not hold on to it:
    /// the watch waits meanwhile.
    pub fn objects(&mut self) -> watch::Ref<'_, Option<Objects<K>>> {
        self.objects.borrow_and_update()
    }

    /// Waits until something changed since [`objects`](Self::objects) last looked; for ever if the
    /// watch itself is gone, as it is when the runtime ends.
    pub async fn changed(&mut self) {
        if self.objects.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Returns whether a first list arrived.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.objects.borrow().is_some()
    }

    /// Returns how long ago the server last answered; none if it never did.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        self.health().progress.map(|progress| progress.elapsed())
    }

    /// Returns how the watch is doing.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A server may take this much longer than it was asked to before its silence is an error.
const GRACE: Duration = Duration::from_secs(3);

/// A list that takes longer is given up and tried again.
const LIST: Duration = Duration::from_secs(30);

/// How many objects one page of a list holds.
const PAGE: u32 = 500;

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("list {0}")]
    List(String, #[source] kube::Error),
    #[error("watch {0}")]
    Watch(String, #[source] kube::Error),
    #[error("go on watching {0}: a new list is needed")]
    Gone(String, #[source] kube::Error),
    #[error("hear of {0} in time")]
    Silent(String),
}

struct Follow<K> {
    api: Api<K>,
    fields: Option<String>,
    span: Duration,
    sender: watch::Sender<Option<Objects<K>>>,
    health: Arc<Mutex<Health>>,
}

impl<K: Watched> Follow<K> {
    async fn run(self) {
        let mut version = None;
        let mut delays = back_off();
        loop {
            let began = Instant::now();
            match self.round(&mut version).await {
                Ok(()) if began.elapsed() > SHORTEST => {
                    delays = back_off();
                    continue;
                }
                // A server that ends every watch at once must not be asked in a tight loop.
                Ok(()) => {}
                Err(error) => {
                    if matches!(error, Error::Gone(..)) {
                        version = None;
                    }
                    let error = Chain(&error).to_string();
                    tracing::debug!(error, "Watch interrupted");
                    self.note(|health| health.error = Some(error));
                }
            }
            if began.elapsed() > SLOWEST {
                delays = back_off();
            }
            tokio::time::sleep(delays.next().unwrap_or(SLOWEST)).await;
        }
    }

    /// Lists if it must, then watches until the server ends it.
    async fn round(&self, version: &mut Option<String>) -> Result<(), Error> {
        let from = match version {
            Some(version) => version.clone(),
            None => {
                let silent = |_| Error::Silent(kind::<K>());
                let listed = timeout(LIST, self.list()).await.map_err(silent)??;
                version.insert(listed).clone()
            }
        };

        let seconds = u32::try_from(self.span.as_secs()).unwrap_or(u32::MAX);
        let mut params = WatchParams::default().timeout(seconds);
        params.field_selector.clone_from(&self.fields);

        let failed = |source| failed::<K>(source);
        let silent = |_| Error::Silent(kind::<K>());
        let ends = Instant::now() + self.span + GRACE;
        let opened = timeout(GRACE, self.api.watch(&params, &from)).await.map_err(silent)?;
        let mut events = std::pin::pin!(opened.map_err(failed)?);
        self.progressed();

        loop {
            let next = tokio::time::timeout_at(ends, events.next()).await.map_err(silent)?;
            let Some(event) = next else { break };
            *version = Some(self.apply(event.map_err(failed)?)?);
            self.progressed();
        }
        self.progressed();
        Ok(())
    }

    /// Replaces the store by a new list; returns its version.
    async fn list(&self) -> Result<String, Error> {
        let failed = |source| Error::List(kind::<K>(), source);
        let Listed { objects, unreadable, version } =
            list(&self.api, &self.params()).await.map_err(failed)?;

        for (name, error) in &unreadable {
            tracing::warn!(kind = kind::<K>(), name, error, "Object cannot be read");
        }
        self.note(|health| health.unreadable = unreadable);
        self.progressed();
        self.sender.send_modify(|known| {
            let before = known.take().unwrap_or_default();
            *known = Some(by_name(objects, &before));
        });
        Ok(version)
    }

    fn params(&self) -> ListParams {
        ListParams { field_selector: self.fields.clone(), ..ListParams::default().limit(PAGE) }
    }

    /// Brings the store up to date with one event; returns the version it brings us to.
    fn apply(&self, event: WatchEvent<K>) -> Result<String, Error> {
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                let version = object.resource_version().unwrap_or_default();
                self.note(|health| drop(health.unreadable.remove(&object.name_any())));
                self.sender.send_modify(|objects| {
                    let objects = objects.get_or_insert_default();
                    objects.insert(object.name_any(), Arc::new(object));
                });
                Ok(version)
            }
            WatchEvent::Deleted(object) => {
                self.sender.send_modify(|objects| {
                    objects.get_or_insert_default().remove(&object.name_any());
                });
                Ok(object.resource_version().unwrap_or_default())
            }
            WatchEvent::Bookmark(bookmark) => Ok(bookmark.metadata.resource_version),
            WatchEvent::Error(status) => Err(failed::<K>(kube::Error::Api(status))),
        }
    }

    fn progressed(&self) {
        self.note(|health| {
            health.progress = Some(Instant::now());
            health.error = None;
        });
    }

    fn note(&self, change: impl FnOnce(&mut Health)) {
        change(&mut self.health.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// One that has not changed stays what it was before, so that a new list makes no news of it: an old
/// report would seem to have just been written.
fn by_name<K: Watched>(items: Vec<K>, before: &Objects<K>) -> Objects<K> {
    let kept = |name: &str, item: &K| {
        let old = before.get(name)?;
        let (uid, version) = (item.uid(), item.resource_version()?);
        (old.uid() == uid && old.resource_version() == Some(version)).then(|| Arc::clone(old))
    };
    let items = items.into_iter().map(|item| {
        let name = item.name_any();
        let object = kept(&name, &item).unwrap_or_else(|| Arc::new(item));
        (name, object)
    });
    items.collect()
}

/// Tells what only a new list can heal (a version that is too old, an event that cannot be read)
/// from what passes by itself. kube takes an event that it cannot read for a status, of which then
/// nothing is set; the same event would come again and again.
fn failed<K: Watched>(source: kube::Error) -> Error {
    let hopeless = if let kube::Error::Api(status) = &source {
        matches!(status.code, 0 | 410)
    } else {
        matches!(source, kube::Error::SerdeError(_))
    };
    if hopeless { Error::Gone(kind::<K>(), source) } else { Error::Watch(kind::<K>(), source) }
}

fn kind<K: Watched>() -> String {
    K::kind(&()).into_owned()
}

/// A watch that ends sooner than this was not meant to.
const SHORTEST: Duration = Duration::from_secs(1);

/// The longest pause between two tries: an API server that is back is noticed within it.
const SLOWEST: Duration = Duration::from_secs(8);

fn back_off() -> backon::ExponentialBackoff {
    backon::ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(200))
        .with_max_delay(SLOWEST)
        .with_jitter()
        .without_max_times()
        .build()
}

#[cfg(test)]
mod tests;
