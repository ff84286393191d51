//! The command line: one file per command, clap types beside it. `anyhow` lives here only.

use std::process::ExitCode;

/// Parses the command line, runs the command and reports how it ended.
#[must_use]
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
