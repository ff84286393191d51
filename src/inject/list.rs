//! A list in block style, as lines.

use std::ops::Range;

use super::Refused;
use super::document::Document;

/// Lines that are replaced by others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Edit {
    /// Which, from zero; an empty range is a place between two.
    pub(super) lines: Range<usize>,
    /// By what.
    pub(super) text: Vec<String>,
}

/// One item of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Item {
    name: String,
    lines: Range<usize>,
}

/// A list of named items, each beginning beside its dash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct List {
    /// How far its dashes are indented.
    pub(super) indent: usize,
    items: Vec<Item>,
}

impl List {
    /// Finds the items' lines. `starts` has their names and where the first key of each stands,
    /// line and column from one.
    pub(super) fn find(
        document: &Document,
        path: &str,
        starts: &[(String, usize, usize)],
    ) -> Result<Self, Refused> {
        let lines = document.lines();
        let mut items = Vec::new();
        let mut indents = Vec::new();
        for (name, line, column) in starts {
            let indent =
                dash(document.line(*line), *column).ok_or_else(|| Refused::NotUnderstood {
                    document: document.number,
                    path: path.to_owned(),
                    line: *line,
                    why: "not written as a list with one item behind each dash",
                })?;
            indents.push(indent);
            items.push(Item { name: name.clone(), lines: *line - 1..end(&lines, *line, indent) });
        }
        let indent = indents.first().copied().unwrap_or_default();
        Ok(Self { indent, items })
    }

    /// Returns where the list ends once the items named `ours` are gone.
    pub(super) fn end_without(&self, ours: &[String]) -> usize {
        let foreign = self.items.iter().rfind(|item| !ours.contains(&item.name));
        let first = self.items.first().map_or(0, |item| item.lines.start);
        foreign.map_or(first, |item| item.lines.end)
    }

    /// Returns the edits that take the items named `ours` out.
    pub(super) fn without<'a>(&'a self, ours: &'a [String]) -> impl Iterator<Item = Edit> + 'a {
        let taken = self.items.iter().filter(|item| ours.contains(&item.name));
        taken.map(|item| Edit { lines: item.lines.clone(), text: Vec::new() })
    }
}

/// Returns how far the dash is indented that stands before a column; none if none does.
fn dash(line: &str, column: usize) -> Option<usize> {
    let before: String = line.chars().take(column.checked_sub(1)?).collect();
    let indent = indent(&before);
    let behind = before.get(indent..)?.strip_prefix('-')?;
    (!behind.is_empty() && behind.trim().is_empty()).then_some(indent)
}

/// Returns the line behind an item that begins on `line`, from one: the item goes on as long as
/// lines are indented further than its dash.
fn end(lines: &[&str], line: usize, dash: usize) -> usize {
    let mut end = line;
    for (index, text) in lines.iter().enumerate().skip(line) {
        if text.trim().is_empty() {
            continue;
        }
        if indent(text) > dash {
            end = index + 1;
        } else if !text.trim_start().starts_with('#') {
            break;
        }
    }
    end
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}
