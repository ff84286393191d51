//! Lists and watches one kind of object for ever, with the patience of Kubernetes' own client
//! library: a watch that breaks is followed by a wait, which doubles each time up to a limit, and
//! is forgotten only after two minutes without a break.

use std::fmt::Debug;
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use kube::Api;
use kube::api::{ListParams, WatchEvent, WatchParams};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout};

use super::{Timing, chance};

/// What became of the objects.
#[derive(Debug)]
pub(super) enum Change<K> {
    /// These are all there are.
    All(Vec<K>),
    /// This one is new or has changed.
    Applied(K),
    /// This one is gone.
    Deleted(K),
}

/// Why a list or a watch ended.
#[derive(Debug, thiserror::Error)]
enum Break {
    #[error("the connection was silent for too long")]
    Silent,
    #[error(transparent)]
    Kube(#[from] kube::Error),
    #[error("the server ended the watch: {0}")]
    Ended(String),
}

/// How long to wait after the next break.
struct Backoff {
    timing: Timing,
    next: Duration,
    last: Option<Instant>,
}

impl Backoff {
    fn new(timing: Timing) -> Self {
        Self { timing, next: timing.backoff, last: None }
    }

    async fn wait(&mut self) {
        let quiet = self.timing.check_in * 4;
        if self.last.is_some_and(|last| last.elapsed() > quiet) {
            self.next = self.timing.backoff;
        }
        let wait = self.next.mul_f64(1.0 + chance());
        self.next = (self.next * 2).min(self.timing.backoff_limit);
        self.last = Some(Instant::now());

        sleep(wait).await;
    }
}

/// Tells `on` of every change, for ever. If the kind is not served at all, there are none of it.
pub(super) async fn reflect<K>(api: Api<K>, timing: Timing, mut on: impl FnMut(Change<K>)) -> !
where
    K: Clone + Debug + DeserializeOwned + 'static,
{
    let mut backoff = Backoff::new(timing);
    loop {
        match follow(&api, timing, &mut on).await {
            Break::Kube(kube::Error::Api(status)) if status.code == 404 => {
                sleep(timing.resync).await;
            }
            reason @ (Break::Silent | Break::Kube(_) | Break::Ended(_)) => {
                tracing::debug!(%reason, "watch broke");
                backoff.wait().await;
            }
        }
    }
}

/// Lists once and watches until something breaks.
async fn follow<K>(api: &Api<K>, timing: Timing, on: &mut impl FnMut(Change<K>)) -> Break
where
    K: Clone + Debug + DeserializeOwned + 'static,
{
    let everything = ListParams::default();
    let list = match timeout(timing.silence, api.list(&everything)).await {
        Ok(Ok(list)) => list,
        Ok(Err(error)) => return error.into(),
        Err(_elapsed) => return Break::Silent,
    };
    let mut version = list.metadata.resource_version.clone().unwrap_or_default();
    on(Change::All(list.items));

    loop {
        if let Err(reason) = watch(api, timing, &mut version, on).await {
            return reason;
        }
    }
}

/// Watches from a version on until the server has had enough.
async fn watch<K>(
    api: &Api<K>,
    timing: Timing,
    version: &mut String,
    on: &mut impl FnMut(Change<K>),
) -> Result<(), Break>
where
    K: Clone + Debug + DeserializeOwned + 'static,
{
    let parameters = WatchParams::default();
    let started = timeout(timing.silence, api.watch(&parameters, version)).await;
    let mut events = pin!(started.map_err(|_elapsed| Break::Silent)??);

    while let Some(event) =
        timeout(timing.silence, events.next()).await.map_err(|_elapsed| Break::Silent)?
    {
        match event? {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                on(Change::Applied(object));
            }
            WatchEvent::Deleted(object) => on(Change::Deleted(object)),
            WatchEvent::Bookmark(mark) => *version = mark.metadata.resource_version,
            WatchEvent::Error(status) => return Err(Break::Ended(status.message)),
        }
    }

    Ok(())
}
