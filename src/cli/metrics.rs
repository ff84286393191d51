//! `tanist metrics`: the page that documents every metric, for the repository and its tests.

use std::process::ExitCode;

use clap::Args;

use super::output::Exit;
use super::say;
use crate::metrics::{Metrics as All, page};

/// Prints the page that documents every metric.
#[derive(Debug, Args)]
pub(super) struct Metrics {
    /// Prints instead what a process serves, with every series that there can be
    #[arg(long)]
    exposition: bool,
}

impl Metrics {
    pub(super) fn run(&self) -> ExitCode {
        let text = if self.exposition { All::specimen().classic_text() } else { page::page() };
        say(text.trim_end());
        Exit::Done.into()
    }
}
