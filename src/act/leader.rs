//! Moves the leader of a location by its annotations, so that whoever dies on the way leaves
//! something that the next arbiter can finish or undo.
//!
//! ```text
//!                    record by compare-and-swap; nudge         all annotations written
//!  (no record) ──────────────────────────────────▶ Recorded ───────────────────────────▶ Written
//!       ▲                                             │                                   │   │
//!       │ close: Abandoned     third leader, re-added,│                 not proven, revert│   │
//!       ├──── paused, no heir, too many conflicts ────┤      ┌────────────────────────────┘   │
//!       │                                             ▼      ▼                                │
//!       │                                          Reverting ──▶ Reverted                     │
//!       │ close: Reverted                                           │                         │
//!       ├───────────────────────────────────────────────────────────┘      close: Verified,   │
//!       │                                                          Abandoned if not proven    │
//!       └─────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! What keeps two arbiters from writing at once:
//!
//! * Right before each write the lease is asked whether the term still lasts.
//! * The record is written first, and each annotation on the condition that neither the Node nor
//!   the value changed since it was read.
//! * A new arbiter first writes its fence: into every MeshLocation, then into every Node that a
//!   record names. That changes their versions, so whatever its predecessor still has under way
//!   fails.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use kube::Client;

use crate::cluster::lease::{Fence, Leadership};
use crate::cluster::objects::{MeshLocation, MoveOutcome, MovePhase, MoveRecord, WrittenBefore};
use crate::decide::{Move, Progress};
use crate::evidence::{Epoch, Location, NodeName, Nudge, UnixTime, kilo};

use super::hooks::{Hooks, Notice};

mod course;
mod error;
mod nodes;
mod record;
mod restorer;
mod steps;
mod successor;

pub use error::MoveError;
pub use nodes::{FENCE, INCIDENT, LEADER_BEFORE};
pub use restorer::Restored;
pub(crate) use restorer::Restorer;

use course::Course;
use nodes::{Nodes, View};
use record::Records;

/// Who shall bring up new sessions at the time of a move, by location.
pub type Nudges = BTreeMap<Location, Vec<Nudge>>;

/// Moves leaders, one at a time.
pub struct Mover {
    leadership: Leadership,
    nodes: Nodes,
    records: Records,
    hooks: Hooks,
    wall: fn() -> UnixTime,
}

/// A location's object and nodes, as read at one time in one term.
struct Scene {
    fence: Fence,
    object: MeshLocation,
    view: View,
}

/// How often a move is tried again after somebody else wrote in between.
const ATTEMPTS: usize = 6;

/// What there is to say of a move that was written, not proven, and not put back either.
const UNPROVEN: &str = "its annotations stay, though it did not prove itself";

impl Mover {
    /// Makes a mover that writes only while `leadership` lasts. `topology_label` names a node's
    /// location where no annotation does.
    #[must_use]
    pub fn new(client: Client, leadership: Leadership, topology_label: &str, hooks: Hooks) -> Self {
        Self {
            leadership,
            nodes: Nodes::new(client.clone(), topology_label),
            records: Records::new(client),
            hooks,
            wall: wall_time,
        }
    }

    /// Brings a wished move forward as far as it can be: to [`MovePhase::Written`], or to
    /// [`MovePhase::Reverted`] if the wish is to put the old leader back. Does nothing if it is
    /// there already, so it may be called as often as one likes.
    ///
    /// # Errors
    /// [`MoveError::is_refusal`] tells a move that was given up, and undone as far as it went, from
    /// a failure after which the same call may be made again.
    pub async fn hold(
        &self,
        location: &Location,
        wish: &Move,
        nudges: &Nudges,
    ) -> Result<MoveRecord, MoveError> {
        let mut scene = self.scene(location).await?;
        if !scene.is_ours() {
            scene.object = self.adopt(scene.object).await?;
            scene.view = self.nodes.list((self.wall)()).await?;
        }

        match course::of(scene.record(), wish) {
            Course::Done(record) => Ok(record),
            Course::Continue(_) => self.advance(scene, location).await,
            Course::Begin(before) => self.begin(scene, location, (wish, nudges, before)).await,
            Course::CloseThenBegin => {
                let note = Some("another incident followed".to_owned());
                if let Some(outcome) = scene.record().map(MoveRecord::past_outcome) {
                    self.archive(&mut scene, outcome, note).await?;
                }
                self.begin(scene, location, (wish, nudges, Vec::new())).await
            }
            Course::Undo(why) => {
                let scene = self.undo(scene, location, &why).await?;
                self.reverted(scene).await
            }
            Course::UndoThenRefuse(why) => {
                let mut scene = self.undo(scene, location, &why).await?;
                self.archive(&mut scene, MoveOutcome::Abandoned, Some(why.clone())).await?;
                Err(MoveError::GivenUp(why))
            }
        }
    }

    /// Ends a move that is not wished for any more: what is half-written is undone; what is
    /// complete stays and goes into the history, as what the record shows: of what was put back
    /// the old leader may be verified, and of what was not proven the new one may lead on.
    ///
    /// # Errors
    /// If the API server or the lease does not let it; the same call may be made again.
    pub async fn close(
        &self,
        location: &Location,
        outcome: MoveOutcome,
        note: Option<String>,
    ) -> Result<(), MoveError> {
        let mut scene = self.scene(location).await?;
        if !scene.is_ours() {
            scene.object = self.adopt(scene.object).await?;
            scene.view = self.nodes.list((self.wall)()).await?;
        }
        let Some(record) = scene.record() else { return Ok(()) };

        let (outcome, note) = match (record.phase, outcome) {
            (MovePhase::Written, MoveOutcome::Verified) => (outcome, note),
            (MovePhase::Written, MoveOutcome::Reverted | MoveOutcome::Abandoned) => {
                (MoveOutcome::Abandoned, note.or_else(|| Some(UNPROVEN.to_owned())))
            }
            (MovePhase::Reverted, _) => (MoveOutcome::Reverted, note),
            (MovePhase::Recorded | MovePhase::Reverting, _) => {
                let why = note.clone().unwrap_or_else(|| "not wished for any more".to_owned());
                scene = self.undo(scene, location, &why).await?;
                (MoveOutcome::Abandoned, note)
            }
        };
        self.archive(&mut scene, outcome, note).await
    }

    async fn scene(&self, location: &Location) -> Result<Scene, MoveError> {
        let fence = self.leadership.current().ok_or(MoveError::NotHolding)?;
        let (object, view) =
            futures::try_join!(self.records.get(location), self.nodes.list((self.wall)()))?;
        Ok(Scene { fence, object, view })
    }

    /// Writes the record, and then the annotations.
    async fn begin(
        &self,
        mut scene: Scene,
        location: &Location,
        (wish, nudges, before): (&Move, &Nudges, Vec<WrittenBefore>),
    ) -> Result<MoveRecord, MoveError> {
        if let Some(error) = paused(&scene, location) {
            return Err(error);
        }
        admissible(&scene.view, location, wish)?;
        let steps = steps::forward(&scene.view.mesh, &wish.to);
        if let Some(error) = scene.view.readded(&steps) {
            return Err(error);
        }
        self.hooks.before(&Notice::of(location, wish)).await.map_err(MoveError::Vetoed)?;

        let mut record = MoveRecord {
            incident: wish.incident.clone(),
            from: Some(wish.from.clone()),
            to: wish.to.clone(),
            why: wish.why.clone(),
            phase: MovePhase::Recorded,
            fence: scene.fence.to_string(),
            decided_ms: Some(wish.at.0),
            started_ms: (self.wall)().0,
            written_ms: None,
            nodes: before,
            wish: Some(wish.clone()),
            reverting: None,
        };
        scene.view.remember(&mut record, &steps);

        self.check(&scene.fence)?;
        let own = nudges.get(location).cloned().unwrap_or_default();
        let change = serde_json::json!({ "move": record, "nudge": own });
        let (object, ()) = futures::join!(
            self.records.swap(scene.object, change),
            self.records.nudge(nudges, location)
        );
        scene.object = object?;
        self.advance(scene, location).await
    }

    /// Writes annotations until nobody beats the new leader.
    async fn advance(
        &self,
        mut scene: Scene,
        location: &Location,
    ) -> Result<MoveRecord, MoveError> {
        for _ in 0..ATTEMPTS {
            let Some(mut record) = scene.record().cloned() else {
                return Err(MoveError::Contended);
            };
            let steps = steps::forward(&scene.view.mesh, &record.to);
            // For a node that is gone, or in another location, there is nothing left to write either.
            if let Some(error) = obstacle(&scene, location, &record, &steps) {
                return self.give_up(scene, location, error).await;
            }
            if steps.is_empty() {
                return self.written(scene).await;
            }
            if scene.view.remember(&mut record, &steps) {
                let change = serde_json::json!({ "move": record });
                self.check(&scene.fence)?;
                scene.object = self.records.swap(scene.object, change).await?;
            }
            match self.write(&mut scene, &steps, Some(&record.incident)).await {
                Ok(()) => {}
                Err(error) if error.is_conflict() => {
                    scene = self.scene(location).await?;
                    if !scene.is_ours() {
                        return Err(MoveError::NotHolding);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        self.give_up(scene, location, MoveError::Contended).await
    }

    async fn give_up(
        &self,
        scene: Scene,
        location: &Location,
        error: MoveError,
    ) -> Result<MoveRecord, MoveError> {
        let why = error.to_string();
        let mut scene = self.undo(scene, location, &why).await?;
        self.archive(&mut scene, MoveOutcome::Abandoned, Some(why)).await?;
        Err(error)
    }

    /// Puts back what stood before the incident.
    async fn undo(
        &self,
        mut scene: Scene,
        location: &Location,
        why: &str,
    ) -> Result<Scene, MoveError> {
        let Some(mut record) = scene.record().cloned() else { return Ok(scene) };
        let goal = course::goal(&record);
        let incident = record.incident.clone();
        if record.phase != MovePhase::Reverting {
            record.phase = MovePhase::Reverting;
            record.reverting = Some(why.to_owned());
            self.check(&scene.fence)?;
            let change = serde_json::json!({ "move": record });
            scene.object = self.records.swap(scene.object, change).await?;
        }

        for _ in 0..ATTEMPTS {
            let touched = steps::touched(&scene.view.mesh, &goal, &incident);
            let steps = steps::back(&scene.view.mesh, location, &touched);
            if steps.is_empty() {
                return Ok(scene);
            }
            match self.write(&mut scene, &steps, None).await {
                Ok(()) => {}
                Err(error) if error.is_conflict() => {
                    scene.view = self.nodes.list((self.wall)()).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Err(MoveError::Contended)
    }

    /// Makes these writes: in an incident, or on the way back.
    async fn write(
        &self,
        scene: &mut Scene,
        steps: &[steps::Step],
        incident: Option<&str>,
    ) -> Result<(), MoveError> {
        for step in steps {
            self.check(&scene.fence)?;
            self.nodes.write(&mut scene.view, step, incident).await?;
        }
        Ok(())
    }

    async fn written(&self, scene: Scene) -> Result<MoveRecord, MoveError> {
        self.reach(scene, MovePhase::Written).await
    }

    async fn reverted(&self, scene: Scene) -> Result<MoveRecord, MoveError> {
        self.reach(scene, MovePhase::Reverted).await
    }

    /// Notes that all annotations of a phase are written.
    async fn reach(&self, scene: Scene, phase: MovePhase) -> Result<MoveRecord, MoveError> {
        let Some(mut record) = scene.record().cloned() else { return Err(MoveError::Contended) };
        record.phase = phase;
        record.written_ms = Some((self.wall)().0);
        self.check(&scene.fence)?;
        let location = scene.object.spec.location.clone();
        self.records.swap(scene.object, serde_json::json!({ "move": record })).await?;
        let outcome = if phase == MovePhase::Written { "written" } else { "put-back" };
        self.hooks.after(Notice::after(&location, &record, outcome));
        Ok(record)
    }

    /// Takes the record out of the object and into its history, and then off the nodes what only a
    /// move under way needs.
    async fn archive(
        &self,
        scene: &mut Scene,
        outcome: MoveOutcome,
        note: Option<String>,
    ) -> Result<(), MoveError> {
        let Some(record) = scene.record().cloned() else { return Ok(()) };
        let location = scene.object.spec.location.clone();
        let change = record::archived(&scene.object, outcome, note, (self.wall)());
        self.check(&scene.fence)?;
        scene.object = self.records.swap(scene.object.clone(), change).await?;
        self.release(scene, &record).await;
        let outcome = match outcome {
            MoveOutcome::Verified => "verified",
            MoveOutcome::Reverted => "reverted",
            MoveOutcome::Abandoned => "abandoned",
        };
        self.hooks.after(Notice::after(&location, &record, outcome));
        Ok(())
    }

    /// Takes off the nodes of a move that is over what whoever finishes or undoes it goes by. What
    /// stays there for a failure does no harm: it names this incident, which is over.
    async fn release(&self, scene: &mut Scene, record: &MoveRecord) {
        let written = record.nodes.iter().map(|before| &before.node);
        for node in written.chain([&record.to]) {
            let released = match self.check(&scene.fence) {
                Ok(()) => self.nodes.release(&mut scene.view, node).await,
                lost => lost,
            };
            if let Err(error) = released {
                tracing::debug!(%node, error = %crate::telemetry::Chain(&error), "Node not released");
            }
        }
    }

    fn check(&self, fence: &Fence) -> Result<(), MoveError> {
        if self.leadership.is_current(fence) { Ok(()) } else { Err(MoveError::NotHolding) }
    }
}

impl Scene {
    fn record(&self) -> Option<&MoveRecord> {
        self.object.status.as_ref()?.moving.as_ref()
    }

    /// Tells whether this term has fenced the object off from earlier ones.
    fn is_ours(&self) -> bool {
        let fence = self.object.status.as_ref().and_then(|status| status.fence.as_ref());
        fence == Some(&self.fence.to_string())
    }
}

/// Returns what an actor has done, as the decision reads it, from the record alone.
#[must_use]
pub fn progress(record: Option<&MoveRecord>, epoch: Epoch) -> Progress {
    let Some(record) = record else { return Progress::Idle };
    let at = epoch.moment(UnixTime(record.written_ms.unwrap_or(record.started_ms)));
    // The way back leads past the heirs that were tried before this one.
    let origin = record.wish.as_ref().map(|wish| &wish.origin).or(record.from.as_ref());
    match (record.phase, origin) {
        (MovePhase::Written, _) => Progress::Written { to: record.to.clone(), at },
        (MovePhase::Reverted, Some(origin)) => Progress::Written { to: origin.clone(), at },
        (MovePhase::Reverting, Some(origin)) => Progress::Recorded { to: origin.clone() },
        (MovePhase::Recorded | MovePhase::Reverting | MovePhase::Reverted, _) => {
            Progress::Recorded { to: record.to.clone() }
        }
    }
}

/// Tells whether a move may begin: the leader is still the one that was judged, or already the one
/// that is wished for, and that one is Ready.
fn admissible(view: &View, location: &Location, wish: &Move) -> Result<(), MoveError> {
    ready(view, location, &wish.to)?;
    let leader = kilo::leader_of(&view.mesh, location).map(|node| node.name.clone());
    match leader {
        Some(leader) if leader == wish.from || leader == wish.to => Ok(()),
        leader => Err(MoveError::Moved { leader }),
    }
}

/// Returns why a move that has begun must not go on, if so. A pause does not stop one of which all
/// is written.
fn obstacle(
    scene: &Scene,
    location: &Location,
    record: &MoveRecord,
    steps: &[steps::Step],
) -> Option<MoveError> {
    let view = &scene.view;
    let led =
        || ready(view, location, &record.to).and_then(|()| led_by_either(view, location, record));
    let paused = || paused(scene, location).filter(|_| !steps.is_empty());
    view.readded(steps).or_else(|| led().err()).or_else(paused)
}

/// Returns why a location is to be left alone, if it is: by its object or by any of its nodes.
fn paused(scene: &Scene, location: &Location) -> Option<MoveError> {
    let mut here = scene.view.mesh.nodes.values().filter(|node| node.location == *location);
    let by_node = || here.find_map(|node| node.intent.get("pause"));
    let why = scene.object.spec.pause.as_ref().or_else(by_node)?;
    Some(MoveError::Paused(why.clone()))
}

fn ready(view: &View, location: &Location, node: &NodeName) -> Result<(), MoveError> {
    let is_ready = kilo::members(&view.mesh, location)
        .into_iter()
        .any(|member| member.name == *node && kilo::is_ready(member, view.mesh.at));
    if is_ready { Ok(()) } else { Err(MoveError::NotReady { node: node.clone() }) }
}

fn led_by_either(view: &View, location: &Location, record: &MoveRecord) -> Result<(), MoveError> {
    let leader = kilo::leader_of(&view.mesh, location).map(|node| node.name.clone());
    let expected = [record.from.as_ref(), Some(&record.to)];
    if expected.contains(&leader.as_ref()) { Ok(()) } else { Err(MoveError::Moved { leader }) }
}

fn wall_time() -> UnixTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixTime(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
