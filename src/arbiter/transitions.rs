//! What a round changed, told at one place: one line per transition, with what led to it, and an
//! Event for people.

use crate::act::leader::LEADER_BEFORE;
use crate::act::tell::{Events, Reason, Telling};
use crate::decide::{Health, LocationPlan, Mode, Plan, Progress, Rail, Readded, Wish};
use crate::evidence::{Location, NodeName};
use crate::judge::Judgement;

/// Logs every location whose state changed between two plans.
pub(super) fn tell(before: &Plan, after: &Judgement, events: &Events) {
    for (location, plan) in &after.plan.locations {
        let was = before.locations.get(location);
        leader(location, was, plan);
        health(location, was, plan, after);
        wish(location, was, plan);
        held(location, was, plan);
        complaints(location, was, plan);
        for (reason, node, note) in happenings(was, plan) {
            events.tell(Telling { reason, location: location.clone(), node: node.cloned(), note });
        }
    }
}

/// Tells what the actor did.
pub(super) fn acted(location: &Location, progress: &Progress, events: &Events) {
    let (reason, node, note) = match progress {
        Progress::Idle | Progress::Recorded { .. } => return,
        Progress::Written { to, .. } => {
            (Reason::LeaderMoved, to, format!("{to} leads by its annotation"))
        }
        Progress::Refused { to, why } => {
            (Reason::MoveRefused, to, format!("the move to {to} was given up: {why}"))
        }
    };
    let (location, node) = (location.clone(), Some(node.clone()));
    events.tell(Telling { reason, location, node, note });
}

/// Returns the Events of one round in one location.
fn happenings<'a>(
    was: Option<&LocationPlan>,
    plan: &'a LocationPlan,
) -> Vec<(Reason, Option<&'a NodeName>, String)> {
    let leader = plan.leader.as_ref();
    let name = leader.map_or("nobody", |leader| leader.0.as_str());
    let mut happened = Vec::new();

    if was.is_some_and(|was| was.leader != plan.leader) {
        happened.push((Reason::LeaderChanged, leader, format!("{name} leads")));
    }
    match (was.map(|was| was.health), plan.health) {
        (before, Health::Dark) if before != Some(Health::Dark) => {
            happened.push((Reason::LeaderDark, leader, plan.because.clone()));
        }
        (before, Health::Impaired) if before != Some(Health::Impaired) => {
            happened.push((Reason::LocationImpaired, None, plan.because.clone()));
        }
        (Some(Health::Dark | Health::Impaired), Health::Forwards) => {
            happened.push((Reason::LeaderForwards, leader, format!("{name} forwards")));
        }
        (_, Health::Forwards | Health::Unclear | Health::Impaired | Health::Dark) => {}
    }
    if let Wish::Move(wanted) = &plan.wish
        && was.is_none_or(|was| was.wish != plan.wish)
    {
        let note = format!("{} to {}: {}; {}", wanted.from, wanted.to, wanted.why, wanted.cost);
        happened.push((Reason::MovingLeader, Some(&wanted.to), note));
    }
    if let Some(rail) = &plan.held
        && was.and_then(|was| was.held.as_ref()).map(std::mem::discriminant)
            != Some(std::mem::discriminant(rail))
    {
        let note =
            format!("{rail}; {}{}", plan.because, suggestion(rail, plan.would_move.as_ref()));
        happened.push((Reason::MoveHeldBack, leader, note));
    }
    let complaints = plan.complaints.iter();
    let fresh = complaints.filter(|said| was.is_none_or(|was| !was.complaints.contains(said)));
    happened.extend(fresh.map(|complaint| (Reason::Attention, None, complaint.clone())));
    let fresh = plan.readded.iter().filter(|it| was.is_none_or(|was| !was.readded.contains(it)));
    happened.extend(
        fresh.map(|it| {
            (Reason::AnnotationReadded, Some(&it.node), format!("{it}; {}", way_out(it)))
        }),
    );
    happened
}

/// Says what to do about an annotation that somebody put back.
pub(super) fn way_out(readded: &Readded) -> String {
    let Readded { node, .. } = readded;
    format!(
        "Tanist does not take it away again and moves no leader there by itself. To let it: remove \
         the annotation, or {LEADER_BEFORE} of {node}"
    )
}

/// In mode `suggest` it is a person's turn: says what to do.
fn suggestion(rail: &Rail, heir: Option<&NodeName>) -> String {
    match (rail, heir) {
        (Rail::Mode(Mode::Suggest), Some(heir)) => {
            format!("; to move the leader: tanist move LOCATION --to {heir}")
        }
        _ => String::new(),
    }
}

fn leader(location: &Location, was: Option<&LocationPlan>, plan: &LocationPlan) {
    let before = was.and_then(|was| was.leader.as_ref());
    if before != plan.leader.as_ref() {
        tracing::info!(
            %location,
            from = before.map(|node| node.0.as_str()),
            to = plan.leader.as_ref().map(|node| node.0.as_str()),
            "Leader changed"
        );
    }
}

fn health(
    location: &Location,
    was: Option<&LocationPlan>,
    plan: &LocationPlan,
    judgement: &Judgement,
) {
    let before = was.map(|was| (was.health, std::mem::discriminant(&was.trust)));
    if before == Some((plan.health, std::mem::discriminant(&plan.trust))) {
        return;
    }
    let findings: Vec<_> =
        judgement.findings.iter().filter(|finding| finding.location == *location).collect();
    let findings = serde_json::to_string(&findings).unwrap_or_default();
    tracing::info!(
        %location,
        from = ?was.map(|was| was.health),
        to = ?plan.health,
        trust = ?plan.trust,
        leader = plan.leader.as_ref().map(|node| node.0.as_str()),
        incident = plan.incident.as_deref(),
        because = plan.because,
        served_now = plan.served_now,
        served_best = plan.served_best,
        findings,
        "Verdict"
    );
}

fn wish(location: &Location, was: Option<&LocationPlan>, plan: &LocationPlan) {
    let Wish::Move(wanted) = &plan.wish else { return };
    if was.is_none_or(|was| was.wish != plan.wish) {
        tracing::info!(
            %location,
            incident = wanted.incident,
            from = %wanted.from,
            to = %wanted.to,
            cause = ?wanted.cause,
            because = wanted.why,
            cost = wanted.cost,
            "Move wished for"
        );
    }
}

fn held(location: &Location, was: Option<&LocationPlan>, plan: &LocationPlan) {
    let Some(rail) = &plan.held else { return };
    let same = |was: &LocationPlan| {
        was.held.as_ref().map(std::mem::discriminant) == Some(std::mem::discriminant(rail))
    };
    if !was.is_some_and(same) {
        tracing::warn!(
            %location,
            heir = plan.would_move.as_ref().map(|node| node.0.as_str()),
            rail = %rail,
            because = plan.because,
            "Move held back"
        );
    }
}

fn complaints(location: &Location, was: Option<&LocationPlan>, plan: &LocationPlan) {
    for complaint in &plan.complaints {
        if !was.is_some_and(|was| was.complaints.contains(complaint)) {
            tracing::warn!(%location, complaint, "A person should know");
        }
    }
    for readded in &plan.readded {
        if !was.is_some_and(|was| was.readded.contains(readded)) {
            tracing::warn!(%location, node = %readded.node, by = readded.by, "Annotation put back");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_annotation_that_came_back_is_told_once_and_with_who_did_it() {
        let readded = Readded { node: "a1".into(), by: Some("argocd".to_owned()) };
        let well = LocationPlan { leader: Some("a1".into()), ..LocationPlan::default() };
        let back = LocationPlan { readded: vec![readded], ..well.clone() };
        let told = happenings(Some(&well), &back);
        let [(reason, node, note)] = told.as_slice() else { panic!("one Event: {told:?}") };
        assert_eq!((*reason, *node), (Reason::AnnotationReadded, Some(&"a1".into())));
        assert_eq!(
            note,
            "argocd put the leader annotation of a1 back after Tanist took it away; Tanist does not \
             take it away again and moves no leader there by itself. To let it: remove the \
             annotation, or tanist.dev/leader-before of a1"
        );
        assert_eq!(happenings(Some(&back), &back), []);
        assert_eq!(happenings(Some(&back), &well), []);
        assert_eq!(happenings(Some(&well), &back).len(), 1, "it came back again");
    }
}
