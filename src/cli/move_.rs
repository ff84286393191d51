//! `tanist move`: asks the arbiter to move a leader, and shows what comes of it.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use kube::{Api, Client};
use tokio::time::{Instant, sleep};

use super::access::{Access, now};
use super::output::{Exit, Word, ask, patiently, progress};
use super::{block_on, complain, say};
use crate::cluster::objects::{MeshLocation, MeshLocationStatus, MoveOutcome, mesh_location_name};
use crate::config::Span;
use crate::decide::MoveRequest;
use crate::evidence::{Location, NodeName};
use crate::operator::cost::{Cost, pods_on};
use crate::operator::steer::{Insistence, Steering, Wanted, wanted};
use crate::operator::watch::{Ending, Follow, end};
use crate::operator::{Error, words};
use crate::telemetry::Chain;

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

/// How often the location's object is read, and what is not answered is asked again.
const EVERY: Duration = Duration::from_millis(250);

/// How long at least to try to take a request back.
const WITHDRAWAL: Duration = Duration::from_secs(10);

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
        let until = Instant::now() + Duration::from(self.timeout);
        let before = again(until, async || read(client, location).await).await?;
        let mut follow = Follow::begin(&request.id, &before);

        // The same request twice is one request.
        again(until, async || steering.request(location, &request).await).await?;
        say("asked; the heirs are being questioned");
        let ended = follow_until(until, client, location, &mut follow).await;
        // Answered or not: carried out once is enough, and some time later nobody expects it.
        let until = until.max(Instant::now() + WITHDRAWAL);
        again(until, async || steering.withdraw(location, &request.id).await).await?;
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
}

/// Shows what happens until it is over; none if that takes too long.
async fn follow_until(
    until: Instant,
    client: &Client,
    location: &Location,
    follow: &mut Follow,
) -> Result<Option<Ending>, Error> {
    while Instant::now() < until {
        let status = again(until, async || read(client, location).await).await?;
        let (news, ending) = follow.look(&status);
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

/// Makes a call until the API server answers it, for as long as there is patience: what it did not
/// answer may be done, and whoever ends then leaves a request behind that is carried out later.
async fn again<T>(
    until: Instant,
    mut call: impl AsyncFnMut() -> Result<T, Error>,
) -> Result<T, Error> {
    loop {
        match call().await {
            Err(error @ Error::Away { .. }) if Instant::now() < until => {
                progress(&format!("{}; trying again", Chain(&error)));
                sleep(EVERY).await;
            }
            outcome => return outcome,
        }
    }
}

async fn read(client: &Client, location: &Location) -> Result<MeshLocationStatus, Error> {
    let name = mesh_location_name(location);
    let object = Api::<MeshLocation>::all(client.clone()).get(&name).await;
    let object = object.map_err(Error::api(format!("read MeshLocation {name}")))?;
    Ok(object.status.unwrap_or_default())
}

/// Draws the name of a request: the time, for people, and chance, for the case that two ask at once.
fn id() -> anyhow::Result<String> {
    let mut chance = [0; 4];
    getrandom::fill(&mut chance).context("draw a name for the request")?;
    let chance = u32::from_le_bytes(chance);
    Ok(format!("{}-{chance:08x}", now().seconds()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> kube::Error {
        kube::Error::Api(Box::new(kube::core::Status::failure("no", "Forbidden").with_code(403)))
    }

    fn away() -> kube::Error {
        kube::Error::Service(std::io::Error::other("reset").into())
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_answered_is_asked_again_and_what_is_refused_is_not() {
        type Answer = fn(u32) -> Option<kube::Error>;
        let table: [(Answer, u32, bool); 3] = [
            (|tries| (tries < 3).then(away), 3, true),
            (|_| Some(refused()), 1, false),
            (|_| Some(away()), 41, false),
        ];
        for (answer, expected, good) in table {
            let until = Instant::now() + Duration::from_secs(10);
            let mut tries = 0;
            let asked = again(until, async || {
                tries += 1;
                answer(tries).map_or(Ok(()), |error| Err(Error::api("ask")(error)))
            });
            let asked = asked.await;
            assert_eq!((asked.is_ok(), tries), (good, expected), "{asked:?}");
        }
    }
}
