//! `tanist status`: who leads each location, since when, is it well, who is next.

use std::process::ExitCode;

use clap::Args;

use super::access::Access;
use super::block_on;
use super::output::{EXITS, Exit, Output};
use crate::operator::status::Status as Shown;

/// Shows who leads each location, since when, whether it is well, and who is next.
#[derive(Debug, Args)]
#[command(after_help = EXITS)]
pub(super) struct Status {
    /// Only this location: its exact name, which may be empty, or its MeshLocation's
    #[arg(value_name = "LOCATION")]
    location: Option<String>,
    #[command(flatten)]
    access: Access,
    #[command(flatten)]
    output: Output,
}

impl Status {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        block_on(async move {
            let view = self.access.view(&self.access.client().await?).await?;
            let only = self.location.as_deref().map(|asked| view.find(asked)).transpose()?;
            let status = Shown::of(&view, only.as_ref());
            self.output.show(&status, |width| status.text(width))?;
            Ok(Exit::Done.into())
        })
    }
}
