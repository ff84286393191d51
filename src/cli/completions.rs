//! `tanist completions`: what a shell needs to complete our command line.

use std::process::ExitCode;

use clap::{Args, Command};
use clap_complete::Shell;

use super::output::Exit;

/// Prints completions for a shell.
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self, mut command: Command) -> ExitCode {
        let name = command.get_name().to_owned();
        clap_complete::generate(self.shell, &mut command, name, &mut std::io::stdout());
        Exit::Done.into()
    }
}
