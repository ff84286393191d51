//! What `status` and `history` have in common: the whole mesh or one location of it, shown.

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::access::Access;
use super::block_on;
use super::output::{Exit, Output};
use crate::evidence::Location;
use crate::operator::View;

/// Of what something is shown, and how.
#[derive(Debug, Args)]
pub(super) struct Overview {
    /// Only this location: its exact name, which may be empty, or its MeshLocation's
    #[arg(value_name = "LOCATION")]
    location: Option<String>,
    #[command(flatten)]
    access: Access,
    #[command(flatten)]
    output: Output,
}

impl Overview {
    /// Shows what `of` makes of the mesh, for people as `text` words it.
    pub(super) fn show<T: Serialize>(
        self,
        of: impl FnOnce(&View, Option<&Location>) -> T,
        text: impl FnOnce(&T, u16) -> String,
    ) -> anyhow::Result<ExitCode> {
        block_on(async move {
            let view = self.access.view(&self.access.client().await?).await?;
            let only = self.location.as_deref().map(|asked| view.find(asked)).transpose()?;
            let shown = of(&view, only.as_ref());
            self.output.show(&shown, |width| text(&shown, width))?;
            Ok(Exit::Done.into())
        })
    }
}
