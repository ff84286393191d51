use std::time::Duration;

use super::*;
use crate::evidence::{AddressKind, Flow, Heard};

const EPOCH: Epoch = Epoch(UnixTime(1_000_000_000_000));

fn at(seconds: u64) -> Moment {
    Moment::at(Duration::from_secs(seconds))
}

fn node(name: &str, location: &str, seen: Moment) -> Node {
    let raw = kilo::RawNode {
        name: name.to_owned(),
        annotations: BTreeMap::from(
            [
                ("kilo.squat.ai/location", location.to_owned()),
                ("kilo.squat.ai/endpoint", "198.51.100.1:51820".to_owned()),
                ("kilo.squat.ai/internal-ip", "10.0.0.1/24".to_owned()),
                ("kilo.squat.ai/key", "vqGgpVDoeB8Q0A37dMQuE7DUCvoegliLCmnBOKUkUR8=".to_owned()),
                ("kilo.squat.ai/last-seen", EPOCH.unix(seen).seconds().to_string()),
            ]
            .map(|(key, value)| (key.to_owned(), value)),
        ),
        pod_cidr: Some("10.42.0.0/24".to_owned()),
        ..kilo::RawNode::default()
    };
    kilo::read(&raw, kilo::TOPOLOGY_LABEL)
}

fn report(name: &str, written: Moment) -> Report {
    Report {
        node: name.into(),
        location: "cloud".into(),
        incarnation: 1,
        sequence: 1,
        written_ms: EPOCH.unix(written).0,
        ..Report::default()
    }
}

fn dark(to: &str) -> PathReport {
    let window = WindowReport {
        sent: 6,
        lost: 6,
        oldest_ms: 400,
        newest_ms: 300,
        ..WindowReport::default()
    };
    PathReport {
        to: to.into(),
        address: AddressKind::Pod,
        flow: Flow::NewUdp,
        burst: Some(window),
        steady: WindowReport::default(),
        background_permille: 3,
        never_worked: false,
    }
}

fn gathered() -> Gathered {
    let mut gathered = Gathered::new(EPOCH);
    for name in ["a", "b"] {
        gathered.see(node(name, "cloud", at(0)));
    }
    gathered.refresh(at(1));
    gathered
}

#[test]
fn a_leader_keeps_its_since_until_another_leads() {
    let mut gathered = gathered();
    let cloud = Location::from("cloud");
    assert_eq!(gathered.leaders()[&cloud].leader, Some("a".into()));

    gathered.see(node("a", "cloud", at(30)));
    gathered.see(node("b", "cloud", at(30)));
    gathered.refresh(at(31));
    assert_eq!(gathered.leaders()[&cloud].since, at(1), "a check-in changes nothing");
    assert_eq!(gathered.leaders()[&cloud].changed, at(1));

    let annotated = Node { leader: true, ..node("b", "cloud", at(30)) };
    gathered.see(annotated);
    gathered.refresh(at(40));
    assert_eq!(gathered.leaders()[&cloud].leader, Some("b".into()));
    assert_eq!(gathered.leaders()[&cloud].since, at(40));
}

#[test]
fn a_node_that_stops_checking_in_is_a_member_but_not_ready() {
    let mut gathered = gathered();
    gathered.see(node("b", "cloud", at(50)));
    gathered.refresh(at(61));
    let cloud = &gathered.leaders()[&Location::from("cloud")];
    assert_eq!(cloud.leader, Some("b".into()));
    assert_eq!(cloud.members.len(), 2);
    assert_eq!(cloud.ready.len(), 1);
    assert_eq!(cloud.changed, at(61));
}

#[test]
fn ages_in_a_report_become_moments_of_its_arrival() {
    let mut gathered = gathered();
    let mut said = report("b", at(10));
    said.paths.push(dark("a"));
    gathered.hear(said, at(10));
    let evidence = gathered.evidence(at(11));
    let [observation] = &evidence.observations[..] else {
        panic!("one burst, no steady window: {:?}", evidence.observations)
    };
    assert_eq!(observation.pace, Pace::Burst);
    assert_eq!(observation.window.newest, at(10) - Duration::from_millis(300));
    assert!((observation.background - 0.003).abs() < 1e-9);
    assert_eq!(observation.heard, None, "the far end has said nothing");
}

#[test]
fn the_far_end_tells_what_arrived() {
    let cases = [
        // newest_ms, span_ms, received: what a report of the far end at the same time makes of it
        ("in time", 350, 3000, 5, Some(5)),
        ("only before the burst", 900, 3000, 40, Some(0)),
        ("counted over too short a span", 350, 100, 5, None),
    ];
    for (case, newest_ms, span_ms, received, expected) in cases {
        let mut gathered = gathered();
        let mut said = report("b", at(10));
        said.paths.push(dark("a"));
        gathered.hear(said, at(10));
        let mut far = report("a", at(10));
        let heard = Heard { from: "b".into(), flow: Flow::NewUdp, received, span_ms, newest_ms };
        far.heard.push(heard);
        gathered.hear(far, at(10));
        let evidence = gathered.evidence(at(10));
        assert_eq!(evidence.observations[0].heard, expected, "{case}");
    }
}

#[test]
fn a_report_from_before_is_as_old_as_it_says() {
    let mut gathered = gathered();
    let mut said = report("b", at(10));
    said.paths.push(dark("a"));
    gathered.find(said.clone(), at(100));
    let evidence = gathered.evidence(at(100));
    let newest = evidence.observations[0].window.newest;
    assert_eq!(newest, at(10) - Duration::from_millis(300), "as old as it says");
    assert_eq!(evidence.reporters[&NodeName::from("b")].abstains, None);

    gathered.hear(said, at(100));
    let evidence = gathered.evidence(at(100));
    let reporter = &evidence.reporters[&NodeName::from("b")];
    assert_eq!(
        reporter.abstains,
        Some(Abstention::ClockOff),
        "just written, yet ninety seconds old"
    );
}

#[test]
fn a_node_that_is_gone_takes_its_word_with_it() {
    let mut gathered = gathered();
    gathered.hear(report("b", at(2)), at(2));
    gathered.lose(&"b".into());
    gathered.refresh(at(3));
    let evidence = gathered.evidence(at(3));
    assert!(evidence.reporters.is_empty());
    assert_eq!(evidence.leaders[&Location::from("cloud")].changed, at(3));
}
