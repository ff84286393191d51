//! What a round changed, told at one place: one line per transition, with what led to it.

use crate::decide::{LocationPlan, Plan, Wish};
use crate::evidence::Location;
use crate::judge::Judgement;

/// Logs every location whose state changed between two plans.
pub(super) fn tell(before: &Plan, after: &Judgement) {
    for (location, plan) in &after.plan.locations {
        let was = before.locations.get(location);
        leader(location, was, plan);
        health(location, was, plan, after);
        wish(location, was, plan);
        held(location, was, plan);
        complaints(location, was, plan);
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
}
