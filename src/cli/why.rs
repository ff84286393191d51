//! `tanist why`: the evidence, the verdict, who is rejected as heir and why, what a move would cost.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use kube::Client;

use super::access::Access;
use super::block_on;
use super::output::{EXITS, Exit, Output, patiently};
use crate::evidence::Location;
use crate::operator::View;
use crate::operator::cost::{Cost, pods_on};
use crate::operator::why::{Shown, Why as Found};

/// Shows why a location is judged as it is: the evidence, the heirs and what each failed, what a
/// move would cost.
#[derive(Debug, Args)]
#[command(after_help = EXITS)]
pub(super) struct Why {
    /// The location: its exact name, which may be empty, or its MeshLocation's
    #[arg(value_name = "LOCATION")]
    location: String,
    /// Lists every path, not only those that lose
    #[arg(long)]
    paths: bool,
    #[command(flatten)]
    access: Access,
    #[command(flatten)]
    output: Output,
}

impl Why {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        block_on(async move {
            let client = self.access.client().await?;
            let view = self.access.view(&client).await?;
            let location = view.find(&self.location)?;
            let cost = patiently("counting pods", cost(&client, &view, &location)).await;
            let why = Found::of(&view, &location, cost).context("the location is gone")?;
            let shown = if self.paths { Shown::Every } else { Shown::Losing };
            self.output.show(&why, |width| why.text(width, shown))?;
            Ok(Exit::Done.into())
        })
    }
}

/// Returns what a move to the best heir would cost, if there is one.
async fn cost(client: &Client, view: &View, location: &Location) -> Option<Cost> {
    let heirs = &view.status(location)?.heirs;
    let best = heirs.iter().find(|heir| heir.fit).or_else(|| heirs.first())?;
    let pods = match view.leader(location) {
        Some(leader) => pods_on(client, &leader.name).await,
        None => None,
    };
    Some(Cost::of(view, location, &best.node, pods))
}
