//! The moves as a table, beside those of the real Kilo.

use std::time::Duration;

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, Table};

use super::{Moved, Moves};

/// What took how long here; and with the real Kilo 0.7.0 and a WireGuard that forgets its sessions
/// with its link as the kernel's does: min / median / max of eighteen moves between the same nine
/// nodes.
type Row = (&'static str, fn(&Moved) -> Option<Duration>, &'static str);

const ROWS: [Row; 9] = [
    ("new leader's kilo0 up", |m| m.up, "0.02 / 0.07 / 0.10"),
    ("old leader's kilo0 down", |m| m.down, "0.02 / 0.06 / 0.15"),
    ("all remote leaders have the new peer", |m| m.peers, "0.05 / 0.09 / 0.12"),
    ("members' last route", |m| m.routes, "0.03 / 0.06 / 0.12"),
    ("all handshakes done", |m| m.handshakes, "0.05 / 0.25 / 5.1 (8 of 18 about 5)"),
    ("fresh UDP outage, member", |m| m.outage, "0.00 / 0.00 / 4.72"),
    ("kept TCP longest stall, member", |m| m.stall, "0.01 / 0.21 / 6.88"),
    ("other locations: fresh UDP outage", |m| m.elsewhere, "0.00 / 0.00 / 0.00"),
    ("other locations: kept TCP stall", |m| m.elsewhere_stall, "0.00 / 0.03 / 0.21"),
];

/// The real one was measured with users on both sides only: its slow moves have other causes too.
const ONE_SIDED: &str = "";

/// The modes in which these times come: up to how many seconds.
const MODES: [(&str, f64); 3] = [("≤ 0.3", 0.3), ("to 4", 4.0), ("about 5", 6.0)];

/// What is missing here, for whoever compares.
const MISSING: &str = "\
WireGuard here is gotatun. Two initiations that cross and cost both ends 5 s, as with wireguard-go,
do not occur in it: so fewer moves take about 5 s than with the real one, and other locations are
hardly ever hit. Sessions that one end still holds and the other has dropped come up only with an
agent that is dead, since a link that goes down forgets its sessions here, as in the kernel. What
remains of the 5 s is the initiation that arrives before the other end is ready, and is mended at
once where that end has something to send: here all users speak both ways all the time, which the
last row takes away. The real one beside it had users on both sides too. Outages are seen to
some 0.2 s: each pair of locations opens some five fresh UDP flows a second each way, and a kept
connection speaks every 0.2 s, which is the least stall it can show.";

impl Moves {
    /// Returns the table and what it cannot show.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(UTF8_HORIZONTAL_ONLY);
        let modes = MODES.iter().map(|(name, _)| *name);
        let first = ["seconds from the patch that moves", "n", "min / median / max"];
        table.set_header(first.into_iter().chain(modes).chain(["more", "never", "real Kilo"]));
        for (name, value, real) in ROWS {
            let values = self.moves.iter().map(value).collect::<Vec<_>>();
            table.add_row(row(name, &values, real));
        }
        let values = self.one_sided.iter().map(|moved| moved.handshakes).collect::<Vec<_>>();
        table.add_row(row("all handshakes done, only others speak", &values, ONE_SIDED));
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        format!("{table}\n{MISSING}")
    }
}

fn row(name: &str, values: &[Option<Duration>], real: &str) -> Vec<String> {
    let mut seconds = values.iter().flatten().map(Duration::as_secs_f64).collect::<Vec<_>>();
    seconds.sort_by(f64::total_cmp);
    let never = values.len() - seconds.len();
    let spread = match seconds.as_slice() {
        [] => "–".to_owned(),
        [least, .., most] => {
            let middle = seconds[(seconds.len() - 1) / 2];
            format!("{least:.3} / {middle:.3} / {most:.3}")
        }
        [one] => format!("{one:.3}"),
    };

    let mut cells = vec![name.to_owned(), values.len().to_string(), spread];
    cells.extend(modes(&seconds).map(|count| count.to_string()));
    cells.extend([never.to_string(), real.to_owned()]);
    cells
}

/// Counts how many fall into each mode, and how many take longer.
fn modes(seconds: &[f64]) -> [usize; MODES.len() + 1] {
    let mut counts = [0; MODES.len() + 1];
    for value in seconds {
        let mode = MODES.iter().position(|(_, most)| value <= most).unwrap_or(MODES.len());
        counts[mode] += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_falls_into_one_mode() {
        assert_eq!(modes(&[0.0, 0.3, 0.31, 4.0, 5.07, 6.88]), [2, 2, 1, 1]);
    }

    #[test]
    fn what_was_never_done_is_counted_apart() {
        let values = [Some(Duration::from_millis(100)), None, Some(Duration::from_millis(5100))];
        let cells = row("x", &values, "y");
        assert_eq!(cells, ["x", "3", "0.100 / 0.100 / 5.100", "1", "0", "1", "0", "1", "y"]);
    }
}
