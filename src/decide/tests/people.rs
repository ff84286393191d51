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
    let table: [(Bend, &str); 4] = [
        (|b| b.intent("a").pins = vec!["a2".into(), "a3".into()],                             "none of them"),
        (|b| { b.intent("a").pins = vec!["a3".into()]; b.node("a3").cordoned = true; },       "cordoned"),
        (|b| b.intent("a").pins = vec!["b2".into()],                                          "another location"),
        (|b| { b.intent("a").pins = vec!["a3".into()]; b.evidence.leaders.get_mut(&"a".into()).expect("a").ready.remove(&"a3".into()); }, "Ready"),
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
