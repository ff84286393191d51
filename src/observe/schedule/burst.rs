//! Bursts: many fresh flows within a third of a second, so that a window soon tells *all* from
//! *some* from *none*. A burst is a list of salvos, one per path; a salvo whose flows all die ends
//! early, since nothing more can be learnt from it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::targets::{Spot, Targets};
use super::{Outcome, Rates};
use crate::evidence::{Flow, Moment, NodeName, Path};

/// Losses in a row that are worth a report at once.
const DARK_AFTER: u32 = 4;

/// Losses in a row after which a salvo ends.
const ENOUGH: u32 = 6;

/// A burst this old has ended, whatever became of its flows.
const LONGEST: Duration = Duration::from_secs(6);

/// Inquests are asked for by the arbiter, some three per incident; they may spend this much more
/// than bursts by our own suspicion, lest those leave nothing for them.
const INQUEST_SHARE: usize = 3;

/// Flows to one address by one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Salvo {
    pub(super) spot: Spot,
    pub(super) flow: Flow,
    left: u32,
    gap: Duration,
    next: Moment,
    open: u32,
    lost_in_row: u32,
}

impl Salvo {
    /// Returns a salvo of `count` flows, the first due at `now`.
    pub(super) const fn new(
        spot: Spot,
        flow: Flow,
        count: u32,
        (now, gap): (Moment, Duration),
    ) -> Self {
        Self { spot, flow, left: count, gap, next: now, open: 0, lost_in_row: 0 }
    }
}

/// What a flow's outcome means for its burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nothing yet.
    GoesOn,
    /// A salvo has just become dark.
    Dark,
}

#[derive(Debug, Clone)]
struct Burst {
    inquest: Option<u64>,
    since: Moment,
    salvos: Vec<Salvo>,
}

/// The bursts under way, and what they have spent.
#[derive(Debug, Clone, Default)]
pub(super) struct Bursts {
    running: BTreeMap<u64, Burst>,
    last_id: u64,
    spent: BTreeMap<NodeName, VecDeque<Moment>>,
}

impl Bursts {
    /// Begins a burst. Of two salvos on one path the first stands.
    pub(super) fn begin(&mut self, inquest: Option<u64>, salvos: Vec<Salvo>, now: Moment) {
        let mut seen = BTreeSet::new();
        let first =
            |salvo: &Salvo| seen.insert((salvo.spot.node.clone(), salvo.spot.kind, salvo.flow));
        let salvos = salvos.into_iter().filter(first).collect();
        self.last_id += 1;
        self.running.insert(self.last_id, Burst { inquest, since: now, salvos });
    }

    /// Returns when the next flow of a burst is due, or the next burst is to be given up.
    pub(super) fn next_deadline(&self) -> Option<Moment> {
        let due = |burst: &Burst| {
            let flows = burst.salvos.iter().filter(|salvo| salvo.left > 0).map(|salvo| salvo.next);
            flows.min().unwrap_or(burst.since + LONGEST)
        };
        self.running.values().map(due).min()
    }

    /// Returns the flows that are due, each with the number of its burst.
    pub(super) fn flows(
        &mut self,
        targets: &Targets,
        rates: &Rates,
        now: Moment,
    ) -> Vec<(u64, Spot, Flow)> {
        self.forget(now - rates.burst_window);
        let mut flows = Vec::new();
        for (id, burst) in &mut self.running {
            let share = if burst.inquest.is_some() { INQUEST_SHARE } else { 1 };
            for salvo in burst.salvos.iter_mut().filter(|salvo| salvo.left > 0 && salvo.next <= now)
            {
                let relays: Vec<_> = targets.relays(&salvo.spot).collect();
                if !spend(&mut self.spent, &relays, share * rates.burst_cap, now) {
                    salvo.left = 0;
                    continue;
                }
                salvo.left -= 1;
                salvo.open += 1;
                salvo.next = now + salvo.gap;
                flows.push((*id, salvo.spot.clone(), salvo.flow));
            }
        }
        flows
    }

    /// Takes what came of a flow.
    pub(super) fn learn(&mut self, id: u64, path: &Path, outcome: Outcome) -> Turn {
        let salvo = self.running.get_mut(&id).and_then(|burst| {
            burst.salvos.iter_mut().find(|salvo| {
                (&salvo.spot.node, salvo.spot.kind, salvo.flow)
                    == (&path.to, path.address, path.flow)
            })
        });
        let Some(salvo) = salvo else { return Turn::GoesOn };

        // A late one was told as lost before.
        let told = matches!(outcome, Outcome::Late { .. });
        salvo.open = salvo.open.saturating_sub(u32::from(!told));
        salvo.lost_in_row = match outcome {
            Outcome::Answered { .. } | Outcome::Late { .. } => 0,
            Outcome::Lost => salvo.lost_in_row + 1,
            Outcome::Unsent => salvo.lost_in_row,
        };
        if salvo.lost_in_row >= ENOUGH {
            salvo.left = 0;
        }
        if outcome == Outcome::Lost && salvo.lost_in_row == DARK_AFTER {
            Turn::Dark
        } else {
            Turn::GoesOn
        }
    }

    /// Removes the bursts that have ended; returns the inquest of each, if it was one.
    pub(super) fn ended(&mut self, now: Moment) -> Vec<Option<u64>> {
        let over = |burst: &Burst| {
            burst.salvos.iter().all(|salvo| salvo.left == 0 && salvo.open == 0)
                || now >= burst.since + LONGEST
        };
        let ended = self.running.values().filter(|burst| over(burst)).map(|burst| burst.inquest);
        let ended = ended.collect();
        self.running.retain(|_, burst| !over(burst));
        ended
    }

    fn forget(&mut self, before: Moment) {
        for spent in self.spent.values_mut() {
            while spent.front().is_some_and(|at| *at <= before) {
                spent.pop_front();
            }
        }
        self.spent.retain(|_, spent| !spent.is_empty());
    }
}

/// Notes one flow against every leader that relays it, if none has had its fill.
fn spend(
    spent: &mut BTreeMap<NodeName, VecDeque<Moment>>,
    relays: &[NodeName],
    cap: usize,
    now: Moment,
) -> bool {
    if relays.iter().any(|relay| spent.get(relay).is_some_and(|spent| spent.len() >= cap)) {
        return false;
    }
    for relay in relays {
        spent.entry(relay.clone()).or_default().push_back(now);
    }
    true
}
