//! A mesh on a virtual clock: the real schedule of probes, the real gathering, diagnosis and
//! decision, around a model of Kilo, WireGuard and what breaks in them. Nothing here waits.
//!
//! ```text
//! script of faults ─▶ World ◀─ annotations ─ actor ◀─ Plan
//!                       │ carries?                      ▲
//!   Schedule ─ shots ───┘──▶ outcomes ─▶ reports ─▶ Judge
//! ```
//!
//! Every run is held to the invariants of [`Record`]: never two moves within the rest, never to an
//! unfit node, never for no gain, never on one witness, and every proof ends.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use crate::decide::{Mode, Policy, assign};
use crate::evidence::{Epoch, Hairpin, Location, Moment, NodeName, Report, UnixTime};
use crate::judge::Input;
use crate::observe::schedule::{Outcome, Shot};

mod arbiter;
mod chance;
mod faults;
mod kilo;
mod node;
mod record;
pub mod scenario;
mod world;

pub use faults::Fault;
pub use record::{MoveSeen, Record};

use arbiter::Arbiter;
use chance::Chance;
use node::{SelfView, SimNode, Told};
use world::World;

/// The wall time at which every simulation starts: any would do.
const EPOCH: Epoch = Epoch(UnixTime(1_800_000_000_000));

/// Between two rounds of judgement when nothing arrives.
const ROUND: Duration = Duration::from_secs(1);

/// Between two check-ins, and between two resyncs, of a Kilo agent.
const KILO_PERIOD: Duration = Duration::from_secs(30);

/// Frames of one hairpin test.
const FRAMES: u32 = 8;

/// What a simulation is made of.
#[derive(Debug, Clone)]
pub struct Setup {
    /// How many nodes each location has.
    pub sizes: Vec<usize>,
    /// Makes one run differ from the next.
    pub seed: u64,
    /// The mode of every location.
    pub mode: Mode,
    /// The numbers of the decision.
    pub policy: Policy,
    /// Between two rounds of judgement at least: reports come in flocks.
    pub breath: Duration,
    /// The node that the arbiter runs on, if it is one of the mesh.
    pub arbiter_on: Option<NodeName>,
    /// What happens, and when.
    pub script: Vec<(Duration, Step)>,
}

/// One line of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Something breaks.
    Break(Fault),
    /// It works again.
    Mend(Fault),
    /// The arbiter dies; another takes over.
    KillArbiter,
    /// A node is annotated by hand, with the part behind `tanist.dev/` and its value.
    Annotate(NodeName, &'static str, &'static str),
}

/// What happens at one moment.
#[derive(Debug)]
enum Happening {
    Wake(usize),
    Outcome(usize, Box<Shot>, Outcome),
    Tested(usize, Hairpin),
    Arrives(Box<Report>),
    Told(usize, Rc<Told>),
    CheckIn(usize),
    Resync(usize),
    Apply(usize),
    Returns(usize),
    Relist(usize),
    Seen(NodeName),
    Round,
    Script(Step),
    TakeOver,
}

/// A mesh on a virtual clock.
#[derive(Debug)]
pub struct Simulation {
    setup: Setup,
    now: Moment,
    sequence: u64,
    queue: BTreeMap<(Moment, u64), Happening>,
    chance: Chance,
    world: World,
    nodes: Vec<SimNode>,
    /// Which agents believe themselves alone, since they have not listed the nodes yet.
    alone: Vec<bool>,
    kilo_nodes: Vec<u32>,
    arbiter: Option<Arbiter>,
    round_at: Moment,
    judged: Moment,
    told: BTreeMap<Location, Rc<Told>>,
    /// Every node's last report.
    reports: BTreeMap<NodeName, Report>,
    /// What the last arbiter left in the cluster.
    left: Vec<Input>,
    api_down_since: Option<Moment>,
    record: Record,
}

impl Simulation {
    /// Builds a mesh in which all is well.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let mut chance = Chance::new(setup.seed);
        let world = World::new(&setup.sizes, EPOCH.unix(Moment::START));
        let nodes: Vec<_> = world
            .objects
            .values()
            .map(|node| {
                let pod = node.pod_cidr.and_then(|net| net.hosts().next());
                SimNode::new(node.name.clone(), node.location.clone(), pod, &mut chance)
            })
            .collect();
        let count = nodes.len();
        let mut simulation = Self {
            arbiter: Some(Arbiter::new(setup.policy.clone(), setup.mode, EPOCH)),
            now: Moment::START,
            sequence: 0,
            queue: BTreeMap::new(),
            chance,
            world,
            nodes,
            alone: vec![false; count],
            kilo_nodes: vec![u32::try_from(count).unwrap_or(u32::MAX); count],
            round_at: Moment::START,
            judged: Moment::START,
            told: BTreeMap::new(),
            reports: BTreeMap::new(),
            left: Vec::new(),
            api_down_since: None,
            record: Record::default(),
            setup,
        };
        simulation.begin();
        simulation
    }

    /// Runs a whole setup for some time and returns what it came to.
    #[must_use]
    pub fn run(setup: Setup, length: Duration) -> Record {
        let mut simulation = Self::new(setup);
        simulation.run_until(Moment::at(length));
        simulation.record
    }

    /// Lets time pass.
    pub fn run_until(&mut self, end: Moment) {
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > end {
                break;
            }
            let ((at, _), happening) = entry.remove_entry();
            self.now = at;
            self.happen(happening);
        }
        self.now = end;
    }

    /// Returns what the run has come to so far.
    #[must_use]
    pub const fn record(&self) -> &Record {
        &self.record
    }

    fn begin(&mut self) {
        let day = Duration::from_secs(24 * 60 * 60);
        let since = EPOCH.unix(Moment::START - day);
        let leaders = self.world.elect(EPOCH.unix(self.now));
        for name in self.world.objects.keys().cloned().collect::<Vec<_>>() {
            self.show(&name);
        }
        if let Some(arbiter) = &mut self.arbiter {
            for (location, leader) in leaders {
                arbiter.judge.take(Input::LeaderSince(location, leader, since), Moment::START);
            }
        }
        for index in 0..self.nodes.len() {
            let (check_in, resync) = (self.chance.millis(0, 30_000), self.chance.millis(0, 30_000));
            self.after(check_in, Happening::CheckIn(index));
            self.after(resync, Happening::Resync(index));
            let hello = self.chance.millis(0, 500);
            self.wake(index, self.now + hello);
        }
        for (at, step) in self.setup.script.clone() {
            self.after(at, Happening::Script(step));
        }
        self.judge_at(Moment::START + Duration::from_millis(600));
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Wake(index) => {
                if self.nodes[index].polled == self.now {
                    self.poll(index);
                }
            }
            Happening::Outcome(index, shot, outcome) => {
                if self.world.is_alive(&self.nodes[index].name) {
                    self.nodes[index].schedule.handle_outcome(&shot, outcome, self.now);
                    self.wake(index, self.now);
                }
            }
            Happening::Tested(index, result) => {
                self.nodes[index].schedule.handle_hairpin(&result, self.now);
            }
            Happening::Arrives(report) => self.arrives(*report),
            Happening::Told(index, told) => {
                if self.world.is_alive(&self.nodes[index].name) {
                    self.nodes[index].follow(&told, self.now);
                    self.wake(index, self.now);
                }
            }
            Happening::CheckIn(index) => {
                self.check_in(index);
                self.after(KILO_PERIOD, Happening::CheckIn(index));
            }
            Happening::Resync(index) => {
                self.apply(index);
                self.after(KILO_PERIOD, Happening::Resync(index));
            }
            Happening::Returns(index) => {
                self.check_in(index);
                self.apply(index);
            }
            Happening::Apply(index) => self.apply(index),
            Happening::Relist(index) => {
                self.alone[index] = false;
                self.apply(index);
            }
            Happening::Seen(name) => self.show(&name),
            Happening::Round => {
                if self.round_at == self.now {
                    self.round();
                }
            }
            Happening::Script(step) => self.follow_script(step),
            Happening::TakeOver => self.take_over(),
        }
    }

    /// Lets a sidecar probe, test, and report.
    fn poll(&mut self, index: usize) {
        let name = self.nodes[index].name.clone();
        if !self.world.is_alive(&name) {
            return;
        }
        for shot in self.nodes[index].schedule.poll(self.now) {
            self.shoot(index, shot);
        }
        for test in self.nodes[index].schedule.poll_hairpins(self.now) {
            let (heir, counter) = (test.heir.node, test.counter.node);
            let passed = self.world.hairpins(&name, &heir, &counter);
            let counted = if passed { FRAMES } else { 0 };
            let (sent, age_ms, ever_passed) = (FRAMES, 0, passed);
            let result = Hairpin { heir, counter, sent, counted, age_ms, ever_passed };
            self.after(Duration::from_millis(120), Happening::Tested(index, result));
        }
        let mut due = self.nodes[index].report_due(self.now);
        if due <= self.now {
            self.write_report(index);
            due = self.nodes[index].report_due(self.now);
        }
        let next = self.nodes[index].schedule.next_deadline();
        let next = next.map_or(due, |(at, _)| at.min(due));
        self.nodes[index].polled = Moment::START - ROUND;
        self.wake(index, next.max(self.now + Duration::from_millis(1)));
    }

    fn shoot(&mut self, index: usize, shot: Shot) {
        let (there, back) = self.world.carries(&shot.path, self.now, &mut self.chance);
        let delay = self.starvation(&shot.path.to) + self.starvation(&shot.path.from);
        let round_trip = self.world.round_trip(&shot.path, &mut self.chance) + delay;
        let far = self.nodes.iter().position(|node| node.name == shot.path.to);
        if let Some(far) = far.filter(|_| there) {
            self.nodes[far].hear(&shot.path.from, shot.path.flow, self.now);
        }
        let (wait, outcome) = if back && round_trip < shot.timeout {
            (round_trip, Outcome::Answered { round_trip })
        } else {
            (shot.timeout, Outcome::Lost)
        };
        if back && outcome == Outcome::Lost {
            let late = Outcome::Late { round_trip };
            self.after(round_trip, Happening::Outcome(index, Box::new(shot.clone()), late));
        }
        self.after(wait, Happening::Outcome(index, Box::new(shot), outcome));
    }

    fn starvation(&mut self, node: &NodeName) -> Duration {
        if self.world.has(&Fault::Starved(node.clone())) {
            self.chance.millis(0, 95)
        } else {
            Duration::ZERO
        }
    }

    fn write_report(&mut self, index: usize) {
        let name = self.nodes[index].name.clone();
        if !self.world.api_answers() {
            return;
        }
        let applied = self.world.applied.get(&name);
        let view = SelfView {
            leader_seen: applied.and_then(|led| led.get(&self.nodes[index].location)).cloned(),
            kilo_nodes: self.world.agent_runs(&name).then_some(self.kilo_nodes[index]),
            kilo_runs: self.world.agent_runs(&name),
            starved: self.world.has(&Fault::Starved(name)),
        };
        let report = self.nodes[index].report(&view, EPOCH, self.now);
        let latency = self.chance.millis(5, 30);
        self.after(latency, Happening::Arrives(Box::new(report)));
    }

    fn arrives(&mut self, report: Report) {
        self.reports.insert(report.node.clone(), report.clone());
        if let Some(arbiter) = &mut self.arbiter {
            arbiter.judge.take(Input::Report(Box::new(report)), self.now);
            let soon = self.now + Duration::from_millis(10);
            self.judge_at(soon.max(self.judged + self.setup.breath));
        }
    }

    fn round(&mut self) {
        let Some(arbiter) = &mut self.arbiter else { return };
        self.judged = self.now;
        arbiter.watch_api(self.world.api_answers(), self.now);
        let judgement = arbiter.round(&self.world, EPOCH, self.now);
        self.record.note(&judgement, &self.setup.policy, self.setup.mode);

        let written = arbiter.write(&mut self.world, &mut self.chance, self.now);
        let busy = arbiter.is_writing();
        if self.world.api_answers() {
            let gathered = arbiter.judge.gathered();
            let assignments =
                assign(gathered.mesh(), gathered.leaders(), gathered.reports(), &judgement.plan);
            for (location, assignment) in assignments {
                let inquest = judgement.plan.locations[&location].inquest;
                let look = judgement.plan.looks(&location);
                self.tell(location, Told { assignment, inquest, look });
            }
        }
        if let Some(name) = written {
            self.changed(&name);
        }
        self.judge_at(self.now + if busy { Duration::from_millis(20) } else { ROUND });
    }

    /// Tells a location's sidecars its plan, where it has changed.
    fn tell(&mut self, location: Location, told: Told) {
        if self.told.get(&location).is_some_and(|last| **last == told) {
            return;
        }
        let told = Rc::new(told);
        for index in 0..self.nodes.len() {
            if self.nodes[index].location == location {
                let latency = self.chance.millis(5, 40);
                self.after(latency, Happening::Told(index, Rc::clone(&told)));
            }
        }
        self.told.insert(location, told);
    }

    fn take_over(&mut self) {
        let (policy, mode) = (self.setup.policy.clone(), self.setup.mode);
        let mut arbiter = Arbiter::new(policy, mode, EPOCH);
        let mut left = std::mem::take(&mut self.left);
        left.extend(self.reports.values().cloned().map(Box::new).map(Input::OldReport));
        arbiter.take_over(&self.world, left, self.now);
        self.arbiter = Some(arbiter);
        self.judge_at(self.now);
    }

    fn follow_script(&mut self, step: Step) {
        match step {
            Step::Break(fault) => self.break_down(fault),
            Step::Mend(fault) => self.mend(&fault),
            Step::KillArbiter => self.kill_arbiter(),
            Step::Annotate(name, key, value) => {
                if let Some(node) = self.world.objects.get_mut(&name) {
                    node.intent.insert(key.to_owned(), value.to_owned());
                }
                self.show(&name);
            }
        }
    }

    fn kill_arbiter(&mut self) {
        let Some(last) = self.arbiter.take() else { return };
        self.left = last.judge.standing();
        let lease = self.chance.millis(10_000, 12_000);
        self.after(lease, Happening::TakeOver);
    }

    fn after(&mut self, delay: Duration, happening: Happening) {
        self.sequence += 1;
        self.queue.insert((self.now + delay, self.sequence), happening);
    }

    fn wake(&mut self, index: usize, at: Moment) {
        let pending = self.nodes[index].polled;
        if pending > self.now && pending <= at {
            return;
        }
        self.nodes[index].polled = at;
        self.after(at.since(self.now), Happening::Wake(index));
    }

    fn judge_at(&mut self, at: Moment) {
        if self.round_at > self.now && self.round_at <= at {
            return;
        }
        self.round_at = at;
        self.after(at.since(self.now), Happening::Round);
    }
}

#[cfg(test)]
mod tests;
