//! The command line: one file per command, clap types beside it. `anyhow` lives here only.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod crds;

/// Proves with fresh flows that Kilo's leaders forward, and moves the leader when one does not.
#[derive(Debug, Parser)]
#[command(name = "tanist", version, about, propagate_version = true)]
struct Tanist {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Prints the custom resource definitions, for kubectl apply
    Crds,
}

/// Parses the command line, runs the command and reports how it ended.
#[must_use]
pub fn main() -> ExitCode {
    let Tanist { command } = Tanist::parse();
    match run(command) {
        Ok(code) => code,
        Err(error) => {
            complain(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Crds => crds::run(),
    }
}

/// Prints a line to standard output: what a command was asked for.
#[expect(clippy::print_stdout, reason = "the one place that prints what was asked for")]
fn say(line: &str) {
    println!("{line}");
}

/// Prints a line to standard error: what went wrong.
#[expect(clippy::print_stderr, reason = "the one place that prints what went wrong")]
fn complain(line: &str) {
    eprintln!("{line}");
}
