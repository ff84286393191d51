//! What a round changed, told at one place: one line per transition, with what led to it, and an
//! Event for people.

use crate::act::leader::LEADER_BEFORE;
use crate::act::tell::{Events, Reason, Telling};
use crate::decide::{
    End, Health, LocationPlan, Mode, Move, PastMove, Plan, Progress, Rail, Readded, Wish,
};
use crate::evidence::{Location, NodeName};
use crate::judge::Judgement;

/// What a round brought, of which node, in words for people.
type Happening<'a> = (Reason, Option<&'a NodeName>, String);

/// Logs every location whose state changed between two plans; `past` knows how moves ended.
pub(super) fn tell(
    before: &Plan,
    after: &Judgement,
    past: impl Fn(&Location) -> Vec<PastMove>,
    events: &Events,
) {
    for (location, plan) in &after.plan.locations {
        let was = before.locations.get(location);
        leader(location, was, plan);
        health(location, was, plan, after);
        wish(location, was, plan);
        held(location, was, plan);
        complaints(location, was, plan);
        let happened = happenings(location, was, plan).into_iter();
        for (reason, node, note) in happened.chain(ended(was, plan, || past(location))) {
            events.tell(Telling { reason, location: location.clone(), node: node.cloned(), note });
        }
    }
}

/// Returns the Event of a move that ended in this round.
fn ended<'a>(
    was: Option<&'a LocationPlan>,
    plan: &LocationPlan,
    past: impl FnOnce() -> Vec<PastMove>,
) -> Option<Happening<'a>> {
    let Wish::Move(moving) = &was?.wish else { return None };
    if plan.wish == was?.wish {
        return None;
    }
    let to = &moving.to;
    let is_it = |past: &PastMove| past.incident == moving.incident && past.to == *to;
    let (reason, note) = match past().into_iter().rev().find(is_it)?.end {
        End::Proven => {
            let note = format!("{to} has proven itself: fresh flows pass through it");
            (Reason::MoveProven, note)
        }
        End::Better => (
            Reason::MoveProven,
            format!("{to} leads on: not every path passed in time, but more nodes are served"),
        ),
        End::Unproven => (
            Reason::MoveNotProven,
            format!("{to} did not show in time that fresh flows pass through it"),
        ),
        // The actor has told why.
        End::Refused => return None,
    };
    Some((reason, Some(to), note))
}

/// Tells what the actor did.
pub(super) fn acted(location: &Location, progress: &Progress, events: &Events) {
    let (reason, node, note) = match progress {
        Progress::Idle | Progress::Recorded { .. } => return,
        Progress::Written { to, .. } => (
            Reason::LeaderMoved,
            to,
            format!("{to} has Kilo's leader annotation, and no node that would go before it"),
        ),
        Progress::Refused { to, why, .. } => {
            (Reason::MoveRefused, to, format!("the move to {to} was given up: {why}"))
        }
    };
    let (location, node) = (location.clone(), Some(node.clone()));
    events.tell(Telling { reason, location, node, note });
}

/// Returns the Events of one round in one location. A stranger reads them on a Node, and knows
/// neither what a leader is nor of which location.
fn happenings<'a>(
    location: &Location,
    was: Option<&LocationPlan>,
    plan: &'a LocationPlan,
) -> Vec<Happening<'a>> {
    let leader = plan.leader.as_ref();
    let name = leader.map_or("nobody", |leader| leader.0.as_str());
    let place = format!("Kilo location {}", place(location));
    let mut happened = Vec::new();

    if was.is_some_and(|was| was.leader != plan.leader) {
        let note = format!("{name} leads {place} now, by Kilo's rules");
        happened.push((Reason::LeaderChanged, leader, note));
    }
    match (was.map(|was| was.health), plan.health) {
        (before, Health::Dark) if before != Some(Health::Dark) => {
            let note = format!("{name}, the leader of {place}, drops flows: {}", plan.because);
            happened.push((Reason::LeaderDark, leader, note));
        }
        (before, Health::Impaired) if before != Some(Health::Impaired) => {
            let because = &plan.because;
            let note = format!("something is wrong in {place}, not by its leader: {because}");
            happened.push((Reason::LocationImpaired, None, note));
        }
        (Some(Health::Dark | Health::Impaired), Health::Forwards) => {
            let note = format!("fresh flows pass through {name}, the leader of {place}, again");
            happened.push((Reason::LeaderForwards, leader, note));
        }
        (_, Health::Forwards | Health::Unclear | Health::Impaired | Health::Dark) => {}
    }
    if let Wish::Move(wanted) = &plan.wish
        && was.is_none_or(|was| was.wish != plan.wish)
    {
        let Move { from, to, why, cost, .. } = wanted;
        let note = format!("moving the leader of {place} from {from} to {to}: {why}; cost: {cost}");
        happened.push((Reason::MovingLeader, Some(to), note));
    }
    if let Some(rail) = &plan.held
        && was.and_then(|was| was.held.as_ref()).map(std::mem::discriminant)
            != Some(std::mem::discriminant(rail))
    {
        happened.push((Reason::MoveHeldBack, leader, held_back(location, plan, rail)));
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

/// Says what is not done and why; in mode `suggest` it is a person's turn, and they are told how.
fn held_back(location: &Location, plan: &LocationPlan, rail: &Rail) -> String {
    let heir = plan.would_move.as_ref();
    let not_done = heir.map_or_else(
        || format!("the leader is not moved: {rail}"),
        |heir| format!("the leader would be moved to {heir}, but {rail}"),
    );
    let turn = match (rail, heir) {
        (Rail::Mode(Mode::Suggest), Some(heir)) => {
            format!("; to do it: tanist move {} --to {heir}", place(location))
        }
        _ => String::new(),
    };
    format!("{not_done}{turn}; {}", plan.because)
}

/// Returns a location's name; the empty one in quotes, so that it can be seen.
fn place(location: &Location) -> &str {
    if location.0.is_empty() { "\"\"" } else { &location.0 }
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
    use crate::act::tests::bed::wish;

    fn well() -> LocationPlan {
        LocationPlan { leader: Some("a1".into()), ..LocationPlan::default() }
    }

    fn said(was: &LocationPlan, plan: &LocationPlan) -> Vec<(Reason, Option<NodeName>, String)> {
        let told = happenings(&"eu".into(), Some(was), plan).into_iter();
        told.map(|(reason, node, note)| (reason, node.cloned(), note)).collect()
    }

    #[test]
    fn an_annotation_that_came_back_is_told_once_and_with_who_did_it() {
        let readded = Readded { node: "a1".into(), by: Some("argocd".to_owned()) };
        let back = LocationPlan { readded: vec![readded], ..well() };
        let note = "argocd put the leader annotation of a1 back after Tanist took it away; Tanist \
                    does not take it away again and moves no leader there by itself. To let it: \
                    remove the annotation, or tanist.dev/leader-before of a1";
        let told = (Reason::AnnotationReadded, Some("a1".into()), note.to_owned());
        assert_eq!(said(&well(), &back), [told]);
        assert_eq!(said(&back, &back), []);
        assert_eq!(said(&back, &well()), []);
        assert_eq!(said(&well(), &back).len(), 1, "it came back again");
    }

    #[test]
    fn each_event_says_to_a_stranger_what_leads_where() {
        let dark = |held: Option<Rail>, would_move: Option<&str>| LocationPlan {
            health: Health::Dark,
            because: "0 of 8".to_owned(),
            held,
            would_move: would_move.map(NodeName::from),
            ..well()
        };
        let mode = |mode| Some(Rail::Mode(mode));
        let impaired = LocationPlan { health: Health::Impaired, ..dark(None, None) };
        let forwards = LocationPlan { health: Health::Forwards, ..well() };
        let moving = LocationPlan { wish: Wish::Move(wish("i", "a1", "a2")), ..well() };
        let moved = LocationPlan { leader: Some("a2".into()), ..well() };
        let nobody = LocationPlan { leader: None, ..well() };
        #[rustfmt::skip]
        let table = [
            (well(), dark(None, None), "a1, the leader of Kilo location eu, drops flows: 0 of 8"),
            (dark(None, None), dark(mode(Mode::Observe), Some("a2")), "the leader would be moved to a2, but the mode is observe; 0 of 8"),
            (dark(None, None), dark(mode(Mode::Suggest), Some("a2")), "the leader would be moved to a2, but the mode is suggest; to do it: tanist move eu --to a2; 0 of 8"),
            (dark(None, None), dark(Some(Rail::NoHeir), None), "the leader is not moved: no heir is fit; 0 of 8"),
            (dark(None, None), forwards, "fresh flows pass through a1, the leader of Kilo location eu, again"),
            (well(), impaired, "something is wrong in Kilo location eu, not by its leader: 0 of 8"),
            (well(), moving, "moving the leader of Kilo location eu from a1 to a2: it drops new flows; cost: none"),
            (well(), moved, "a2 leads Kilo location eu now, by Kilo's rules"),
            (well(), nobody, "nobody leads Kilo location eu now, by Kilo's rules"),
        ];
        for (was, plan, note) in table {
            let told = said(&was, &plan);
            assert_eq!(told.iter().map(|(.., note)| note.as_str()).collect::<Vec<_>>(), [note]);
        }
    }

    #[test]
    fn how_a_move_ended_is_told() {
        let moving = LocationPlan { wish: Wish::Move(wish("i", "a1", "a2")), ..well() };
        let past = |end| PastMove {
            incident: "i".to_owned(),
            from: "a1".into(),
            to: "a2".into(),
            cause: crate::decide::Cause::Verdict,
            at: crate::evidence::UnixTime(0),
            end,
        };
        let reason = |plan: &LocationPlan, past: Vec<PastMove>| {
            ended(Some(&moving), plan, || past).map(|(reason, ..)| reason)
        };
        assert_eq!(reason(&well(), vec![past(End::Proven)]), Some(Reason::MoveProven));
        assert_eq!(reason(&well(), vec![past(End::Better)]), Some(Reason::MoveProven));
        assert_eq!(reason(&well(), vec![past(End::Unproven)]), Some(Reason::MoveNotProven));
        assert_eq!(reason(&well(), vec![past(End::Refused)]), None, "it is told by the actor");
        assert_eq!(reason(&moving, vec![past(End::Proven)]), None, "it goes on");
        assert_eq!(reason(&well(), vec![]), None);
    }
}
