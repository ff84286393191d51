//! The loop on a paused clock, with hands that record.

use std::sync::Mutex;

use super::*;
use crate::evidence::{RemoteTargets, Target};
use crate::metrics::Metrics;
use crate::observe::echo::{Counts, HeardCount};
use crate::observe::schedule::{HairpinShot, Purpose, Rates};

const RTT: Duration = Duration::from_millis(2);

/// What the world does to flows and reports, and what was done to it.
#[derive(Default)]
struct World {
    dark: Mutex<bool>,
    round_trip: Mutex<Duration>,
    api_down: Mutex<bool>,
    /// What the responder counts; none while somebody else has its port.
    counts: Mutex<Option<Counts>>,
    shots: Mutex<Vec<(Duration, Shot)>>,
    reports: Mutex<Vec<(Duration, Report)>>,
}

struct FakeHands {
    world: Arc<World>,
    begun: tokio::time::Instant,
}

impl Hands for FakeHands {
    type Overdue = Duration;

    async fn shoot(
        &self,
        shot: &Shot,
        _source: Option<IpAddr>,
    ) -> (Outcome, Option<Self::Overdue>) {
        let dark = *self.world.dark.lock().unwrap();
        self.world.shots.lock().unwrap().push((self.begun.elapsed(), shot.clone()));
        if dark && shot.path.to.0.starts_with("far") {
            tokio::time::sleep(shot.timeout).await;
            return (Outcome::Lost, None);
        }
        let round_trip = *self.world.round_trip.lock().unwrap();
        if round_trip > shot.timeout {
            tokio::time::sleep(shot.timeout).await;
            return (Outcome::Lost, Some(round_trip));
        }
        tokio::time::sleep(round_trip).await;
        (Outcome::Answered { round_trip }, None)
    }

    async fn late_answer(&self, shot: &Shot, round_trip: Duration) -> Option<Outcome> {
        tokio::time::sleep(round_trip - shot.timeout).await;
        Some(Outcome::Late { round_trip })
    }

    async fn hairpin(&self, _test: &HairpinShot, _overlay: String) -> Option<Hairpin> {
        None
    }

    async fn tell(&self, report: Report) -> bool {
        if *self.world.api_down.lock().unwrap() {
            return false;
        }
        self.world.reports.lock().unwrap().push((self.begun.elapsed(), report));
        tokio::time::sleep(Duration::from_millis(5)).await;
        true
    }

    fn counts(&self) -> Option<Counts> {
        *self.world.counts.lock().unwrap()
    }

    fn heard(&self) -> Option<Vec<HeardCount>> {
        self.counts().map(|_| Vec::new())
    }

    fn keep(&self, _addresses: &[IpAddr]) {}
}

fn target(node: &str, last: u8) -> Target {
    Target {
        node: node.into(),
        node_address: Some(IpAddr::from([10, 0, 0, last])),
        pod_address: Some(IpAddr::from([10, 42, last, 1])),
        overlay_gateway: None,
        overlay_mac: None,
    }
}

fn plan() -> Plan {
    let assignment = Assignment {
        leader: Some("near-1".into()),
        witnesses: vec!["near-2".into(), "near-3".into()],
        members: vec![target("near-1", 1), target("near-2", 2), target("near-3", 3)],
        heirs: vec!["near-3".into()],
        remote: vec![RemoteTargets {
            location: "far".into(),
            leader: target("far-1", 4),
            members: vec![target("far-2", 5)],
        }],
    };
    Plan { location: Some("near".into()), assignment: Some(assignment), ..Plan::default() }
}

struct Rig {
    world: Arc<World>,
    plan: watch::Sender<Plan>,
    _sight: watch::Sender<Sight>,
    metrics: Metrics,
    cancel: CancellationToken,
    engine: tokio::task::JoinHandle<()>,
}

fn rig(first: Plan) -> Rig {
    let (round_trip, counts) = (Mutex::new(RTT), Mutex::new(Some(Counts::default())));
    let world = Arc::new(World { round_trip, counts, ..World::default() });
    let (plan_told, plan) = watch::channel(first);
    let (sight_seen, sight) = watch::channel(Sight::default());
    let admin = Admin::default();
    let (shown, metrics) =
        (admin.metrics.clone(), admin.metrics.register(ObserveMetrics::register));
    let identity = Identity {
        node: "near-2".into(),
        incarnation: 7,
        clock: Clock::start(),
        kilo_settle: Duration::from_secs(60),
    };
    let hands = FakeHands { world: Arc::clone(&world), begun: tokio::time::Instant::now() };
    let schedule = Schedule::new("near-2".into(), Rates::default(), 5);
    let inputs = Inputs { plan, sight };
    let engine = Engine::new(identity, (schedule, hands), inputs, (admin, metrics));
    let cancel = CancellationToken::new();
    let engine = tokio::spawn(engine.run(cancel.clone()));
    Rig { world, plan: plan_told, _sight: sight_seen, metrics: shown, cancel, engine }
}

impl Rig {
    /// Returns the value of a series.
    fn metric(&self, series: &str) -> Option<String> {
        let text = self.metrics.text();
        let mut values = text.lines().filter_map(|line| line.strip_prefix(series));
        values.next().map(|value| value.trim().to_owned())
    }

    fn reports(&self) -> Vec<(Duration, Report)> {
        self.world.reports.lock().unwrap().clone()
    }

    fn shots(&self) -> usize {
        self.world.shots.lock().unwrap().len()
    }

    async fn pass(seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_plan_it_says_so_once_and_probes_nothing() {
    let rig = rig(Plan { location: Some("near".into()), ..Plan::default() });
    Rig::pass(120).await;
    let reports = rig.reports();
    assert!(reports.len() <= 2, "{}", reports.len());
    assert_eq!(reports[0].1.abstains, Some(Abstention::NoPlan));
    assert_eq!(rig.shots(), 0);
}

#[tokio::test(start_paused = true)]
async fn without_a_plan_it_shows_that_its_word_does_not_count() {
    let rig = rig(Plan::default());
    Rig::pass(60).await;
    let no_plan = rig.metric("tanist_sidecar_abstaining{reason=\"no-plan\"}");
    assert_eq!(no_plan.as_deref(), Some("1"));
}

#[tokio::test(start_paused = true)]
async fn a_port_that_somebody_else_has_is_shown_and_told_and_so_is_its_return() {
    let rig = rig(plan());
    let unbound =
        |rig: &Rig| rig.metric("tanist_sidecar_local_findings{cause=\"responder-unbound\"}");
    *rig.world.counts.lock().unwrap() = None;
    Rig::pass(30).await;
    assert_eq!(unbound(&rig).as_deref(), Some("1"));
    assert_eq!(rig.reports().last().unwrap().1.local[0].cause, LocalCause::ResponderUnbound);

    *rig.world.counts.lock().unwrap() = Some(Counts::default());
    Rig::pass(8).await;
    assert_eq!(unbound(&rig).as_deref(), Some("0"));
    assert_eq!(rig.reports().last().unwrap().1.local, vec![]);
}

#[tokio::test(start_paused = true)]
async fn what_the_responder_counts_is_shown_without_a_report() {
    let rig = rig(Plan::default());
    Rig::pass(60).await;
    *rig.world.counts.lock().unwrap() = Some(Counts { forged: 30, ..Counts::default() });
    Rig::pass(10).await;
    assert_eq!(rig.reports().len(), 0);
    let forged = rig.metric("tanist_sidecar_requests_total{result=\"forged\"}");
    assert_eq!(forged.as_deref(), Some("30"));
}

#[tokio::test(start_paused = true)]
async fn a_calm_witness_reports_once_a_minute() {
    let rig = rig(plan());
    Rig::pass(30).await;
    let settled = rig.reports().len();
    assert_eq!(rig.reports().last().unwrap().1.abstains, None, "no longer young");
    Rig::pass(240).await;
    let regular = rig.reports().len() - settled;
    assert!((3..=8).contains(&regular), "{regular} in four minutes");
    let sequences: Vec<_> = rig.reports().iter().map(|(_, report)| report.sequence).collect();
    assert!(sequences.is_sorted());
}

#[tokio::test(start_paused = true)]
async fn a_way_that_becomes_slow_is_not_dark() {
    let rig = rig(plan());
    Rig::pass(90).await;
    let before = rig.reports().len();
    *rig.world.round_trip.lock().unwrap() = Duration::from_millis(350);
    Rig::pass(30).await;

    let reports = rig.reports();
    assert!(reports.len() > before, "it was suspected");
    let last = &reports.last().unwrap().1;
    let far = last.paths.iter().filter(|path| path.flow == Flow::NewUdp);
    let lost: u32 = far.clone().map(|path| path.steady.lost).sum();
    assert_eq!((far.count() > 0, lost), (true, 0), "every answer came, if late: {last:?}");
    let shots = rig.world.shots.lock().unwrap();
    let timeout = shots.iter().rfind(|(_, shot)| shot.path.flow == Flow::NewUdp).unwrap().1.timeout;
    assert!(timeout > Duration::from_millis(350), "and patience grows: {timeout:?}");
}

#[tokio::test(start_paused = true)]
async fn a_dark_relay_is_reported_within_a_second_and_a_half() {
    let rig = rig(plan());
    Rig::pass(90).await;
    let before = rig.reports().len();
    *rig.world.dark.lock().unwrap() = true;
    let struck = Duration::from_secs(90);
    Rig::pass(3).await;

    let reports = rig.reports().split_off(before);
    let sharp = reports.iter().find(|(_, report)| {
        report.paths.iter().any(|path| {
            path.flow == Flow::NewUdp
                && path.burst.is_some_and(|burst| burst.lost >= 4 && burst.lost == burst.sent)
        })
    });
    let (at, _) = sharp.expect("a burst of losses is reported");
    // The next flow leaves within 1.33 s; its loss and four more are known 300 ms later.
    assert!(*at - struck < Duration::from_millis(1700), "{:?}", *at - struck);
    assert!(reports.len() < 20, "and the API server is spared: {}", reports.len());
    let gaps: Vec<_> = reports.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    assert!(gaps.iter().all(|gap| *gap >= Duration::from_millis(50)), "{gaps:?}");
}

#[tokio::test(start_paused = true)]
async fn an_inquest_is_answered_in_a_report() {
    let rig = rig(plan());
    Rig::pass(90).await;
    rig.plan.send_modify(|plan| plan.inquest = 3);
    tokio::time::sleep(Duration::from_millis(600)).await;
    let (_, last) = rig.reports().pop().unwrap();
    assert_eq!(last.inquest, 3);
    assert!(last.paths.iter().filter(|path| path.burst.is_some()).count() >= 4);
}

#[tokio::test(start_paused = true)]
async fn without_the_api_probing_goes_on_and_the_next_report_is_whole() {
    let rig = rig(plan());
    Rig::pass(30).await;
    *rig.world.api_down.lock().unwrap() = true;
    let (shots, reports) = (rig.shots(), rig.reports().len());
    Rig::pass(180).await;
    assert!(rig.shots() - shots > 150, "still some one flow a second");
    assert_eq!(rig.reports().len(), reports);

    *rig.world.api_down.lock().unwrap() = false;
    Rig::pass(9).await;
    assert!(rig.reports().len() > reports, "within the longest back-off");
}

#[tokio::test(start_paused = true)]
async fn a_process_that_was_stopped_abstains_and_sees_no_loss() {
    let rig = rig(plan());
    Rig::pass(90).await;
    // The machine stands still: time jumps past every timer at once.
    *rig.world.dark.lock().unwrap() = true;
    let before = rig.shots();
    tokio::time::advance(Duration::from_secs(4)).await;
    *rig.world.dark.lock().unwrap() = false;
    Rig::pass(2).await;
    let (_, last) = rig.reports().pop().unwrap();
    assert_eq!(last.abstains, Some(Abstention::RoundLate));
    assert!(last.paths.iter().all(|path| path.steady.lost == 0), "{:?}", last.paths);
    let shots = rig.world.shots.lock().unwrap();
    assert!(shots[before..].iter().all(|(_, shot)| shot.purpose == Purpose::Steady), "no burst");
}

#[tokio::test(start_paused = true)]
async fn it_ends_when_told_to() {
    let rig = rig(plan());
    Rig::pass(5).await;
    rig.cancel.cancel();
    tokio::time::timeout(Duration::from_secs(1), rig.engine).await.unwrap().unwrap();
}
