//! One location's turn: reads its case, vets its heirs, lets the state machine step, and makes the
//! location's part of the plan.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::case::Case;
use super::heirs::{self, Heir};
use super::intent::{Intent, Mode};
use super::memory::{Cause, Memory};
use super::plan::{LocationPlan, Progress, Wish};
use super::policy::Policy;
use super::rails::{self, Rail};
use super::readded::readded;
use super::told::Told;
use super::trust::{Action, Spans, Trust, Word};
use super::vetting::{Inquest, Vetting};
use super::{Situation, ledger, person, unresolved};
use crate::diagnose::{Class, Verdict, served};
use crate::evidence::{Epoch, Leadership, LocalCause, Location, Moment, NodeName};

/// What is remembered of one location: [`Memory`], with times as moments, and what need not
/// survive this process.
#[derive(Debug, Clone, Default)]
pub(super) struct Standing {
    pub(super) memory: Memory,
    pub(super) trust: Trust,
    /// The leader of the round before.
    pub(super) leader: Option<NodeName>,
    pub(super) inquest: Inquest,
    /// When each heir last passed a hairpin.
    pub(super) forwarded: BTreeMap<NodeName, Moment>,
    /// Whom each member was last known to serve.
    pub(super) served: BTreeMap<NodeName, BTreeSet<NodeName>>,
    /// Since when the annotations of the move in hand are written.
    pub(super) written: Option<Moment>,
    /// The request that heirs are being asked for, and since when.
    pub(super) asked: Option<(String, Moment)>,
    /// What a person should know of the last move.
    pub(super) alert: Option<String>,
    /// Whether heirs have been asked since Kilo brought a replaced leader back.
    pub(super) relapse_asked: bool,
    /// When the leader was last convicted.
    pub(super) dark_at: Option<Moment>,
    /// Since when the leader has forwarded without a break.
    pub(super) sound_since: Option<Moment>,
    /// What was told last of its health.
    pub(super) told: Told,
}

/// What one location's turn goes by.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) location: &'a Location,
    pub(super) leadership: &'a Leadership,
    pub(super) situation: &'a Situation<'a>,
    pub(super) intent: &'a Intent,
    pub(super) policy: &'a Policy,
    pub(super) epoch: Epoch,
    pub(super) mesh: &'a MeshState,
}

/// What concerns every location alike.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct MeshState {
    /// Whether agents may believe themselves alone, since the API server is away or just back.
    pub(super) api_returns: bool,
    /// Whether too many leaders are convicted at once.
    pub(super) storm: bool,
    /// Whose leader is being moved.
    pub(super) moving: Option<Location>,
}

impl View<'_> {
    pub(super) const fn now(&self) -> Moment {
        self.situation.evidence.now
    }

    pub(super) fn mode(&self) -> Mode {
        self.intent.mode.unwrap_or(self.situation.default_mode)
    }

    pub(super) fn is_ready(&self, node: &NodeName) -> bool {
        self.leadership.ready.contains(node)
    }
}

impl Standing {
    /// Takes one turn.
    pub(super) fn turn(&mut self, view: &View<'_>) -> LocationPlan {
        self.notice(view);
        let case = Case::read(view.location, view.leadership, view.situation);
        self.note_verdict(&case, view);
        let heirs = self.vet(&case, view);

        let held = rails::holding(self, &case, &heirs, view);
        match person::call(self, &heirs, view) {
            Some(call) => self.obey(&call, &case, view),
            None => self.step(&case, &heirs, &held, view),
        }
        self.inquire_again(view);

        self.plan(&case, heirs, held.into_iter().next(), view)
    }

    /// Takes note of a changed leader, a person's acknowledgement and the actor's progress.
    fn notice(&mut self, view: &View<'_>) {
        if self.leader != view.leadership.leader {
            if self.leader.is_some() {
                self.told = Told::of_new_leader();
            }
            self.leader.clone_from(&view.leadership.leader);
            self.sound_since = None;
            self.relapse_asked = false;
            if matches!(self.trust, Trust::Doubted { .. }) {
                self.trust = Trust::Trusted;
            }
        }
        ledger::acknowledge(self, view);
        ledger::forget(self, view);

        let Some(moving) = &self.memory.moving else { return };
        if let Some(Progress::Written { to, at }) = view.situation.progress.get(view.location)
            && *to == moving.to
            && self.written.is_none()
            && let Trust::Proving { attempt, .. } = self.trust
        {
            // Who learns of it late, or by a clock that was set since, counts from now on.
            let now = view.now();
            let at = if *at > now || now.since(*at) > view.policy.inquest { now } else { *at };
            self.written = Some(at);
            let until = at + view.policy.proof;
            let limit = at + view.policy.longest_proof;
            self.trust = Trust::Proving { attempt, until, limit };
            self.inquire(view.now());
        }
    }

    /// Opens an incident at the first conviction, and takes a leader that proves sound for long
    /// out of quarantine.
    fn note_verdict(&mut self, case: &Case, view: &View<'_>) {
        let now = view.now();
        let Some(leader) = &view.leadership.leader else { return };

        if case.is_dark() {
            ledger::open_incident(self, leader, view);
            self.dark_at = Some(now);
        }
        if case.forwards() {
            let since = *self.sound_since.get_or_insert(now);
            if now.since(since) >= view.policy.memory {
                self.memory.quarantine.remove(leader);
                self.alert = None;
            }
        } else if case.is_dark() || case.suspect {
            self.sound_since = None;
        }
    }

    fn vet(&mut self, case: &Case, view: &View<'_>) -> Vec<Heir> {
        let vetting = Vetting {
            evidence: view.situation.evidence,
            findings: view.situation.findings,
            thresholds: view.situation.thresholds,
            leadership: view.leadership,
            leader: view.leadership.leader.as_ref(),
            leader_cut_off: case.leader_cut_off,
            leader_forwards: case.forwards(),
            intent: view.intent,
            quarantine: &self.memory.quarantine,
            tried: &self.memory.tried,
            moves: &self.memory.moves,
            inquest: self.inquest,
            forwarded: &self.forwarded,
            served: &self.served,
            quiet: matches!(self.trust, Trust::Trusted | Trust::Resting { .. })
                && !self.relapse_asked,
            policy: view.policy,
        };
        let heirs = heirs::rank(&vetting);
        self.forwarded = vetting.remember();
        for heir in &heirs {
            if heir.serves.len() > 1 {
                self.served.insert(heir.node.clone(), heir.serves.clone());
            }
        }
        if let Some(leader) = &view.leadership.leader {
            let mut serves = served(view.situation.evidence, leader, view.situation.thresholds);
            if !serves.is_empty() {
                serves.insert(leader.clone());
                self.served.insert(leader.clone(), serves);
            }
        }
        self.served.retain(|node, _| view.leadership.members.contains(node));

        heirs
    }

    /// Lets the state machine step, and does what it calls for.
    fn step(&mut self, case: &Case, heirs: &[Heir], held: &[Rail], view: &View<'_>) {
        let before = self.trust;
        let (word, heir) = match before {
            Trust::Proving { until, .. } => self.word_of_proof(until, heirs, view),
            Trust::Trusted | Trust::Doubted { .. } | Trust::Resting { .. } => {
                self.word_of_case(case, heirs, held, view)
            }
        };
        let spans = Spans { patience: patience(case, view.policy), ..self.spans(view) };
        let (after, action) = before.step(word, view.now(), &spans);
        let ended = matches!(before, Trust::Proving { .. })
            && (!matches!(after, Trust::Proving { .. })
                || matches!(action, Some(Action::Promote | Action::Revert)));
        let complete = before.is_in_time(view.now());
        let last = if ended { self.close(word, complete) } else { None };
        self.trust = after;

        match (action, heir, last) {
            (Some(Action::Inquire), ..) => {
                self.inquire(view.now());
                self.inquest.first = self.inquest.number;
            }
            (Some(Action::Promote), Some(heir), None) => {
                let relapsed = word == Word::Relapsed;
                let cause = if relapsed { Cause::Relapse } else { Cause::Verdict };
                self.promote(cause, heir, case, view);
            }
            (Some(Action::Promote), Some(heir), Some(last)) => {
                self.promote_next(&last, heir, view);
            }
            (Some(Action::Revert), _, Some(last)) => self.revert(&last, view),
            (Some(Action::Alert), _, Some(last)) => self.alarm(&last, word, view),
            (Some(Action::Promote | Action::Revert | Action::Alert) | None, ..) => {}
        }
    }

    /// Asks again for as long as it matters: often while a new leader proves itself or a conviction
    /// waits out its patience, which it must do on fresh answers, and ever more seldom while a
    /// leader is doubted.
    fn inquire_again(&mut self, view: &View<'_>) {
        let now = view.now();
        let pause = match self.trust {
            Trust::Trusted | Trust::Resting { .. } => return,
            Trust::Doubted { dark: Some(dark), .. }
                if now < dark + view.policy.patience.max(view.policy.patience_if_partial) =>
            {
                view.policy.reprobe
            }
            Trust::Doubted { since, .. } => view.policy.inquest.max(now.since(since) / 4),
            Trust::Proving { .. } if self.written.is_none() => return,
            Trust::Proving { .. } => view.policy.reprobe,
        };
        if now.since(self.inquest.at) >= pause {
            self.inquire(now);
        }
    }

    pub(super) fn inquire(&mut self, now: Moment) {
        self.inquest.number += 1;
        self.inquest.at = now;
    }

    /// The rest doubles with each automatic move in a row; a person's move is followed by one only
    /// long enough for Kilo to settle.
    pub(super) fn spans(&self, view: &View<'_>) -> Spans {
        let policy = view.policy;
        let automatic = self.memory.moving.as_ref().is_none_or(|moving| moving.automatic);
        let doublings = self.memory.rests.saturating_sub(1).min(16);
        let grown = policy.rest.saturating_mul(1 << doublings).min(policy.longest_rest);

        Spans {
            patience: policy.patience,
            proof: policy.write + policy.proof,
            longest_proof: policy.write + policy.longest_proof,
            rest: if automatic { grown } else { policy.settle },
            // Given up after it was written, it has cost what any move costs.
            retry: if self.written.is_some() { grown } else { policy.retry },
        }
    }

    fn plan(
        &mut self,
        case: &Case,
        heirs: Vec<Heir>,
        held: Option<Rail>,
        view: &View<'_>,
    ) -> LocationPlan {
        let choice = choose(&heirs, case.served, needed_gain(view)).map(|heir| heir.node.clone());
        let best = heirs.iter().filter(|heir| heir.is_fit()).map(Heir::serves).max();
        let served = self.served_now(case, view);
        let moving = self.memory.moving.clone();
        let held = held.filter(|rail| {
            moving.is_none() && case.is_dark() && !(rail.awaits_heirs() && self.is_young(view))
        });
        let (health, because) = self.told.hear(case, view.now(), view.policy.hesitation);

        LocationPlan {
            leader: view.leadership.leader.clone(),
            since: view.leadership.since,
            health,
            because,
            trust: self.trust,
            incident: self.memory.incident.clone(),
            inquest: self.inquest.number,
            would_move: held.as_ref().and(choice),
            wish: moving.map_or(Wish::Stay, Wish::Move),
            held,
            served_now: served,
            served_best: best.unwrap_or(0).max(served),
            answered: self.memory.answered.clone(),
            complaints: self.complaints(case, view),
            readded: readded(view),
            heirs,
        }
    }

    /// Tells whether the doubt is so young that heirs may not have answered yet.
    fn is_young(&self, view: &View<'_>) -> bool {
        match self.trust {
            Trust::Doubted { since, .. } => view.now().since(since) < view.policy.hesitation,
            Trust::Trusted | Trust::Proving { .. } | Trust::Resting { .. } => false,
        }
    }

    /// In quiet times, when reports are seldom, what was last known of the leader stands.
    fn served_now(&self, case: &Case, view: &View<'_>) -> u32 {
        let leader = view.leadership.leader.as_ref();
        let known = leader.and_then(|leader| self.served.get(leader)).map_or(0, BTreeSet::len);
        let known = u32::try_from(known).unwrap_or(u32::MAX);
        match self.trust {
            Trust::Trusted if case.served == 1 && !case.is_dark() => known.max(1),
            Trust::Trusted
            | Trust::Doubted { .. }
            | Trust::Proving { .. }
            | Trust::Resting { .. } => case.served,
        }
    }

    fn complaints(&self, case: &Case, view: &View<'_>) -> Vec<String> {
        let mut complaints = view.intent.complaints.clone();
        complaints.extend(person::pin_complaint(view));
        complaints.extend(ledger::unknown_acknowledgement(self, view));
        complaints.extend(self.alert.clone());
        complaints.extend(silent_agent(case, view));
        complaints.extend(unresolved::complaint(view));

        complaints
    }
}

/// Returns how long the leader must stay convicted before it is replaced.
const fn patience(case: &Case, policy: &Policy) -> Duration {
    match case.verdict {
        Verdict::Dark(Class::Partial) => policy.patience_if_partial,
        Verdict::Dark(_) | Verdict::Forwards | Verdict::Unclear(_) => policy.patience,
    }
}

/// Returns the first fit heir that serves enough more nodes than are served now.
pub(super) fn choose<'h>(
    heirs: impl IntoIterator<Item = &'h Heir>,
    served: u32,
    need: u32,
) -> Option<&'h Heir> {
    let enough = |heir: &&Heir| heir.is_fit() && heir.serves() >= served.saturating_add(need);
    heirs.into_iter().find(enough)
}

/// Returns how many nodes more an heir must serve: a share of the members, at least one.
pub(super) fn needed_gain(view: &View<'_>) -> u32 {
    let members = u32::try_from(view.leadership.ready.len()).unwrap_or(u32::MAX);
    let percent = u32::from(view.policy.least_gain_percent);
    members.saturating_mul(percent).div_ceil(100).max(1)
}

/// How often a Kilo agent checks in.
const KILO_PERIOD: Duration = Duration::from_secs(30);

/// A dead Kilo agent over a sound data path is worth a person's attention, not a move: it does no
/// harm until Kilo itself repairs it.
fn silent_agent(case: &Case, view: &View<'_>) -> Option<String> {
    let evidence = view.situation.evidence;
    let leader = view.leadership.leader.as_ref()?;
    let reporter = evidence.reporters.get(leader);
    let down = reporter.is_some_and(|reporter| {
        reporter.local.iter().any(|finding| finding.cause == LocalCause::KiloAgentDown)
    });
    let seen = evidence.mesh.nodes.get(leader)?.last_seen?;
    let age = u64::try_from(evidence.mesh.at.seconds() - seen).unwrap_or(0);
    let age = Duration::from_secs(age);
    // One that is only restarting checks in when it is due.
    let overdue = age > view.policy.check_in || (down && age > KILO_PERIOD);

    (!case.is_dark() && overdue && !view.mesh.api_returns).then(|| {
        format!(
            "the Kilo agent of {leader} is silent while its data path is not known to be broken: \
             restart it before Kilo elects another leader, 60 s after its last check-in"
        )
    })
}
