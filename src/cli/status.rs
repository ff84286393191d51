//! `tanist status`: who leads each location, since when, is it well, who is next.

use std::process::ExitCode;

use clap::Args;

use super::output::EXITS;
use super::overview::Overview;
use crate::operator::status::Status as Shown;

/// Shows who leads each location, since when, whether it is well, and who is next.
#[derive(Debug, Args)]
#[command(after_help = EXITS)]
pub(super) struct Status {
    #[command(flatten)]
    of: Overview,
}

impl Status {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        self.of.show(Shown::of, Shown::text)
    }
}
