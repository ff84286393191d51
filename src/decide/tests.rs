//! What is decided in a mesh of three locations, case by case.

use std::time::Duration;

use bench::Bench;

use super::*;
use crate::evidence::{
    Abstention, Endpoint, Granularity, LocalCause, LocalFinding, NodeName, Taint,
};

mod bench;
mod heirs;
mod people;
mod properties;

fn wish(plan: &Plan, place: &str) -> Option<Move> {
    match &plan.locations[&Location::from(place)].wish {
        Wish::Stay => None,
        Wish::Move(moving) => Some(moving.clone()),
    }
}

fn of<'p>(plan: &'p Plan, place: &str) -> &'p LocationPlan {
    &plan.locations[&Location::from(place)]
}

/// Two rounds: the first doubts and asks, the second decides.
fn decided(bench: &mut Bench) -> Plan {
    let _ = bench.at(1);
    bench.at(2)
}

/// A move from a1 to a2 that has proven itself; a rests from second 5.
fn moved_once() -> Bench {
    let mut bench = Bench::new();
    bench.convict("a1");
    let plan = decided(&mut bench);
    bench.obey(&plan, 3);
    bench.findings.clear();
    bench.burst("a", 4, 0);
    let _ = bench.at(5);
    bench.progress.clear();
    bench.evidence.observations.clear();
    bench
}

#[test]
fn a_convicted_leader_is_replaced_by_the_best_heir() {
    let mut bench = Bench::new();
    assert_eq!(wish(&bench.at(0), "a"), None, "nothing is wrong yet");

    bench.convict("a1");
    let asked = bench.at(1);
    assert_eq!(wish(&asked, "a"), None, "heirs have to answer first");
    assert!(of(&asked, "a").inquest > 0, "they are asked");

    let plan = bench.at(2);
    let moving = wish(&plan, "a").expect("a move");
    assert_eq!((moving.from.0.as_str(), moving.to.0.as_str()), ("a1", "a2"));
    assert_eq!((of(&plan, "a").served_now, of(&plan, "a").served_best), (1, 3));
    assert_eq!(of(&plan, "a").health, Health::Dark);
}

#[test]
fn a_move_is_proven_by_every_path_that_it_should_serve() {
    let mut bench = Bench::new();
    bench.convict("a1");
    let plan = decided(&mut bench);
    bench.obey(&plan, 3);
    bench.findings.clear();

    bench.burst("a", 4, 16);
    assert!(wish(&bench.at(5), "a").is_some(), "every flow is lost: not proven");
    bench.burst("a", 6, 0);
    assert_eq!(wish(&bench.at(7), "a"), None, "every path passes");
    let memory = bench.decider.memory(&"a".into());
    assert_eq!(memory.moves.last().map(|last| last.end), Some(End::Proven));
    assert!(memory.quarantine.contains(&NodeName::from("a1")));
}

#[test]
fn what_was_lost_before_a_member_was_served_again_holds_no_proof_up() {
    let table = [
        // lost at, seconds; of so many; proven
        (5, 1, true),
        (6, 1, false),
        (6, 6, true),
        (6, 5, false),
    ];
    for (lost_at, sent, proven) in table {
        let mut bench = Bench::new();
        bench.convict("a1");
        let plan = decided(&mut bench);
        bench.obey(&plan, 3);
        bench.findings.clear();
        bench.burst("a", 6, 0);
        bench.stray(("a2", "c2"), lost_at, sent);
        let ended = wish(&bench.at(7), "a").is_none();
        assert_eq!(ended, proven, "one of {sent} flows lost at {lost_at} s");
    }
}

#[test]
fn a_doubt_is_told_once_it_has_lasted_and_a_conviction_at_once() {
    let mut bench = Bench::new();
    bench.forwards("a");
    assert_eq!(of(&bench.at(1), "a").health, Health::Forwards);

    bench.evidence.observations.clear();
    assert_eq!(of(&bench.at(2), "a").health, Health::Forwards, "a doubt is young");
    assert_eq!(of(&bench.at(4), "a").health, Health::Forwards);
    assert_eq!(of(&bench.at(5), "a").health, Health::Unclear, "it has lasted");
    bench.convict("a1");
    assert_eq!(of(&bench.at(5), "a").health, Health::Dark);
}

#[test]
fn a_move_that_proves_nothing_is_followed_by_the_next_heir_then_undone_then_left() {
    let mut bench = Bench::new();
    bench.convict("a1");
    let mut plan = decided(&mut bench);
    let mut tried = Vec::new();
    for second in 3..200 {
        if let Some(moving) = wish(&plan, "a") {
            let step = (moving.to.0.clone(), moving.cause);
            if tried.last() != Some(&step) {
                tried.push(step);
                bench.obey(&plan, second);
            }
        }
        plan = bench.at(second);
    }

    let expected = [("a2", Cause::Verdict), ("a3", Cause::Verdict), ("a1", Cause::Revert)];
    assert_eq!(tried, expected.map(|(node, cause)| (node.to_owned(), cause)));
    assert_eq!(wish(&plan, "a"), None);
    assert!(of(&plan, "a").complaints.iter().any(|said| said.contains("no heir proved itself")));
}

/// Location a: a2 leads if its name stands for a public address, else a1.
fn name_may_decide(bench: &mut Bench) {
    for (node, endpoint) in [("a1", "10.0.0.1:1"), ("a2", "edge.example:1"), ("a3", "10.0.0.3:1")] {
        bench.node(node).endpoint = crate::evidence::kilo::parse_endpoint(endpoint);
    }
}

#[test]
fn what_the_agents_follow_tells_who_leads_where_a_name_may_decide() {
    let table: [(&[(&str, &str)], bool); 4] = [
        (&[], true),
        (&[("a1", "a1"), ("a2", "a1"), ("a3", "a1")], false),
        (&[("a2", "a1")], false),
        (&[("a1", "a2"), ("a2", "a2"), ("a3", "a1")], true),
    ];
    for (told, unknown) in table {
        let mut bench = Bench::new();
        name_may_decide(&mut bench);
        for (node, leader) in told {
            bench.reporter(node).leader_seen = Some((*leader).into());
        }
        let complaints = of(&bench.at(1), "a").complaints.clone();
        let said = "a2 if the DNS name in its endpoint stands for a public address, else a1";
        assert_eq!(complaints.iter().any(|it| it.contains(said)), unknown, "{told:?}");
    }

    // The last word of a node that has died does not count.
    let mut bench = Bench::new();
    name_may_decide(&mut bench);
    for (node, leader) in [("a2", "a1"), ("a3", "a2")] {
        bench.reporter(node).leader_seen = Some(leader.into());
    }
    bench.evidence.leaders.get_mut(&"a".into()).expect("a").ready.remove(&"a3".into());
    assert_eq!(of(&bench.at(1), "a").complaints, Vec::<String>::new());
}

#[test]
fn each_guard_rail_holds() {
    type Bend = fn(&mut Bench);
    type Held = fn(&Rail) -> bool;
    #[rustfmt::skip]
    let table: [(&str, Bend, Held); 14] = [
        ("paused",      |b| b.intent("a").pause = Some("work".into()),          |r| matches!(r, Rail::Paused(_))),
        ("granularity", |b| b.node("a1").granularity = Granularity::Full,       |r| matches!(r, Rail::Granularity(_))),
        ("api away",    |b| b.api = Api::Away,                                  |r| *r == Rail::ApiReturn),
        ("storm",       |b| b.convict("b1"),                                    |r| *r == Rail::Storm),
        ("pinned",      |b| b.intent("a").pins = vec!["a1".into()],             |r| *r == Rail::Pinned),
        ("readded",     |b| b.readd("a3"),                                      |r| matches!(r, Rail::Readded(_))),
        ("observe",     |b| b.mode = Mode::Observe,                             |r| *r == Rail::Mode(Mode::Observe)),
        ("suggest",     |b| b.intent("a").mode = Some(Mode::Suggest),           |r| *r == Rail::Mode(Mode::Suggest)),
        ("peers",       |b| b.kilo_peers = 1,                                   |r| *r == Rail::KiloPeers),
        ("no heir",     |b| for n in ["a2", "a3"] { b.node(n).cordoned = true; }, |r| *r == Rail::NoHeir),
        ("no gain",     |b| b.dark = ["a2".into(), "a3".into()].into(),         |r| matches!(r, Rail::NoGain { gain: 0, need: 1 })),
        ("unresolved",  name_may_decide,                                        |r| *r == Rail::Unresolved("a2".into())),
        ("one ready",   |b| b.evidence.leaders.get_mut(&"a".into()).expect("a").ready = ["a1".into()].into(), |r| *r == Rail::OneReady),
        ("budget",      |b| {
            let automatic = vec![crate::evidence::UnixTime(1_799_999_000_000); 3];
            b.decider.resume("a".into(), Memory { automatic, ..Memory::default() }, Moment::START);
        },                                                                      |r| *r == Rail::Budget(3)),
    ];

    for (name, bend, holds) in table {
        let mut bench = Bench::new();
        bench.convict("a1");
        bend(&mut bench);
        let _ = decided(&mut bench);
        let plan = bench.at(4);
        assert_eq!(wish(&plan, "a"), None, "{name}");
        let held = of(&plan, "a").held.as_ref();
        // A doubt of the diagnosis may leave nothing to hold.
        let doubted = of(&plan, "a").health != Health::Dark;
        assert!(doubted || held.is_some_and(holds), "{name}: held by {held:?}");
    }
}

#[test]
fn who_puts_an_annotation_back_is_told_and_not_fought_until_a_person_acts() {
    let mut bench = Bench::new();
    bench.readd("a1");
    bench.convict("a1");
    let _ = bench.at(1);
    for second in [2, 60, 700, 7200] {
        let plan = bench.at(second);
        assert_eq!(wish(&plan, "a"), None, "at {second} s");
        let readded = Readded { node: "a1".into(), by: Some("argocd".to_owned()) };
        assert_eq!(of(&plan, "a").readded, std::slice::from_ref(&readded));
        assert_eq!(of(&plan, "a").held, Some(Rail::Readded(readded)));
        assert_eq!(of(&plan, "a").would_move, Some("a2".into()));
    }
    assert_eq!(of(&bench.at(7201), "b").readded, [], "other locations are not concerned");

    bench.node("a1").intent.clear();
    assert!(wish(&bench.at(7202), "a").is_some(), "the person took the memory away");
}

#[test]
fn a_new_leader_whose_rival_is_put_back_is_followed_by_nobody() {
    let mut bench = Bench::new();
    bench.convict("a1");
    let plan = decided(&mut bench);
    bench.obey(&plan, 3);
    bench.readd("a1");
    bench.lead(&"a".into(), &"a1".into(), Moment::at(Duration::from_secs(3)));
    let wished = (4..700).filter_map(|second| wish(&bench.at(second), "a"));
    assert!(wished.last().is_some_and(|last| last.to.0 == "a2"), "no second heir is tried");
}

#[test]
fn what_passes_through_another_leader_proves_nothing() {
    let last = |plan: &Plan| wish(plan, "a").map(|moving| (moving.to.0, moving.cause));
    let back = Some(("a1".to_owned(), Cause::Revert));
    #[rustfmt::skip]
    let table = [
        // whether a2 is Ready while a3 leads; of 16 flows lost; wished for when the time is over
        (false, 0,  None),
        (true,  0,  None),
        (true,  16, None),
        (false, 16, back),
    ];
    for (ready, lost, expected) in table {
        let mut bench = Bench::new();
        bench.convict("a1");
        let plan = decided(&mut bench);
        bench.obey(&plan, 3);
        bench.findings.clear();
        let place = Location::from("a");
        bench.lead(&place, &"a3".into(), Moment::at(Duration::from_secs(4)));
        if !ready {
            bench.evidence.leaders.get_mut(&place).expect("a").ready.remove(&"a2".into());
        }
        bench.burst("a", 5, lost);

        let case = format!("a2 is Ready: {ready}, {lost} lost");
        let waits = Some(("a2".to_owned(), Cause::Verdict));
        assert_eq!(last(&bench.at(6)), waits, "{case}: it may come back");
        assert_eq!(last(&bench.at(22)), waits, "{case}");
        let plan = bench.at(23);
        assert_eq!(last(&plan), expected, "{case}");
        let ended = bench.decider.memory(&place).moves.last().map(|last| last.end);
        assert_eq!(ended, Some(End::Unproven), "{case}");
        if expected.is_none() {
            let told = "a3 leads, and not a2: that move is left as it is";
            assert!(of(&plan, "a").complaints.iter().any(|said| said == told), "{case}");
        }
    }
}

#[test]
fn a_new_leader_that_kilo_follows_a_little_later_is_proven() {
    let mut bench = Bench::new();
    bench.convict("a1");
    let plan = decided(&mut bench);
    bench.obey(&plan, 3);
    bench.findings.clear();
    bench.lead(&"a".into(), &"a1".into(), Moment::at(Duration::from_secs(3)));
    bench.burst("a", 4, 0);
    assert!(wish(&bench.at(4), "a").is_some(), "the old leader leads still");
    bench.lead(&"a".into(), &"a2".into(), Moment::at(Duration::from_secs(4)));
    assert_eq!(wish(&bench.at(5), "a"), None);
    let memory = bench.decider.memory(&"a".into());
    assert_eq!(memory.moves.last().map(|last| last.end), Some(End::Proven));
}

#[test]
fn that_there_is_no_heir_is_told_once_heirs_had_time_to_answer() {
    let mut bench = Bench::new();
    bench.convict("a1");
    for heir in ["a2", "a3"] {
        bench.node(heir).cordoned = true;
    }
    let held: Vec<_> = [1, 2, 3, 4].map(|at| of(&bench.at(at), "a").held.clone()).into();
    assert_eq!(held, [None, None, None, Some(Rail::NoHeir)]);
}

#[test]
fn a_leader_that_loses_a_share_must_do_so_for_a_while() {
    let mut bench = Bench::new();
    bench.convict("a1");
    bench.findings[0].class = crate::diagnose::Class::Partial;
    let _ = bench.at(1);
    assert_eq!(wish(&bench.at(3), "a"), None, "it may be over in a moment");
    assert!(wish(&bench.at(4), "a").is_some());
}

#[test]
fn a_conviction_that_waits_is_asked_again_until_it_is_whole_or_over() {
    let mut bench = Bench::new();
    bench.mode = Mode::Observe;
    bench.convict("a1");
    bench.findings[0].class = crate::diagnose::Class::Partial;
    let inquests: Vec<u64> = (1..=11).map(|at| of(&bench.at(at), "a").inquest).collect();
    assert_eq!(inquests, [1, 1, 2, 2, 2, 2, 2, 3, 3, 3, 3], "often while it waits, then seldom");

    let mut bench = Bench::new();
    bench.convict("a1");
    bench.findings[0].class = crate::diagnose::Class::Partial;
    let _ = bench.at(1);
    assert_eq!(of(&bench.at(3), "a").inquest, 2);
    bench.findings[0].class = crate::diagnose::Class::Host;
    assert!(wish(&bench.at(3), "a").is_some(), "what is whole need not wait");
}

#[test]
fn convictions_that_follow_each_other_closely_are_a_storm() {
    for (apart, moved) in [(9, false), (10, true)] {
        let mut bench = Bench::new();
        bench.convict("b1");
        let _ = bench.at(1);
        bench.findings.clear();
        bench.convict("a1");
        let _ = bench.at(1 + apart);
        assert_eq!(wish(&bench.at(1 + apart), "a").is_some(), moved, "{apart} s apart");
    }
}

#[test]
fn what_the_operator_accepts_holds_nothing() {
    let mut bench = Bench::new();
    bench.convict("a1");
    bench.kilo_peers = 2;
    bench.intent("a").accept_peers = true;
    assert!(wish(&decided(&mut bench), "a").is_some());
}

#[test]
fn only_one_leader_of_the_mesh_is_moved_at_a_time() {
    let mut bench = Bench::new();
    bench.convict("a1");
    let _ = decided(&mut bench);
    bench.findings.clear();
    bench.convict("b1");
    let _ = bench.at(13);
    let plan = bench.at(14);
    assert!(wish(&plan, "a").is_some() && wish(&plan, "b").is_none());
    assert_eq!(of(&plan, "b").held, Some(Rail::AnotherMove("a".into())));
}

#[test]
fn no_second_move_within_the_rest_which_an_acknowledgement_ends() {
    let mut bench = moved_once();
    bench.convict("a2");
    for second in [70, 300, 604] {
        let plan = bench.at(second);
        assert_eq!(wish(&plan, "a"), None);
        assert!(matches!(of(&plan, "a").held, Some(Rail::Resting { .. })));
    }

    bench.intent("a").acknowledged = bench.decider.memory(&"a".into()).incident;
    let _ = bench.at(605);
    assert!(wish(&bench.at(606), "a").is_some());
}

#[test]
fn a_replaced_leader_that_kilo_brings_back_is_moved_again_without_rest() {
    let mut bench = moved_once();
    let at = Moment::at(Duration::from_secs(20));
    bench.lead(&"a".into(), &"a1".into(), at);
    bench.evidence.leaders.get_mut(&"a".into()).expect("a").ready.remove(&"a2".into());
    bench.burst("a", 21, 16);

    let _ = bench.at(22);
    let moving = wish(&bench.at(23), "a").expect("the same incident goes on");
    assert_eq!((moving.to.0.as_str(), moving.cause), ("a3", Cause::Relapse));
    assert_eq!(bench.decider.memory(&"a".into()).automatic.len(), 1, "no budget is spent");
}

#[test]
fn a_replaced_leader_that_somebody_puts_back_is_left_alone() {
    let mut bench = moved_once();
    bench.lead(&"a".into(), &"a1".into(), Moment::at(Duration::from_secs(20)));
    bench.burst("a", 21, 16);
    for second in 22..60 {
        assert_eq!(wish(&bench.at(second), "a"), None);
    }
}

#[test]
fn a_refused_move_costs_no_budget_and_is_tried_again() {
    let mut bench = Bench::new();
    bench.convict("a1");
    let plan = decided(&mut bench);
    bench.refuse(&plan);
    assert_eq!(wish(&bench.at(3), "a"), None);
    assert!(bench.decider.memory(&"a".into()).automatic.is_empty());

    let again = (4..20).find(|second| wish(&bench.at(*second), "a").is_some()).expect("a move");
    assert!(again >= 13, "{again}");
    let plan = bench.at(again + 1);
    assert!(wish(&plan, "a").is_some(), "the next try to the same heir is none that was refused");
    bench.obey(&plan, again + 1);
    bench.findings.clear();
    bench.burst("a", again + 2, 0);
    assert_eq!(wish(&bench.at(again + 3), "a"), None);
    let memory = bench.decider.memory(&"a".into());
    assert_eq!(memory.moves.last().map(|last| last.end), Some(End::Proven));
    assert_eq!(memory.automatic.len(), 1, "it counts");
    assert!(memory.quarantine.contains(&NodeName::from("a1")));
}

#[test]
fn a_successor_goes_on_with_the_move_in_hand() {
    let mut bench = Bench::new();
    bench.convict("a1");
    let plan = decided(&mut bench);
    let stored = serde_json::to_string(&bench.decider.memory(&"a".into())).expect("as JSON");
    let memory = serde_json::from_str(&stored).expect("from JSON");

    let mut next = Bench::new();
    next.decider.resume("a".into(), memory, Moment::START);
    assert_eq!(wish(&next.at(4), "a"), wish(&plan, "a"));
    next.obey(&plan, 5);
    next.burst("a", 6, 0);
    assert_eq!(wish(&next.at(7), "a"), None);
}

#[test]
fn a_successor_takes_over_a_move_that_only_its_record_tells_of() {
    let mut bench = Bench::new();
    bench.convict("a1");
    let _ = bench.at(1);
    let before = bench.decider.memory(&"a".into());
    let plan = bench.at(2);
    let moving = wish(&plan, "a").expect("a move");
    let told = bench.decider.memory(&"a".into());

    // The arbiter ended between writing the record and its memory of it.
    let mut memory = before;
    memory.take_over(&moving);
    assert_eq!(memory.moving, told.moving);
    assert_eq!(memory.automatic, told.automatic);
    assert_eq!((memory.rests, &memory.quarantine), (told.rests, &told.quarantine));
    assert_eq!(memory.trust, told.trust);
    let mut again = memory.clone();
    again.take_over(&moving);
    assert_eq!(again, memory, "it counts once");

    bench.decider = Decider::new(Policy::default(), bench::EPOCH);
    bench.decider.resume("a".into(), memory, Moment::START);
    bench.obey(&plan, 3);
    bench.findings.clear();
    bench.burst("a", 4, 0);
    let _ = bench.at(5);
    let memory = bench.decider.memory(&"a".into());
    assert_eq!(memory.moves.last().map(|last| last.end), Some(End::Proven));
}

#[test]
fn a_proof_that_is_taken_up_is_judged_by_what_is_shown_from_then_on() {
    let mut bench = Bench::new();
    bench.convict("a1");
    let plan = decided(&mut bench);
    let memory = bench.decider.memory(&"a".into());

    // Its time ran out while nobody judged, by another clock in both directions.
    for (begins, written) in [(500, 6), (500, 900)] {
        let mut next = Bench::new();
        next.decider.resume("a".into(), memory.clone(), Moment::at(Duration::from_secs(begins)));
        next.obey(&plan, written);
        next.findings.clear();
        assert_eq!(wish(&next.at(begins), "a"), wish(&plan, "a"), "not judged unasked");
        next.burst("a", begins + 2, 0);
        let _ = next.at(begins + 3);
        let end = next.decider.memory(&"a".into()).moves.last().map(|last| last.end);
        assert_eq!(end, Some(End::Proven));
    }
}

#[test]
fn nothing_is_decided_until_all_agents_are_back_and_a_minute_more() {
    let mut bench = Bench::new();
    let _ = bench.at(0);
    bench.convict("a1");
    bench.api = Api::Back { since: Moment::at(Duration::from_secs(100)) };
    bench.node("c3").last_seen = Some(0);
    let held = |plan: &Plan| of(plan, "a").held.clone();
    assert_eq!(held(&bench.at(110)), Some(Rail::ApiReturn));
    assert_eq!(held(&bench.at(180)), Some(Rail::ApiReturn), "c3 is not back yet");

    bench.node("c3").last_seen = Some(1);
    assert_eq!(held(&bench.at(190)), Some(Rail::ApiReturn));
    assert_eq!(held(&bench.at(249)), Some(Rail::ApiReturn));
    assert_eq!(held(&bench.at(250)), None);
    let _ = bench.at(251);
    assert!(wish(&bench.at(252), "a").is_some());
}

#[test]
fn one_node_that_never_returns_is_not_waited_for_for_ever() {
    let mut bench = Bench::new();
    let _ = bench.at(0);
    bench.convict("a1");
    bench.api = Api::Back { since: Moment::at(Duration::from_secs(100)) };
    bench.node("c3").last_seen = Some(0);
    for second in (110..340).step_by(10) {
        assert_eq!(wish(&bench.at(second), "a"), None, "at {second} s");
    }
    let _ = bench.at(341);
    assert!(wish(&bench.at(342), "a").is_some());
}
