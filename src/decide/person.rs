//! What people ask for: pins and requests. They go before any automatic move, and no mode, rest or
//! budget is in their way.

use super::heirs::Heir;
use super::intent::MoveRequest;
use super::memory::{Answer, Cause, End};
use super::readded::Readded;
use super::trust::{Attempt, Trust};
use super::turn::{Standing, View};
use crate::evidence::{Granularity, NodeName};

/// A move that a person calls for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    /// Who is to lead.
    pub(super) heir: Heir,
    /// A pin or a request.
    pub(super) cause: Cause,
    /// What follows if it does not prove itself.
    pub(super) attempt: Attempt,
    /// Why, for people.
    pub(super) why: String,
}

/// Returns the move that a person calls for, if it can be made now.
pub(super) fn call(standing: &mut Standing, heirs: &[Heir], view: &View<'_>) -> Option<Call> {
    contradict(standing, view);
    if !can_move(standing, view) {
        return None;
    }
    pin(standing, heirs, view).or_else(|| request(standing, heirs, view))
}

/// Turns a request down that the operator's own standing wishes contradict: kept, it would be
/// carried out when nobody thinks of it any more.
fn contradict(standing: &mut Standing, view: &View<'_>) {
    let Some(request) = &view.intent.request else { return };
    if is_answered(standing, request) {
        return;
    }
    let pinned = view.intent.pins.first().filter(|pin| Some(*pin) != request.to.as_ref());
    if let Some(why) = &view.intent.pause {
        answer(standing, request, format!("refused, the location is paused: {why}"));
    } else if let Some(pinned) = pinned.filter(|_| pin_complaint(view).is_none()) {
        answer(standing, request, format!("refused, {pinned} is pinned"));
    }
}

fn is_answered(standing: &Standing, request: &MoveRequest) -> bool {
    standing.memory.answered.as_ref().is_some_and(|last| last.id == request.id)
}

/// What even a person's wish waits for.
fn can_move(standing: &Standing, view: &View<'_>) -> bool {
    let Some(leader) = &view.leadership.leader else { return false };
    let node = view.situation.evidence.mesh.nodes.get(leader);
    let elsewhere = view.mesh.moving.as_ref().is_some_and(|location| location != view.location);

    !matches!(standing.trust, Trust::Proving { .. })
        && node.is_some_and(|node| node.granularity == Granularity::Location)
        && view.intent.pause.is_none()
        && !view.mesh.api_returns
        && !elsewhere
}

fn pin(standing: &Standing, heirs: &[Heir], view: &View<'_>) -> Option<Call> {
    let [pinned] = view.intent.pins.as_slice() else { return None };
    if view.leadership.leader.as_ref() == Some(pinned) || pin_complaint(view).is_some() {
        return None;
    }
    // One that came to nothing is tried again when the rest is over.
    let in_vain = standing.memory.moves.last().is_some_and(|last| {
        last.cause == Cause::Pin && last.to == *pinned && last.end != End::Proven
    });
    if in_vain && matches!(standing.trust, Trust::Resting { .. }) {
        return None;
    }

    Some(Call {
        heir: heirs.iter().find(|heir| heir.node == *pinned)?.clone(),
        cause: Cause::Pin,
        attempt: Attempt::Only,
        why: format!("{pinned} is pinned"),
    })
}

/// Says why a pin is not followed, if so.
pub(super) fn pin_complaint(view: &View<'_>) -> Option<String> {
    let pinned = match view.intent.pins.as_slice() {
        [] => return None,
        [pinned] => pinned,
        several => {
            let names: Vec<_> = several.iter().map(|node| node.0.as_str()).collect();
            return Some(format!("{} are pinned: none of them is followed", names.join(" and ")));
        }
    };
    if view.leadership.leader.as_ref() == Some(pinned) {
        return None;
    }
    let why = unable(view, pinned).or_else(|| hindered(view, pinned))?;
    Some(format!("the pin of {pinned} is not followed: {why}"))
}

/// Says why a node cannot lead, if so.
fn unable(view: &View<'_>, pinned: &NodeName) -> Option<String> {
    let why = match view.situation.evidence.mesh.nodes.get(pinned) {
        None => "there is no such node",
        Some(node) if node.location != *view.location => "it belongs to another location",
        Some(node) if node.cordoned => "it is cordoned",
        Some(node) if node.deleting => "it is being deleted",
        Some(_) if !view.is_ready(pinned) => "Kilo does not count it as Ready",
        Some(_) => return None,
    };
    Some(why.to_owned())
}

/// Says what a pin waits for, if it takes a person to end it.
fn hindered(view: &View<'_>, pinned: &NodeName) -> Option<String> {
    let mesh = &view.situation.evidence.mesh;
    let granularity = mesh.nodes.get(view.leadership.leader.as_ref()?)?.granularity;
    match (&view.intent.pause, granularity) {
        (Some(why), _) => Some(format!("the location is paused: {why}")),
        (None, Granularity::Location) => {
            Readded::in_the_way(mesh, pinned).map(|readded| readded.to_string())
        }
        (None, Granularity::Full | Granularity::Cross | Granularity::Unknown) => {
            Some(format!("no leader can be moved in {granularity:?} granularity"))
        }
    }
}

fn request(standing: &mut Standing, heirs: &[Heir], view: &View<'_>) -> Option<Call> {
    let request = view.intent.request.as_ref()?;
    if is_answered(standing, request) {
        return None;
    }
    if request.to.is_some() && request.to == view.leadership.leader {
        answer(standing, request, "it leads already".to_owned());
        return None;
    }
    let wanted = |heir: &&Heir| match &request.to {
        Some(to) => heir.node == *to,
        None => heir.is_fit(),
    };
    let heir = heirs.iter().find(wanted);
    let mesh = &view.situation.evidence.mesh;
    if let Some(readded) = heir.and_then(|heir| Readded::in_the_way(mesh, &heir.node)) {
        answer(standing, request, format!("refused, {readded}"));
        return None;
    }
    match heir {
        Some(heir) if heir.is_fit() => Some(obeyed(standing, request, heir, Attempt::Next)),
        Some(heir) if request.force && view.is_ready(&heir.node) => {
            Some(obeyed(standing, request, heir, Attempt::Only))
        }
        Some(_) | None if ask_first(standing, request, view) => None,
        heir => {
            let why = refusal(heir, request.to.as_ref());
            answer(standing, request, why);
            None
        }
    }
}

/// An heir has to answer an inquest before it is fit: holds one, and waits for the answers.
fn ask_first(standing: &mut Standing, request: &MoveRequest, view: &View<'_>) -> bool {
    let now = view.now();
    match &standing.asked {
        Some((id, since)) if *id == request.id => now.since(*since) < view.policy.inquest,
        Some(_) | None => {
            standing.inquire(now);
            standing.inquest.first = standing.inquest.number;
            standing.asked = Some((request.id.clone(), now));
            true
        }
    }
}

fn obeyed(standing: &mut Standing, request: &MoveRequest, heir: &Heir, attempt: Attempt) -> Call {
    answer(standing, request, format!("moving to {}", heir.node));
    Call {
        heir: heir.clone(),
        cause: Cause::Request,
        attempt,
        why: format!("{} asked for it", request.by),
    }
}

fn refusal(heir: Option<&Heir>, to: Option<&NodeName>) -> String {
    match (heir, to) {
        (Some(heir), _) => {
            let failed: Vec<_> =
                heir.failed.iter().map(|(check, why)| format!("{check}: {why}")).collect();
            format!("refused, {} is not fit: {}", heir.node, failed.join("; "))
        }
        (None, Some(to)) => format!("refused, {to} is not a member of this location"),
        (None, None) => "refused, no heir is fit".to_owned(),
    }
}

fn answer(standing: &mut Standing, request: &MoveRequest, answer: String) {
    standing.memory.answered = Some(Answer { id: request.id.clone(), answer });
    standing.asked = None;
}
