//! Faults of known truth against what is diagnosed; each precondition by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::plane::clip;
use super::*;
use crate::evidence;
use crate::evidence::{
    Abstention, AddressKind, Direction, Granularity, Leadership, LocalCause, Mesh, Moment, Pace,
    Path, Window,
};

mod preconditions;
mod scenario;

use scenario::{Fault, MESHES, Random, Scenario};

const SEEDS: u64 = 9;

/// What must come out of a fault on a mesh.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Must {
    /// The leader is convicted, with one of these classes.
    Convict(&'static [Class]),
    /// What is broken is named with one of these classes, and no leader is convicted.
    Name(&'static [Class]),
    /// It is told that something is wrong, and nothing is convicted.
    Puzzle,
    /// No leader is convicted, whatever else is said.
    Spare,
    /// Nothing is said, and every leader forwards.
    Silence,
}

fn expected(fault: Fault, sizes: &[usize]) -> Must {
    let (two, pairs) = (sizes.len() == 2, sizes[0] == 2);
    match fault {
        Fault::None => Must::Silence,
        Fault::NewFlows => Must::Convict(&[Class::NewFlowBlackhole]),
        Fault::ForwardOff => Must::Convict(&[Class::ForwardingDead]),
        Fault::OneWayIn | Fault::OneWayOut => Must::Convict(&[Class::OneWay]),
        Fault::LeaderDead => Must::Convict(&[Class::Host]),
        Fault::VxlanWedge | Fault::MemberOverlay | Fault::OverlayPair if pairs => Must::Puzzle,
        Fault::VxlanWedge => Must::Convict(&[Class::NewFlowBlackhole]),
        Fault::Partial(share) if pairs || share < 0.1 => Must::Spare,
        Fault::Partial(_) => Must::Convict(&[Class::Partial]),
        Fault::WanCut | Fault::UplinkDead | Fault::ApiStorm if two => Must::Puzzle,
        Fault::WanCut => Must::Name(&[Class::Tunnel]),
        Fault::UplinkDead => Must::Convict(&[Class::Uplink]),
        Fault::MemberOverlay => Must::Name(&[Class::Host, Class::Overlay]),
        Fault::OverlayPair => Must::Name(&[Class::OverlayPair]),
        Fault::PortNeverOpen | Fault::WholeMesh | Fault::ApiStorm => Must::Puzzle,
        Fault::MemberDead | Fault::PortBlocked | Fault::Mtu => Must::Spare,
    }
}

fn judged(evidence: &Evidence) -> (Vec<Finding>, BTreeMap<Location, Verdict>) {
    let thresholds = Thresholds::default();
    let findings = diagnose(evidence, &thresholds);
    let judge = |location: &Location| verdict(location, &findings, evidence, &thresholds);
    let verdicts =
        evidence.leaders.keys().map(|location| (location.clone(), judge(location))).collect();

    (findings, verdicts)
}

fn is_met(must: Must, findings: &[Finding], verdicts: &BTreeMap<Location, Verdict>) -> bool {
    let dark = verdicts.values().any(|verdict| matches!(verdict, Verdict::Dark(_)));
    let named =
        |class| findings.iter().any(|finding| finding.class == class && finding.culprit.is_some());
    match must {
        Must::Convict(classes) => {
            classes.iter().any(|class| verdicts[&Scenario::location(0)] == Verdict::Dark(*class))
        }
        Must::Name(classes) => !dark && classes.iter().any(|class| named(*class)),
        Must::Puzzle => {
            !findings.is_empty() && findings.iter().all(|finding| finding.culprit.is_none())
        }
        Must::Spare => !dark,
        Must::Silence => {
            findings.is_empty() && verdicts.values().all(|verdict| *verdict == Verdict::Forwards)
        }
    }
}

/// Every fault on every mesh with every background loss. A draw may still be undecided where too
/// little was asked yet, but never wrong.
#[test]
fn each_fault_is_found_and_nothing_else_is_convicted() {
    for (mesh, sizes) in MESHES {
        for (fault, name) in Fault::ALL {
            for background in [0.0, 0.003, 0.02] {
                let case = format!("{name} on {mesh} with background {background}");
                let met = (0..SEEDS).filter(|seed| {
                    let (truth, evidence) =
                        Scenario::new(sizes, fault, background, 1000 + seed).evidence();
                    let (findings, verdicts) = judged(&evidence);
                    assert_nothing_sound_is_convicted(&truth, &findings, &verdicts, &case);
                    is_met(expected(fault, sizes), &findings, &verdicts)
                });
                let met = met.count();
                assert!(met * 3 >= SEEDS as usize * 2, "{case}: {met} of {SEEDS}");
            }
        }
    }
}

fn assert_nothing_sound_is_convicted(
    truth: &Scenario,
    findings: &[Finding],
    verdicts: &BTreeMap<Location, Verdict>,
    case: &str,
) {
    for finding in findings {
        let sound = finding.culprit.as_ref().is_some_and(|culprit| !truth.is_true(culprit));
        assert!(!sound, "{case}: {:?}: {}", finding.culprit, finding.because);
    }
    for (location, verdict) in verdicts {
        let blamed = *location == Scenario::location(0) && truth.is_of_leader();
        assert!(blamed || !matches!(verdict, Verdict::Dark(_)), "{case}: {location} {verdict:?}");
    }
}

/// The share of loss is told, so that people know what to look for.
#[test]
fn a_partial_fault_is_told_with_its_share() {
    for (share, seed) in [(0.25, 3), (0.5, 4)] {
        let (_, evidence) = Scenario::new(&[3, 3, 3], Fault::Partial(share), 0.0, seed).evidence();
        let (findings, _) = judged(&evidence);
        let told = findings.iter().find(|finding| finding.class == Class::Partial);
        let told = told.map(|finding| finding.fraction).unwrap_or_default();
        assert!((told - share).abs() < 0.15, "{share}: {told}");
    }
}

#[test]
fn a_finding_is_one_sentence_with_counts() {
    let (_, mut evidence) = Scenario::new(&[3, 3, 3], Fault::NewFlows, 0.0, 1).evidence();
    let full = LocalFinding {
        cause: LocalCause::ConntrackFull,
        detail: "conntrack holds 262144 of 262144".to_owned(),
    };
    if let Some(reporter) = evidence.reporters.get_mut(&NodeName::from("a0")) {
        reporter.local.push(full);
    }

    let (findings, _) = judged(&evidence);
    let finding = &findings[0];
    for part in ["fresh UDP through a0: 0 of ", "; kept flows ", "; conntrack"] {
        let part = part.replace("; conntrack", "; the node itself says: conntrack");
        assert!(finding.because.contains(&part), "{part} in {}", finding.because);
    }
    assert_eq!(finding.advice, "raise net.netfilter.nf_conntrack_max on the node");
}

/// What is broken on a node is never evidence by itself.
#[test]
fn local_findings_alone_convict_nobody() {
    let (_, mut evidence) = Scenario::new(&[3, 3], Fault::None, 0.0, 1).evidence();
    for reporter in evidence.reporters.values_mut() {
        let detail = "net.ipv4.ip_forward is 0".to_owned();
        reporter.local.push(LocalFinding { cause: LocalCause::ForwardingOff, detail });
    }
    assert_eq!(judged(&evidence).0, Vec::new());
}

#[test]
fn a_path_crosses_what_carries_it() {
    let (_, evidence) = Scenario::new(&[3, 3], Fault::None, 0.0, 1).evidence();
    let crossed = |from: &str, to: &str, address, flow| -> BTreeSet<Element> {
        let path = Path { from: from.into(), to: to.into(), address, flow };
        elements(&path, &evidence.mesh, &evidence.leaders).into_iter().collect()
    };
    let node = |name: &str| NodeName::from(name);
    let forward = |name: &str, direction| Element::Forward(node(name), direction);

    let inside = crossed("a1", "a0", AddressKind::Node, Flow::NewUdp);
    assert_eq!(
        inside,
        BTreeSet::from([
            Element::Host(node("a0")),
            Element::Host(node("a1")),
            Element::Responder(node("a0")),
        ]),
        "inside a location a node address crosses neither overlay nor forwarding"
    );

    let overlay = crossed("a1", "a0", AddressKind::Pod, Flow::NewUdp);
    assert!(overlay.contains(&Element::Overlay(node("a0"))));
    assert!(overlay.contains(&Element::OverlayPair(node("a1"), node("a0"))));
    assert!(!overlay.contains(&Element::Uplink(node("a0"))));

    let relayed = crossed("a1", "b2", AddressKind::Node, Flow::NewUdp);
    assert!(relayed.contains(&forward("a0", Direction::Out)));
    assert!(relayed.contains(&forward("b0", Direction::In)));
    assert!(!relayed.contains(&forward("a0", Direction::In)));
    assert!(relayed.contains(&Element::Overlay(node("b0"))), "relayed to node addresses too");
    assert!(relayed.contains(&Element::tunnel(&"b".into(), &"a".into())));

    let control = crossed("a0", "b0", AddressKind::Pod, Flow::Control);
    assert!(!control.contains(&Element::Responder(node("b0"))), "others answer there");
    assert!(!control.iter().any(|element| matches!(element, Element::Forward(..))));

    assert_eq!(crossed("a1", "z9", AddressKind::Pod, Flow::NewUdp), BTreeSet::new());
}

#[test]
fn a_window_that_straddles_the_onset_counts_only_if_it_lost_nothing_since() {
    let at = |second| Moment::at(Duration::from_secs(second));
    let window = |sent, lost, oldest, newest| Window {
        sent,
        lost,
        oldest: at(oldest),
        newest: at(newest),
        last_lost: (lost > 0).then_some(at(50)),
        round_trip: None,
    };
    #[rustfmt::skip]
    let table = [
        // window                 from  counts as
        (window(60, 0, 0, 60),    45,   Some((15, 0))),
        (window(60, 0, 0, 60),    60,   Some((1, 0))),
        (window(60, 0, 0, 60),    61,   None),
        (window(60, 1, 0, 60),    45,   None),
        (window(60, 1, 0, 60),    50,   None),
        (window(61, 1, 0, 60),    51,   Some((9, 0))),
        (window(60, 59, 0, 60),   51,   Some((1, 0))),
        (window(60, 1, 50, 60),   45,   Some((60, 1))),
        (window(0, 0, 50, 60),    45,   None),
    ];
    for (window, from, expected) in table {
        let counts = clip(window, at(from)).map(|window| (window.sent, window.lost));
        assert_eq!(counts, expected, "{window:?} from {from} s");
    }
}

#[test]
fn served_are_those_who_exchange_fresh_flows() {
    let served_in = |fault| {
        let (_, evidence) = Scenario::new(&[4, 1], fault, 0.0, 5).evidence();
        let of = |node: &str| -> Vec<String> {
            let served = served(&evidence, &node.into(), &Thresholds::default());
            served.into_iter().map(|node| node.0).collect()
        };
        (of("a0"), of("a2"))
    };

    let (leader, heir) = served_in(Fault::None);
    assert_eq!((leader.len(), heir.len()), (3, 3), "{leader:?} {heir:?}");

    let (leader, heir) = served_in(Fault::VxlanWedge);
    assert_eq!(leader, Vec::<String>::new());
    assert_eq!(heir, ["a1", "a3"], "only the old leader itself is out of reach");

    let (leader, _) = served_in(Fault::OverlayPair);
    assert_eq!(leader, ["a2", "a3"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// What takes every flow is never said to lie where flows pass.
    #[test]
    fn no_conviction_that_a_passing_path_contradicts(
        seed: u64, mesh in 0..MESHES.len(), broken in 0.0..0.6,
    ) {
        let evidence = random(MESHES[mesh].1, broken, seed);
        for finding in judged(&evidence).0 {
            let Some(culprit) = finding.culprit.filter(|_| finding.fraction >= 0.9) else { continue };
            for seen in &evidence.observations {
                let crossed = elements(&seen.path, &evidence.mesh, &evidence.leaders);
                let passes = seen.window.lost == 0 && crossed.contains(&culprit);
                prop_assert!(!passes, "{culprit:?} against {:?}", seen.path);
            }
        }
    }

    /// One node's word may be that node's fault.
    #[test]
    fn one_witness_never_convicts(
        seed: u64, mesh in 0..MESHES.len(), fault in 0..Fault::ALL.len(), witness in 0..16_usize,
    ) {
        let (_, mut evidence) = Scenario::new(MESHES[mesh].1, Fault::ALL[fault].0, 0.003, seed).evidence();
        let nodes: Vec<NodeName> = evidence.mesh.nodes.keys().cloned().collect();
        let witness = &nodes[witness % nodes.len()];
        evidence.observations.retain(|seen| seen.path.from == *witness);

        let (findings, verdicts) = judged(&evidence);
        prop_assert!(findings.iter().all(|finding| finding.culprit.is_none()));
        prop_assert!(verdicts.values().all(|verdict| !matches!(verdict, Verdict::Dark(_))));
    }

    #[test]
    fn renaming_nodes_renames_the_answer(
        seed: u64, mesh in 0..MESHES.len(), fault in 0..Fault::ALL.len(),
    ) {
        let (_, evidence) = Scenario::new(MESHES[mesh].1, Fault::ALL[fault].0, 0.003, seed).evidence();
        let (findings, verdicts) = judged(&evidence);
        let (renamed_findings, renamed_verdicts) = judged(&renamed(&evidence));

        let plain = |verdicts: BTreeMap<Location, Verdict>| -> Vec<_> {
            let doubted = |verdict| matches!(verdict, Verdict::Unclear(_));
            verdicts.into_values().map(|verdict| (!doubted(verdict)).then_some(verdict)).collect()
        };
        prop_assert_eq!(plain(verdicts), plain(renamed_verdicts));
        let answer = |findings: Vec<Finding>, rename: fn(&NodeName) -> NodeName| -> BTreeSet<_> {
            findings
                .into_iter()
                .filter_map(|finding| {
                    let culprit = rename_element(&finding.culprit?, rename);
                    Some((finding.location, finding.class, finding.doubt, culprit))
                })
                .collect()
        };
        prop_assert_eq!(answer(findings, other_name), answer(renamed_findings, NodeName::clone));
    }
}

/// Bursts over every path of a mesh, each wholly lost with some chance, or partly, or not at all.
fn random(sizes: &[usize], broken: f64, seed: u64) -> Evidence {
    let (_, mut evidence) = Scenario::new(sizes, Fault::None, 0.0, 1).evidence();
    let mut random = Random::new(seed);
    let newest = evidence.now - Duration::from_millis(500);
    // Each kind of flow is judged by itself: what passes by one does not contradict another.
    evidence
        .observations
        .retain(|seen| seen.pace == Pace::Steady && seen.path.flow == Flow::NewUdp);
    for seen in &mut evidence.observations {
        seen.pace = Pace::Burst;
        let (sent, lost) = if random.unit() < broken { (6, 6) } else { (16, 0) };
        let oldest = newest - Duration::from_millis(300);
        let last_lost = (lost > 0).then_some(newest);
        seen.window = Window { sent, lost, oldest, newest, last_lost, round_trip: None };
        seen.heard = None;
    }

    evidence
}

/// Reverses the order of names within their locations, which ties must not depend on.
fn other_name(node: &NodeName) -> NodeName {
    let (location, number) = node.0.split_at(1);
    NodeName(format!("{location}-{}", 9 - number.parse::<u32>().unwrap()))
}

fn renamed(evidence: &Evidence) -> Evidence {
    let mut other = evidence.clone();
    let names = |names: &BTreeSet<NodeName>| names.iter().map(other_name).collect();
    let node =
        |node: &evidence::Node| scenario::node(&other_name(&node.name), node.location.clone());
    other.mesh = Mesh {
        nodes: evidence.mesh.nodes.values().map(|at| (other_name(&at.name), node(at))).collect(),
        ..evidence.mesh.clone()
    };
    for leadership in other.leaders.values_mut() {
        *leadership = Leadership {
            leader: leadership.leader.as_ref().map(other_name),
            members: names(&leadership.members),
            ready: names(&leadership.ready),
            ..leadership.clone()
        };
    }
    for seen in &mut other.observations {
        seen.path.from = other_name(&seen.path.from);
        seen.path.to = other_name(&seen.path.to);
    }
    let reporters = evidence.reporters.iter();
    other.reporters = reporters.map(|(node, at)| (other_name(node), at.clone())).collect();

    other
}

/// The two directions of a pair look the same to round trips: they are told as one.
fn rename_element(element: &Element, rename: fn(&NodeName) -> NodeName) -> Element {
    match element {
        Element::Forward(node, direction) => Element::Forward(rename(node), *direction),
        Element::Overlay(node) => Element::Overlay(rename(node)),
        Element::OverlayPair(one, other) => {
            let (one, other) = (rename(one), rename(other));
            Element::OverlayPair(one.clone().min(other.clone()), one.max(other))
        }
        Element::Uplink(node) => Element::Uplink(rename(node)),
        Element::Tunnel(one, other) => Element::Tunnel(one.clone(), other.clone()),
        Element::Host(node) => Element::Host(rename(node)),
        Element::Responder(node) => Element::Responder(rename(node)),
    }
}
