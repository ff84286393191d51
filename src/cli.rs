//! The command line: one file per command, clap types beside it. `anyhow` lives here only.

use std::future::Future;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use tokio_util::sync::CancellationToken;

mod agent;
mod arbiter;
mod crds;
mod inject;
mod lab;
mod replay;
mod restore;

/// Proves with fresh flows that Kilo's leaders forward, and moves the leader when one does not.
#[derive(Debug, Parser)]
#[command(name = "tanist", version, about, propagate_version = true)]
struct Tanist {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs beside a Kilo agent: answers probes, probes, reports
    Agent(agent::Agent),
    /// Runs the one process that judges and moves leaders
    Arbiter(arbiter::Arbiter),
    /// Runs a journal through diagnosis and decision again, and says why what was done was done
    Replay(replay::Replay),
    /// Builds a mesh on this machine, breaks it, and shows what Kilo does alone and with Tanist
    Lab(lab::Lab),
    /// Pauses every location, then puts back the leader annotations that the operator had
    Restore(restore::Restore),
    /// Puts the sidecar into a Kilo manifest: standard input to standard output
    Inject(inject::Inject),
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
        Command::Agent(agent) => agent.run(),
        Command::Arbiter(arbiter) => arbiter.run(),
        Command::Replay(replay) => replay.run(),
        Command::Lab(lab) => lab.run(),
        Command::Restore(restore) => restore.run(),
        Command::Inject(inject) => inject.run(),
        Command::Crds => crds::run(),
    }
}

/// Runs a future to its end on a runtime of one thread.
fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().context("cannot start the runtime")?.block_on(future)
}

/// Returns a token that SIGTERM and SIGINT cancel.
fn until_told_to_stop() -> anyhow::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let cancel = CancellationToken::new();
    let told = cancel.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        told.cancel();
    });
    Ok(cancel)
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
