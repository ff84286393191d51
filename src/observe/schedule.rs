//! Whom to probe, when, and what came of it. Pure: time and randomness are arguments.
//!
//! ```text
//!   plan, inquest, nudge ─▶ ┌──────────┐ ─▶ shots ─▶ sockets
//!                           │ Schedule │               │
//!         report, events ◀─ └──────────┘ ◀─ outcomes ◀─┘
//! ```
//!
//! Steady probing runs in lanes, one per kind of flow. The first loss on a path that worked starts
//! a burst, and so does an inquest; burst and steady flows are counted apart, since a burst begins
//! where something was just lost. A nudge counts for nothing: it runs while sessions are made.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use crate::evidence::{
    AddressKind, Assignment, Epoch, Flow, Hairpin, Location, Moment, NodeName, Nudge, Path,
    PathReport, Target,
};

mod burst;
mod lanes;
mod nudges;
mod patience;
mod random;
mod rates;
mod suspicion;
mod targets;
#[cfg(test)]
mod tests;
mod track;

pub use rates::Rates;
pub use targets::Role;

use burst::{Bursts, Turn};
use lanes::Lanes;
use nudges::Nudges;
use patience::Patience;
pub(crate) use random::Random;
use targets::{Spot, Targets};
use track::Track;

/// Events kept for an engine that does not ask.
const EVENTS: usize = 256;

/// How much longer a TCP exchange takes than a datagram: one more round trip.
const TCP_TRIPS: u32 = 2;

/// The many answer an inquest one after another, so much apart on average.
const QUEUE: Duration = Duration::from_millis(5);

/// A path out of plan is forgotten after this many steady windows.
const FORGET_AFTER: u32 = 10;

/// Why a flow is opened: decides which of a path's windows counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// The ordinary cadence.
    Steady,
    /// After a first loss, or for an inquest.
    Burst(u64),
    /// To bring up new WireGuard sessions; counts for nothing.
    Nudge,
}

/// One flow to open now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shot {
    /// The path it measures.
    pub path: Path,
    /// Where to send it; the port follows from the flow.
    pub address: IpAddr,
    /// How long to wait for the answer.
    pub timeout: Duration,
    /// Why.
    pub purpose: Purpose,
    /// When the schedule gave it out.
    pub opened: Moment,
}

/// What came of a shot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The far end answered.
    Answered {
        /// The round trip.
        round_trip: Duration,
    },
    /// No answer in time, or the network refused.
    Lost,
    /// An answer came after the flow had been told as lost: it was slow.
    Late {
        /// The round trip.
        round_trip: Duration,
    },
    /// This host could not even open it: says nothing about the path.
    Unsent,
}

/// A hairpin test to run now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HairpinShot {
    /// The node asked to forward.
    pub heir: Target,
    /// The node that counts.
    pub counter: Target,
}

/// How a path does, by its last flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Condition {
    /// Nothing known yet.
    Unknown,
    /// (Nearly) all pass.
    Well,
    /// Some pass.
    Lossy,
    /// None passes.
    Dark,
}

/// Something that the engine should say or report.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A path's condition changed.
    Changed {
        /// The path.
        path: Path,
        /// What it was.
        from: Condition,
        /// What it is.
        to: Condition,
    },
    /// Four flows of a burst in a row were lost: worth a report before the burst ends.
    BurstDark(Path),
    /// All flows of a burst have their outcome; with the inquest it answers, if any.
    BurstEnded(Option<u64>),
}

/// Whom one node probes, when, and what came of it.
#[derive(Debug, Clone)]
pub struct Schedule {
    me: NodeName,
    rates: Rates,
    random: Random,
    targets: Targets,
    lanes: Lanes,
    bursts: Bursts,
    nudges: Nudges,
    tracks: BTreeMap<Path, Track>,
    patience: BTreeMap<(NodeName, AddressKind), Patience>,
    /// Until when losses on the way to a location start no burst, and how long that was.
    calm: BTreeMap<Option<Location>, (Moment, Duration)>,
    inquest: u64,
    answered: u64,
    looks: BTreeMap<Location, u64>,
    hairpins: BTreeMap<NodeName, Tested>,
    pending_hairpins: Vec<HairpinShot>,
    events: VecDeque<Event>,
}

#[derive(Debug, Clone)]
struct Tested {
    last: Hairpin,
    at: Moment,
}

impl Schedule {
    /// Returns a schedule with nothing to probe yet.
    #[must_use]
    pub fn new(me: NodeName, rates: Rates, seed: u64) -> Self {
        Self {
            me,
            rates,
            random: Random::new(seed),
            targets: Targets::default(),
            lanes: Lanes::new(),
            bursts: Bursts::default(),
            nudges: Nudges::default(),
            tracks: BTreeMap::new(),
            patience: BTreeMap::new(),
            calm: BTreeMap::new(),
            inquest: 0,
            answered: 0,
            looks: BTreeMap::new(),
            hairpins: BTreeMap::new(),
            pending_hairpins: Vec::new(),
            events: VecDeque::new(),
        }
    }

    /// Returns what this node is in its location's plan.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.targets.role
    }

    /// Returns the last inquest whose flows all have their outcome.
    #[must_use]
    pub const fn answered(&self) -> u64 {
        self.answered
    }

    /// Takes a new plan. What is known of paths that stay in it stays known.
    pub fn handle_assignment(&mut self, assignment: &Assignment, now: Moment) {
        let targets = Targets::new(&self.me, assignment);
        if targets == self.targets {
            return;
        }
        self.targets = targets;
        self.lanes.follow(&self.targets, &self.rates, &mut self.random, now);

        let forget = now - self.rates.steady_window * FORGET_AFTER;
        let planned: Vec<_> = self.targets.spots().map(|spot| (&spot.node, spot.kind)).collect();
        let known = |path: &Path| planned.contains(&(&path.to, path.address));
        self.tracks.retain(|path, track| known(path) || track.last() >= forget);
        self.patience.retain(|(node, kind), _| planned.contains(&(node, *kind)));
        self.hairpins.retain(|heir, _| assignment.heirs.contains(heir));
    }

    /// Takes an inquest: a burst on every class of path at once, if its number is new.
    pub fn handle_inquest(&mut self, inquest: u64, now: Moment) {
        if inquest == self.inquest {
            return;
        }
        self.inquest = inquest;
        let turn = self.random.below(usize::from(u16::MAX));
        let suspected = self.suspected();
        let begin = now + self.place_in_queue();
        let salvos = suspicion::inquest(&suspected, &self.targets, &self.rates, (begin, turn));
        self.bursts.begin(Some(inquest), salvos, now);
        self.pending_hairpins = self.targets.every_heir_once(turn);
        self.end_bursts(now);
    }

    /// Takes the other locations that are doubted, each with a number: a burst on every class of
    /// path into those whose number is new, unless we are one of many.
    pub fn handle_look(&mut self, looks: &BTreeMap<Location, u64>, now: Moment) {
        let known = std::mem::replace(&mut self.looks, looks.clone());
        let fresh = looks.iter().filter(|(place, number)| known.get(place) != Some(number));
        let fresh: Vec<_> = fresh.map(|(place, _)| place.clone()).collect();
        if fresh.is_empty() || matches!(self.targets.role, Role::Other(_)) {
            return;
        }
        let salvos = suspicion::look(&fresh, &self.targets, &self.rates, now);
        self.bursts.begin(None, salvos, now);
        self.end_bursts(now);
    }

    /// Takes the nudges that stand; those for this node are followed.
    pub fn handle_nudge(&mut self, nudges: &[Nudge], epoch: Epoch, now: Moment) {
        self.nudges.follow(&self.me, nudges, epoch, now);
    }

    /// Takes what came of a shot.
    pub fn handle_outcome(&mut self, shot: &Shot, outcome: Outcome, now: Moment) {
        if let Outcome::Answered { round_trip } | Outcome::Late { round_trip } = outcome {
            self.learn_round_trip(shot, round_trip);
        }
        let track = self.tracks.entry(shot.path.clone()).or_default();
        let (from, to) = track.learn((shot.purpose, shot.opened), outcome, &self.rates);
        if from != to {
            self.tell(Event::Changed { path: shot.path.clone(), from, to });
        }
        match shot.purpose {
            Purpose::Nudge => self.nudges.learn(shot.address, outcome),
            Purpose::Burst(id) => {
                if self.bursts.learn(id, &shot.path, outcome) == Turn::Dark
                    && shot.path.flow.is_fresh()
                {
                    self.tell(Event::BurstDark(shot.path.clone()));
                }
            }
            Purpose::Steady if outcome == Outcome::Lost => self.suspect(shot, from, now),
            Purpose::Steady => {}
        }
        self.end_bursts(now);
    }

    /// Takes what came of a hairpin test.
    pub fn handle_hairpin(&mut self, result: &Hairpin, now: Moment) {
        let before = self.hairpins.get(&result.heir);
        let ever_passed = result.ever_passed
            || before.is_some_and(|before| before.last.ever_passed)
            || result.counted > 0 && result.counted >= result.sent.div_ceil(2);
        let last = Hairpin { ever_passed, ..result.clone() };
        self.hairpins.insert(result.heir.clone(), Tested { last, at: now });
    }

    /// Returns when to poll next, and for what.
    #[must_use]
    pub fn next_deadline(&self) -> Option<(Moment, &'static str)> {
        let hairpin = (!self.pending_hairpins.is_empty()).then_some((Moment::START, "hairpin"));
        let burst = self.bursts.next_deadline().map(|at| (at, "burst"));
        let nudge = self.nudges.next_deadline().map(|at| (at, "nudge"));
        [self.lanes.next_deadline(), burst, nudge, hairpin].into_iter().flatten().min()
    }

    /// Returns the flows to open now.
    pub fn poll(&mut self, now: Moment) -> Vec<Shot> {
        let steady = self.lanes.flows(&self.targets, &self.rates, &mut self.random, now);
        let burst = self.bursts.flows(&self.targets, &self.rates, now);
        let nudge = self.nudges.flows(&self.rates, now);
        self.end_bursts(now);

        let steady = steady.into_iter().map(|(spot, flow)| (spot, flow, Purpose::Steady));
        let burst = burst.into_iter().map(|(id, spot, flow)| (spot, flow, Purpose::Burst(id)));
        let nudge = nudge.into_iter().map(|spot| (spot, Flow::NewUdp, Purpose::Nudge));
        let flows = steady.chain(burst).chain(nudge);
        flows.map(|(spot, flow, purpose)| self.shot(&spot, flow, (purpose, now))).collect()
    }

    /// Returns the hairpin tests to run now.
    pub fn poll_hairpins(&mut self, now: Moment) -> Vec<HairpinShot> {
        let mut tests = std::mem::take(&mut self.pending_hairpins);
        let turn = self.lanes.hairpin(&self.targets, &self.rates, &mut self.random, now);
        tests.extend(turn.filter(|turn| tests.iter().all(|test| test.heir.node != turn.heir.node)));
        tests
    }

    /// Returns the next thing that happened, oldest first.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Returns every path probed, with its counts.
    #[must_use]
    pub fn report_paths(&self, now: Moment) -> Vec<PathReport> {
        let report = |(path, track): (&Path, &Track)| PathReport {
            to: path.to.clone(),
            address: path.address,
            flow: path.flow,
            burst: track.burst(now, &self.rates),
            steady: track.steady(now, &self.rates),
            background_permille: track.background(now, &self.rates),
            never_worked: !track.answered(),
        };
        // A path on which nothing was sent lately says nothing.
        let tells = |path: &PathReport| path.steady.sent > 0 || path.burst.is_some();
        self.tracks.iter().map(report).filter(tells).collect()
    }

    /// Returns how every path does.
    pub fn conditions(&self) -> impl Iterator<Item = (&Path, Condition)> {
        self.tracks.iter().map(|(path, track)| (path, track.condition()))
    }

    /// Returns the last result for every heir tested.
    #[must_use]
    pub fn report_hairpins(&self, now: Moment) -> Vec<Hairpin> {
        let age = |at: Moment| u32::try_from(now.since(at).as_millis()).unwrap_or(u32::MAX);
        let report = |tested: &Tested| Hairpin { age_ms: age(tested.at), ..tested.last.clone() };
        self.hairpins.values().map(report).collect()
    }

    fn shot(&self, spot: &Spot, flow: Flow, (purpose, opened): (Purpose, Moment)) -> Shot {
        let path = spot.path(&self.me, flow);
        let known = self.patience.get(&(spot.node.clone(), spot.kind)).copied();
        let datagram = known.unwrap_or_default().timeout(self.rates.least_timeout);
        let timeout = match flow {
            Flow::NewTcp | Flow::Control => datagram * TCP_TRIPS,
            Flow::NewUdp | Flow::Ping | Flow::KeptUdp | Flow::KeptTcp | Flow::Large => datagram,
        };
        Shot { path, address: spot.address, timeout, purpose, opened }
    }

    fn learn_round_trip(&mut self, shot: &Shot, round_trip: Duration) {
        if matches!(shot.path.flow, Flow::NewUdp | Flow::KeptUdp) {
            let key = (shot.path.to.clone(), shot.path.address);
            self.patience.entry(key).or_default().learn(round_trip);
        }
    }

    /// Starts a burst for a loss, unless the path never worked or was asked lately. Each further
    /// burst on a way that stays unwell comes later than the one before.
    fn suspect(&mut self, shot: &Shot, before: Condition, now: Moment) {
        let worked = self.tracks.get(&shot.path).is_some_and(Track::answered);
        let lost = self
            .targets
            .spots()
            .find(|spot| (&spot.node, spot.kind) == (&shot.path.to, shot.path.address));
        let (true, Some(lost)) = (worked, lost.cloned()) else { return };

        let way = lost.location.clone();
        let least = self.rates.burst_window;
        let (until, pause) = self.calm.get(&way).copied().unwrap_or((now, least));
        if now < until {
            return;
        }
        let pause = if before == Condition::Well { least } else { (pause * 2).min(least * 6) };

        let turn = self.random.below(usize::from(u16::MAX));
        let salvos = suspicion::first_loss(&lost, &self.targets, &self.rates, (now, turn));
        for way in salvos.iter().map(|salvo| &salvo.spot.location).chain([&way]) {
            self.calm.insert(way.clone(), (now + pause, pause));
        }
        self.bursts.begin(None, salvos, now);
    }

    /// One of hundreds must not answer at the same instant as all others.
    fn place_in_queue(&mut self) -> Duration {
        match self.targets.role {
            Role::Other(count) => (QUEUE * count as u32).mul_f64(self.random.unit()),
            Role::Leader | Role::Witness => Duration::ZERO,
        }
    }

    /// Returns the locations on the way to which something is unwell.
    fn suspected(&self) -> Vec<Location> {
        let unwell = |spot: &&Spot| {
            let track = self.tracks.get(&spot.path(&self.me, Flow::NewUdp));
            track.is_some_and(|track| {
                matches!(track.condition(), Condition::Lossy | Condition::Dark) && track.answered()
            })
        };
        self.targets.spots().filter(unwell).filter_map(|spot| spot.location.clone()).collect()
    }

    fn end_bursts(&mut self, now: Moment) {
        for inquest in self.bursts.ended(now) {
            self.answered = inquest.unwrap_or(self.answered);
            self.tell(Event::BurstEnded(inquest));
        }
    }

    fn tell(&mut self, event: Event) {
        self.events.push_back(event);
        if self.events.len() > EVENTS {
            self.events.pop_front();
        }
    }
}
