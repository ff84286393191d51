//! The cost as tables for people, beside the goals.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, Table};

use super::counters::{Tally, WIREGUARD};
use super::{Cost, NodeCost, Role};

/// Seconds in a month of 30.44 days.
const MONTH: f64 = 30.44 * 86_400.0;

/// Some value of a node's cost.
type Value = fn(&NodeCost) -> f64;

/// What VXLAN adds to a packet inside a location: its header, Ethernet, UDP and IP.
const VXLAN: u64 = 8 + 14 + 8 + 20;

/// One line of a table: what, how, with how many decimals, and the goal.
struct Line {
    title: &'static str,
    value: Value,
    decimals: usize,
    goal: &'static str,
    /// The goal for the holder of the lease, who is a sidecar and the arbiter.
    lease_goal: &'static str,
}

const fn line(
    (title, value, decimals): (&'static str, Value, usize),
    [goal, lease_goal]: [&'static str; 2],
) -> Line {
    Line { title, value, decimals, goal, lease_goal }
}

/// What each node pays.
const OWN: [Line; 8] = [
    line(("CPU, % of one core", |node| node.cpu_percent, 2), ["≤ 1", "≤ 1 + 5"]),
    line(("RSS, MiB", |node| mebibytes(node.memory.resident), 1), ["≤ 20", "≤ 20 + 32"]),
    line(("RSS at its peak, MiB", |node| mebibytes(node.memory.peak), 1), [""; 2]),
    line(("PSS, MiB", |node| node.memory.proportional.map_or(f64::NAN, mebibytes), 1), [""; 2]),
    line(("probes originated, B/s", |node| node.rate(node.bytes.asked), 0), ["≤ 380"; 2]),
    line(("the same, GB/month", |node| node.month(node.bytes.asked), 2), ["≤ 1"; 2]),
    line(("answers to others, B/s", |node| node.rate(node.bytes.answered), 0), [""; 2]),
    line(("hairpins as an heir, B/s", |node| node.rate(node.bytes.hairpins), 0), [""; 2]),
];

/// What a leader carries.
const CARRIED: [Line; 7] = [
    line(("fresh flows/s", |node| node.bytes.fresh.packets as f64 / node.seconds, 2), [""; 2]),
    line(("relayed, B/s", |node| node.rate(node.bytes.relayed), 0), ["≤ 3040", ""]),
    line(("the same, GB/month", |node| node.month(node.bytes.relayed), 2), ["≤ 8", ""]),
    line(
        ("the same on the WAN, in WireGuard, GB/month", |node| node.month(wan(node)), 2),
        ["≤ 4.2", ""],
    ),
    line(
        ("on WAN and overlay together, GB/month", |node| node.month(wan(node)) + inside(node), 2),
        [""; 2],
    ),
    line(("all probes on the WAN, its own too, B/s", |n| n.rate(n.bytes.wan), 0), [""; 2]),
    line(("the same, GB/month", |node| node.month(node.bytes.wan), 2), [""; 2]),
];

/// What a leader relays, as it is on the WAN.
const fn wan(node: &NodeCost) -> Tally {
    node.bytes.relayed.within(WIREGUARD)
}

/// The same on the overlay, GB a month.
fn inside(node: &NodeCost) -> f64 {
    node.month(node.bytes.relayed.within(VXLAN))
}

impl NodeCost {
    fn rate(&self, tally: Tally) -> f64 {
        tally.bytes as f64 / self.seconds
    }

    fn month(&self, tally: Tally) -> f64 {
        self.rate(tally) * MONTH / 1e9
    }
}

impl Cost {
    /// Returns what each kind of node pays, min / median / max over all of them.
    #[must_use]
    pub fn table(&self) -> String {
        let of = |role| {
            let nodes = self.nodes.iter().filter(move |node| node.role == role);
            nodes.filter(|node| !node.holds_lease).collect::<Vec<_>>()
        };
        let kinds = [
            ("members", of(Role::Member)),
            ("witnesses", of(Role::Witness)),
            ("leaders", of(Role::Leader)),
        ];
        let holder = self.nodes.iter().filter(|node| node.holds_lease).collect::<Vec<_>>();

        let counted = kinds.iter().map(|(name, nodes)| format!("{} {name}", nodes.len()));
        let titles = ["min / median / max".to_owned()].into_iter().chain(counted);
        let more = ["goal", "holder of the lease", "goal"].map(str::to_owned);
        let mut table = begin(titles.chain(more).collect());
        for line in &OWN {
            let cells = kinds.iter().map(|(_, nodes)| line.spread(nodes));
            let cells = [line.title.to_owned()].into_iter().chain(cells);
            let more = [line.goal.to_owned(), line.spread(&holder), line.lease_goal.to_owned()];
            table.add_row(cells.chain(more).collect::<Vec<_>>());
        }
        finish(table)
    }

    /// Returns what a leader carries, min / median / max over all leaders.
    #[must_use]
    pub fn carried(&self) -> String {
        let leaders = self.nodes.iter().filter(|node| node.role == Role::Leader);
        let leaders = leaders.collect::<Vec<_>>();
        let through = format!("through {} leaders", leaders.len());
        let titles = ["min / median / max".to_owned(), through, "goal".to_owned()];
        let mut table = begin(titles.to_vec());
        for line in &CARRIED {
            let cells = [line.title.to_owned(), line.spread(&leaders), line.goal.to_owned()];
            table.add_row(cells);
        }
        finish(table)
    }

    /// Returns how the sidecars' own count of probes compares with the kernel's.
    #[must_use]
    pub fn cross_check(&self) -> String {
        let mut flows = BTreeMap::<&str, u64>::new();
        for (flow, count) in self.nodes.iter().flat_map(|node| &node.probes) {
            *flows.entry(flow).or_default() += count;
        }
        let datagrams = ["new-udp", "kept-udp", "large"].map(|flow| flows.get(flow).unwrap_or(&0));
        let said = datagrams.into_iter().sum::<u64>();
        let seen = self.nodes.iter().map(|node| node.bytes.datagrams.packets).sum::<u64>();

        let mut text = format!(
            "probes by UDP over {} s: {said} by the sidecars' own count, {seen} by the kernel's \
             (which has the questions of hairpin tests too); by flow:",
            self.seconds
        );
        for (flow, count) in flows {
            // Writing to a String cannot fail.
            let _ = write!(text, " {flow} {count}");
        }
        text
    }
}

impl Line {
    fn spread(&self, nodes: &[&NodeCost]) -> String {
        spread(nodes.iter().map(|node| (self.value)(node)).collect(), self.decimals)
    }
}

fn begin(titles: Vec<String>) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY);
    table.set_header(titles);
    table
}

fn finish(mut table: Table) -> String {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

/// Returns the least, the middle one (the lower of two) and the greatest; one alone by itself.
fn spread(mut values: Vec<f64>, decimals: usize) -> String {
    values.retain(|value| value.is_finite());
    values.sort_by(f64::total_cmp);
    match values.as_slice() {
        [] => "–".to_owned(),
        [one] => format!("{one:.decimals$}"),
        [least, .., most] => {
            let middle = values[(values.len() - 1) / 2];
            format!("{least:.decimals$} / {middle:.decimals$} / {most:.decimals$}")
        }
    }
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_shows_the_lower_middle_and_leaves_out_what_is_unknown() {
        assert_eq!(spread(vec![3.0, 1.0, f64::NAN, 2.0, 9.0], 1), "1.0 / 2.0 / 9.0");
        assert_eq!(spread(vec![1.26], 1), "1.3");
        assert_eq!(spread(vec![f64::NAN], 1), "–");
    }

    #[test]
    fn the_budget_of_a_month_is_that_of_its_seconds() {
        // The goal of 1 GB a month is 380 B/s.
        assert!((380.0 * MONTH / 1e9 - 1.0).abs() < 0.001);
    }
}
