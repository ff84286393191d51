//! The cost as tables for people, beside the goals.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, Table};

use super::counters::Tally;
use super::{Cost, NodeCost, Role};

/// Seconds in a month of 30.44 days.
const MONTH: f64 = 30.44 * 86_400.0;

/// Some value of a node's cost.
type Value = fn(&NodeCost) -> f64;

/// What each node pays: title, value, how many decimals.
const OWN: [(&str, Value, usize); 8] = [
    ("CPU %", |node| node.cpu_percent, 2),
    ("RSS MiB", |node| mebibytes(node.memory.resident), 1),
    ("peak MiB", |node| mebibytes(node.memory.peak), 1),
    ("PSS MiB", |node| node.memory.proportional.map_or(f64::NAN, mebibytes), 1),
    ("asked B/s", |node| node.rate(node.bytes.asked), 0),
    ("asked GB/month", |node| node.month(node.bytes.asked), 2),
    ("answered B/s", |node| node.rate(node.bytes.answered), 0),
    ("hairpins B/s", |node| node.rate(node.bytes.hairpins), 0),
];

/// What a leader carries for others.
const CARRIED: [(&str, Value, usize); 5] = [
    ("fresh flows/s", |node| node.bytes.fresh.packets as f64 / node.seconds, 2),
    ("relayed B/s", |node| node.rate(node.bytes.relayed), 0),
    ("relayed GB/month", |node| node.month(node.bytes.relayed), 2),
    ("WAN B/s", |node| node.rate(node.bytes.wan), 0),
    ("WAN GB/month", |node| node.month(node.bytes.wan), 2),
];

/// The goals in the columns of [`OWN`].
const OWN_GOAL: [&str; 8] = ["≤ 1", "≤ 20", "", "", "≤ 380", "≤ 1", "", ""];

/// The same for the holder of the lease: the sidecar's and the arbiter's together.
const LEASE_GOAL: [&str; 8] = ["≤ 1 + 5", "≤ 20 + 32", "", "", "≤ 380", "≤ 1", "", ""];

/// The goals in the columns of [`CARRIED`].
const CARRIED_GOAL: [&str; 5] = ["", "≤ 3040", "≤ 8", "", "≤ 4.2"];

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
        let mut table = begin(OWN.iter().map(|(title, ..)| *title));
        for (name, role) in
            [("members", Role::Member), ("witnesses", Role::Witness), ("leaders", Role::Leader)]
        {
            let nodes = self.nodes.iter().filter(|node| node.role == role && !node.holds_lease);
            add(&mut table, name, &nodes.collect::<Vec<_>>(), &OWN);
        }
        goal(&mut table, &OWN_GOAL);
        let holder = self.nodes.iter().filter(|node| node.holds_lease).collect::<Vec<_>>();
        add(&mut table, "holder of the lease", &holder, &OWN);
        goal(&mut table, &LEASE_GOAL);

        finish(table)
    }

    /// Returns what a leader carries, min / median / max over all leaders.
    #[must_use]
    pub fn carried(&self) -> String {
        let mut table = begin(CARRIED.iter().map(|(title, ..)| *title));
        let leaders = self.nodes.iter().filter(|node| node.role == Role::Leader);
        add(&mut table, "through a leader", &leaders.collect::<Vec<_>>(), &CARRIED);
        goal(&mut table, &CARRIED_GOAL);

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

fn begin<'a>(titles: impl Iterator<Item = &'a str>) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY);
    table.set_header(["min / median / max", "n"].into_iter().chain(titles));
    table
}

fn add(table: &mut Table, name: &str, nodes: &[&NodeCost], columns: &[(&str, Value, usize)]) {
    let cells = columns.iter().map(|(_, value, decimals)| {
        spread(nodes.iter().map(|node| value(node)).collect(), *decimals)
    });
    let row = [name.to_owned(), nodes.len().to_string()].into_iter().chain(cells);
    table.add_row(row.collect::<Vec<_>>());
}

fn goal(table: &mut Table, goals: &[&str]) {
    let row = ["  goal", ""].into_iter().chain(goals.iter().copied());
    table.add_row(row.collect::<Vec<_>>());
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
