//! Tables for people: columns without frames, as kubectl has them.

use comfy_table::{ContentArrangement, Table};

/// Returns a table no wider than `width`; long cells are wrapped.
#[must_use]
pub fn table<const N: usize>(header: [&str; N], rows: Vec<[String; N]>, width: u16) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(width);
    table.set_header(header);
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }

    let lines: Vec<String> =
        table.to_string().lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}
