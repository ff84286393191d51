//! The steady cadence: one lane per kind of flow, each with its period and its place in the round.

use std::collections::BTreeMap;
use std::time::Duration;

use super::random::Random;
use super::targets::{Role, Spot, Targets};
use super::{HairpinShot, Rates};
use crate::evidence::{Flow, Moment};

/// The kinds that mean something only if they worked before.
const RARE: [Flow; 3] = [Flow::Large, Flow::Ping, Flow::Control];

/// A kind of steady probing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    Fresh,
    Tcp,
    Kept,
    Inside,
    Heirs,
    Rare,
    Hairpin,
}

impl Lane {
    const ALL: [Self; 7] =
        [Self::Fresh, Self::Tcp, Self::Kept, Self::Inside, Self::Heirs, Self::Rare, Self::Hairpin];

    const fn name(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Tcp => "tcp",
            Self::Kept => "kept",
            Self::Inside => "inside",
            Self::Heirs => "heirs",
            Self::Rare => "rare",
            Self::Hairpin => "hairpin",
        }
    }

    /// Returns the time from this turn to the next of a node with these targets that has `taken` so
    /// many; none if it has no part in the lane.
    fn period(self, targets: &Targets, rates: &Rates, taken: usize) -> Option<Duration> {
        let none = match self {
            Self::Fresh | Self::Tcp => targets.rotation.is_empty(),
            Self::Kept | Self::Rare => targets.fixed.is_empty(),
            Self::Inside => targets.inside.is_empty(),
            Self::Heirs => targets.heirs.is_empty(),
            Self::Hairpin => targets.hairpins.is_empty(),
        };
        if none {
            return None;
        }
        match (self, targets.role) {
            // Jitter makes periods up to a quarter shorter; together they stay below the rate.
            (Self::Fresh, Role::Other(count)) => {
                Some((rates.others * count as u32).mul_f64(4.0 / 3.0))
            }
            (_, Role::Other(_)) => None,
            (Self::Fresh, Role::Leader | Role::Witness) => Some(rates.fresh),
            (Self::Tcp, Role::Leader | Role::Witness) => Some(rates.tcp),
            (Self::Kept | Self::Inside, Role::Leader | Role::Witness) => Some(rates.kept),
            (Self::Heirs, Role::Leader | Role::Witness) => {
                Some(rates.heirs / targets.heirs.len() as u32)
            }
            // They mean nothing until they have worked once, so the first round is a quick one.
            (Self::Rare, Role::Leader | Role::Witness) if taken < targets.fixed.len() => {
                Some(rates.rare / targets.fixed.len() as u32)
            }
            (Self::Rare, Role::Leader | Role::Witness) => Some(rates.rare),
            (Self::Hairpin, Role::Leader | Role::Witness) => Some(rates.hairpin),
        }
    }
}

/// When each lane has its next turn, and how many it has had.
#[derive(Debug, Clone)]
pub(super) struct Lanes {
    turns: BTreeMap<Lane, Turn>,
}

#[derive(Debug, Clone, Copy)]
struct Turn {
    due: Moment,
    /// Where in the round it began.
    start: usize,
    /// How many turns there were.
    taken: usize,
}

impl Lanes {
    /// Returns no lanes.
    pub(super) const fn new() -> Self {
        Self { turns: BTreeMap::new() }
    }

    /// Opens and closes lanes for new targets. A lane that stays keeps its rhythm, so that a plan
    /// that changes often cannot hold a probe back; a new one starts at a place of its own.
    pub(super) fn follow(
        &mut self,
        targets: &Targets,
        rates: &Rates,
        random: &mut Random,
        now: Moment,
    ) {
        for lane in Lane::ALL {
            let taken = self.turns.get(&lane).map_or(0, |turn| turn.taken);
            let Some(period) = lane.period(targets, rates, taken) else {
                self.turns.remove(&lane);
                continue;
            };
            let latest = now + period;
            let first = now + period.mul_f64(random.unit());
            let start = random.below(usize::from(u16::MAX));
            let turn = self.turns.entry(lane).or_insert(Turn { due: first, start, taken: 0 });
            turn.due = turn.due.min(latest);
        }
    }

    /// Returns the next turn and whose it is.
    pub(super) fn next_deadline(&self) -> Option<(Moment, &'static str)> {
        self.turns.iter().map(|(lane, turn)| (turn.due, lane.name())).min()
    }

    /// Returns the flows whose turn has come. A late call makes up for nothing it missed.
    pub(super) fn flows(
        &mut self,
        targets: &Targets,
        rates: &Rates,
        random: &mut Random,
        now: Moment,
    ) -> Vec<(Spot, Flow)> {
        let mut flows = Vec::new();
        for lane in Lane::ALL {
            if lane == Lane::Hairpin {
                continue;
            }
            let Some(count) = self.take(lane, (targets, rates), random, now) else { continue };
            let (spot, kinds): (_, &[Flow]) = match lane {
                Lane::Fresh => (visit(&targets.rotation, count), &[Flow::NewUdp]),
                Lane::Tcp => (visit(&targets.rotation, count), &[Flow::NewTcp]),
                Lane::Kept => (nth(&targets.fixed, count), &[Flow::KeptUdp, Flow::KeptTcp]),
                Lane::Inside => (nth(&targets.inside, count), &[Flow::NewUdp]),
                Lane::Heirs => (nth(&targets.heirs, count), &[Flow::NewUdp]),
                Lane::Rare => (nth(&targets.fixed, count), &RARE),
                Lane::Hairpin => (None, &[]),
            };
            flows.extend(
                spot.into_iter().flat_map(|spot| kinds.iter().map(|flow| (spot.clone(), *flow))),
            );
        }
        flows
    }

    /// Returns the hairpin test whose turn has come.
    pub(super) fn hairpin(
        &mut self,
        targets: &Targets,
        rates: &Rates,
        random: &mut Random,
        now: Moment,
    ) -> Option<HairpinShot> {
        let count = self.take(Lane::Hairpin, (targets, rates), random, now)?;
        nth(&targets.hairpins, count).cloned()
    }

    fn take(
        &mut self,
        lane: Lane,
        (targets, rates): (&Targets, &Rates),
        random: &mut Random,
        now: Moment,
    ) -> Option<usize> {
        let turn = self.turns.get_mut(&lane).filter(|turn| turn.due <= now)?;
        let (count, taken) = (turn.start.wrapping_add(turn.taken), turn.taken + 1);
        let due = now + random.jitter(lane.period(targets, rates, taken)?);
        *turn = Turn { due, taken, ..*turn };
        Some(count)
    }
}

/// Returns the spot of one visit: the locations in turn, and in each its spots in turn.
fn visit(rotation: &[Vec<Spot>], count: usize) -> Option<&Spot> {
    let spots = nth(rotation, count)?;
    nth(spots, count / rotation.len())
}

fn nth<T>(list: &[T], count: usize) -> Option<&T> {
    list.get(count.checked_rem(list.len())?)
}
