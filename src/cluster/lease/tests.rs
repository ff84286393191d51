//! The election on a paused clock, over lines that delay, lose and hang.
//!
//! The last part shows why the usual crate is not used: the same candidates with merge patches
//! instead of conditional writes hold the lease two at a time.

use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use proptest::prelude::*;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::fake::{Fault, Line, Store};
use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A candidate that runs, and what a test may do to it.
struct Running {
    line: Line,
    leadership: Leadership,
    handicap: watch::Sender<Duration>,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    fn start(store: &Store, name: &str, wall: fn() -> Timestamp) -> Self {
        let line = Line::to(store);
        let (handicap, receiver) = watch::channel(Duration::ZERO);
        let campaign = Campaign {
            identity: name.to_owned(),
            timing: Timing::default(),
            handicap: receiver,
            wall,
        };
        let (candidate, leadership) = Candidate::new(line.clone(), campaign);
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(candidate.run(shutdown.clone()));
        Self { line, leadership, handicap, shutdown, task }
    }

    fn holds(&self) -> bool {
        self.leadership.current().is_some()
    }

    async fn wins(&self) -> Fence {
        loop {
            if let Some(fence) = self.leadership.current() {
                return fence;
            }
            sleep(SECOND / 100).await;
        }
    }
}

fn wall() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn wall_behind() -> Timestamp {
    Timestamp::from_second(1_800_000_000 - 16).unwrap()
}

fn hang() -> Fault {
    Fault { before: 100 * SECOND, ..Fault::default() }
}

/// Watches over candidates: never two at once, and each term greater than the last.
async fn guard(candidates: &[&Running], span: Duration) -> Vec<Fence> {
    let end = Instant::now() + span;
    let mut terms = Vec::<Fence>::new();
    while Instant::now() < end {
        let held: Vec<_> = candidates.iter().filter_map(|c| c.leadership.current()).collect();
        assert!(held.len() <= 1, "two hold the lease: {held:?}");
        if let Some(fence) = held.first()
            && terms.last() != Some(fence)
        {
            assert!(terms.last().is_none_or(|last| last < fence), "{fence} after {terms:?}");
            terms.push(fence.clone());
        }
        sleep(SECOND / 100).await;
    }
    terms
}

#[tokio::test(start_paused = true)]
async fn of_two_candidates_at_once_one_wins() {
    let store = Store::default();
    let a = Running::start(&store, "a", wall);
    let b = Running::start(&store, "b", wall);

    let terms = guard(&[&a, &b], 120 * SECOND).await;

    assert_eq!(terms.len(), 1);
    assert_ne!(a.holds(), b.holds());
}

#[tokio::test(start_paused = true)]
async fn a_dead_holder_is_replaced_after_the_lease_and_not_before() {
    let store = Store::default();
    let a = Running::start(&store, "a", wall);
    let first = a.wins().await;
    let b = Running::start(&store, "b", wall);
    sleep(5 * SECOND).await;

    a.task.abort();
    let died = Instant::now();
    let second = b.wins().await;

    let took = died.elapsed();
    assert!(took > 8 * SECOND && took < 12 * SECOND, "{took:?}");
    assert_eq!((second.lease.as_str(), second.transitions), ("uid-1", first.transitions + 1));
}

#[tokio::test(start_paused = true)]
async fn a_holder_whose_api_hangs_stops_by_its_own_timer() {
    let store = Store::default();
    let a = Running::start(&store, "a", wall);
    a.wins().await;
    let b = Running::start(&store, "b", wall);
    sleep(5 * SECOND).await;

    a.line.always(hang());
    let hung = Instant::now();
    while a.holds() {
        sleep(SECOND / 100).await;
    }

    assert!(hung.elapsed() <= 6 * SECOND, "{:?}", hung.elapsed());
    assert!(!b.holds());
    assert_eq!(guard(&[&a, &b], 60 * SECOND).await.len(), 1);
    assert!(b.holds());
}

#[tokio::test(start_paused = true)]
async fn a_taker_that_pauses_between_reading_and_writing_gets_a_conflict() {
    let store = Store::default();
    let a = Running::start(&store, "a", wall);
    // Reads, and then its claim is under way for 2 s, in which b takes the lease.
    a.line.then([Fault::default(), Fault { before: 2 * SECOND, ..Fault::default() }]);
    sleep(SECOND / 10).await;
    let b = Running::start(&store, "b", wall);

    let terms = guard(&[&a, &b], 60 * SECOND).await;

    assert_eq!(terms.len(), 1);
    assert!(b.holds());
}

#[tokio::test(start_paused = true)]
async fn clocks_that_are_sixteen_seconds_apart_do_not_matter() {
    let store = Store::default();
    let a = Running::start(&store, "a", wall_behind);
    a.wins().await;
    let b = Running::start(&store, "b", wall);

    assert_eq!(guard(&[&a, &b], 120 * SECOND).await.len(), 1);
    assert!(a.holds());
}

#[tokio::test(start_paused = true)]
async fn a_claim_whose_answer_got_lost_is_claimed_again() {
    let store = Store::default();
    let a = Running::start(&store, "a", wall);
    a.line.then([Fault::default(), Fault { lost: true, ..Fault::default() }]);

    assert_eq!(a.wins().await.transitions, 2);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_whose_answer_got_lost_keeps_the_term() {
    let store = Store::default();
    let a = Running::start(&store, "a", wall);
    a.wins().await;
    a.line.then([Fault { lost: true, ..Fault::default() }]);

    assert_eq!(guard(&[&a], 60 * SECOND).await.len(), 1);
    assert!(a.holds());
}

#[tokio::test(start_paused = true)]
async fn a_released_lease_is_taken_at_once() {
    let store = Store::default();
    let a = Running::start(&store, "a", wall);
    a.wins().await;
    let b = Running::start(&store, "b", wall);
    sleep(5 * SECOND).await;

    a.shutdown.cancel();
    let released = Instant::now();
    b.wins().await;

    assert!(released.elapsed() < 2 * SECOND, "{:?}", released.elapsed());
    assert!(!a.holds());
    a.task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_resigns_stands_again_for_a_term_of_its_own() {
    let store = Store::default();
    let a = Running::start(&store, "a", wall);
    let first = a.wins().await;
    a.leadership.resign(first.clone());
    while a.leadership.is_current(&first) {
        sleep(SECOND / 100).await;
    }
    assert!(a.wins().await > first);

    // A term that is over cannot be resigned any more.
    a.leadership.resign(first);
    assert_eq!(guard(&[&a], 30 * SECOND).await.len(), 1);

    // Another that stands for it may be first.
    let b = Running::start(&store, "b", wall);
    a.handicap.send_replace(4 * SECOND);
    a.leadership.resign(a.wins().await);
    b.wins().await;
    assert!(!a.holds());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_was_away_is_known_to_have_returned() {
    let silent = Fault { lost: true, ..Fault::default() };
    let store = Store::default();
    let a = Running::start(&store, "a", wall);
    let b = Running::start(&store, "b", wall);
    sleep(60 * SECOND).await;
    let (holder, other) = if a.holds() { (a, b) } else { (b, a) };
    let first = holder.wins().await;
    let befall = |fault| [&holder, &other].iter().for_each(|it| it.line.always(fault));

    // Long enough to lose the lease, too short for anybody's agents to notice.
    befall(silent);
    sleep(8 * SECOND).await;
    befall(Fault::default());
    sleep(30 * SECOND).await;
    assert!(!holder.leadership.is_current(&first));
    assert_eq!([&holder, &other].map(|it| it.leadership.returned()), [None, None]);

    befall(silent);
    sleep(20 * SECOND).await;
    let began = Instant::now();
    befall(Fault::default());
    sleep(30 * SECOND).await;
    for it in [&holder, &other] {
        let returned = it.leadership.returned().expect("it was away, whoever held the lease");
        assert!(returned >= began && returned.elapsed() > 20 * SECOND, "{returned:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_starts_during_an_outage_knows_of_it_by_its_first_try() {
    let store = Store::default();
    let a = Running::start(&store, "a", wall);
    a.line.then([Fault { lost: true, ..Fault::default() }]);
    a.wins().await;
    assert!(a.leadership.returned().is_some());

    let b = Running::start(&store, "b", wall);
    sleep(10 * SECOND).await;
    assert_eq!(b.leadership.returned(), None);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_refuses_is_there() {
    let a = Running::start(&Store::default(), "a", wall);
    a.line.always(Fault { refused: true, ..Fault::default() });
    sleep(60 * SECOND).await;
    a.line.always(Fault::default());
    a.wins().await;
    assert_eq!(a.leadership.returned(), None);
}

#[tokio::test(start_paused = true)]
async fn a_free_lease_goes_to_the_one_without_handicap() {
    let store = Store::default();
    let a = Running::start(&store, "a", wall);
    a.handicap.send_replace(4 * SECOND);
    let b = Running::start(&store, "b", wall);
    b.handicap.send_replace(2 * SECOND);

    guard(&[&a, &b], 30 * SECOND).await;
    assert!(b.holds());

    // Alone, the other takes it too: a handicap is no veto.
    b.shutdown.cancel();
    a.wins().await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_with_missing_fields_is_free() {
    let tables: [fn(&mut k8s_openapi::api::coordination::v1::Lease); 3] = [
        |lease| lease.spec = None,
        |lease| lease.spec.get_or_insert_default().holder_identity = Some(String::new()),
        // Held, but by one that never said until when: free once it was still for our duration.
        |lease| lease.spec.get_or_insert_default().holder_identity = Some("other".into()),
    ];
    for (held, change) in [false, false, true].into_iter().zip(tables) {
        let store = Store::default();
        store.merge(change);
        let a = Running::start(&store, "a", wall);
        let began = Instant::now();

        a.wins().await;

        assert_eq!(began.elapsed() >= 10 * SECOND, held, "{:?}", began.elapsed());
        assert!(began.elapsed() < 13 * SECOND);
    }
}

#[tokio::test(start_paused = true)]
async fn a_deleted_lease_ends_the_term() {
    let store = Store::default();
    let a = Running::start(&store, "a", wall);
    let first = a.wins().await;
    store.delete();

    sleep(20 * SECOND).await;

    let second = a.wins().await;
    assert_ne!(second.lease, first.lease);
}

#[test]
fn fences_are_read_as_written() {
    let fence = Fence { lease: "a/b".into(), transitions: 7 };
    assert_eq!(fence.to_string().parse(), Ok(fence));
    assert_eq!("".parse::<Fence>(), Err(NotAFence(String::new())));
    assert!("uid/x".parse::<Fence>().is_err());
}

fn any_fault() -> impl Strategy<Value = Fault> {
    let delay = prop_oneof![
        6 => Just(0), 3 => 1_u64..500, 2 => 500_u64..4_000, 1 => 4_000_u64..30_000
    ];
    (delay.clone(), delay, prop::bool::weighted(0.1)).prop_map(|(before, after, lost)| Fault {
        before: Duration::from_millis(before),
        after: Duration::from_millis(after),
        lost,
        refused: false,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_befalls_the_lines_two_never_hold_at_once(
        faults in prop::collection::vec(prop::collection::vec(any_fault(), 200), 3),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let store = Store::default();
            let candidates: Vec<_> = ["a", "b", "c"]
                .into_iter()
                .zip(faults)
                .map(|(name, faults)| {
                    let running = Running::start(&store, name, wall);
                    running.line.then(faults);
                    running
                })
                .collect();
            let all: Vec<_> = candidates.iter().collect();

            guard(&all, 300 * SECOND).await;

            // Once the lines are sound, somebody holds it for good.
            for candidate in &candidates {
                candidate.line.always(Fault::default());
            }
            sleep(60 * SECOND).await;
            assert_eq!(candidates.iter().filter(|candidate| candidate.holds()).count(), 1);
        });
    }
}

/// A candidate as the usual crate makes it: reads, compares the wall clock with `renewTime`, and
/// takes the lease by a merge patch that names no version. Own code, of the same semantics.
async fn merge_patch_candidate(line: Line, name: &'static str, claims: Arc<Mutex<Vec<&str>>>) {
    let lease = line.read().await.unwrap().unwrap();
    let spec = lease.spec.unwrap();
    let expires = spec.renew_time.unwrap().0 + jiff::SignedDuration::from_secs(10);
    if expires < wall() {
        line.merge(move |lease| {
            let spec = lease.spec.get_or_insert_default();
            spec.holder_identity = Some(name.to_owned());
            spec.lease_transitions = Some(spec.lease_transitions.unwrap_or_default() + 1);
        })
        .await
        .unwrap();
        // The server said yes, and the answer is not compared with what was asked.
        claims.lock().unwrap().push(name);
    }
}

#[tokio::test(start_paused = true)]
async fn merge_patches_without_a_version_let_two_hold_at_once() {
    let store = Store::default();
    store.merge(|lease| {
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some("dead".into());
        let expired = wall() - jiff::SignedDuration::from_secs(60);
        spec.renew_time = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime(expired));
    });
    let lines = [Line::to(&store), Line::to(&store)];
    // Both read before either writes.
    for line in &lines {
        line.then([Fault::default(), Fault { before: SECOND, ..Fault::default() }]);
    }
    let claims = Arc::default();
    let [a, b] = lines;

    tokio::join!(
        merge_patch_candidate(a, "a", Arc::clone(&claims)),
        merge_patch_candidate(b, "b", Arc::clone(&claims)),
    );

    assert_eq!(*claims.lock().unwrap(), ["a", "b"], "both were told that the lease is theirs");
}
