//! The command line: one file per command, clap types beside it. `anyhow` lives here only.

use std::future::Future;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use tokio_util::sync::CancellationToken;

mod access;
mod ack;
mod agent;
mod arbiter;
mod completions;
mod crds;
mod doctor;
mod history;
mod inject;
mod lab;
mod metrics;
mod move_;
mod output;
mod overview;
mod pause;
mod pin;
mod replay;
mod restore;
mod status;
mod why;

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
    /// Shows who leads each location, since when, whether it is well, and who is next
    Status(status::Status),
    /// Shows why a location is judged as it is, and why no other node leads
    Why(why::Why),
    /// Shows the last moves, and what would have been moved
    History(history::History),
    /// Asks for a move of a location's leader, and waits for its proof
    Move(move_::Move),
    /// Makes a node lead its location until it is unpinned
    Pin(pin::Pin),
    /// Takes a node's pin away
    Unpin(pin::Unpin),
    /// Leaves a location alone until it is resumed
    Pause(pause::Pause),
    /// Lets Tanist act in a location again
    Resume(pause::Resume),
    /// Acknowledges the incident of a location, which ends the rest after it
    Ack(ack::Ack),
    /// Looks at the mesh, or at this node: what was seen, what was expected, what to do
    Doctor(doctor::Doctor),
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
    /// Prints the page that documents every metric
    #[command(hide = true)]
    Metrics(metrics::Metrics),
    /// Prints completions for a shell
    Completions(completions::Completions),
}

/// Parses the command line, runs the command and reports how it ended.
#[must_use]
pub fn main() -> ExitCode {
    match parse().and_then(run) {
        Ok(code) => code,
        Err(error) => {
            complain(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Parses the command line; ends the process where clap does, with help or a usage error.
fn parse() -> anyhow::Result<Command> {
    let matches = command().get_matches();
    let Tanist { command } = Tanist::from_arg_matches(&matches).map_err(|error| error.exit())?;
    Ok(command)
}

/// Returns the command line as it is called: `tanist`, or `kubectl tanist` where kubectl found us as
/// its plugin.
fn command() -> clap::Command {
    let called = std::env::args_os().next().map(std::path::PathBuf::from);
    let name = called.as_deref().and_then(std::path::Path::file_name);
    let plugin = name.is_some_and(|name| name.to_string_lossy().starts_with("kubectl-tanist"));
    let command = Tanist::command();
    if plugin { command.bin_name("kubectl tanist") } else { command }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Status(status) => status.run(),
        Command::Why(why) => why.run(),
        Command::History(history) => history.run(),
        Command::Move(wish) => wish.run(),
        Command::Pin(pin) => pin.run(),
        Command::Unpin(unpin) => unpin.run(),
        Command::Pause(pause) => pause.run(),
        Command::Resume(resume) => resume.run(),
        Command::Ack(ack) => ack.run(),
        Command::Doctor(doctor) => doctor.run(),
        Command::Metrics(metrics) => Ok(metrics.run()),
        Command::Completions(completions) => Ok(completions.run(Tanist::command())),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_contradicts_nothing() {
        Tanist::command().debug_assert();
    }

    #[test]
    fn every_command_and_its_flags_are_documented() {
        let page = include_str!("../docs/commands.md");
        for command in Tanist::command().get_subcommands().filter(|command| !command.is_hide_set())
        {
            let name = command.get_name();
            let heading = format!("\n## {name}");
            let section = page.split(&heading).nth(1);
            let section = section.unwrap_or_else(|| panic!("docs/commands.md lacks {name}"));
            let section = section.split("\n## ").next().unwrap_or_default();
            // Those of the two long-running ones and of the lab stand in pages of their own.
            if matches!(name, "agent" | "arbiter" | "lab") {
                continue;
            }
            let common = ["kubeconfig", "context", "topology-label", "output"];
            let flags = command.get_arguments().filter_map(|flag| flag.get_long());
            for flag in flags.filter(|flag| !common.contains(flag)) {
                assert!(section.contains(&format!("`--{flag}")), "{name}: --{flag} is missing");
            }
        }
    }

    #[test]
    fn doctor_and_move_name_their_exit_codes() {
        for name in ["status", "why", "history", "move", "pin", "pause", "ack", "doctor", "restore"]
        {
            let mut command = Tanist::command();
            let command = command.find_subcommand_mut(name).expect("it is there");
            let help = command.render_help().to_string();
            assert!(help.contains("Exit codes: 0 "), "{name}: {help}");
        }
    }
}
