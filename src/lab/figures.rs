//! What one fault did to the users, and how long each part of the cure took.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::topology::Topology;
use super::traffic::{Fresh, Kept, Pair, Seen};
use crate::evidence::{Location, NodeName};

/// Lost flows that are further apart than so many answered ones do not belong together.
const TOGETHER: usize = 6;

/// A kept flow that was silent for longer than this at the end has died.
const SILENCE: Duration = Duration::from_secs(5);

/// How finely the course of a fault is kept.
pub const BIN: Duration = Duration::from_millis(200);

/// Whom a flow concerns, seen from the node that is struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Concern {
    /// It needs the relay: one end is in the location, but not on the node itself.
    Relayed,
    /// One end is on the node itself.
    Own,
    /// It is none of this location's.
    Elsewhere,
}

/// The leader in question, and its location.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Struck {
    /// The location.
    pub location: Location,
    /// Its leader when the fault was set.
    pub leader: NodeName,
}

impl Struck {
    /// Returns whom a flow between two nodes concerns.
    #[must_use]
    pub fn concern(&self, pair: &Pair, topology: &Topology) -> Concern {
        let inside = |node: &NodeName| {
            topology.place(node).is_some_and(|place| place.location == self.location)
        };

        if pair.from == self.leader || pair.to == self.leader {
            Concern::Own
        } else if inside(&pair.from) || inside(&pair.to) {
            Concern::Relayed
        } else {
            Concern::Elsewhere
        }
    }
}

/// When what happened, counted from the fault.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Moments {
    /// The first fresh flow was opened that was lost.
    pub first_lost: Option<Duration>,
    /// The location was first said to be impaired, or its leader convicted.
    pub reported: Option<Duration>,
    /// The leader was convicted.
    pub verdict: Option<Duration>,
    /// The annotation that moves the leader was written.
    pub written: Option<Duration>,
    /// The new leader's kilo0 was up.
    pub tunnel_up: Option<Duration>,
    /// The first fresh flow was opened after which no more were lost.
    pub restored: Option<Duration>,
    /// The move was verified.
    pub verified: Option<Duration>,
}

/// How many flows were opened and how many of them lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Opened.
    pub opened: usize,
    /// Without an answer.
    pub lost: usize,
}

/// What one fault did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// The fault.
    pub fault: String,
    /// The node that it struck; none if it struck no node in particular.
    pub node: Option<NodeName>,
    /// The location concerned.
    pub location: Location,
    /// Who led before.
    pub from: NodeName,
    /// Who leads after.
    pub to: Option<NodeName>,
    /// Who caused the change of leader.
    pub by: Mover,
    /// Whether Tanist showed the new leader as fit, before the fault or when it began to move.
    pub fit: bool,
    /// Whether the sidecar of the node that was struck held the lease.
    pub held_lease: bool,
    /// What Tanist did, anywhere.
    pub deeds: Deeds,
    /// When what happened.
    pub moments: Moments,
    /// Fresh flows from the fault until it was lifted, by whom they concern.
    pub flows: BTreeMap<Concern, Tally>,
    /// The same for each [`BIN`] since the fault.
    pub course: BTreeMap<Concern, Vec<Tally>>,
    /// Fresh flows of the struck node's own pods after the move: what it costs.
    pub own_after_move: Tally,
    /// Kept flows that died, by whom they concern.
    pub kept_died: BTreeMap<Concern, usize>,
}

/// What Tanist did while a fault was watched.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Deeds {
    /// Its moves, in order.
    pub moves: Vec<Deed>,
    /// How many of them it began to undo.
    pub undone: usize,
    /// The most that were on record at once.
    pub at_once: usize,
    /// Every leader that was convicted, by location.
    pub convicted: Vec<Location>,
    /// What it told people to look at.
    pub told: Vec<String>,
    /// Everybody who led the location that was struck, in order.
    pub led: Vec<NodeName>,
    /// Its arbiter that was killed, if one was.
    pub killed: Option<NodeName>,
}

/// One move by Tanist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Deed {
    /// Of which location.
    pub location: Location,
    /// To whom.
    pub to: NodeName,
}

/// Who changes a leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mover {
    /// Nobody: there was no Tanist, or it saw no reason.
    Nobody,
    /// The lab, by writing the annotations itself.
    Hand,
    /// Tanist.
    Tanist,
    /// Kilo's own rules.
    Kilo,
}

/// Returns when the first fresh flow was opened that was lost.
#[must_use]
pub fn first_lost<'a>(flows: impl IntoIterator<Item = &'a Fresh>) -> Option<Instant> {
    let lost = flows.into_iter().filter(|flow| flow.answer.is_none());
    lost.map(|flow| flow.at).min()
}

/// Returns when the first flow was opened from which on no more were lost, but for strays; none if
/// they are lost to the end, or never were. The flows stand in the order in which they were opened.
#[must_use]
pub fn restored(flows: &[&Fresh]) -> Option<Instant> {
    let lost = flows.iter().enumerate().filter(|(_, flow)| flow.answer.is_none());
    let lost = lost.map(|(index, _)| index).collect::<Vec<_>>();

    let near = |one: usize, other: usize| other - one <= TOGETHER;
    let last = (0..lost.len()).rev().find(|&turn| {
        turn == 0
            || near(lost[turn - 1], lost[turn])
            || lost.get(turn + 1).is_some_and(|next| near(lost[turn], *next))
    })?;
    let after = flows.get(lost[last] + 1..)?;

    // One good flow at the very end is luck.
    (after.len() >= TOGETHER).then(|| after[0].at)
}

/// Counts flows by whom they concern.
#[must_use]
pub fn tally<'a>(
    flows: impl IntoIterator<Item = &'a Fresh>,
    concern: impl Fn(&Pair) -> Concern,
) -> BTreeMap<Concern, Tally> {
    let mut tallies = BTreeMap::<_, Tally>::new();
    for flow in flows {
        tallies.entry(concern(&flow.pair)).or_default().count(flow);
    }

    tallies
}

/// Counts flows by whom they concern, in each [`BIN`] since `began`.
#[must_use]
pub fn course<'a>(
    flows: impl IntoIterator<Item = &'a Fresh>,
    began: Instant,
    concern: impl Fn(&Pair) -> Concern,
) -> BTreeMap<Concern, Vec<Tally>> {
    let mut courses = BTreeMap::<_, Vec<Tally>>::new();
    for flow in flows {
        let since = flow.at.saturating_duration_since(began);
        let bin = usize::try_from(since.as_millis() / BIN.as_millis()).unwrap_or_default();
        let course = courses.entry(concern(&flow.pair)).or_default();
        if course.len() <= bin {
            course.resize(bin + 1, Tally::default());
        }
        course[bin].count(flow);
    }

    courses
}

impl Tally {
    /// Counts one more flow.
    pub fn count(&mut self, flow: &Fresh) {
        self.opened += 1;
        self.lost += usize::from(flow.answer.is_none());
    }
}

/// Counts kept flows that have died, by whom they concern.
#[must_use]
pub fn died(
    seen: &Seen,
    now: Instant,
    concern: impl Fn(&Pair) -> Concern,
) -> BTreeMap<Concern, usize> {
    let dead = |kept: &Kept| kept.broken || now.saturating_duration_since(kept.last) > SILENCE;

    let mut died = BTreeMap::<_, usize>::new();
    for ((pair, _), _) in seen.kept.iter().filter(|(_, kept)| dead(kept)) {
        *died.entry(concern(pair)).or_default() += 1;
    }

    died
}

#[cfg(test)]
mod tests;
