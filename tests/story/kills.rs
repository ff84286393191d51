//! Whoever is killed, before or after any write of a move or a restoration: nothing is lost, and
//! nothing is moved wrongly.
//!
//! One mesh serves all cases. Each begins with the operator's own leader and ends with it, put back
//! by `tanist restore`, byte for byte; so each also shows that the way back is still known.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tanist::cluster::objects::{MeshLocationStatus, PastMove, mesh_location_name};
use tanist::evidence::{Location, UnixTime};
use tanist::lab::mesh::now;
use tokio::process::Child;
use tokio::sync::{mpsc, oneshot};

use crate::cases::{Case, Choice, Deed, Place, Victim, victims};
use crate::checks::{check, new_moves};
use crate::kubelet::text;
use crate::mesh::Change;
use crate::plot::Before;
use crate::proxy::{Ambush, Fate, Side};
use crate::server::Part;
use crate::stage::{CLOUD, FIRST, HEIR, LEASE, REFUSED, Stage};
use crate::until::awaited;
use crate::writes::{Step, Who, Write};

/// Within which time a fault must come to the write that is waited for.
const SOON: Duration = Duration::from_secs(60);

/// Tries all that are chosen.
pub(crate) async fn all(stage: &mut Stage, before: &Before, choice: &Choice) -> anyhow::Result<()> {
    let began = Instant::now();
    let (mut tried, mut known, mut turn) = (0, 0, 0);
    let mut failures = Vec::new();
    stage.trusted().await?;
    for deed in [Deed::Hand, Deed::Fault, Deed::Restore] {
        for place in places(stage, before, deed).await? {
            for side in [Side::Before, Side::After] {
                for victim in victims(deed, place.0) {
                    let case = Case { deed, place: place.clone(), side, victim };
                    known += 1;
                    if choice.holds(&case, turn) {
                        if let Err(error) = try_it(stage, before, &case).await {
                            failures.push(format!("{case}: {error:#}"));
                            stage.say(&format!("{case}: FAILED: {error:#}"));
                            recover(stage, before, deed).await?;
                        }
                        tried += 1;
                    }
                }
                turn += 1;
            }
        }
    }
    ensure!(tried > 0, "no case is called so");
    ensure!(failures.is_empty(), "{} of {tried} kills: {failures:#?}", failures.len());
    let rest = if tried == known { String::new() } else { "; `-- every` tries all".to_owned() };
    stage.say(&format!(
        "{tried} of {known} kills in {:.0} s: nothing lost, nothing moved wrongly{rest}",
        began.elapsed().as_secs_f64()
    ));
    Ok(())
}

/// Leaves a case that failed behind, so that the others can be tried.
async fn recover(stage: &mut Stage, before: &Before, deed: Deed) -> anyhow::Result<()> {
    stage.proxy.lift();
    stage.server.ready().await?;
    stage.kubelet.all_ready().await?;
    // It may be lifted already.
    let _lifted = stage.mesh.new_flows(FIRST, Change::Lift).await;
    put_back(stage, before, deed).await
}

/// Does a deed once without killing anybody; returns its writes.
async fn places(stage: &mut Stage, before: &Before, deed: Deed) -> anyhow::Result<Vec<Place>> {
    prepare(stage, deed).await?;
    let _earlier = stage.proxy.writes();
    let history = stage.location(CLOUD).await?.moves;
    stage.vigil.look();
    let (_, told) = mpsc::unbounded_channel();
    let strikes = Strikes { told, victim: None, holder: String::new(), since: now() };
    act(stage, (deed, &history), strikes).await?;
    let writes = stage.proxy.writes();
    let ended = check(stage, before, deed, &history).await?;
    put_back(stage, before, deed).await?;

    let mut places: Vec<Place> = Vec::new();
    for write in writes.into_iter().filter(|write| counts(deed, write)) {
        // Which heir is the best after a fault may differ from time to time.
        let place = (write.step, (deed != Deed::Fault).then_some(write.object));
        if !places.contains(&place) {
            places.push(place);
        }
    }
    let names: Vec<_> = places.iter().map(|(step, _)| format!("{step:?}")).collect();
    stage.say(&format!("{deed}: {ended}; the writes are {}", names.join(", ")));
    let moved = places.iter().any(|(step, _)| matches!(step, Step::Add | Step::Remove));
    ensure!(moved, "nothing was moved");
    Ok(places)
}

/// Tells whether a write belongs to a deed: leases, Events, reports and what a status says for
/// people come all the time, with or without it, and so may a new term with its fence.
fn counts(deed: Deed, write: &Write) -> bool {
    let constant = matches!(
        write.step,
        Step::Lease
            | Step::Release
            | Step::Fence
            | Step::Event
            | Step::Report
            | Step::Status
            | Step::Other
    ) || (write.step == Step::Inquest && deed != Deed::Fault);
    let by = match deed {
        Deed::Restore => write.who == Who::Person,
        Deed::Hand | Deed::Fault => matches!(write.who, Who::Person | Who::Arbiter(_)),
    };
    by && !constant
}

async fn try_it(stage: &mut Stage, before: &Before, case: &Case) -> anyhow::Result<()> {
    prepare(stage, case.deed).await?;
    let began = Instant::now();
    let history = stage.location(CLOUD).await?.moves;
    let holder = stage.holder().await?;
    stage.vigil.look();
    let (strike, told) = mpsc::unbounded_channel();
    let (step, object) = case.place.clone();
    stage.proxy.lay(Ambush { step, object, side: case.side, strike });

    let strikes = Strikes { told, victim: Some(case.victim), holder, since: now() };
    act(stage, (case.deed, &history), strikes).await?;
    ensure!(!stage.proxy.lift(), "no such write came");
    let ended = check(stage, before, case.deed, &history).await?;
    let took = began.elapsed().as_secs_f64();
    put_back(stage, before, case.deed).await?;
    let died = stage.kubelet.unasked();
    ensure!(died.is_empty(), "ended by themselves: {died:?}");
    stage.say(&format!("{case}: {ended} ({took:.1} s)"));
    Ok(())
}

/// Brings about what a deed begins with.
async fn prepare(stage: &Stage, deed: Deed) -> anyhow::Result<()> {
    stage.ready().await?;
    if deed == Deed::Restore {
        stage.moved(HEIR).await?;
        stage.led_by(HEIR).await?;
    }
    Ok(())
}

/// Whoever is to be killed, and when.
struct Strikes {
    told: mpsc::UnboundedReceiver<(Write, oneshot::Sender<Fate>)>,
    victim: Option<Victim>,
    holder: String,
    /// Since when the lease must have been renewed: by whoever is there after the kill.
    since: UnixTime,
}

impl Strikes {
    /// Waits for the moment.
    async fn due(&mut self) -> (Write, oneshot::Sender<Fate>) {
        match self.told.recv().await {
            Some(due) => due,
            // Nobody is to be killed.
            None => std::future::pending().await,
        }
    }

    /// Kills; comes back when what was killed can be asked again.
    async fn kill(
        &mut self,
        stage: &mut Stage,
        (write, answer): (Write, oneshot::Sender<Fate>),
        command: Option<&mut Child>,
    ) -> anyhow::Result<()> {
        let fate = match self.victim.context("nobody is to be killed")? {
            Victim::Apiserver => {
                stage.server.kill(&[Part::Apiserver])?;
                Fate::Lost
            }
            Victim::Etcd => {
                stage.server.kill(&[Part::Etcd, Part::Apiserver])?;
                Fate::Lost
            }
            Victim::Agent => {
                stage.kubelet.kill("tanist-agent", HEIR)?;
                Fate::Passes
            }
            Victim::Arbiter => {
                let (node, fate) = match &write.who {
                    Who::Arbiter(node) => (node, Fate::Lost),
                    Who::Agent(_) | Who::Person | Who::Other => (&self.holder, Fate::Passes),
                };
                stage.kubelet.kill("tanist-arbiter", node)?;
                fate
            }
            Victim::Command => {
                command.context("there is no command")?.kill().await?;
                Fate::Lost
            }
        };
        if !matches!(self.victim, Some(Victim::Agent | Victim::Command)) {
            self.since = now();
        }
        // Whoever asked may be dead by now.
        let _gone = answer.send(fate);
        stage.server.ready().await
    }
}

/// Does the deed, and kills on the way; comes back when all is at rest again.
async fn act(
    stage: &mut Stage,
    (deed, history): (Deed, &[PastMove]),
    mut strikes: Strikes,
) -> anyhow::Result<()> {
    match deed {
        Deed::Hand => {
            let command = ["move", CLOUD, "--to", HEIR, "--yes", "--timeout", "60s"];
            let until = Instant::now() + SOON;
            // An heir that could not be tested yet is refused: a person asks again.
            while run(stage, &command, &mut strikes).await? == Some(REFUSED) {
                ensure!(Instant::now() < until, "refused for {SOON:?}");
                stage.ready().await?;
            }
        }
        Deed::Restore => {
            if run(stage, &["restore"], &mut strikes).await? != Some(0) {
                // As the command itself says: it may be repeated.
                stage.person(&["restore"]).await?;
            }
        }
        Deed::Fault => {
            stage.mesh.new_flows(FIRST, Change::Set).await?;
            if strikes.victim.is_some() {
                let due = tokio::time::timeout(SOON, strikes.due()).await;
                strikes.kill(stage, due.context("no such write came")?, None).await?;
            }
            awaited("another leader is proven", async || {
                let leaders = stage.vigil.leaders();
                ensure!(leaders[&Location::from(CLOUD)].0 != FIRST, "{leaders:?}");
                at_rest(&stage.location(CLOUD).await?)
            })
            .await?;
            stage.mesh.new_flows(FIRST, Change::Lift).await?;
        }
    }
    rested(stage, (deed, history), strikes.since).await
}

/// Waits until nothing is under way, and everybody runs.
async fn rested(
    stage: &Stage,
    (deed, history): (Deed, &[PastMove]),
    since: UnixTime,
) -> anyhow::Result<()> {
    let path = format!(
        "/apis/tanist.dev/v1alpha1/meshlocations/{}",
        mesh_location_name(&Location::from(CLOUD))
    );
    awaited("all is at rest", async || {
        let object = stage.get(&path).await?;
        let (request, answered) = (&object["spec"]["request"]["id"], &object["status"]["answered"]);
        ensure!(request.is_null() || *request == answered["id"], "not answered: {object}");
        let status = stage.location(CLOUD).await?;
        at_rest(&status)?;
        let is_new = status.answered.as_ref().is_some_and(|last| last.answer.starts_with("moving"));
        if deed == Deed::Hand && is_new && !request.is_null() {
            ensure!(
                !new_moves(history, &status.moves).is_empty(),
                "granted, and not made: {object}"
            );
        }
        let lease = stage.get(LEASE).await?;
        let renewed = text(&lease["spec"]["renewTime"])?.parse::<jiff::Timestamp>()?;
        ensure!(renewed.as_millisecond() > since.0, "the lease is not renewed: {lease}");
        Ok(())
    })
    .await?;
    stage.kubelet.all_ready().await
}

fn at_rest(status: &MeshLocationStatus) -> anyhow::Result<()> {
    ensure!(status.moving.is_none(), "{:?}", status.moving);
    ensure!(status.leader.is_some(), "nobody leads");
    Ok(())
}

/// Runs a person's command, and kills on the way; returns its exit code, none if it was killed.
async fn run(
    stage: &mut Stage,
    arguments: &[&str],
    strikes: &mut Strikes,
) -> anyhow::Result<Option<i32>> {
    let mut child = stage.start(arguments)?;
    tokio::select! {
        due = strikes.due() => strikes.kill(stage, due, Some(&mut child)).await?,
        ended = child.wait() => return Ok(ended?.code()),
    }
    Ok(child.wait().await?.code())
}

/// Puts back what the operator had, and lets Tanist go on.
async fn put_back(stage: &Stage, before: &Before, deed: Deed) -> anyhow::Result<()> {
    if deed == Deed::Fault {
        stage.person(&["ack", CLOUD]).await?;
    }
    stage.person(&["restore"]).await?;
    let after = stage.annotations().await?;
    ensure!(after == before.annotations, "{after:?}\nis not\n{:?}", before.annotations);
    stage.led_by(FIRST).await?;
    stage.person(&["resume", "--all"]).await.map(drop)
}
