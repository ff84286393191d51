//! `tanist history`: moves that were made, and moves that would have been made.

use std::process::ExitCode;

use clap::Args;

use super::access::Access;
use super::block_on;
use super::output::{EXITS, Exit, Output};
use crate::operator::history::History as Past;

/// Shows the last moves, and the convictions: what Tanist would have done, what held it, and whether
/// the leader healed by itself.
#[derive(Debug, Args)]
#[command(after_help = EXITS)]
pub(super) struct History {
    /// Only this location: its exact name, which may be empty, or its MeshLocation's
    #[arg(value_name = "LOCATION")]
    location: Option<String>,
    #[command(flatten)]
    access: Access,
    #[command(flatten)]
    output: Output,
}

impl History {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        block_on(async move {
            let view = self.access.view(&self.access.client().await?).await?;
            let only = self.location.as_deref().map(|asked| view.find(asked)).transpose()?;
            let history = Past::of(&view, only.as_ref());
            self.output.show(&history, |width| history.text(width))?;
            Ok(Exit::Done.into())
        })
    }
}
