//! Whether probes can pass at all, in every direction: paths that never worked, and the firewall
//! rule that each of them wants.

use std::collections::{BTreeMap, BTreeSet};

use super::super::view::View;
use super::super::words;
use super::{Level, Line, Round, Scope};
use crate::evidence::{AddressKind, Flow, Node, NodeName, PathReport};

/// So many probes in a row make it no accident that none was answered.
const ENOUGH: u32 = 5;

/// What is known of the way from one node to another.
#[derive(Debug, Default)]
struct Way {
    /// Addresses at which UDP never worked, nor TCP where it was tried.
    never: BTreeSet<AddressKind>,
    /// Whether some UDP or TCP probe passed.
    passed: Passed,
    /// Whether a connection to Kilo's own port passed.
    control: Passed,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Passed {
    Yes,
    #[default]
    No,
}

pub(super) fn examine(view: &View, port: u16, scope: &Scope) -> Vec<Line> {
    let mut round = Round::new("probe port", "fresh UDP and TCP are answered both ways");
    // The same rule serves everybody who is kept out of one node in one manner.
    let mut wanting: BTreeMap<(&NodeName, Fault), Vec<&NodeName>> = BTreeMap::new();
    for ((from, to), way) in ways(view) {
        if !scope.covers(from) && !scope.covers(to) {
            continue;
        }
        match fault(view, (from, to), &way) {
            Some(fault) => wanting.entry((to, fault)).or_default().push(from),
            None if way.passed == Passed::Yes => round.fine(),
            None => {}
        }
    }
    for ((to, fault), from) in wanting {
        let (seen, advice) = fault.words(view, port, to, &from);
        round.line(Level::Broken, to.0.clone(), seen, advice);
    }
    round.end("direction", "answered")
}

/// What keeps probes from being answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    /// Requests do not arrive.
    Request,
    /// Requests do not arrive, while Kilo's own port is reached.
    OurPort,
    /// Requests arrive, answers do not.
    Answer,
    /// One of the two addresses is not reached, the other is.
    OneAddress(AddressKind),
}

fn ways(view: &View) -> BTreeMap<(&NodeName, &NodeName), Way> {
    let mut ways: BTreeMap<(&NodeName, &NodeName), Way> = BTreeMap::new();
    for (from, told) in &view.reports {
        for path in &told.report.paths {
            ways.entry((from, &path.to)).or_default().take(path);
        }
    }
    ways
}

impl Way {
    fn take(&mut self, path: &PathReport) {
        let passed = path.steady.sent > path.steady.lost
            || path.burst.is_some_and(|burst| burst.sent > burst.lost);
        match path.flow {
            Flow::NewUdp if path.never_worked && path.steady.sent >= ENOUGH => {
                self.never.insert(path.address);
            }
            Flow::NewUdp | Flow::NewTcp if passed => self.passed = Passed::Yes,
            Flow::Control if passed => self.control = Passed::Yes,
            Flow::NewUdp
            | Flow::NewTcp
            | Flow::Ping
            | Flow::KeptUdp
            | Flow::KeptTcp
            | Flow::Large
            | Flow::Control => {}
        }
    }
}

fn fault(view: &View, (from, to): (&NodeName, &NodeName), way: &Way) -> Option<Fault> {
    let address = *way.never.first()?;
    let heard = view.reports.get(to).is_some_and(|told| {
        told.report.heard.iter().any(|heard| heard.from == *from && heard.received > 0)
    });
    Some(match (way.passed, heard, way.control) {
        (Passed::Yes, ..) => Fault::OneAddress(address),
        (Passed::No, true, _) => Fault::Answer,
        (Passed::No, false, Passed::Yes) => Fault::OurPort,
        (Passed::No, false, Passed::No) => Fault::Request,
    })
}

impl Fault {
    /// Says what was seen, and which rule would mend it.
    fn words(self, view: &View, port: u16, to: &NodeName, from: &[&NodeName]) -> (String, String) {
        let who = words::some_of(from.iter().map(|node| node.0.as_str()));
        let at = |nodes: &[&NodeName]| {
            let nodes = nodes.iter().filter_map(|node| view.mesh.nodes.get(*node));
            nodes.flat_map(addresses).collect::<Vec<_>>().join(", ")
        };
        let (source, target) = (at(from), at(&[to]));
        let rule = format!("allow UDP and TCP to port {port} of {target} from {source}");
        match self {
            Self::Request => (
                format!("probes of {who} never arrived, nor did connections to Kilo's port"),
                format!("{rule}; look at routes too"),
            ),
            Self::OurPort => {
                (format!("probes of {who} never arrived, while Kilo's port was reached"), rule)
            }
            Self::Answer => (
                format!("probes of {who} arrive, and no answer ever came back"),
                format!("allow UDP and TCP from port {port} of {target} to {source}"),
            ),
            Self::OneAddress(AddressKind::Pod) => (
                format!("{who} never reached its address in the pod range, only its own"),
                format!("{rule}; look at the overlay of {to}"),
            ),
            Self::OneAddress(AddressKind::Node) => {
                (format!("{who} never reached its own address, only that in the pod range"), rule)
            }
        }
    }
}

/// Returns from where a node sends and at what it is reached: its own address, its pod range.
fn addresses(node: &Node) -> impl Iterator<Item = String> {
    let own = node.internal_ip.map(|net| net.addr().to_string());
    let pods = node.pod_cidr.map(|range| range.to_string());
    own.into_iter().chain(pods)
}
