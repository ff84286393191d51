//! What a simulated run came to, and the invariants that every run is held to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::decide::{Cause, Health, LocationPlan, Mode, Move, Policy, Trust, Wish};
use crate::diagnose::Class;
use crate::evidence::{Location, Moment};
use crate::judge::Judgement;

/// A move as a run saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoveSeen {
    /// Whose leader.
    pub location: Location,
    /// The move.
    pub moving: Move,
    /// When it was decided.
    pub decided: Moment,
    /// When it was over, proven or not.
    pub over: Option<Moment>,
}

/// What a simulated run came to.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// Every move, in order.
    pub moves: Vec<MoveSeen>,
    /// When each location was first convicted.
    pub convicted: BTreeMap<Location, Moment>,
    /// Every class of finding.
    pub classes: BTreeSet<Class>,
    /// Everything a person was told.
    pub complaints: BTreeSet<String>,
    /// Which invariants were broken, and how.
    pub violations: Vec<String>,
    /// How many rounds were judged.
    pub rounds: u64,
    proving: BTreeMap<Location, Moment>,
}

impl Record {
    /// Returns the moves that nobody asked for.
    pub fn automatic(&self) -> impl Iterator<Item = &MoveSeen> {
        self.moves.iter().filter(|seen| seen.moving.automatic)
    }

    /// Notes one round, and holds it to the invariants.
    pub(super) fn note(&mut self, judgement: &Judgement, policy: &Policy, mode: Mode) {
        let now = judgement.evidence.now;
        self.rounds += 1;
        self.classes.extend(judgement.findings.iter().map(|finding| finding.class));
        let mut under_way = 0;
        for (location, plan) in &judgement.plan.locations {
            self.complaints.extend(plan.complaints.iter().cloned());
            if plan.health == Health::Dark {
                self.convicted.entry(location.clone()).or_insert(now);
            }
            if let Wish::Move(moving) = &plan.wish {
                under_way += 1;
                self.note_move(location, plan, moving, (judgement, policy, mode));
            } else {
                self.close(location, now);
            }
            self.check_proving(location, plan, policy, now);
        }
        if under_way > 1 {
            self.violations.push(format!("{under_way} moves at once at {now:?}"));
        }
    }

    fn note_move(
        &mut self,
        location: &Location,
        plan: &LocationPlan,
        moving: &Move,
        (judgement, policy, mode): (&Judgement, &Policy, Mode),
    ) {
        let now = judgement.evidence.now;
        let known =
            self.moves.last().is_some_and(|last| last.over.is_none() && last.moving == *moving);
        if known {
            return;
        }
        self.close(location, now);
        if moving.automatic {
            let broken = broken_by(location, plan, moving, judgement);
            self.violations.extend(broken.map(|rule| format!("{rule} at {now:?}: {moving:?}")));
            if mode != Mode::Act {
                self.violations.push(format!("moved in mode {mode} at {now:?}"));
            }
        }
        let rested = self.moves.iter().rev().find(|seen| {
            seen.location == *location
                && seen.moving.cause == Cause::Verdict
                && seen.moving.incident != moving.incident
        });
        if moving.cause == Cause::Verdict
            && let Some(last) = rested
            && now.since(last.decided) < policy.rest
        {
            self.violations.push(format!("moved within the rest at {now:?}: {moving:?}"));
        }
        self.moves.push(MoveSeen {
            location: location.clone(),
            moving: moving.clone(),
            decided: now,
            over: None,
        });
    }

    fn close(&mut self, location: &Location, now: Moment) {
        let open = self.moves.iter_mut().rev().find(|seen| seen.location == *location);
        if let Some(seen) = open.filter(|seen| seen.over.is_none()) {
            seen.over = Some(now);
        }
    }

    fn check_proving(
        &mut self,
        location: &Location,
        plan: &LocationPlan,
        policy: &Policy,
        now: Moment,
    ) {
        let Trust::Proving { .. } = plan.trust else {
            self.proving.remove(location);
            return;
        };
        let since = *self.proving.entry(location.clone()).or_insert(now);
        // Up to three tries: the first heir, the next, and back.
        let longest = (policy.write + policy.longest_proof + Duration::from_secs(2)) * 3;
        if now.since(since) > longest {
            self.violations.push(format!("{location} has been proving since {since:?}"));
        }
    }
}

/// Says which rule an automatic move breaks, if any.
fn broken_by(
    location: &Location,
    plan: &LocationPlan,
    moving: &Move,
    judgement: &Judgement,
) -> Option<&'static str> {
    if moving.cause == Cause::Revert {
        return None;
    }
    let evidence = &judgement.evidence;
    let heir = plan.heirs.iter().find(|heir| heir.node == moving.to);
    let ready = &evidence.leaders[location].ready;
    let convicting = judgement.findings.iter().filter(|finding| {
        finding.location == *location && finding.doubt.is_none() && finding.culprit.is_some()
    });
    let witnesses: BTreeSet<_> = convicting.flat_map(|finding| &finding.witnesses).collect();

    if !heir.is_some_and(crate::decide::Heir::is_fit) || !ready.contains(&moving.to) {
        Some("moved to an unfit node")
    } else if moving.from == moving.to {
        Some("moved to the leader itself")
    } else if heir.is_some_and(|heir| heir.serves() <= moving.served_before) {
        Some("moved for no gain")
    } else if moving.cause == Cause::Verdict
        && witnesses.len() < 2
        && !moving.why.contains("did not prove itself")
    {
        Some("moved on one witness")
    } else {
        None
    }
}
