//! `tanist move`: asks the arbiter to move a leader, and shows what comes of it.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use kube::{Api, Client};
use tokio::time::{Instant, sleep};

use super::access::{Access, now};
use super::output::{Exit, Word, ask, patiently};
use super::{block_on, complain, say};
use crate::cluster::objects::{MeshLocation, MeshLocationStatus, MoveOutcome, mesh_location_name};
use crate::config::Span;
use crate::decide::MoveRequest;
use crate::evidence::{Location, NodeName};
use crate::operator::cost::{Cost, pods_on};
use crate::operator::steer::{Insistence, Steering, Wanted, wanted};
use crate::operator::watch::{Ending, Follow, end};
use crate::operator::words;

/// Asks for a move of a location's leader, after showing what it costs, and waits until the new
/// leader has proven itself. The arbiter does it, whatever the mode; a pause forbids it.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 the new leader is verified, or led already; 1 failed for the \
    reason that is told, such as no access or no such location; 2 the command line was not understood; 3 refused, and nothing was moved; \
    4 it did not prove itself: see the last line for who leads; 5 no answer in time, and the \
    request is withdrawn."
)]
pub(super) struct Move {
    /// The location: its exact name, which may be empty, or its MeshLocation's
    #[arg(value_name = "LOCATION")]
    location: String,
    /// Who shall lead; without it, the best heir
    #[arg(long, value_name = "NODE")]
    to: Option<String>,
    /// Asks for a node that is not proven fit; it must be Ready all the same
    #[arg(long)]
    force: bool,
    /// Does not ask before
    #[arg(short, long)]
    yes: bool,
    /// How long to wait for the end
    #[arg(long, value_name = "TIME", default_value = "3m")]
    timeout: Span,
    #[command(flatten)]
    access: Access,
}

/// How often the location's object is read.
const EVERY: Duration = Duration::from_millis(250);

impl Move {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        block_on(async move {
            let client = self.access.client().await?;
            let view = self.access.view(&client).await?;
            let location = view.find(&self.location)?;
            let to = self.to.as_deref().map(NodeName::from);
            let insistence = if self.force { Insistence::Forced } else { Insistence::Fit };
            let to = match wanted(&view, &location, to.as_ref(), insistence) {
                Ok(Wanted::Move(to)) => to,
                Ok(Wanted::Leads(node)) => {
                    say(&format!("{node} leads already"));
                    return Ok(Exit::Done.into());
                }
                Err(refusal) => {
                    complain(&format!("refused: {refusal}"));
                    return Ok(Exit::Refused.into());
                }
            };

            let pods = match view.leader(&location) {
                Some(leader) => patiently("counting pods", pods_on(&client, &leader.name)).await,
                None => None,
            };
            let cost = Cost::of(&view, &location, &to, pods);
            let place = words::place(&location);
            say(&format!("Moving the leader of {place} to {to} costs\n{cost}"));
            if !self.is_agreed()? {
                return Ok(Exit::Refused.into());
            }
            self.carry_out(&client, &location, to).await.map(Into::into)
        })
    }

    fn is_agreed(&self) -> anyhow::Result<bool> {
        if self.yes {
            return Ok(true);
        }
        match ask("Move it?")? {
            Word::Yes => Ok(true),
            Word::No => {
                complain("nothing is moved");
                Ok(false)
            }
            Word::Nobody => {
                complain("refused: there is nobody to ask; --yes goes on without");
                Ok(false)
            }
        }
    }

    /// Writes the request, follows it to its end, and takes it back.
    async fn carry_out(
        &self,
        client: &Client,
        location: &Location,
        to: NodeName,
    ) -> anyhow::Result<Exit> {
        let steering = Steering::new(client.clone());
        let by = match steering.me().await {
            Some(user) => user,
            None => std::env::var("USER").unwrap_or_else(|_| "somebody".to_owned()),
        };
        let request = MoveRequest { id: id()?, to: Some(to), by, force: self.force };
        let before = read(client, location).await?;
        let mut follow = Follow::begin(&request.id, &before);

        steering.request(location, &request).await?;
        say("asked; the heirs are being questioned");
        let ended = self.follow(client, location, &mut follow).await;
        // Answered or not: carried out once is enough, and some time later nobody expects it.
        steering.withdraw(location, &request.id).await?;
        Ok(match ended? {
            Some(Ending::Refused(_)) => Exit::Refused,
            Some(Ending::GivenUp) => {
                complain(
                    "given up before anything of it was left: \
                     kubectl get events --field-selector reason=MoveRefused",
                );
                Exit::Refused
            }
            Some(Ending::Needless(_)) => Exit::Done,
            Some(Ending::Moved(past)) => {
                say(&end(&past));
                match past.outcome {
                    MoveOutcome::Verified => Exit::Done,
                    MoveOutcome::Reverted | MoveOutcome::Abandoned => Exit::NotProven,
                }
            }
            None if follow.is_granted() => {
                complain("the move is not over yet; tanist status tells how it goes");
                Exit::NotProven
            }
            None => {
                complain("no answer in time; the request is withdrawn");
                Exit::Unanswered
            }
        })
    }

    /// Shows what happens until it is over; none if that takes too long.
    async fn follow(
        &self,
        client: &Client,
        location: &Location,
        follow: &mut Follow,
    ) -> anyhow::Result<Option<Ending>> {
        let until = Instant::now() + Duration::from(self.timeout);
        while Instant::now() < until {
            let (news, ending) = follow.look(&read(client, location).await?);
            for line in news {
                say(&line);
            }
            if ending.is_some() {
                return Ok(ending);
            }
            sleep(EVERY).await;
        }
        Ok(None)
    }
}

async fn read(client: &Client, location: &Location) -> anyhow::Result<MeshLocationStatus> {
    let name = mesh_location_name(location);
    let object = Api::<MeshLocation>::all(client.clone()).get(&name).await;
    let object = object.with_context(|| format!("cannot read MeshLocation {name}"))?;
    Ok(object.status.unwrap_or_default())
}

/// Draws the name of a request: the time, for people, and chance, for the case that two ask at once.
fn id() -> anyhow::Result<String> {
    let mut chance = [0; 4];
    getrandom::fill(&mut chance).context("draw a name for the request")?;
    let chance = u32::from_le_bytes(chance);
    Ok(format!("{}-{chance:08x}", now().seconds()))
}
