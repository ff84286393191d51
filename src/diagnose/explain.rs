//! A finding in one sentence, with its counts, for a person who was just woken.

use super::Class;
use super::plane::{Counted, tally};
use super::rules::{Case, Tally};
use crate::evidence::{AddressKind, Direction, Element, Flow, LocalFinding, NodeName};

/// Returns why a finding is what it is.
pub(super) fn because(case: &Case<'_>, class: Class, local: &[LocalFinding]) -> String {
    let crossing: Vec<&Counted<'_>> = case.crossing().collect();
    let (passed, sent) = tally(crossing.iter().copied());
    let failing = case.failing().count();
    let probers =
        case.failing().map(|path| &path.path.from).collect::<std::collections::BTreeSet<_>>().len();

    let mut sentence = format!(
        "{} {}: {passed} of {sent} passed on {}, {failing} of them failing, from {}",
        flow(case.flow),
        place(case.representative()),
        counted(crossing.len(), "path"),
        counted(probers, "node"),
    );
    for (what, tally) in contrasts(case) {
        if tally.1 > 0 {
            sentence.push_str(&format!("; {what} {} of {}", tally.0, tally.1));
        }
    }
    if class == Class::Unclear {
        let names: Vec<String> = case.part.candidates.iter().map(name).collect();
        sentence.push_str(&format!("; explained as well by {}", names.join(", ")));
    }
    for finding in local {
        sentence.push_str(&format!("; the node itself says: {}", finding.detail));
    }

    sentence
}

fn contrasts(case: &Case<'_>) -> Vec<(&'static str, Tally)> {
    let Some(node) = case.representative().node() else {
        return vec![("kept flows", case.kept), ("other ports", case.control)];
    };
    vec![
        ("kept flows", case.kept),
        ("new pings", case.ping),
        ("other ports", case.control),
        ("inside", tally(case.paths.iter().filter(|path| is_inside(path, node)))),
        ("between leaders", tally(case.paths.iter().filter(|path| is_direct(path, node)))),
    ]
}

fn is_inside(path: &Counted<'_>, node: &NodeName) -> bool {
    let ends_there = path.path.from == *node || path.path.to == *node;
    let leaves = path.crossed.iter().any(|element| matches!(element, Element::Tunnel(..)));

    ends_there && !leaves && path.path.address == AddressKind::Pod
}

fn is_direct(path: &Counted<'_>, node: &NodeName) -> bool {
    let uplink = path.crossed.contains(&Element::Uplink(node.clone()));
    let relayed = path.crossed.iter().any(|element| matches!(element, Element::Forward(..)));

    uplink && !relayed
}

const fn flow(flow: Flow) -> &'static str {
    match flow {
        Flow::NewUdp => "fresh UDP",
        Flow::NewTcp => "fresh TCP",
        Flow::Ping => "new pings",
        Flow::KeptUdp | Flow::KeptTcp => "kept flows",
        Flow::Large => "large packets",
        Flow::Control => "other ports",
    }
}

fn place(element: &Element) -> String {
    match element {
        Element::Forward(node, Direction::Both) => format!("through {node}"),
        Element::Forward(node, Direction::In) => format!("into the location through {node}"),
        Element::Forward(node, Direction::Out) => format!("out of the location through {node}"),
        Element::Overlay(node) => format!("over the overlay of {node}"),
        Element::OverlayPair(one, other) => format!("over the overlay between {one} and {other}"),
        Element::Uplink(node) => format!("over the uplink of {node}"),
        Element::Tunnel(one, other) => format!("between locations '{one}' and '{other}'"),
        Element::Host(node) => format!("to and through {node}"),
        Element::Responder(node) => format!("to the responder of {node}"),
    }
}

fn name(element: &Element) -> String {
    match element {
        Element::Forward(node, _) => format!("the forwarding of {node}"),
        Element::Overlay(node) => format!("the overlay of {node}"),
        Element::OverlayPair(one, other) => format!("the overlay from {one} to {other}"),
        Element::Uplink(node) => format!("the uplink of {node}"),
        Element::Tunnel(one, other) => format!("the way between '{one}' and '{other}'"),
        Element::Host(node) => format!("{node} as a whole"),
        Element::Responder(node) => format!("the responder of {node}"),
    }
}

fn counted(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}
