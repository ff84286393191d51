//! The simulated arbiter: the real judge, and an actor that writes annotations one by one, and says
//! what the real one says: that all is written, that a move was given up, that one is over.

use std::time::Duration;

use super::chance::Chance;
use super::world::World;
use crate::decide::{Api, Mode, Move, Plan, Policy, Progress, Wish};
use crate::diagnose::Thresholds;
use crate::evidence::kilo::{self, AnnotationChange, Change};
use crate::evidence::{Epoch, Location, Moment, NodeName};
use crate::judge::{Input, Judge, Judgement};

/// How long a write may hang before the move is given up.
const PATIENCE: Duration = Duration::from_secs(20);

/// The simulated arbiter.
#[derive(Debug)]
pub(super) struct Arbiter {
    pub(super) judge: Judge,
    /// The move being written.
    hand: Option<Hand>,
    api_down: Option<Moment>,
}

/// A move being written.
#[derive(Debug, Clone)]
struct Hand {
    location: Location,
    moving: Move,
    writes: Vec<AnnotationChange>,
    next: Moment,
    since: Moment,
    done: bool,
}

impl Arbiter {
    pub(super) fn new(policy: Policy, mode: Mode, epoch: Epoch) -> Self {
        let mut judge = Judge::new(policy, Thresholds::default(), epoch);
        judge.take(Input::Mode(mode), Moment::START);
        Self { judge, hand: None, api_down: None }
    }

    /// Begins where another stopped, by what it left in the cluster.
    pub(super) fn take_over(&mut self, world: &World, left: Vec<Input>, now: Moment) {
        for input in left {
            self.judge.take(input, now);
        }
        for node in world.objects.values() {
            self.judge.take(Input::Node(Box::new(node.clone())), now);
        }
    }

    /// Notes whether the API server answers.
    pub(super) fn watch_api(&mut self, answers: bool, now: Moment) {
        let api = match (self.api_down, answers) {
            (None, false) => {
                self.api_down = Some(now);
                Api::Away
            }
            (Some(since), true) => {
                self.api_down = None;
                if now.since(since) < Duration::from_secs(10) {
                    return;
                }
                Api::Back { since: now }
            }
            (None, true) | (Some(_), false) => return,
        };
        self.judge.take(Input::Api(api), now);
    }

    /// Judges once, and takes up the plan's wish.
    pub(super) fn round(&mut self, world: &World, epoch: Epoch, now: Moment) -> Judgement {
        let judgement = self.judge.round(now);
        self.take_up(&judgement.plan, world, epoch, now);
        judgement
    }

    fn take_up(&mut self, plan: &Plan, world: &World, epoch: Epoch, now: Moment) {
        let wish = plan.locations.iter().find_map(|(location, plan)| match &plan.wish {
            Wish::Move(moving) => Some((location, moving)),
            Wish::Stay => None,
        });
        let Some((location, moving)) = wish else {
            if let Some(hand) = self.hand.take() {
                self.tell(&hand.location, Progress::Idle, now);
            }
            return;
        };
        if self.hand.as_ref().is_some_and(|hand| hand.moving == *moving) {
            return;
        }
        let mut writes = kilo::promotion(&world.mesh(epoch.unix(now)), &moving.to);
        writes.reverse();
        self.hand = Some(Hand {
            location: location.clone(),
            moving: moving.clone(),
            writes,
            next: now + Duration::from_millis(40),
            since: now,
            done: false,
        });
    }

    /// Writes the next annotation if it is due; returns the node written.
    pub(super) fn write(
        &mut self,
        world: &mut World,
        chance: &mut Chance,
        now: Moment,
    ) -> Option<NodeName> {
        let hand = self.hand.as_mut().filter(|hand| !hand.done && now >= hand.next)?;
        if !world.api_answers() {
            hand.next = now + Duration::from_millis(500);
            if now.since(hand.since) > PATIENCE {
                self.give_up(now);
            }
            return None;
        }
        hand.next = now + chance.millis(15, 60);
        let Some(write) = hand.writes.pop() else {
            hand.done = true;
            let (location, to) = (hand.location.clone(), hand.moving.to.clone());
            self.tell(&location, Progress::Written { to, at: now }, now);
            return None;
        };
        let node = world.objects.get_mut(&write.node)?;
        node.leader = write.change == Change::Add;

        Some(write.node)
    }

    /// Gives the move in hand up: of what is given up nothing is left to close.
    fn give_up(&mut self, now: Moment) {
        let Some(Hand { location, moving, .. }) = self.hand.take() else { return };
        let why = "the API server does not answer".to_owned();
        let (to, decided) = (moving.to, moving.at);
        self.tell(&location, Progress::Refused { to, decided, why }, now);
    }

    /// Tells whether annotations are still to be written.
    pub(super) fn is_writing(&self) -> bool {
        self.hand.as_ref().is_some_and(|hand| !hand.done)
    }

    fn tell(&mut self, location: &Location, progress: Progress, now: Moment) {
        self.judge.take(Input::Progress(location.clone(), progress), now);
    }
}
