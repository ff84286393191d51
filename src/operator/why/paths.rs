//! The paths of a location: whose word it is, where each leads, and all of a kind added up.

use std::collections::BTreeMap;

use serde::Serialize;

use super::super::view::View;
use crate::evidence::{AddressKind, Flow, Location, NodeName, PathReport, WindowReport};

/// Where a path leads, as seen from a location.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// From outside, through the leader, to a member.
    In,
    /// From a member, through the leader, to outside.
    Out,
    /// Between this leader and another.
    Leaders,
    /// Between members.
    Inside,
}

impl Way {
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::In => "into it",
            Self::Out => "out of it",
            Self::Leaders => "leader to leader",
            Self::Inside => "inside",
        }
    }
}

/// All paths of one kind, added up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    /// Where they lead.
    pub way: Way,
    /// How they are probed.
    pub flow: Flow,
    /// How many there are.
    pub paths: usize,
    /// How many lost something.
    pub losing: usize,
    /// Flows opened.
    pub sent: u32,
    /// Of these, answered.
    pub passed: u32,
    /// How many never worked.
    pub never_worked: usize,
}

/// One path as its prober last reported it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PathSeen {
    /// Where it leads.
    pub way: Way,
    /// Who probed.
    pub from: NodeName,
    /// How long ago that was reported, milliseconds.
    pub reported_ms_ago: i64,
    /// What was found.
    #[serde(flatten)]
    pub path: PathReport,
}

impl PathSeen {
    pub(super) fn loses(&self) -> bool {
        lost(&self.path) > 0
    }

    pub(super) fn row(&self) -> [String; 8] {
        let path = &self.path;
        let window = |window: &WindowReport| match window.sent {
            0 => String::new(),
            sent => format!("{}/{sent}", sent.saturating_sub(window.lost)),
        };
        let round_trip =
            path.steady.round_trip_us.map(|us| format!("{:.1} ms", f64::from(us) / 1e3));
        let address = match path.address {
            AddressKind::Node => "node",
            AddressKind::Pod => "pod",
        };
        [
            self.from.0.clone(),
            path.to.0.clone(),
            address.to_owned(),
            flow(path.flow).to_owned(),
            path.burst.as_ref().map(window).unwrap_or_default(),
            window(&path.steady),
            round_trip.unwrap_or_default(),
            if never_worked(path) { "never worked".to_owned() } else { String::new() },
        ]
    }
}

pub(super) fn paths(view: &View, location: &Location, leader: Option<&NodeName>) -> Vec<PathSeen> {
    let mut paths = Vec::new();
    for told in view.reports.values() {
        for path in &told.report.paths {
            let Some(way) = way(view, location, leader, (&told.report.node, &path.to)) else {
                continue;
            };
            paths.push(PathSeen {
                way,
                from: told.report.node.clone(),
                reported_ms_ago: view.at.0 - told.at().0,
                path: path.clone(),
            });
        }
    }
    let key = |seen: &PathSeen| (seen.way, seen.path.flow, seen.from.clone(), seen.path.to.clone());
    paths.sort_by(|one, other| {
        other.loses().cmp(&one.loses()).then_with(|| key(one).cmp(&key(other)))
    });
    paths
}

fn way(
    view: &View,
    location: &Location,
    leader: Option<&NodeName>,
    (from, to): (&NodeName, &NodeName),
) -> Option<Way> {
    let at = |node: &NodeName| view.mesh.nodes.get(node).map(|node| node.location.clone());
    let leads = |node: &NodeName| {
        leader == Some(node)
            || at(node).is_some_and(|at| view.leader(&at).is_some_and(|led| led.name == *node))
    };
    match (at(from)? == *location, at(to)? == *location) {
        (false, false) => None,
        (true, true) => Some(Way::Inside),
        _ if leads(from) && leads(to) => Some(Way::Leaders),
        (true, false) => Some(Way::Out),
        (false, true) => Some(Way::In),
    }
}

pub(super) fn tallies(paths: &[PathSeen]) -> Vec<Tally> {
    let mut tallies: BTreeMap<(Way, Flow), Tally> = BTreeMap::new();
    for seen in paths {
        let (way, flow) = (seen.way, seen.path.flow);
        let tally = tallies.entry((way, flow)).or_insert(Tally {
            way,
            flow,
            paths: 0,
            losing: 0,
            sent: 0,
            passed: 0,
            never_worked: 0,
        });
        tally.paths += 1;
        tally.losing += usize::from(seen.loses());
        tally.sent += sent(&seen.path);
        tally.passed += sent(&seen.path).saturating_sub(lost(&seen.path));
        tally.never_worked += usize::from(never_worked(&seen.path));
    }
    tallies.into_values().collect()
}

/// Of paths that are probed on suspicion only, the first probes may well be lost.
fn never_worked(path: &PathReport) -> bool {
    path.never_worked && path.flow == Flow::NewUdp
}

fn sent(path: &PathReport) -> u32 {
    path.steady.sent + path.burst.map_or(0, |burst| burst.sent)
}

fn lost(path: &PathReport) -> u32 {
    path.steady.lost + path.burst.map_or(0, |burst| burst.lost)
}

/// Names a kind of flow for people.
pub(super) const fn flow(flow: Flow) -> &'static str {
    match flow {
        Flow::NewUdp => "new UDP",
        Flow::NewTcp => "new TCP",
        Flow::Ping => "ping",
        Flow::KeptUdp => "kept UDP",
        Flow::KeptTcp => "kept TCP",
        Flow::Large => "large UDP",
        Flow::Control => "TCP to Kilo's port",
    }
}
