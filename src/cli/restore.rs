//! `tanist restore`: puts back the leader annotations that the operator had, without an arbiter.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use super::access::Access;
use super::output::{EXITS, Exit};
use super::{block_on, say};
use crate::{act, telemetry};

/// Pauses every location, then puts back the leader annotations that the operator had.
#[derive(Debug, Args)]
#[command(after_help = EXITS)]
pub(super) struct Restore {
    #[command(flatten)]
    access: Access,
}

impl Restore {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        telemetry::start("warn")?;
        block_on(async move {
            let client = self.access.client().await?;
            let restored = act::restore::restore(client, &self.access.topology_label)
                .await
                .context("not all annotations are back; the command may be repeated")?;
            for node in &restored {
                match &node.value {
                    Some(value) => say(&format!("{}: annotated again ({value:?})", node.node)),
                    None => say(&format!("{}: annotation taken away", node.node)),
                }
            }
            say(&format!("{} nodes put back; all locations are paused", restored.len()));
            Ok(Exit::Done.into())
        })
    }
}
