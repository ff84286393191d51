use std::collections::BTreeMap;

use super::*;
use crate::lab::figures::{Deed, Deeds, Moments, Tally};

fn trial(fault: &Fault) -> Trial<'_> {
    Trial { fault, mode: Mode::Act, nodes: 3, times: 1, kill: false }
}

fn expect(fault: &str) -> Expect {
    Expect::of(trial(&fault.parse().unwrap()))
}

const SECOND: Duration = Duration::from_secs(1);

/// A fault of which nothing came.
fn nothing(fault: &str) -> Figures {
    Figures {
        fault: fault.to_owned(),
        node: None,
        location: "cloud".into(),
        from: "cloud-1".into(),
        to: None,
        by: Mover::Nobody,
        fit: false,
        held_lease: false,
        deeds: Deeds { led: vec!["cloud-1".into()], ..Deeds::default() },
        moments: Moments::default(),
        flows: BTreeMap::new(),
        course: BTreeMap::new(),
        own_after_move: Tally::default(),
        kept_died: BTreeMap::new(),
    }
}

fn deed(location: &str, to: &str) -> Deed {
    Deed { location: location.into(), to: to.into() }
}

/// A fault that was cured as it should be.
fn cured(fault: &str) -> Figures {
    let base = nothing(fault);
    Figures {
        to: Some("cloud-2".into()),
        by: Mover::Tanist,
        fit: true,
        deeds: Deeds {
            moves: vec![deed("cloud", "cloud-2")],
            at_once: 1,
            led: vec!["cloud-1".into(), "cloud-2".into()],
            ..Deeds::default()
        },
        moments: Moments {
            verdict: Some(1 * SECOND),
            written: Some(2 * SECOND),
            restored: Some(2 * SECOND),
            verified: Some(3 * SECOND),
            ..Moments::default()
        },
        ..base
    }
}

#[test]
fn only_a_leader_that_relays_badly_is_to_be_moved_and_only_where_an_heir_can_be_proven() {
    for (fault, mode, nodes, expected) in [
        ("new-flows", Mode::Act, 3, Does::Move),
        ("new-flows", Mode::Observe, 3, Does::Nothing),
        ("vxlan-wedge", Mode::Act, 2, Does::Nothing),
        ("one-way", Mode::Act, 3, Does::Move),
        ("one-way:onprem,cloud", Mode::Act, 3, Does::Nothing),
        ("mtu:1200", Mode::Act, 3, Does::Report),
        ("mtu:1200,onprem,cloud", Mode::Act, 3, Does::Report),
        ("partial:25", Mode::Act, 3, Does::Move),
        ("partial:5", Mode::Act, 3, Does::Report),
        ("wan-cut:onprem,cloud", Mode::Act, 3, Does::Nothing),
        ("api-down:180", Mode::Act, 3, Does::Nothing),
        ("rollout", Mode::Act, 3, Does::Nothing),
        ("tanist-rollout", Mode::Act, 3, Does::Nothing),
        ("port-blocked", Mode::Act, 3, Does::Nothing),
    ] {
        let fault = fault.parse::<Fault>().unwrap();
        let trial = Trial { mode, nodes, ..trial(&fault) };
        assert_eq!(Expect::of(trial).tanist, expected, "{fault} {mode} {nodes}");
    }
}

#[test]
fn what_came_out_as_it_should_is_no_failure() {
    let reported = Figures {
        moments: Moments { reported: Some(59 * SECOND), ..Moments::default() },
        ..nothing("partial:5")
    };
    let dead_agent = Figures {
        to: Some("cloud-2".into()),
        by: Mover::Kilo,
        deeds: Deeds { told: vec!["silent".into()], ..Deeds::default() },
        ..nothing("agent-dead")
    };
    for figures in [
        cured("new-flows"),
        cured("node-dead"),
        nothing("wan-cut:cloud,edge"),
        reported,
        dead_agent,
    ] {
        let expect = expect(&figures.fault);
        assert_eq!(expect.failures(&figures), Vec::<String>::new(), "{}", figures.fault);
    }
}

#[test]
fn what_did_not_is_told() {
    let with = |moments: Moments, figures: Figures| Figures { moments, ..figures };
    let late = |verdict, written| Moments {
        verdict,
        written,
        restored: Some(80 * SECOND),
        ..Moments::default()
    };
    let cases = [
        (nothing("new-flows"), "the leader was not moved"),
        (
            with(late(Some(61 * SECOND), Some(62 * SECOND)), cured("partial:25")),
            "convicted after 61.0 of 60 s",
        ),
        (
            with(late(Some(5 * SECOND), Some(6 * SECOND)), cured("node-dead")),
            "written after 6.0 of 5 s",
        ),
        (cured("wan-cut:cloud,edge"), "moved the leader to cloud-2 for nothing"),
        (nothing("partial:5"), "nothing was reported within 120 s"),
        (nothing("agent-dead"), "Kilo elected nobody else"),
        (nothing("agent-dead"), "nobody was told"),
        (
            Figures {
                deeds: Deeds { moves: vec![deed("edge", "edge-2")], ..Deeds::default() },
                ..nothing("member-dead")
            },
            "edge was moved to edge-2 meanwhile",
        ),
        (
            Figures {
                deeds: Deeds { convicted: vec!["edge".into()], ..Deeds::default() },
                ..nothing("port-blocked")
            },
            "edge was convicted",
        ),
    ];
    for (figures, failure) in cases {
        let failures = expect(&figures.fault).failures(&figures);
        assert!(failures.iter().any(|told| told.contains(failure)), "{failure}: {failures:?}");
    }
}

#[test]
fn a_leader_with_the_lease_may_be_replaced_later() {
    let figures = cured("node-dead");
    let moments = Moments { written: Some(19 * SECOND), ..figures.moments };
    let with_lease = Figures { held_lease: true, moments, ..figures };
    assert_eq!(expect("node-dead").failures(&with_lease), Vec::<String>::new());
}

#[test]
fn the_next_arbiter_may_begin_again_but_with_nobody_else() {
    let fault = Fault::NewFlows;
    let expect = Expect::of(Trial { kill: true, ..trial(&fault) });
    let killed = |moves: &[Deed], led: &[&str]| {
        let figures = cured("new-flows");
        let deeds = Deeds {
            moves: moves.to_vec(),
            led: led.iter().map(|node| (*node).into()).collect(),
            killed: Some("edge-1".into()),
            ..figures.deeds.clone()
        };
        Figures { deeds, ..figures }
    };
    let (second, third) = (deed("cloud", "cloud-2"), deed("cloud", "cloud-3"));

    let again = killed(&[second.clone(), second.clone()], &["cloud-1", "cloud-2"]);
    assert_eq!(expect.failures(&again), Vec::<String>::new());
    let two = killed(&[second.clone(), third], &["cloud-1", "cloud-2", "cloud-3"]);
    assert!(expect.failures(&two)[0].contains("moved to more than one"), "{two:?}");
    let stray = killed(&[second], &["cloud-1", "cloud-3", "cloud-2"]);
    assert!(expect.failures(&stray)[0].contains("cloud-3 led, to whom nobody moved"), "{stray:?}");
}
