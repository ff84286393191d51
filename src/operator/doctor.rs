//! What a careful colleague would look at: each line says what was seen, what was expected and what
//! to do.
//!
//! [`facts`] gathers by the API what the objects of the mesh do not say; [`examine`] judges all of
//! it and is pure.

use serde::Serialize;

use super::table::table;
use super::view::View;
use super::words;
use crate::evidence::NodeName;

mod access;
pub mod facts;
mod mesh;
mod nodes;
mod paths;
mod rights;
#[cfg(test)]
mod tests;

pub use facts::{Facts, gather};

/// How bad it is, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// As it should be.
    Fine,
    /// Something to know, or that could not be seen.
    Warning,
    /// Tanist cannot do its work.
    Broken,
}

impl Level {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Warning => "warning",
            Self::Broken => "broken",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// How bad it is.
    pub level: Level,
    /// What was looked at.
    pub check: &'static str,
    /// Where: a node, a location, or the mesh.
    pub place: String,
    /// What was seen.
    pub seen: String,
    /// What was expected.
    pub expected: &'static str,
    /// What to do; empty if nothing.
    pub advice: String,
}

/// What to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    Mesh,
    /// One node, and what concerns the mesh as a whole.
    Node(NodeName),
}

impl Scope {
    fn covers(&self, node: &NodeName) -> bool {
        match self {
            Self::Mesh => true,
            Self::Node(only) => only == node,
        }
    }
}

/// All that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Examination {
    /// The worst of it.
    pub level: Level,
    /// Line by line, in the order of the checks.
    pub lines: Vec<Line>,
}

/// Looks at everything in scope.
#[must_use]
pub fn examine(view: &View, facts: &Facts, scope: &Scope) -> Examination {
    let mut lines = mesh::examine(view, facts);
    lines.extend(nodes::examine(view, scope));
    lines.extend(paths::examine(view, facts.port, scope));
    lines.extend(access::examine(facts));
    lines.extend(mesh::costs(view));
    Examination::of(lines)
}

impl Examination {
    /// Makes it of lines.
    #[must_use]
    pub fn of(lines: Vec<Line>) -> Self {
        let level = lines.iter().map(|line| line.level).max().unwrap_or(Level::Fine);
        Self { level, lines }
    }

    /// Returns it for people.
    #[must_use]
    pub fn text(&self, width: u16) -> String {
        let row = |line: &Line| {
            [
                line.level.as_str().to_owned(),
                line.check.to_owned(),
                line.place.clone(),
                line.seen.clone(),
                line.expected.to_owned(),
                line.advice.clone(),
            ]
        };
        let rows = self.lines.iter().map(row).collect();
        let header = ["", "CHECK", "WHERE", "SEEN", "EXPECTED", "WHAT TO DO"];
        let count = |level| self.lines.iter().filter(|line| line.level == level).count();
        format!(
            "{}\n\n{} fine, {} to know, {} broken",
            table(header, rows, width),
            count(Level::Fine),
            count(Level::Warning),
            count(Level::Broken),
        )
    }
}

/// One check of many things alike: a line for each that is not fine, and one for all that are.
struct Round {
    check: &'static str,
    expected: &'static str,
    fine: usize,
    lines: Vec<Line>,
}

impl Round {
    const fn new(check: &'static str, expected: &'static str) -> Self {
        Self { check, expected, fine: 0, lines: Vec::new() }
    }

    const fn fine(&mut self) {
        self.fine += 1;
    }

    fn line(&mut self, level: Level, place: String, seen: String, advice: String) {
        let Self { check, expected, .. } = *self;
        self.lines.push(Line { level, check, place, seen, expected, advice });
    }

    /// Ends the check; `what` names one of the things that were looked at.
    fn end(mut self, what: &str, seen: &str) -> Vec<Line> {
        if self.fine > 0 {
            let place = words::count(self.fine, what);
            self.line(Level::Fine, place, seen.to_owned(), String::new());
            self.lines.rotate_right(1);
        }
        self.lines
    }
}
