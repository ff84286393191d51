//! The book of an incident: when it opens, the moves made in it, what they count for, and what a
//! person's acknowledgement wipes.

use std::time::Duration;

use super::case::Case;
use super::heirs::Heir;
use super::memory::{Cause, End, MOVES_REMEMBERED, Memory, Move, PastMove};
use super::person::Call;
use super::proof::left_behind;
use super::trust::{Trust, Word};
use super::turn::{Standing, View};
use crate::evidence::{Epoch, NodeName, UnixTime};

/// The span that the budget of automatic moves is for.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Takes a person's acknowledgement of the incident at hand: the rest ends, and nobody is in
/// quarantine any more.
pub(super) fn acknowledge(standing: &mut Standing, view: &View<'_>) {
    let memory = &mut standing.memory;
    let acknowledged = &view.intent.acknowledged;
    if acknowledged.is_none()
        || *acknowledged != memory.incident
        || *acknowledged == memory.acknowledged
    {
        return;
    }
    memory.acknowledged.clone_from(acknowledged);
    memory.rests = 0;
    memory.quarantine.clear();
    memory.tried.clear();
    standing.alert = None;
    if matches!(standing.trust, Trust::Resting { .. }) {
        standing.trust = Trust::Trusted;
    }
}

/// Says that a person acknowledged what is no incident at hand, so that nothing follows.
pub(super) fn unknown_acknowledgement(standing: &Standing, view: &View<'_>) -> Option<String> {
    let Memory { incident, acknowledged: applied, .. } = &standing.memory;
    let acknowledged = view.intent.acknowledged.as_ref()?;
    if view.intent.acknowledged == *incident || view.intent.acknowledged == *applied {
        return None;
    }
    let known = incident.as_ref().map_or_else(
        || "there is none".to_owned(),
        |incident| format!("the one at hand, or the last one, is {incident:?}"),
    );
    Some(format!(
        "acknowledged {acknowledged:?} is no incident at hand, so it does nothing; {known}"
    ))
}

/// Forgets automatic moves that are a day old, and with the last of them how the rest has grown
/// and who is in quarantine.
pub(super) fn forget(standing: &mut Standing, view: &View<'_>) {
    let memory = &mut standing.memory;
    let day_ago = view.epoch.unix(view.now() - DAY);
    let had_any = !memory.automatic.is_empty();
    memory.automatic.retain(|at| *at > day_ago);
    if had_any && memory.automatic.is_empty() {
        memory.rests = 0;
        memory.quarantine.clear();
        memory.tried.clear();
    }
    memory.quarantine.retain(|node| view.leadership.members.contains(node));
}

/// Opens an incident, unless the one at hand is about the same leader and still warm.
pub(super) fn open_incident(standing: &mut Standing, leader: &NodeName, view: &View<'_>) {
    let warm = standing.dark_at.is_none_or(|dark| view.now().since(dark) < view.policy.memory);
    let memory = &mut standing.memory;
    if memory.incident.is_some() && memory.accused.as_ref() == Some(leader) && warm {
        return;
    }
    memory.incident = Some(name_incident(leader, view));
    memory.accused = Some(leader.clone());
    memory.tried.clear();
    standing.alert = None;
}

fn name_incident(leader: &NodeName, view: &View<'_>) -> String {
    format!("{leader}-{}", view.epoch.unix(view.now()).seconds())
}

/// Tells whether the day's automatic moves are used up.
pub(super) fn is_spent(standing: &Standing, view: &View<'_>) -> bool {
    standing.memory.automatic.len() >= view.policy.daily_moves as usize
}

/// Tells whether Kilo brought the replaced leader back by itself: it leads again, and the node
/// that took over from it is not Ready. If that one is Ready, somebody else put it back, and we do
/// not fight them.
pub(super) fn was_brought_back(standing: &Standing, view: &View<'_>) -> bool {
    let memory = &standing.memory;
    let Some(leader) = &view.leadership.leader else { return false };
    let successor = memory.moves.last().map(|last| &last.to);

    memory.quarantine.contains(leader)
        && successor.is_some_and(|successor| !view.is_ready(successor))
}

impl Standing {
    /// Begins the first move of a verdict, or of a relapse.
    pub(super) fn promote(&mut self, cause: Cause, heir: &Heir, case: &Case, view: &View<'_>) {
        let Some(leader) = view.leadership.leader.clone() else { return };
        self.memory.count(cause, &leader, view.epoch.unix(view.now()));
        self.begin(Move {
            incident: self.memory.incident.clone().unwrap_or_default(),
            origin: leader.clone(),
            from: leader,
            to: heir.node.clone(),
            cause,
            at: view.epoch.unix(view.now()),
            automatic: true,
            why: case.because.clone(),
            cost: cost(heir, view),
            serves: heir.serves.clone(),
            served_before: case.served,
        });
    }

    /// Begins the move to the next heir after one that did not prove itself.
    pub(super) fn promote_next(&mut self, last: &Move, heir: &Heir, view: &View<'_>) {
        self.memory.tried.insert(last.to.clone());
        self.begin(Move {
            from: view.leadership.leader.clone().unwrap_or_else(|| last.to.clone()),
            to: heir.node.clone(),
            at: view.epoch.unix(view.now()),
            why: format!("{} did not prove itself in time", last.to),
            cost: cost(heir, view),
            serves: heir.serves.clone(),
            ..last.clone()
        });
    }

    /// Puts the old leader back after a move that was not proven; if it is not Ready, all stays as
    /// it is, and a person is told.
    pub(super) fn revert(&mut self, last: &Move, view: &View<'_>) {
        self.memory.tried.insert(last.to.clone());
        if !view.is_ready(&last.origin) || view.leadership.leader.as_ref() == Some(&last.origin) {
            self.trust = Trust::Resting { until: view.now() + self.spans(view).rest };
            self.alert = Some(format!(
                "{} did not prove itself, and there is nobody to go back to; {} leads",
                last.to,
                view.leadership.leader.as_ref().map_or("nobody", |leader| leader.0.as_str()),
            ));
            return;
        }
        // It leads by our own hand: that is no relapse.
        self.memory.quarantine.remove(&last.origin);
        self.begin(Move {
            from: last.to.clone(),
            to: last.origin.clone(),
            cause: Cause::Revert,
            at: view.epoch.unix(view.now()),
            why: format!("{} did not prove itself in time", last.to),
            serves: [last.origin.clone()].into(),
            served_before: 0,
            ..last.clone()
        });
        self.alert = Some(format!("{} did not prove itself; {} is put back", last.to, last.origin));
    }

    /// Begins the move that a person calls for.
    pub(super) fn obey(&mut self, call: &Call, case: &Case, view: &View<'_>) {
        let Some(leader) = view.leadership.leader.clone() else { return };
        let now = view.now();
        self.memory.quarantine.remove(&call.heir.node);
        self.memory.tried.clear();
        self.memory.incident = Some(name_incident(&leader, view));
        self.memory.accused = None;
        self.begin(Move {
            incident: name_incident(&leader, view),
            origin: leader.clone(),
            from: leader,
            to: call.heir.node.clone(),
            cause: call.cause,
            at: view.epoch.unix(now),
            automatic: false,
            why: call.why.clone(),
            cost: cost(&call.heir, view),
            serves: call.heir.serves.clone(),
            served_before: if case.is_dark() { case.served } else { 0 },
        });
        self.trust = Trust::proving(call.attempt, now, &self.spans(view));
    }

    fn begin(&mut self, moving: Move) {
        self.memory.moving = Some(moving);
        self.written = None;
        self.alert = None;
    }

    /// Closes the move in hand and returns it.
    pub(super) fn close(&mut self, word: Word, complete: bool) -> Option<Move> {
        let moving = self.memory.moving.take()?;
        let end = match word {
            Word::Sound if complete => End::Proven,
            Word::Sound => End::Better,
            Word::Refused => End::Refused,
            Word::Stranded if self.written.is_none() => End::Refused,
            Word::Unclear
            | Word::Stranded
            | Word::Converging
            | Word::Suspect
            | Word::Incurable
            | Word::Curable
            | Word::Relapsed => End::Unproven,
        };
        if word == Word::Refused {
            self.uncount(&moving);
        }
        self.memory.moves.push(PastMove {
            incident: moving.incident.clone(),
            from: moving.from.clone(),
            to: moving.to.clone(),
            cause: moving.cause,
            at: moving.at,
            end,
        });
        let surplus = self.memory.moves.len().saturating_sub(MOVES_REMEMBERED);
        self.memory.moves.drain(..surplus);
        self.written = None;

        Some(moving)
    }

    /// Remembers what a person should know of a move that came to nothing.
    pub(super) fn alarm(&mut self, last: &Move, word: Word, view: &View<'_>) {
        let another = view.leadership.leader.as_ref().filter(|leader| **leader != last.to);
        self.alert = Some(match (word, last.cause) {
            (Word::Refused, _) => format!("the move to {} was given up", last.to),
            (Word::Stranded, _) if let Some(another) = another => {
                format!("{another} leads, and not {}: that move is left as it is", last.to)
            }
            (Word::Stranded, _) => {
                format!("the move to {} could be neither proven nor undone", last.to)
            }
            (_, Cause::Revert) => format!(
                "no heir proved itself, and {} does not forward either; nothing is moved until \
                 the rest is over or the incident is acknowledged",
                last.to
            ),
            (_, Cause::Verdict | Cause::Relapse | Cause::Request | Cause::Pin) => {
                format!("{} leads as asked, but did not show in time that it forwards", last.to)
            }
        });
    }

    /// Takes back what a move counted for that was never written.
    fn uncount(&mut self, moving: &Move) {
        self.memory.quarantine.remove(&moving.from);
        if moving.cause == Cause::Verdict && self.memory.automatic.last() == Some(&moving.at) {
            self.memory.automatic.pop();
            self.memory.rests = self.memory.rests.saturating_sub(1);
        }
    }

    /// Returns what has to survive this process.
    pub(super) fn remember(&self, epoch: Epoch) -> Memory {
        Memory {
            trust: self.trust.map(|moment| epoch.unix(moment)),
            inquest: self.inquest.number,
            ..self.memory.clone()
        }
    }

    /// Goes on where another process stopped.
    pub(super) fn resume(memory: Memory, epoch: Epoch) -> Self {
        let trust = memory.trust.map(|at: UnixTime| epoch.moment(at));
        let mut standing = Self { trust, ..Self::default() };
        standing.inquest.number = memory.inquest;
        standing.inquest.first = memory.inquest;
        standing.memory = memory;

        standing
    }
}

fn cost(heir: &Heir, view: &View<'_>) -> String {
    let behind = left_behind(&view.leadership.ready, &heir.serves);
    let mut cost =
        "every WireGuard session in the mesh starts anew: 0.1 s, now and then 5 s or more"
            .to_owned();
    if !behind.is_empty() {
        let names: Vec<_> = behind.iter().map(|node| node.0.as_str()).collect();
        cost.push_str("; not known to be served by the new leader, so possibly dark: ");
        cost.push_str(&names.join(", "));
    }

    cost
}
