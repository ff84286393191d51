//! `tanist pause` and `tanist resume`: a location that Tanist leaves alone.

use std::process::ExitCode;

use clap::Args;

use super::access::Access;
use super::output::{EXITS, EXITS_REFUSED, Exit};
use super::{block_on, complain, say};
use crate::evidence::Location;
use crate::operator::steer::Steering;
use crate::operator::{View, words};

/// Which locations are meant.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// The location: its exact name, which may be empty, or its MeshLocation's
    #[arg(value_name = "LOCATION")]
    location: Option<String>,
    /// All that there are
    #[arg(long)]
    all: bool,
}

impl Which {
    fn find(&self, view: &View) -> anyhow::Result<Vec<Location>> {
        match &self.location {
            Some(asked) => Ok(vec![view.find(asked)?]),
            None => Ok(view.locations.keys().cloned().collect()),
        }
    }
}

/// Leaves a location alone until it is resumed: nothing is moved, not even by a pin or a request. It
/// is still probed and judged.
#[derive(Debug, Args)]
#[command(after_help = EXITS)]
pub(super) struct Pause {
    #[command(flatten)]
    which: Which,
    /// Why, for whoever comes next
    #[arg(long, value_name = "TEXT")]
    why: String,
    #[command(flatten)]
    access: Access,
}

impl Pause {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        block_on(async move {
            let client = self.access.client().await?;
            let view = self.access.view(&client).await?;
            let steering = Steering::new(client);
            for location in self.which.find(&view)? {
                let place = words::place(&location);
                steering.pause(&location, Some(&self.why)).await?;
                say(&format!("{place} is paused: {}", self.why));
                if let Some(record) = view.status(&location).and_then(|said| said.moving.as_ref()) {
                    complain(&format!(
                        "the move to {} has begun, and is proven or undone",
                        record.to
                    ));
                }
            }
            Ok(Exit::Done.into())
        })
    }
}

/// Lets Tanist act in a location again.
#[derive(Debug, Args)]
#[command(after_help = EXITS_REFUSED)]
pub(super) struct Resume {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    access: Access,
}

impl Resume {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        block_on(async move {
            let client = self.access.client().await?;
            let view = self.access.view(&client).await?;
            let steering = Steering::new(client);
            let mut exit = Exit::Done;
            for location in self.which.find(&view)? {
                let place = words::place(&location);
                steering.pause(&location, None).await?;
                let still = view.pausing_nodes(&location);
                if still.is_empty() {
                    say(&format!("{place} is not paused"));
                }
                for node in still {
                    exit = Exit::Refused;
                    complain(&format!(
                        "{place} is still paused by an annotation: \
                         kubectl annotate node {node} tanist.dev/pause-"
                    ));
                }
            }
            Ok(exit.into())
        })
    }
}
