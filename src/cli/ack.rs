//! `tanist ack`: a person has seen the incident.

use std::process::ExitCode;

use clap::Args;

use super::access::Access;
use super::output::{EXITS_REFUSED, Exit};
use super::{block_on, complain, say};
use crate::operator::steer::{Acknowledgeable, Steering, acknowledgeable};
use crate::operator::words;

/// Acknowledges the incident of a location: ends the rest after its move, lets nodes lead again that
/// were replaced or tried in vain, and lets the next rest begin small.
#[derive(Debug, Args)]
#[command(after_help = EXITS_REFUSED)]
pub(super) struct Ack {
    /// The location: its exact name, which may be empty, or its MeshLocation's
    #[arg(value_name = "LOCATION")]
    location: String,
    /// The incident, as `tanist why` and `tanist history -o yaml` name it; without it, the one at hand
    #[arg(value_name = "INCIDENT")]
    incident: Option<String>,
    #[command(flatten)]
    access: Access,
}

impl Ack {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        block_on(async move {
            let client = self.access.client().await?;
            let view = self.access.view(&client).await?;
            let location = view.find(&self.location)?;
            let place = words::place(&location);
            match acknowledgeable(&view, &location, self.incident.as_deref()) {
                Ok(Acknowledgeable::Open(incident)) => {
                    Steering::new(client).acknowledge(&location, &incident).await?;
                    say(&format!("incident {incident} of {place} is acknowledged"));
                }
                Ok(Acknowledgeable::Done(incident)) => {
                    say(&format!("incident {incident} of {place} was acknowledged before"));
                }
                Err(refusal) => {
                    complain(&format!("refused: {refusal}"));
                    return Ok(Exit::Refused.into());
                }
            }
            Ok(Exit::Done.into())
        })
    }
}
