//! Who is fit to lead, and in which order.

use super::*;

#[test]
fn each_check_keeps_an_heir_out() {
    type Bend = fn(&mut Bench);
    #[rustfmt::skip]
    let table: [(Bend, Check); 15] = [
        (|b| { b.evidence.leaders.get_mut(&"a".into()).expect("a").ready.remove(&"a2".into()); }, Check::Ready),
        (|b| b.node("a2").last_seen = Some(0),                                  Check::CheckedIn),
        (|b| b.reporter("a2").kilo_up = Some(Duration::from_secs(59)),          Check::AgentSettled),
        (|b| b.reporter("a2").inquest = 0,                                      Check::AnswersInquest),
        (|b| b.node("a2").endpoint = Some(Endpoint::Address("10.0.0.2:51820".parse().expect("valid"))), Check::Endpoint),
        (|b| b.evidence.hairpins.iter_mut().filter(|h| h.result.heir.0 == "a2").for_each(|h| { h.result.counted = 3; h.result.counter = "a3".into(); }), Check::Hairpin),
        (|b| b.evidence.hairpins.retain(|h| h.result.heir.0 != "a2"),           Check::Proven),
        (|b| { b.intent("a").promotions.insert("a2".into(), Promotion::MustNot); }, Check::Allowed),
        (|b| b.node("a2").cordoned = true,                                      Check::Schedulable),
        (|b| b.node("a2").deleting = true,                                      Check::Staying),
        (|b| b.node("a2").taints = vec![Taint { key: "karpenter.sh/disrupted".into(), effect: "NoSchedule".into() }], Check::Staying),
        (|b| b.reporter("a2").local = vec![LocalFinding { cause: LocalCause::ConntrackFull, detail: String::new() }], Check::LocallyClean),
        (|b| b.reporter("a2").abstains = Some(Abstention::RoundLate),           Check::LocallyClean),
        (|b| b.convict("a2"),                                                   Check::NotAccused),
        (|b| b.decider.resume("a".into(), Memory { quarantine: ["a2".into()].into(), automatic: vec![UNIX], ..Memory::default() }, Moment::START), Check::NotQuarantined),
    ];

    for (bend, check) in table {
        let mut bench = Bench::new();
        bend(&mut bench);
        bench.convict("a1");
        let plan = decided(&mut bench);
        let heirs = &of(&plan, "a").heirs;
        let heir = heirs.iter().find(|heir| heir.node.0 == "a2").expect("an heir");
        let failed: Vec<_> = heir.failed.keys().collect();
        assert!(failed.contains(&&check), "{check}: {failed:?}");
        assert!(!heir.passed().any(|passed| passed == check));
        assert_ne!(wish(&plan, "a").map(|moving| moving.to.0), Some("a2".into()), "{check}");
    }
}

const UNIX: crate::evidence::UnixTime = crate::evidence::UnixTime(1_800_000_000_000);

#[test]
fn a_private_endpoint_will_do_if_the_leaders_is_or_a_session_is_kept_open() {
    let private = || Some(Endpoint::Address("10.0.0.2:51820".parse().expect("valid")));
    let mut kept = Bench::new();
    kept.convict("a1");
    kept.node("a2").endpoint = private();
    kept.node("a2").keepalive = Duration::from_secs(25);
    assert_eq!(wish(&decided(&mut kept), "a").map(|moving| moving.to.0), Some("a2".into()));

    let mut both = Bench::new();
    both.convict("a1");
    both.node("a1").endpoint = private();
    both.node("a2").endpoint = private();
    assert_eq!(wish(&decided(&mut both), "a").map(|moving| moving.to.0), Some("a2".into()));
}

#[test]
fn heirs_rank_by_rule_then_domain_then_record_then_name() {
    let first = |bench: &mut Bench| of(&bench.at(1), "a").heirs[0].node.0.clone();
    assert_eq!(first(&mut Bench::new()), "a2", "by name");

    let mut domain = Bench::new();
    domain.node("a1").failure_domain = Some("rack-1".into());
    domain.node("a2").failure_domain = Some("rack-1".into());
    domain.node("a3").failure_domain = Some("rack-2".into());
    assert_eq!(first(&mut domain), "a3", "away from the leader's rack");

    let mut rule = Bench::new();
    rule.intent("a").promotions.insert("a3".into(), Promotion::Prefer);
    assert_eq!(first(&mut rule), "a3", "preferred");

    let mut record = Bench::new();
    let failed = PastMove {
        incident: "i".into(),
        from: "a1".into(),
        to: "a2".into(),
        cause: Cause::Verdict,
        at: UNIX,
        end: End::Unproven,
    };
    record.decider.resume(
        "a".into(),
        Memory { moves: vec![failed], ..Memory::default() },
        Moment::START,
    );
    assert_eq!(first(&mut record), "a3", "did not fail before");
}
