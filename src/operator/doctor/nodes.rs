//! What concerns one node: its agents, its clock, what it found on itself.

use super::super::view::{Told, View};
use super::super::{why, words};
use super::mesh::kilo_views;
use super::{Level, Line, Round, Scope};
use crate::evidence::{HostSettings, LocalCause, Node, NodeName, kilo};

/// Reports are written every ten minutes at the least.
const REPORT_DUE_MS: i64 = 12 * 60 * 1000;

/// A clock that is further off makes its node abstain.
const CLOCK_OFF_MS: i64 = 5_000;

pub(super) fn examine(view: &View, scope: &Scope) -> Vec<Line> {
    let covered = || {
        let of_kilo = |node: &&Node| node.key.is_some() && scope.covers(&node.name);
        view.mesh.nodes.values().filter(of_kilo)
    };
    let mut lines = kilo_agents(view, covered());
    lines.extend(annotations(view, scope));
    lines.extend(agents(view, covered()));
    lines.extend(clocks(view, scope));
    lines.extend(words_that_count(view, scope));
    lines.extend(leaders_seen(view, scope));
    lines.extend(same_mesh(view));
    lines.extend(local(view, scope));
    lines.extend(mtus(view, scope));
    lines.extend(host(view, scope));
    lines
}

fn kilo_agents<'v>(view: &View, nodes: impl Iterator<Item = &'v Node>) -> Vec<Line> {
    let mut round = Round::new("Kilo agent", "checked in within the last minute");
    for node in nodes {
        if kilo::is_ready(node, view.at) {
            round.fine();
            continue;
        }
        let seen = node.last_seen.map_or_else(
            || "it never checked in".to_owned(),
            |seen| format!("last check-in {} ago", words::span((view.at.seconds() - seen) * 1000)),
        );
        let advice = "restart its Kilo pod; if all nodes show this, look at your own clock";
        round.line(Level::Warning, node.name.0.clone(), seen, advice.to_owned());
    }
    round.end("node", "Ready by Kilo's rules")
}

/// What Kilo does not understand it takes for absent, without a word.
fn annotations(view: &View, scope: &Scope) -> Vec<Line> {
    let mut round = Round::new("Kilo's annotations", "values that Kilo can read");
    for (node, misread) in view.misread.iter().filter(|(node, _)| scope.covers(node)) {
        if misread.is_empty() {
            round.fine();
        }
        for seen in misread {
            let advice = "correct it; what Kilo itself wrote, its pod writes again when restarted";
            round.line(Level::Warning, node.0.clone(), seen.clone(), advice.to_owned());
        }
    }
    round.end("node", "they can be read")
}

fn agents<'v>(view: &View, nodes: impl Iterator<Item = &'v Node>) -> Vec<Line> {
    let mut round = Round::new("Tanist agent", "reports at least every ten minutes");
    for node in nodes {
        let name = node.name.0.clone();
        match view.reports.get(&node.name) {
            None => {
                let advice =
                    "no agent runs there, or it may not write its RelayReport: see its log";
                round.line(Level::Broken, name, "it never reported".to_owned(), advice.to_owned());
            }
            Some(told) if view.at.0 - told.at().0 > REPORT_DUE_MS => {
                let seen = format!("its last report is {} old", words::ago(told.at(), view.at));
                let advice = "see the log of its agent, and whether it reaches the API server";
                round.line(Level::Warning, name, seen, advice.to_owned());
            }
            Some(_) => round.fine(),
        }
    }
    round.end("node", &versions(view))
}

fn versions(view: &View) -> String {
    let versions: std::collections::BTreeSet<&str> =
        view.reports.values().map(|told| told.report.version.as_str()).collect();
    format!("reports, of version {}", versions.into_iter().collect::<Vec<_>>().join(" and "))
}

/// The server stamps each write with its own time, to the second.
fn clocks(view: &View, scope: &Scope) -> Vec<Line> {
    let mut round = Round::new("clock", "within 5 s of the API server's");
    for (node, told) in reports(view, scope) {
        let Some(received) = told.received else { continue };
        let off = told.report.written_ms - received.0;
        // A write takes a while, and the stamp has lost up to a second.
        if (-CLOCK_OFF_MS - 1_000..=CLOCK_OFF_MS + 1_000).contains(&off) {
            round.fine();
        } else {
            let way = if off > 0 { "ahead" } else { "behind" };
            let seen = format!("about {} {way}", words::span(off.abs()));
            let advice = "let NTP run there: a node whose clock is off is no witness";
            round.line(Level::Warning, node.0.clone(), seen, advice.to_owned());
        }
    }
    round.end("node", "right, as far as their reports tell")
}

fn words_that_count(view: &View, scope: &Scope) -> Vec<Line> {
    let mut round = Round::new("witness", "its word counts");
    for (node, told) in reports(view, scope) {
        match told.report.abstains {
            None => round.fine(),
            Some(reason) => {
                let advice = "it passes by itself after a start; else look at its CPU and clock";
                let seen = why::abstention(reason).to_owned();
                round.line(Level::Warning, node.0.clone(), seen, advice.to_owned());
            }
        }
    }
    round.end("node", "it does")
}

fn leaders_seen(view: &View, scope: &Scope) -> Vec<Line> {
    let mut round = Round::new("routes", "they use the leader that Kilo's rules name");
    for (node, told) in reports(view, scope) {
        let at = view.mesh.nodes.get(node).map(|node| &node.location);
        let leader = at.and_then(|at| view.leader(at)).map(|leader| &leader.name);
        match (&told.report.leader_seen, leader) {
            (Some(seen), Some(leader)) if seen != leader => {
                let seen = format!("they use {seen}, and {leader} leads");
                let advice = "restart the Kilo pod of this node if that lasts over a minute";
                round.line(Level::Warning, node.0.clone(), seen, advice.to_owned());
            }
            (Some(_) | None, _) => round.fine(),
        }
    }
    round.end("node", "they do, where that could be seen")
}

fn same_mesh(view: &View) -> Option<Line> {
    let views = kilo_views(view);
    let told = |(count, nodes): (&u32, &std::collections::BTreeSet<&str>)| {
        format!("{count} nodes ({})", words::some_of(nodes.iter().copied()))
    };
    let seen: Vec<_> = views.iter().map(told).collect();
    let (level, advice) = match views.len() {
        0 => return None,
        1 => (Level::Fine, ""),
        _ => (
            Level::Warning,
            "a Kilo agent that counts fewer has lost its watch: restart its pod if that lasts",
        ),
    };
    Some(Line {
        level,
        check: "Kilo's view",
        place: "mesh".to_owned(),
        seen: seen.join(", "),
        expected: "all Kilo agents count the same nodes",
        advice: advice.to_owned(),
    })
}

fn local(view: &View, scope: &Scope) -> Vec<Line> {
    let mut round = Round::new("node", "nothing is wrong on the node itself");
    for (node, told) in reports(view, scope) {
        if told.report.local.is_empty() {
            round.fine();
        }
        for found in &told.report.local {
            let advice = advice(found.cause).to_owned();
            round.line(Level::Warning, node.0.clone(), found.detail.clone(), advice);
        }
    }
    round.end("node", "ip_forward, conntrack, neighbours, overlay, drops")
}

pub(super) const fn advice(cause: LocalCause) -> &'static str {
    match cause {
        LocalCause::ConntrackFull => "raise net.netfilter.nf_conntrack_max",
        LocalCause::ForwardingOff => "set it to 1, and find out who sets it to 0",
        LocalCause::NeighboursFull => "raise net.ipv4.neigh.default.gc_thresh1 to 3",
        LocalCause::OverlayMissing => "restart the CNI plugin's pod of this node",
        LocalCause::ReversePathFilter => {
            "set net.ipv4.conf.all.rp_filter and that of kilo0 to 0 or 2"
        }
        LocalCause::ResponderUnbound => "free the port, or give Tanist another: --port",
        LocalCause::KiloAgentDown => "look at the Kilo pod of this node",
        LocalCause::KiloAgentCrashLoop => "see the log of the Kilo pod of this node",
        LocalCause::SoftirqDrops => "give the node more CPU, or spread its interrupts",
    }
}

/// Reads the MTU of one device.
type Mtu = fn(&HostSettings) -> Option<u32>;

/// Paths of different MTU drop large packets on the way from the wider to the narrower.
fn mtus(view: &View, scope: &Scope) -> Vec<Line> {
    let mut round = Round::new("MTU", "the same on all nodes");
    let kilo: Mtu = |host| host.kilo_mtu;
    let overlay: Mtu = |host| host.overlay_mtu;
    for (device, of) in [("WireGuard's device", kilo), ("the overlay's device", overlay)] {
        let mtus = || {
            view.reports
                .iter()
                .filter_map(|(node, told)| Some((node, of(told.report.host.as_ref()?)?)))
        };
        let Some(usual) = usual(mtus().map(|(_, mtu)| mtu)) else { continue };
        for (node, mtu) in mtus().filter(|(node, _)| scope.covers(node)) {
            if mtu == usual {
                round.fine();
            } else {
                let seen = format!("{device} has {mtu}, most have {usual}");
                let advice = "set kg's --mtu, or the CNI plugin's, to the least of all nodes";
                round.line(Level::Warning, node.0.clone(), seen, advice.to_owned());
            }
        }
    }
    round.end("device", "the same")
}

/// Returns the commonest; of several, the greatest.
fn usual(mtus: impl Iterator<Item = u32>) -> Option<u32> {
    let mut counts = std::collections::BTreeMap::<u32, usize>::new();
    mtus.for_each(|mtu| *counts.entry(mtu).or_default() += 1);
    counts.into_iter().max_by_key(|(mtu, count)| (*count, *mtu)).map(|(mtu, _)| mtu)
}

fn host(view: &View, scope: &Scope) -> Vec<Line> {
    let mut round = Round::new("rp_filter", "0 or 2, so that a change of leader drops nothing");
    for (node, told) in reports(view, scope) {
        match told.report.host.as_ref().and_then(|host| host.strict_reverse_path.as_deref()) {
            None => {}
            Some([]) => round.fine(),
            Some(strict) => {
                let seen = format!("1 (strict) on {}", strict.join(", "));
                let advice = advice(LocalCause::ReversePathFilter).to_owned();
                round.line(Level::Warning, node.0.clone(), seen, advice);
            }
        }
    }
    round.end("node", "not strict")
}

fn reports<'v>(view: &'v View, scope: &Scope) -> impl Iterator<Item = (&'v NodeName, &'v Told)> {
    view.reports.iter().filter(|(node, _)| scope.covers(node))
}
