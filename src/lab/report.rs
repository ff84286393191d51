//! What a run of the lab has shown: tables for people, JSON for programs.

use std::time::Duration;

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use super::figures::{Concern, Figures, Moments, Mover};
use super::timeline::Entry;
use super::vigil::Change;

/// All that a run of the lab has shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The program's version.
    pub version: &'static str,
    /// Locations and nodes in each.
    pub mesh: [usize; 2],
    /// What the fault had to lead to.
    pub expected: String,
    /// Every event.
    pub timeline: Vec<Entry>,
    /// Every fault that was set.
    pub faults: Vec<Figures>,
    /// Every change of a leader, in an incident and outside.
    pub changes: Vec<Change>,
    /// How long each part took, over all faults that Tanist cured.
    pub parts: Vec<Part>,
    /// The same for the moves made by hand.
    pub by_hand: Vec<Part>,
    /// Why the run did not show what it should; empty if it did.
    pub failures: Vec<String>,
}

/// How long one part of the cure took, over all runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Part {
    /// From what to what.
    pub part: &'static str,
    /// In seconds, sorted.
    pub seconds: Vec<f64>,
}

type Between = fn(&Moments) -> Option<Duration>;

const PARTS: [(&str, Between); 5] = [
    ("fault → verdict", |m| m.verdict),
    ("verdict → annotation written", |m| m.written?.checked_sub(m.verdict?)),
    ("annotation → fresh flows pass", |m| Some(m.restored?.saturating_sub(m.written?))),
    ("annotation → verified", |m| m.verified?.checked_sub(m.written?)),
    ("fault → fresh flows pass", |m| m.restored),
];

/// Sorts out how long each part took over the faults that were cured by `mover`.
#[must_use]
pub fn parts(faults: &[Figures], mover: Mover) -> Vec<Part> {
    let cured = faults.iter().filter(|fault| fault.by == mover).collect::<Vec<_>>();
    let parts = PARTS.iter().map(|(part, between)| {
        let seconds = cured.iter().filter_map(|fault| between(&fault.moments));
        let mut seconds = seconds.map(|took| took.as_secs_f64()).collect::<Vec<_>>();
        seconds.sort_by(f64::total_cmp);
        Part { part, seconds }
    });

    parts.filter(|part| !part.seconds.is_empty()).collect()
}

impl Part {
    /// Returns the middle one, the lower of two.
    #[must_use]
    pub fn median(&self) -> Option<f64> {
        self.seconds.get(self.seconds.len().checked_sub(1)? / 2).copied()
    }
}

impl Report {
    /// Returns the table of all faults.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(UTF8_HORIZONTAL_ONLY);
        #[rustfmt::skip]
        table.set_header([
            "fault", "leader", "by", "lost at", "verdict", "written", "kilo0 up", "back", "verified",
            "lost", "elsewhere", "own after", "kept dead", "of others",
        ]);
        for fault in &self.faults {
            table.add_row(row(fault));
        }
        for column in table.column_iter_mut().skip(3) {
            column.set_cell_alignment(CellAlignment::Right);
        }

        table.to_string()
    }

    /// Returns the table of how long each part took, by Tanist and by hand.
    #[must_use]
    pub fn parts_table(&self) -> String {
        let mut table = Table::new();
        table.load_style(UTF8_HORIZONTAL_ONLY);
        table.set_header(["seconds", "n", "min", "median", "max"]);

        let hand = self.by_hand.iter().map(|part| (format!("by hand: {}", part.part), part));
        let tanist = self.parts.iter().map(|part| (part.part.to_owned(), part));
        for (name, part) in tanist.chain(hand) {
            let show = |value: Option<f64>| value.map_or_else(String::new, |v| format!("{v:.3}"));
            table.add_row([
                name,
                part.seconds.len().to_string(),
                show(part.seconds.first().copied()),
                show(part.median()),
                show(part.seconds.last().copied()),
            ]);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }

        table.to_string()
    }
}

fn row(fault: &Figures) -> Vec<String> {
    let moment = |moment: Option<Duration>| {
        moment.map_or_else(|| "–".to_owned(), |took| format!("{:.3}", took.as_secs_f64()))
    };
    let by = match fault.by {
        Mover::Nobody => "nobody",
        Mover::Hand => "hand",
        Mover::Tanist => "Tanist",
        Mover::Kilo => "Kilo",
    };
    let tally = |concern| {
        let tally = fault.flows.get(&concern).copied().unwrap_or_default();
        format!("{}/{}", tally.lost, tally.opened)
    };
    let place = match &fault.to {
        Some(to) => format!("{} → {to}", fault.from),
        None => fault.from.to_string(),
    };
    let lease = if fault.held_lease { " (lease)" } else { "" };
    let died = |elsewhere| {
        let of = fault.kept_died.iter().filter(|(c, _)| (**c == Concern::Elsewhere) == elsewhere);
        of.map(|(_, died)| died).sum::<usize>().to_string()
    };
    let Moments { first_lost, reported: _, verdict, written, tunnel_up, restored, verified } =
        fault.moments;

    vec![
        format!("{}{lease}", fault.fault),
        place,
        by.to_owned(),
        moment(first_lost),
        moment(verdict),
        moment(written),
        moment(tunnel_up),
        moment(restored),
        moment(verified),
        tally(Concern::Relayed),
        tally(Concern::Elsewhere),
        format!("{}/{}", fault.own_after_move.lost, fault.own_after_move.opened),
        died(false),
        died(true),
    ]
}
