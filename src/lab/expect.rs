//! What each fault must lead to, for how long it is watched, and whether it did.

use std::fmt;
use std::time::Duration;

use super::faults::Fault;
use super::figures::{Figures, Mover};
use super::watch::Until;
use crate::decide::Mode;

/// How long a cure may take before the run is a failure.
const CURE: Duration = Duration::from_secs(45);

/// The same if the arbiter is killed on the way: the next one waits until the lease has run out.
const CURE_BY_THE_NEXT: Duration = Duration::from_secs(90);

/// How long nothing may happen for a run to show that nothing happens; less if time runs faster.
const NOTHING: Duration = Duration::from_secs(40);

/// The least of it.
const NOTHING_FAST: Duration = Duration::from_secs(12);

/// For a minute after all agents are back from the API server's absence nothing may be decided; and
/// then some more in which it might.
const RETURN: Duration = Duration::from_secs(90);

/// How long Kilo may take to elect another leader by itself, and some more.
const ELECTION: Duration = Duration::from_secs(100);

/// How long a location that never worked is watched from the start of the sidecars: twice as long
/// as it takes until a leader that works is trusted.
const NEVER: Duration = Duration::from_secs(130);

/// A fault that is just large enough for a move is convicted within this time.
const SMALL: Duration = Duration::from_secs(60);

/// One that is too small for it, or takes only what is large, is reported within this time: two
/// windows of steady probing.
const FAINT: Duration = Duration::from_secs(120);

/// A leader that dies whole is replaced within this time.
const DEAD: Duration = Duration::from_secs(5);

/// The same if its sidecar held the lease.
const DEAD_WITH_LEASE: Duration = Duration::from_secs(20);

/// What Tanist does about a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Does {
    /// It moves the leader, and service is back.
    Move,
    /// It reports that something is wrong, and moves nothing.
    Report,
    /// It moves nothing.
    Nothing,
}

/// What a fault must lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expect {
    /// What Tanist does.
    pub tanist: Does,
    /// Whether Kilo elects another leader by itself.
    pub kilo_elects: bool,
    /// Whether a person is told.
    pub told: bool,
    /// Whether no leader may even be convicted.
    pub innocent: bool,
    /// How soon a leader that is moved must have been convicted.
    pub verdict: Option<Duration>,
    /// How soon the annotation must be written, without the lease on the leader and with it.
    pub written: Option<[Duration; 2]>,
    /// Whether the arbiter is killed on the way.
    pub killed: bool,
    /// How long it is watched.
    pub until: Until,
}

/// What a run is about.
#[derive(Debug, Clone, Copy)]
pub struct Trial<'a> {
    /// The fault.
    pub fault: &'a Fault,
    /// What Tanist may do.
    pub mode: Mode,
    /// How many nodes each location has.
    pub nodes: usize,
    /// How many times as fast Kilo runs.
    pub times: u32,
    /// Whether the arbiter is killed on the way.
    pub kill: bool,
}

impl Expect {
    /// Returns what a trial must lead to.
    #[must_use]
    pub fn of(trial: Trial<'_>) -> Self {
        let Trial { fault, times, .. } = trial;
        let tanist = does(trial);
        let cure = if trial.kill { CURE_BY_THE_NEXT } else { CURE };
        let small = matches!(fault, Fault::Partial(_));
        let dies = *fault == Fault::NodeDead && tanist == Does::Move;
        let elects = *fault == Fault::AgentDead;

        Self {
            tanist,
            kilo_elects: elects,
            // Tanist's own patience with an agent is not shortened with Kilo's time.
            told: elects && times == 1,
            innocent: *fault == Fault::PortBlocked,
            verdict: (small && tanist == Does::Move).then_some(SMALL),
            written: dies.then_some([DEAD, DEAD_WITH_LEASE]),
            killed: trial.kill,
            until: match tanist {
                Does::Move if small => Until::Healed(SMALL + cure),
                Does::Move => Until::Healed(cure),
                Does::Report => Until::Reported(FAINT + Duration::from_secs(5)),
                Does::Nothing => Until::Passed(watched(fault, times)),
            },
        }
    }

    /// Tells what a fault did not show that it should have.
    #[must_use]
    pub fn failures(&self, fault: &Figures) -> Vec<String> {
        let of_tanist = match self.tanist {
            Does::Move => self.failures_of_move(fault),
            Does::Report => failures_of_report(fault),
            Does::Nothing => failures_of_nothing(fault),
        };
        let what = format!("{} in {}", fault.fault, fault.location);
        let all = of_tanist.into_iter().chain(self.failures_beside(fault));

        all.map(|failure| format!("{what}: {failure}")).collect()
    }

    fn failures_of_move(&self, fault: &Figures) -> Vec<String> {
        let seconds = |span: Duration| span.as_secs_f64();
        let moments = fault.moments;
        let written =
            self.written.map(|[without, with]| if fault.held_lease { with } else { without });
        let late = |moment: Option<Duration>, most: Option<Duration>| {
            moment.zip(most).filter(|(at, most)| at > most)
        };
        // If Kilo was first, that is as well.
        let tanist = fault.by == Mover::Tanist;
        let mut failures = Vec::new();

        if fault.to.is_none() {
            failures.push("the leader was not moved".to_owned());
        }
        if moments.restored.is_none() {
            failures.push("service did not come back".to_owned());
        }
        if tanist && !fault.fit {
            failures.push("the new leader was not known to be fit".to_owned());
        }
        if let Some((at, most)) = late(moments.verdict, self.verdict) {
            failures.push(format!("convicted after {:.1} of {} s", seconds(at), seconds(most)));
        }
        if let Some((at, most)) = late(moments.written, written) {
            failures.push(format!("written after {:.1} of {} s", seconds(at), seconds(most)));
        }
        if tanist && !self.killed && fault.deeds.moves.len() > 1 {
            failures.push(format!("moved more than once: {}", moves(fault)));
        }
        if tanist && fault.deeds.undone > 0 && !self.killed {
            failures.push("the move was undone".to_owned());
        }
        failures.extend(self.failures_of_successor(fault));
        failures
    }

    /// Tells what went wrong between the arbiter that was killed and the next.
    fn failures_of_successor(&self, fault: &Figures) -> Vec<String> {
        let mut failures = Vec::new();
        if !self.killed {
            return failures;
        }

        if fault.deeds.killed.is_none() {
            failures.push("the move was over before its arbiter could be killed".to_owned());
        }
        if fault.moments.verified.is_none() {
            failures.push("no move was verified".to_owned());
        }
        let heirs = fault.deeds.moves.iter().map(|deed| &deed.to);
        let third = fault
            .deeds
            .led
            .iter()
            .find(|node| **node != fault.from && !heirs.clone().any(|heir| heir == *node));
        if let Some(third) = third {
            failures.push(format!("{third} led, to whom nobody moved"));
        }
        if fault.deeds.moves.windows(2).any(|two| two[0].to != two[1].to) {
            failures.push(format!("moved to more than one: {}", moves(fault)));
        }
        failures
    }

    /// Tells what went wrong beside the leader that was struck.
    fn failures_beside(&self, fault: &Figures) -> Vec<String> {
        let mut failures = Vec::new();

        if fault.deeds.at_once > 1 {
            failures.push(format!("{} moves at once", fault.deeds.at_once));
        }
        let elsewhere = fault.deeds.moves.iter().filter(|deed| deed.location != fault.location);
        for deed in elsewhere {
            failures.push(format!("{} was moved to {} meanwhile", deed.location, deed.to));
        }
        if self.innocent && !fault.deeds.convicted.is_empty() {
            failures.push(format!("{} was convicted", fault.deeds.convicted[0]));
        }
        if self.kilo_elects && fault.to.is_none() {
            failures.push("Kilo elected nobody else".to_owned());
        }
        if self.told && fault.deeds.told.is_empty() {
            failures.push("nobody was told".to_owned());
        }
        failures
    }
}

fn failures_of_nothing(fault: &Figures) -> Vec<String> {
    let here = fault.deeds.moves.iter().filter(|deed| deed.location == fault.location);
    here.map(|deed| format!("Tanist moved the leader to {} for nothing", deed.to)).collect()
}

fn failures_of_report(fault: &Figures) -> Vec<String> {
    let mut failures = failures_of_nothing(fault);
    if fault.moments.reported.is_none_or(|at| at > FAINT) {
        failures.push(format!("nothing was reported within {} s", FAINT.as_secs()));
    }
    failures
}

fn moves(fault: &Figures) -> String {
    let moves = fault.deeds.moves.iter().map(|deed| format!("{} to {}", deed.location, deed.to));
    moves.collect::<Vec<_>>().join(", ")
}

fn does(trial: Trial<'_>) -> Does {
    // An heir is proven by a frame from one node through it to another: with two nodes nobody is
    // left to send it.
    let moves = if trial.mode == Mode::Act && trial.nodes > 2 { Does::Move } else { Does::Nothing };

    match trial.fault {
        Fault::NewFlows
        | Fault::Rejected
        | Fault::VxlanWedge
        | Fault::ForwardOff
        | Fault::OneWay
        | Fault::NodeDead => moves,
        // Less than a tenth, or large packets alone, are reported, and no reason to move.
        Fault::Partial(share) if *share >= 10 => moves,
        Fault::Partial(_) | Fault::Mtu(_) | Fault::MtuBetween(..) => Does::Report,
        Fault::OneWayBetween(..)
        | Fault::MemberDead
        | Fault::AgentDead
        | Fault::AgentRestart
        | Fault::Rollout
        | Fault::TanistRollout
        | Fault::WanCut(..)
        | Fault::ApiDown(_)
        | Fault::CpuStarved
        | Fault::ProbesDropped
        | Fault::PortBlocked => Does::Nothing,
    }
}

/// Returns how long a fault of which nothing must come is watched, once it is in force or over.
fn watched(fault: &Fault, times: u32) -> Duration {
    let usual = if matches!(fault, Fault::ApiDown(_)) {
        RETURN
    } else if *fault == Fault::AgentDead {
        ELECTION
    } else if *fault == Fault::PortBlocked {
        NEVER
    } else {
        NOTHING
    };

    (usual / times).max(NOTHING_FAST)
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.tanist {
            Does::Move if self.killed => "moved by the next arbiter",
            Does::Move => "moved",
            Does::Report => "reported, no move",
            Does::Nothing => "no move",
        })?;
        if let Some(verdict) = self.verdict {
            write!(f, ", convicted within {} s", verdict.as_secs())?;
        }
        if let Some([without, with]) = self.written {
            let (without, with) = (without.as_secs(), with.as_secs());
            write!(f, ", written within {without} s ({with} s with the lease)")?;
        }
        for (is, words) in [
            (self.kilo_elects, ", Kilo elects"),
            (self.told, ", a person is told"),
            (self.innocent, ", no verdict"),
        ] {
            f.write_str(if is { words } else { "" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
