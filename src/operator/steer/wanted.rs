//! What speaks against a wish, before it is written: pure.

use super::super::view::{Arbiter, View};
use super::super::words;
use crate::cluster::objects::HeirStatus;
use crate::decide::{Check, Readded};
use crate::evidence::{Location, NodeName, kilo};

/// Whether an unfit node may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Insistence {
    /// Fit nodes only.
    Fit,
    /// Any node that is Ready.
    Forced,
}

/// Why a wish is not even written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is nobody to answer.
    #[error("no arbiter holds the lease, so nobody would answer")]
    NoArbiter,
    /// The arbiter has not made an object for the location.
    #[error("the location has no MeshLocation yet; the arbiter makes it when it first sees it")]
    NoObject,
    /// The location is left alone.
    #[error("the location is paused ({0}); tanist resume comes first")]
    Paused(String),
    /// Somebody asked before and has no answer yet.
    #[error("{by} asked for a move that is not answered yet (request {id})")]
    Pending {
        /// Who asked.
        by: String,
        /// Which request.
        id: String,
    },
    /// The leader is being moved.
    #[error("the leader is being moved to {0} already")]
    Moving(NodeName),
    /// Another node is pinned, and would be put back at once.
    #[error("{0} is pinned; tanist unpin {0} comes first")]
    Pinned(NodeName),
    /// Somebody put back an annotation that would have to go.
    #[error("{0}, and Tanist does not fight: tanist doctor says what to do")]
    Readded(Readded),
    /// It is not a node of that location.
    #[error("{0} is not a member of this location; members are {1}")]
    NotMember(NodeName, String),
    /// Kilo would not choose it.
    #[error("{0} is not Ready for Kilo, so it cannot lead, forced or not")]
    NotReady(NodeName),
    /// It has not passed the checks.
    #[error("{node} is not fit: {why}; --force asks for it all the same")]
    Unfit {
        /// The node.
        node: NodeName,
        /// What it failed.
        why: String,
    },
    /// Nobody has.
    #[error("no heir is fit; tanist why tells what each of them failed")]
    NoHeir,
    /// There is no incident of that name to acknowledge.
    #[error("{asked} is no incident of this location that can be acknowledged; {known}")]
    NoIncident {
        /// What was named.
        asked: String,
        /// What could be.
        known: String,
    },
    /// Nothing ever happened there.
    #[error("the location has no incident to acknowledge")]
    NothingToAcknowledge,
    /// A node of that name is not there.
    #[error("there is no node {0}")]
    NoNode(NodeName),
    /// It cannot be pinned to any use.
    #[error("{node} cannot lead: {why}; --force pins it all the same")]
    CannotLead {
        /// The node.
        node: NodeName,
        /// Why.
        why: String,
    },
}

/// A move that may be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// To this node.
    Move(NodeName),
    /// Nothing: it leads.
    Leads(NodeName),
}

/// Says whether a move may be asked for, and to whom it would go.
///
/// # Errors
/// If it would be in vain or is not fit.
pub fn wanted(
    view: &View,
    location: &Location,
    to: Option<&NodeName>,
    insistence: Insistence,
) -> Result<Wanted, Refusal> {
    if let Some(to) = to
        && view.leader(location).is_some_and(|leader| leader.name == *to)
    {
        return Ok(Wanted::Leads(to.clone()));
    }
    answerable(view, location)?;
    unhindered(view, location, to)?;

    let heirs = view.status(location).map(|status| status.heirs.as_slice()).unwrap_or_default();
    let Some(to) = to else {
        let best = heirs.iter().find(|heir| heir.fit);
        let best = best.or_else(|| heirs.iter().find(|heir| is_untried(heir)));
        let best = best.ok_or(Refusal::NoHeir)?;
        return unfought(view, &best.node);
    };
    let members = view.members(location);
    if !members.iter().any(|node| node.name == *to) {
        let names = words::some_of(members.iter().map(|node| node.name.0.as_str()));
        return Err(Refusal::NotMember(to.clone(), names));
    }
    if !view.ready(location).iter().any(|node| node.name == *to) {
        return Err(Refusal::NotReady(to.clone()));
    }
    match (heirs.iter().find(|heir| heir.node == *to), insistence) {
        (Some(heir), _) if heir.fit || is_untried(heir) => unfought(view, to),
        (_, Insistence::Forced) => unfought(view, to),
        (heir, Insistence::Fit) => Err(Refusal::Unfit { node: to.clone(), why: failed(heir) }),
    }
}

/// Tells whether a move would have to take an annotation away that somebody put back.
fn unfought(view: &View, to: &NodeName) -> Result<Wanted, Refusal> {
    match Readded::in_the_way(&view.mesh, to) {
        Some(readded) => Err(Refusal::Readded(readded)),
        None => Ok(Wanted::Move(to.clone())),
    }
}

/// Tells whether nothing speaks against an heir but that nobody has asked it lately, as after a
/// change of arbiters: the arbiter asks it before it answers.
fn is_untried(heir: &HeirStatus) -> bool {
    let untried = [Check::Proven, Check::AnswersInquest].map(|check| format!("{check}: "));
    heir.failed.iter().all(|failed| untried.iter().any(|check| failed.starts_with(check)))
}

fn failed(heir: Option<&HeirStatus>) -> String {
    heir.map_or_else(|| "the arbiter has not vetted it".to_owned(), |heir| heir.failed.join("; "))
}

/// Tells whether somebody is there to answer.
fn answerable(view: &View, location: &Location) -> Result<(), Refusal> {
    match view.arbiter {
        Arbiter::Nobody | Arbiter::Lapsed { .. } => return Err(Refusal::NoArbiter),
        Arbiter::Holds { .. } | Arbiter::Unknown => {}
    }
    view.locations.get(location).map(drop).ok_or(Refusal::NoObject)
}

/// Tells whether a request would be looked at now, and not only some time later.
fn unhindered(view: &View, location: &Location, to: Option<&NodeName>) -> Result<(), Refusal> {
    if let Some(why) = view.pauses(location).into_iter().next() {
        return Err(Refusal::Paused(why));
    }
    if let [pinned] = view.pins(location).as_slice()
        && to != Some(*pinned)
    {
        return Err(Refusal::Pinned((*pinned).clone()));
    }
    let Some(object) = view.locations.get(location) else { return Ok(()) };
    let status = object.status.as_ref();
    if let Some(record) = status.and_then(|status| status.moving.as_ref()) {
        return Err(Refusal::Moving(record.to.clone()));
    }
    let answered = status.and_then(|status| status.answered.as_ref()).map(|last| &last.id);
    match &object.spec.request {
        Some(request) if Some(&request.id) != answered => {
            Err(Refusal::Pending { by: request.by.clone(), id: request.id.clone() })
        }
        Some(_) | None => Ok(()),
    }
}

/// Says whether a node may be pinned; returns its location.
///
/// # Errors
/// If the pin could not be followed.
pub fn pinnable(view: &View, node: &NodeName, insistence: Insistence) -> Result<Location, Refusal> {
    let found = view.mesh.nodes.get(node).ok_or_else(|| Refusal::NoNode(node.clone()))?;
    let others = view.pins(&found.location).into_iter().find(|pinned| *pinned != node);
    if let Some(other) = others {
        return Err(Refusal::Pinned(other.clone()));
    }
    let readded = Readded::in_the_way(&view.mesh, node).map(|readded| readded.to_string());
    let why = if found.cordoned {
        Some("it is cordoned")
    } else if found.deleting {
        Some("it is being deleted")
    } else if !kilo::is_ready(found, view.at) {
        Some("Kilo does not count it as Ready")
    } else if found.internal_ip.is_none() {
        Some("it has no internal address, so it is a location of its own")
    } else {
        readded.as_deref()
    };
    match (why, insistence) {
        (Some(why), Insistence::Fit) => {
            Err(Refusal::CannotLead { node: node.clone(), why: why.to_owned() })
        }
        (Some(_) | None, _) => Ok(found.location.clone()),
    }
}

/// An incident that may be acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acknowledgeable {
    /// This one, at hand or the last.
    Open(String),
    /// This one, and it is already.
    Done(String),
}

/// Says which incident is acknowledged, the one at hand if none is named.
///
/// # Errors
/// If there is none, or not of that name: another one's acknowledgement would do nothing.
pub fn acknowledgeable(
    view: &View,
    location: &Location,
    asked: Option<&str>,
) -> Result<Acknowledgeable, Refusal> {
    let status = view.status(location).ok_or(Refusal::NothingToAcknowledge)?;
    let at_hand = status.incident.as_ref().ok_or(Refusal::NothingToAcknowledge)?;
    if let Some(asked) = asked.filter(|asked| asked != at_hand) {
        let past = status.incidents.iter().map(|past| past.incident.as_str());
        let past: Vec<_> = past.filter(|past| past != at_hand).collect();
        let known = match past.as_slice() {
            [] => format!("there is {at_hand}"),
            past => format!("there is {at_hand}; over already: {}", past.join(", ")),
        };
        return Err(Refusal::NoIncident { asked: asked.to_owned(), known });
    }
    let applied = status.remembered().and_then(|memory| memory.acknowledged);
    Ok(if applied.as_ref() == Some(at_hand) {
        Acknowledgeable::Done(at_hand.clone())
    } else {
        Acknowledgeable::Open(at_hand.clone())
    })
}
