//! One candidate: watches the lease, takes it when it is free, keeps it, gives it back.

use std::fmt::Write as _;
use std::future::Future;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::{Fence, Held, Leadership, Server, ServerError, Timing};
use crate::telemetry::Chain;

/// A foreign lease that asks for more patience than this does not get it.
const LONGEST_PATIENCE: Duration = Duration::from_secs(60);

/// What a candidate runs for, and as whom.
pub struct Campaign {
    /// Unique for each process, also across restarts: see [`draw_identity`].
    pub identity: String,
    /// The spans.
    pub timing: Timing,
    /// How much longer than others this candidate waits before it takes a free lease.
    pub handicap: watch::Receiver<Duration>,
    /// The wall clock, which is written for people and never compared.
    pub wall: fn() -> Timestamp,
}

/// Returns a name that no other process has, with `name` legible in it.
/// Where the kernel gives no randomness, the name alone has to do.
#[must_use]
pub fn draw_identity(name: &str) -> String {
    let mut drawn = [0; 6];
    if getrandom::fill(&mut drawn).is_err() {
        return name.to_owned();
    }
    drawn.iter().fold(format!("{name}_"), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// One candidate for the lease.
pub struct Candidate<S> {
    server: S,
    campaign: Campaign,
    held: watch::Sender<Option<Held>>,
    holder: watch::Sender<Option<String>>,
    resigned: watch::Receiver<Option<Fence>>,
    answered: Answered,
    returned: watch::Sender<Option<Instant>>,
    jitter: Jitter,
}

/// When the server last answered.
#[derive(Debug, Clone, Copy)]
enum Answered {
    /// It was not asked yet.
    Unasked,
    /// It never did, though it was asked.
    Never,
    /// Then.
    At(Instant),
}

/// The lease as last seen, and when by our clock.
struct Seen {
    version: Option<String>,
    at: Instant,
}

impl<S: Server> Candidate<S> {
    /// Makes a candidate, and the handle that tells whether it holds the lease.
    #[must_use]
    pub fn new(server: S, campaign: Campaign) -> (Self, Leadership) {
        let (held, held_receiver) = watch::channel(None);
        let (holder, holder_receiver) = watch::channel(None);
        let (returned, returned_receiver) = watch::channel(None);
        let (resigned, resigned_receiver) = watch::channel(None);
        let leadership = Leadership {
            held: held_receiver,
            holder: holder_receiver,
            returned: returned_receiver,
            resigned,
        };
        let new = Self {
            server,
            held,
            holder,
            resigned: resigned_receiver,
            answered: Answered::Unasked,
            returned,
            jitter: Jitter::new(&campaign.identity),
            campaign,
        };
        (new, leadership)
    }

    /// Runs until `shutdown`; then gives the lease back if it holds it.
    pub async fn run(mut self, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            let mut lease = tokio::select! {
                () = shutdown.cancelled() => return,
                lease = self.acquire() => lease,
            };
            let resigned = resigned(self.resigned.clone(), fence(&lease));
            let is_ours = tokio::select! {
                () = shutdown.cancelled() => true,
                () = resigned => true,
                () = self.keep(&mut lease) => false,
            };
            self.held.send_replace(None);
            if is_ours {
                self.release(lease).await;
            }
        }
    }

    /// Waits until the lease is ours.
    async fn acquire(&mut self) -> Lease {
        let mut seen = None;
        let mut free_since = None;
        loop {
            let pause = match self.try_acquire(&mut seen, &mut free_since).await {
                Ok(Attempt::Won(lease)) => return *lease,
                Ok(Attempt::NotBefore(wait)) => wait,
                Err(ServerError::Conflict) => Duration::ZERO,
                Err(error) => {
                    if matches!(error, ServerError::Refused(_)) {
                        self.hear(Instant::now());
                    } else if matches!(self.answered, Answered::Unasked) {
                        self.answered = Answered::Never;
                    }
                    tracing::debug!(error = %Chain(&error), "Lease is out of reach");
                    Duration::MAX
                }
            };
            let retry = self.jitter.lengthen(self.campaign.timing.retry);
            sleep(pause.max(SHORTEST_PAUSE).min(retry)).await;
        }
    }

    async fn try_acquire(
        &mut self,
        seen: &mut Option<Seen>,
        free_since: &mut Option<Instant>,
    ) -> Result<Attempt, ServerError> {
        let found = self.call(self.server.read()).await?;
        let now = Instant::now();
        self.hear(now);

        let wait = found.as_ref().map_or(Duration::ZERO, |lease| self.wait(lease, seen, now));
        if !wait.is_zero() {
            *free_since = None;
            return Ok(Attempt::NotBefore(wait));
        }
        let since = *free_since.get_or_insert(now);
        let handicap = (since + *self.campaign.handicap.borrow()).saturating_duration_since(now);
        if !handicap.is_zero() {
            return Ok(Attempt::NotBefore(handicap));
        }

        let began = Instant::now();
        let claim = self.claim(found.clone().unwrap_or_default());
        let stored = match found {
            Some(_) => self.call(self.server.replace(&claim)).await?,
            None => self.call(self.server.create(&claim)).await?,
        };
        self.hold(&stored, began);
        Ok(Attempt::Won(Box::new(stored)))
    }

    /// Returns how much longer to leave a lease alone; zero if it is free.
    fn wait(&self, lease: &Lease, seen: &mut Option<Seen>, now: Instant) -> Duration {
        let version = &lease.metadata.resource_version;
        if seen.as_ref().is_none_or(|seen| seen.version != *version) {
            *seen = Some(Seen { version: version.clone(), at: now });
        }
        let since = seen.as_ref().map_or(now, |seen| seen.at);

        let holder = holder(lease);
        self.note_holder(holder);
        match holder {
            // Ourselves: a claim whose answer never came.
            None => Duration::ZERO,
            Some(holder) if holder == self.campaign.identity => Duration::ZERO,
            Some(_) => {
                let asked = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
                let asked =
                    Duration::from_secs(asked.unwrap_or_default().max(0).unsigned_abs().into());
                let ours = self.campaign.timing.duration;
                let patience = asked.clamp(ours, ours.max(LONGEST_PATIENCE));
                (since + patience).saturating_duration_since(now)
            }
        }
    }

    /// Returns the lease as it is to stand when we hold it. Each claim is a term of its own.
    fn claim(&self, mut lease: Lease) -> Lease {
        let spec = lease.spec.get_or_insert_default();
        let now = MicroTime((self.campaign.wall)());
        spec.holder_identity = Some(self.campaign.identity.clone());
        spec.lease_duration_seconds = Some(whole_seconds(self.campaign.timing.duration));
        spec.acquire_time = Some(now.clone());
        spec.renew_time = Some(now);
        spec.lease_transitions = Some(transitions(spec).saturating_add(1));
        lease
    }

    /// Renews until that fails: returns when the lease is lost, at the latest at the term's end.
    async fn keep(&mut self, lease: &mut Lease) {
        loop {
            let Some(until) = self.held.borrow().as_ref().map(|held| held.until) else { return };
            match timeout_at(until, self.renew(lease)).await {
                Ok(Ok(())) => {}
                Ok(Err(ServerError::Conflict)) => {
                    tracing::warn!(holder = self.holder.borrow().clone(), "Lease lost to another");
                    return;
                }
                Ok(Err(error)) => {
                    tracing::debug!(error = %Chain(&error), "Lease not renewed yet");
                }
                Err(_elapsed) => {
                    tracing::warn!("Lease lost: not renewed in time");
                    return;
                }
            }
        }
    }

    /// Pauses, then renews once. A conflict means that somebody else holds the lease.
    async fn renew(&mut self, lease: &mut Lease) -> Result<(), ServerError> {
        sleep(self.jitter.lengthen(self.campaign.timing.retry)).await;
        match self.put(lease).await {
            Err(ServerError::Conflict) => {}
            outcome => return outcome,
        }

        // Somebody wrote: perhaps we did and the answer got lost, perhaps a label was added.
        let found = self.call(self.server.read()).await?.ok_or(ServerError::Conflict)?;
        self.note_holder(holder(&found));
        if holder(&found) != Some(&self.campaign.identity) || fence(&found) != fence(lease) {
            return Err(ServerError::Conflict);
        }
        *lease = found;
        match self.put(lease).await {
            Err(ServerError::Conflict) => Ok(()),
            outcome => outcome,
        }
    }

    async fn put(&mut self, lease: &mut Lease) -> Result<(), ServerError> {
        let began = Instant::now();
        let mut renewed = lease.clone();
        renewed.spec.get_or_insert_default().renew_time = Some(MicroTime((self.campaign.wall)()));
        *lease = self.call(self.server.replace(&renewed)).await?;
        self.hear(Instant::now());
        self.hold(lease, began);
        Ok(())
    }

    /// Takes note of an answer, and of a silence that it ends.
    fn hear(&mut self, now: Instant) {
        let was_away = match self.answered {
            Answered::Unasked => false,
            Answered::Never => true,
            Answered::At(last) => now - last > self.campaign.timing.away,
        };
        if was_away {
            self.returned.send_replace(Some(now));
        }
        self.answered = Answered::At(now);
    }

    /// Gives the lease back, so that the next one need not wait.
    async fn release(&self, mut lease: Lease) {
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        spec.renew_time = Some(MicroTime((self.campaign.wall)()));
        match self.call(self.server.replace(&lease)).await {
            Ok(_) => tracing::info!("Lease released"),
            Err(error) => tracing::info!(error = %Chain(&error), "Lease left to run out"),
        }
    }

    /// Publishes a term that lasts from the start of the call that wrote it.
    fn hold(&self, lease: &Lease, began: Instant) {
        let held = Held { fence: fence(lease), until: began + self.campaign.timing.renew_within };
        self.note_holder(Some(&self.campaign.identity));
        self.held.send_if_modified(|present| {
            let is_new = present.as_ref().map(|present| &present.fence) != Some(&held.fence);
            *present = Some(held);
            is_new
        });
    }

    fn note_holder(&self, holder: Option<&str>) {
        self.holder.send_if_modified(|known| {
            let is_new = known.as_deref() != holder;
            if is_new {
                *known = holder.map(str::to_owned);
            }
            is_new
        });
    }

    /// Bounds a call, so that a server that hangs costs one try and not the term.
    async fn call<T>(
        &self,
        call: impl Future<Output = Result<T, ServerError>>,
    ) -> Result<T, ServerError> {
        let bound = self.campaign.timing.renew_within / 2;
        timeout(bound, call).await.unwrap_or(Err(ServerError::Silent))
    }
}

/// Waits until the term of `fence` is resigned; for ever if nobody is left who could.
async fn resigned(mut resigned: watch::Receiver<Option<Fence>>, fence: Fence) {
    if resigned.wait_for(|resigned| resigned.as_ref() == Some(&fence)).await.is_err() {
        std::future::pending::<()>().await;
    }
}

enum Attempt {
    Won(Box<Lease>),
    NotBefore(Duration),
}

/// Even after a conflict, a server is left this long to itself.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);

/// Returns who holds a lease; an empty name is nobody.
fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

/// Returns a duration in seconds, rounded up.
fn whole_seconds(duration: Duration) -> i32 {
    let rounded = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    i32::try_from(rounded.max(1)).unwrap_or(i32::MAX)
}

fn transitions(spec: &LeaseSpec) -> i32 {
    spec.lease_transitions.unwrap_or_default()
}

fn fence(lease: &Lease) -> Fence {
    Fence {
        lease: lease.metadata.uid.clone().unwrap_or_default(),
        transitions: lease.spec.as_ref().map(transitions).unwrap_or_default(),
    }
}

/// Lengthens pauses by up to a fifth, so that candidates do not keep step with each other.
struct Jitter {
    state: u64,
}

impl Jitter {
    fn new(identity: &str) -> Self {
        let digest = Sha256::digest(identity.as_bytes());
        let state = digest.iter().take(8).fold(0, |state, &byte| state << 8 | u64::from(byte));
        Self { state: state | 1 }
    }

    /// Draws by an xorshift generator; the quality does not matter.
    fn lengthen(&mut self, pause: Duration) -> Duration {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        let permille = u32::try_from(self.state % 200).unwrap_or_default();
        pause + pause * permille / 1000
    }
}
