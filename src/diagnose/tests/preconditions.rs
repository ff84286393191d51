//! Each reason to give no verdict, by itself: the same convincing evidence, one thing changed.

use super::*;

fn convincing(sizes: &[usize]) -> Evidence {
    let (_, evidence) = Scenario::new(sizes, Fault::NewFlows, 0.0, 1).evidence();
    assert_eq!(about_a(&evidence), Verdict::Dark(Class::NewFlowBlackhole), "convincing at all");
    evidence
}

fn about_a(evidence: &Evidence) -> Verdict {
    judged(evidence).1[&Scenario::location(0)]
}

fn change_leadership(evidence: &mut Evidence, change: impl Fn(&mut Leadership)) {
    change(evidence.leaders.get_mut(&Scenario::location(0)).unwrap());
}

#[test]
fn each_precondition_by_itself_withholds_the_verdict() {
    type Change = fn(&mut Evidence);
    let table: [(Change, Doubt); 8] = [
        (|evidence| change_leadership(evidence, |led| led.leader = None), Doubt::NoLeader),
        (
            |evidence| {
                for node in evidence.mesh.nodes.values_mut() {
                    node.granularity = Granularity::Cross;
                }
            },
            Doubt::GranularityNotLocation,
        ),
        (
            |evidence| {
                let now = evidence.now;
                change_leadership(evidence, |led| led.since = now - Duration::from_secs(59));
            },
            Doubt::LeaderJustChanged,
        ),
        (
            |evidence| {
                let now = evidence.now;
                change_leadership(evidence, |led| led.changed = now - Duration::from_secs(19));
            },
            Doubt::TopologyChanging,
        ),
        (
            |evidence| change_leadership(evidence, |led| led.ready = BTreeSet::from(["a0".into()])),
            Doubt::OneReadyNode,
        ),
        (
            |evidence| {
                for reporter in evidence.reporters.values_mut() {
                    reporter.abstains = Some(Abstention::ClockOff);
                }
            },
            Doubt::ClocksOff,
        ),
        (
            |evidence| {
                let later = evidence.now + Duration::from_secs(600);
                evidence.now = later;
            },
            Doubt::NoFreshEvidence,
        ),
        (
            |evidence| {
                for seen in &mut evidence.observations {
                    seen.never_worked = true;
                }
            },
            Doubt::NeverWorked,
        ),
    ];

    for (change, doubt) in table {
        let mut evidence = convincing(&[3, 3, 3]);
        change(&mut evidence);
        assert_eq!(about_a(&evidence), Verdict::Unclear(doubt));
    }
}

/// A member that strangers never reached is a misconfiguration; it is no excuse for a leader that
/// fails later.
#[test]
fn what_never_worked_does_not_excuse_what_fails_now() {
    let mut evidence = convincing(&[3, 3, 3]);
    let from_afar = |path: &Path| path.to == "a2".into() && !path.from.0.starts_with('a');
    for seen in &mut evidence.observations {
        if seen.path.flow == Flow::NewUdp && from_afar(&seen.path) {
            seen.never_worked = true;
            seen.window.lost = seen.window.sent;
        }
    }
    // The leader has been dark for so long that nothing recent passed through it.
    for seen in &mut evidence.observations {
        let crossed = elements(&seen.path, &evidence.mesh, &evidence.leaders);
        if crossed.iter().any(|element| element.implicates(&"a0".into())) {
            seen.window.lost = seen.window.sent;
        }
    }
    let (findings, verdicts) = judged(&evidence);
    assert!(findings.iter().any(|finding| finding.class == Class::NeverWorked), "{findings:?}");
    assert!(
        matches!(verdicts[&Scenario::location(0)], Verdict::Dark(_)),
        "{verdicts:?} {findings:?}"
    );
}

/// A change elsewhere, or long ago, withholds nothing.
#[test]
fn what_is_over_no_longer_withholds() {
    let mut evidence = convincing(&[3, 3, 3]);
    let now = evidence.now;
    change_leadership(&mut evidence, |led| {
        led.since = now - Duration::from_secs(61);
        led.changed = now - Duration::from_secs(20);
    });
    assert_eq!(about_a(&evidence), Verdict::Dark(Class::NewFlowBlackhole));
}

#[test]
fn what_stays_dark_for_half_a_minute_convicts_despite_churn() {
    let mut evidence = convincing(&[3, 3, 3]);
    let now = evidence.now;
    change_leadership(&mut evidence, |led| led.changed = now - Duration::from_secs(5));
    for seen in evidence.observations.iter_mut().filter(|seen| seen.pace == Pace::Steady) {
        let crossed = elements(&seen.path, &evidence.mesh, &evidence.leaders);
        if crossed.contains(&Element::Forward("a0".into(), Direction::Both)) {
            seen.window.oldest = now - Duration::from_secs(60);
            seen.window.newest = now;
            seen.window.lost = seen.window.sent.div_ceil(2);
            seen.window.last_lost = Some(now);
        }
    }
    assert_eq!(about_a(&evidence), Verdict::Dark(Class::NewFlowBlackhole));
}

#[test]
fn abstaining_nodes_are_no_witnesses() {
    let mut evidence = convincing(&[3, 3, 3]);
    for (node, reporter) in &mut evidence.reporters {
        if *node != NodeName::from("b0") {
            reporter.abstains = Some(Abstention::NoPlan);
        }
    }
    assert!(matches!(about_a(&evidence), Verdict::Unclear(_)), "{:?}", about_a(&evidence));
}

/// From inside alone it might be the whole outside that is dark.
#[test]
fn somebody_outside_must_see_it() {
    let mut evidence = convincing(&[4, 1]);
    evidence.observations.retain(|seen| {
        seen.path.from.0.starts_with('a') || !matches!(seen.path.to.0.as_str(), "a1" | "a2" | "a3")
    });
    assert_eq!(about_a(&evidence), Verdict::Unclear(Doubt::NoOutsideWitness));
}

/// With one member to tell, split views of the mesh would look like a dark leader.
#[test]
fn leaders_must_agree_on_the_mesh_where_one_member_tells() {
    for (sizes, withheld) in [(&[2, 2][..], true), (&[3, 3][..], false)] {
        let mut evidence = convincing(sizes);
        if let Some(reporter) = evidence.reporters.get_mut(&NodeName::from("b0")) {
            reporter.kilo_nodes = Some(2);
        }
        let verdict = about_a(&evidence);
        assert_eq!(verdict == Verdict::Unclear(Doubt::ViewsDiffer), withheld, "{verdict:?}");
    }
}

/// Two of three leaders at once: that is us, or what carries everything.
#[test]
fn a_storm_convicts_nobody() {
    let mut evidence = convincing(&[3, 3, 3]);
    let newest = evidence.now - Duration::from_millis(300);
    evidence.observations.retain(|seen| seen.path.flow == Flow::NewUdp);
    for seen in &mut evidence.observations {
        let crossed = elements(&seen.path, &evidence.mesh, &evidence.leaders);
        let dead = ["a0", "b0"]
            .iter()
            .any(|leader| crossed.contains(&Element::Forward((*leader).into(), Direction::Both)));
        let oldest = newest - Duration::from_millis(200);
        let (sent, lost) = if dead { (6, 6) } else { (16, 0) };
        seen.pace = Pace::Burst;
        let last_lost = (lost > 0).then_some(newest);
        seen.window = Window { sent, lost, oldest, newest, last_lost, round_trip: None };
    }
    let (findings, verdicts) = judged(&evidence);
    assert!(findings.iter().all(|finding| finding.class == Class::Storm), "{findings:?}");
    assert_eq!(verdicts[&Scenario::location(0)], Verdict::Unclear(Doubt::Storm));
    assert_eq!(verdicts[&Scenario::location(1)], Verdict::Unclear(Doubt::Storm));
    assert_eq!(verdicts[&Scenario::location(2)], Verdict::Forwards);
}

#[test]
fn new_sessions_after_a_move_elsewhere_excuse_a_leader_that_looks_cut_off_but_not_one_that_drops() {
    #[rustfmt::skip]
    let table = [
        // fault            moved elsewhere, s ago   verdict
        (Fault::NewFlows,   5,                       Verdict::Dark(Class::NewFlowBlackhole)),
        (Fault::LeaderDead, 5,                       Verdict::Unclear(Doubt::TopologyChanging)),
        (Fault::UplinkDead, 5,                       Verdict::Unclear(Doubt::TopologyChanging)),
        (Fault::LeaderDead, 20,                      Verdict::Dark(Class::Host)),
        (Fault::UplinkDead, 20,                      Verdict::Dark(Class::Uplink)),
    ];
    for (fault, ago, verdict) in table {
        let (_, mut evidence) = Scenario::new(&[3, 3, 3], fault, 0.0, 1).evidence();
        let elsewhere = evidence.leaders.get_mut(&Scenario::location(1)).unwrap();
        elsewhere.since = evidence.now - Duration::from_secs(ago);
        assert_eq!(about_a(&evidence), verdict, "{fault:?}, {ago} s");
    }
}
