//! `tanist history`: moves that were made, and moves that would have been made.

use std::process::ExitCode;

use clap::Args;

use super::output::EXITS;
use super::overview::Overview;
use crate::operator::history::History as Past;

/// Shows the last moves, and the convictions: what Tanist would have done, what held it, and whether
/// the leader healed by itself.
#[derive(Debug, Args)]
#[command(after_help = EXITS)]
pub(super) struct History {
    #[command(flatten)]
    of: Overview,
}

impl History {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        self.of.show(Past::of, Past::text)
    }
}
