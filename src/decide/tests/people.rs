//! What people ask for.

use super::*;

#[test]
fn a_pin_wins_in_every_mode_but_not_over_a_pause() {
    let mut bench = Bench::new();
    bench.mode = Mode::Observe;
    bench.intent("a").pins = vec!["a3".into()];
    let moving = wish(&bench.at(1), "a").expect("a move");
    assert_eq!((moving.to.0.as_str(), moving.cause), ("a3", Cause::Pin));

    let mut paused = Bench::new();
    paused.intent("a").pins = vec!["a3".into()];
    paused.intent("a").pause = Some("work".into());
    assert_eq!(wish(&paused.at(1), "a"), None);
}

#[test]
fn a_pin_that_cannot_be_followed_is_complained_of() {
    type Bend = fn(&mut Bench);
    #[rustfmt::skip]
    let table: [(Bend, &str); 7] = [
        (|b| b.intent("a").pins = vec!["a2".into(), "a3".into()],                             "none of them"),
        (|b| { b.intent("a").pins = vec!["a3".into()]; b.node("a3").cordoned = true; },       "cordoned"),
        (|b| b.intent("a").pins = vec!["b2".into()],                                          "another location"),
        (|b| { b.intent("a").pins = vec!["a3".into()]; b.evidence.leaders.get_mut(&"a".into()).expect("a").ready.remove(&"a3".into()); }, "Ready"),
        (|b| { b.intent("a").pins = vec!["a3".into()]; b.intent("a").pause = Some("work".into()); }, "the pin of a3 is not followed: the location is paused: work"),
        (|b| { b.intent("a").pins = vec!["a3".into()]; b.node("a1").granularity = Granularity::Full; }, "no leader can be moved in Full granularity"),
        (|b| { b.intent("a").pins = vec!["a3".into()]; b.readd("a1"); },                       "argocd put the leader annotation of a1 back"),
    ];
    for (bend, said) in table {
        let mut bench = Bench::new();
        bend(&mut bench);
        let plan = bench.at(1);
        assert_eq!(wish(&plan, "a"), None, "{said}");
        let complaints = &of(&plan, "a").complaints;
        assert!(complaints.iter().any(|complaint| complaint.contains(said)), "{complaints:?}");
    }
}

#[test]
fn a_request_is_answered_once_and_respects_fitness_unless_forced() {
    let request = |id: &str, force| MoveRequest {
        id: id.into(),
        to: Some("a3".into()),
        by: "ann".into(),
        force,
    };
    let mut bench = Bench::new();
    bench.mode = Mode::Observe;
    bench.reporter("a3").local =
        vec![LocalFinding { cause: LocalCause::ConntrackFull, detail: "full".into() }];
    bench.intent("a").request = Some(request("1", false));
    let _ = bench.at(1);
    let refused = bench.at(7);
    assert_eq!(wish(&refused, "a"), None);
    let answer = of(&refused, "a").answered.clone().expect("an answer");
    assert!(answer.id == "1" && answer.answer.contains("LocallyClean"), "{answer:?}");

    bench.intent("a").request = Some(request("2", true));
    let forced = bench.at(8);
    assert_eq!(wish(&forced, "a").map(|moving| moving.cause), Some(Cause::Request));

    bench.obey(&forced, 9);
    bench.burst("a", 9, 0);
    assert_eq!(wish(&bench.at(10), "a"), None);
    bench.lead(&"a".into(), &"a1".into(), Moment::at(Duration::from_secs(11)));
    assert_eq!(wish(&bench.at(12), "a"), None, "it was answered");
}

#[test]
fn unknown_values_read_as_the_cautious_ones_with_a_complaint() {
    let mut bench = Bench::new();
    let node = bench.node("a2");
    for (key, value) in [("promotion", "perfer"), ("pin", "yes"), ("pause", "")] {
        node.intent.insert(key.into(), value.into());
    }
    let mut intent = Intent::default();
    intent.read_node(node);
    intent.read_mode("Act");
    assert_eq!(intent.promotion(&"a2".into()), Promotion::MustNot);
    assert_eq!((intent.mode, intent.pins.len()), (Some(Mode::Observe), 0));
    assert!(intent.pause.is_some());
    assert_eq!(intent.complaints.len(), 3, "{:?}", intent.complaints);
}

#[test]
fn a_request_that_a_pin_or_a_pause_contradicts_is_turned_down_at_once() {
    type Wish = fn(&mut Intent);
    let table: [(Wish, &str); 2] = [
        (|intent| intent.pins = vec!["a3".into()], "refused, a3 is pinned"),
        (|intent| intent.pause = Some("work".into()), "refused, the location is paused: work"),
    ];
    for (bend, expected) in table {
        let mut bench = Bench::new();
        bend(bench.intent("a"));
        let to = Some("a2".into());
        bench.intent("a").request =
            Some(MoveRequest { id: "1".into(), to, by: "somebody".into(), force: false });
        let answered = of(&bench.at(1), "a").answered.clone();
        assert_eq!(answered.map(|answered| answered.answer).as_deref(), Some(expected));
    }
}

#[test]
fn a_pause_while_a_leader_proves_itself_brings_the_old_one_back() {
    let mut bench = Bench::new();
    bench.convict("a1");
    let plan = decided(&mut bench);
    bench.obey(&plan, 3);
    bench.intent("a").pause = Some("work".into());
    let moving = (4..60).filter_map(|second| wish(&bench.at(second), "a")).last().expect("a move");
    assert_eq!((moving.to.0.as_str(), moving.cause), ("a1", Cause::Revert));
}

#[test]
fn a_pin_on_the_leader_has_what_it_wants() {
    let mut bench = Bench::new();
    bench.intent("a").pins = vec!["a1".into()];
    bench.intent("a").pause = Some("work".into());
    bench.node("a1").cordoned = true;
    assert_eq!(of(&bench.at(1), "a").complaints, [""; 0]);
}

#[test]
fn a_request_that_would_fight_somebody_is_turned_down_with_who_it_is() {
    let mut bench = Bench::new();
    bench.readd("a1");
    bench.intent("a").request =
        Some(MoveRequest { id: "1".into(), to: Some("a2".into()), by: "ann".into(), force: true });
    let plan = bench.at(1);
    assert_eq!(wish(&plan, "a"), None);
    let answer = of(&plan, "a").answered.clone().expect("an answer").answer;
    assert_eq!(
        answer,
        "refused, argocd put the leader annotation of a1 back after Tanist took it away"
    );
}

#[test]
fn an_acknowledgement_of_what_is_no_incident_is_complained_of() {
    let known = Memory {
        incident: Some("a1-7".to_owned()),
        acknowledged: Some("a1-3".to_owned()),
        ..Memory::default()
    };
    let none = Memory::default();
    #[rustfmt::skip]
    let table = [
        (&none,  None,         ""),
        (&none,  Some("a1-9"), "acknowledged \"a1-9\" is no incident at hand, so it does nothing; there is none"),
        (&known, None,         ""),
        (&known, Some("a1-7"), ""),
        (&known, Some("a1-3"), ""),
        (&known, Some("a1-9"), "acknowledged \"a1-9\" is no incident at hand, so it does nothing; the one at hand, or the last one, is \"a1-7\""),
    ];
    for (memory, acknowledged, said) in table {
        let mut bench = Bench::new();
        bench.decider.resume("a".into(), memory.clone(), Moment::START);
        bench.intent("a").acknowledged = acknowledged.map(str::to_owned);
        let complaints = of(&bench.at(1), "a").complaints.clone();
        assert_eq!(complaints.join(""), said, "{acknowledged:?}");
    }
}
