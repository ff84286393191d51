//! A lease's store in memory, with a faulty line to it for each candidate.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use tokio::time::sleep;

use super::{Server, ServerError};

/// What befalls one call on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Fault {
    /// The request is under way for so long.
    pub(crate) before: Duration,
    /// The answer is under way for so long.
    pub(crate) after: Duration,
    /// The answer gets lost: the caller sees an error.
    pub(crate) lost: bool,
    /// The server refuses, and does nothing.
    pub(crate) refused: bool,
}

/// The API server's one copy of the lease.
#[derive(Clone, Default)]
pub(crate) struct Store(Arc<Mutex<Stored>>);

#[derive(Default)]
struct Stored {
    lease: Option<Lease>,
    version: u64,
    uids: u64,
}

impl Store {
    fn stored(&self) -> MutexGuard<'_, Stored> {
        self.0.lock().unwrap()
    }

    pub(crate) fn lease(&self) -> Option<Lease> {
        self.stored().lease.clone()
    }

    /// Stores what an object is after a merge patch without `resourceVersion`: whatever stands
    /// there is overwritten.
    pub(crate) fn merge(&self, change: impl FnOnce(&mut Lease)) -> Lease {
        let mut stored = self.stored();
        let mut lease = stored.lease.clone().unwrap_or_default();
        change(&mut lease);
        stored.put(lease)
    }

    pub(crate) fn delete(&self) {
        self.stored().lease = None;
    }

    fn replace(&self, lease: &Lease) -> Result<Lease, ServerError> {
        let mut stored = self.stored();
        let present = stored.lease.as_ref().ok_or_else(|| ServerError::Other("404".into()))?;
        if present.metadata.resource_version != lease.metadata.resource_version {
            return Err(ServerError::Conflict);
        }
        Ok(stored.put(lease.clone()))
    }

    fn create(&self, lease: &Lease) -> Result<Lease, ServerError> {
        let mut stored = self.stored();
        if stored.lease.is_some() {
            return Err(ServerError::Conflict);
        }
        let mut lease = lease.clone();
        stored.uids += 1;
        lease.metadata.uid = Some(format!("uid-{}", stored.uids));
        Ok(stored.put(lease))
    }
}

impl Stored {
    fn put(&mut self, mut lease: Lease) -> Lease {
        self.version += 1;
        lease.metadata.resource_version = Some(self.version.to_string());
        self.lease = Some(lease.clone());
        lease
    }
}

/// One candidate's line to the store: faults for the next calls, then one for all that follow.
#[derive(Clone, Default)]
pub(crate) struct Line {
    pub(crate) store: Store,
    next: Arc<Mutex<(VecDeque<Fault>, Fault)>>,
}

impl Line {
    pub(crate) fn to(store: &Store) -> Self {
        Self { store: store.clone(), ..Self::default() }
    }

    pub(crate) fn then(&self, faults: impl IntoIterator<Item = Fault>) {
        self.next.lock().unwrap().0.extend(faults);
    }

    pub(crate) fn always(&self, fault: Fault) {
        *self.next.lock().unwrap() = (VecDeque::new(), fault);
    }

    /// Merges over the line.
    pub(crate) async fn merge(
        &self,
        change: impl FnOnce(&mut Lease) + Send + 'static,
    ) -> Result<Lease, ServerError> {
        self.carry(move |store| Ok(store.merge(change))).await
    }

    /// Carries a request over the line. Once sent it arrives, even if its sender stops waiting.
    async fn carry<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Store) -> Result<T, ServerError> + Send + 'static,
    ) -> Result<T, ServerError> {
        let fault = {
            let mut next = self.next.lock().unwrap();
            next.0.pop_front().unwrap_or(next.1)
        };
        if fault.refused {
            return Err(ServerError::Refused("403".into()));
        }
        let store = self.store.clone();
        let under_way = tokio::spawn(async move {
            sleep(fault.before).await;
            call(&store)
        });
        let outcome = under_way.await.unwrap();
        sleep(fault.after).await;
        if fault.lost { Err(ServerError::Silent) } else { outcome }
    }
}

impl Server for Line {
    async fn read(&self) -> Result<Option<Lease>, ServerError> {
        self.carry(|store| Ok(store.lease())).await
    }

    async fn create(&self, lease: &Lease) -> Result<Lease, ServerError> {
        let lease = lease.clone();
        self.carry(move |store| store.create(&lease)).await
    }

    async fn replace(&self, lease: &Lease) -> Result<Lease, ServerError> {
        let lease = lease.clone();
        self.carry(move |store| store.replace(&lease)).await
    }
}
