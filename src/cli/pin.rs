//! `tanist pin` and `tanist unpin`: a node that leads its location until somebody says otherwise.

use std::process::ExitCode;

use clap::Args;

use super::access::Access;
use super::output::{EXITS, EXITS_REFUSED, Exit, Word, ask, patiently};
use super::{block_on, complain, say};
use crate::evidence::NodeName;
use crate::operator::cost::{Cost, pods_on};
use crate::operator::steer::{Insistence, Steering, pinnable};

/// Makes a node lead its location until it is unpinned, whatever the mode: the arbiter moves the
/// leader to it, and never away from it.
#[derive(Debug, Args)]
#[command(after_help = EXITS_REFUSED)]
pub(super) struct Pin {
    /// The node
    #[arg(value_name = "NODE")]
    node: String,
    /// Pins a node that cannot lead now; it is followed when it can
    #[arg(long)]
    force: bool,
    /// Does not ask before
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    access: Access,
}

impl Pin {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        block_on(async move {
            let client = self.access.client().await?;
            let view = self.access.view(&client).await?;
            let node = NodeName(self.node.clone());
            let insistence = if self.force { Insistence::Forced } else { Insistence::Fit };
            let location = match pinnable(&view, &node, insistence) {
                Ok(location) => location,
                Err(refusal) => {
                    complain(&format!("refused: {refusal}"));
                    return Ok(Exit::Refused.into());
                }
            };
            let leader = view.leader(&location).map(|leader| leader.name.clone());
            if let Some(leader) = leader.filter(|leader| *leader != node) {
                let pods = patiently("counting pods", pods_on(&client, &leader)).await;
                let cost = Cost::of(&view, &location, &node, pods);
                say(&format!("{leader} leads; moving the leader to {node} costs\n{cost}"));
                if !self.yes && ask("Pin it?")? != Word::Yes {
                    complain("nothing is pinned; --yes does not ask");
                    return Ok(Exit::Refused.into());
                }
            }
            Steering::new(client).pin(&node).await?;
            say(&format!("{node} is pinned; tanist status shows when it leads"));
            for why in view.pauses(&location) {
                complain(&format!("the location is paused ({why}): it is followed when resumed"));
            }
            Ok(Exit::Done.into())
        })
    }
}

/// Takes a node's pin away. Nothing is moved by that.
#[derive(Debug, Args)]
#[command(after_help = EXITS)]
pub(super) struct Unpin {
    /// The node
    #[arg(value_name = "NODE")]
    node: String,
    #[command(flatten)]
    access: Access,
}

impl Unpin {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        block_on(async move {
            let client = self.access.client().await?;
            let node = NodeName(self.node.clone());
            Steering::new(client).unpin(&node).await?;
            say(&format!("{node} is not pinned"));
            Ok(Exit::Done.into())
        })
    }
}
