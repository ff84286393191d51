//! What a new arbiter does first: it shuts its predecessor out, then finishes or undoes what that
//! left half-made.

use serde_json::json;

use super::{MoveError, Mover, Scene, led_by_either, paused, ready};
use super::{course, steps};
use crate::cluster::lease::Fence;
use crate::cluster::objects::{MeshLocation, MoveOutcome, MovePhase, MoveRecord};
use crate::evidence::Location;

impl Mover {
    /// Takes over all locations at the start of a term. Nothing else may be written before it
    /// succeeded. Returns the locations in which a move was finished or undone, or still stands to
    /// be verified. One whose object cannot be read is left as it is: its record stays for when the
    /// object is mended, and until then nothing can be written there.
    ///
    /// # Errors
    /// If the lease is lost or the API server does not answer; the same call may be made again.
    pub async fn take_over(&self) -> Result<Vec<Location>, MoveError> {
        let mut found = Vec::new();
        let listed = self.records.list().await?;
        for (name, error) in &listed.unreadable {
            tracing::warn!(name, error, "MeshLocation cannot be read: nothing is moved there");
        }
        for object in listed.objects {
            let location = object.spec.location.clone();
            let had_record = record(&object).is_some();
            let object = self.adopt(object).await?;
            if had_record || record(&object).is_some() {
                found.push(location);
            }
        }
        Ok(found)
    }

    /// Takes one location over. First its object gets our fence: a record that an earlier term has
    /// under way then fails. Then the nodes that the record names do.
    pub(super) async fn adopt(&self, object: MeshLocation) -> Result<MeshLocation, MoveError> {
        let fence = self.leadership.current().ok_or(MoveError::NotHolding)?;
        let location = object.spec.location.clone();

        let object = self.fence(object, &fence).await?;
        let Some(record) = record(&object).cloned() else { return Ok(object) };
        for before in &record.nodes {
            self.check(&fence)?;
            self.nodes.fence(&before.node, &fence).await?;
        }
        self.check(&fence)?;
        self.nodes.fence(&record.to, &fence).await?;

        let view = self.nodes.list((self.wall)()).await?;
        let scene = Scene { fence, object, view };
        tracing::info!(
            location = %location, incident = record.incident, phase = ?record.phase,
            "Move taken over"
        );
        self.resume(scene, &location, &record).await
    }

    /// Writes our fence into an object, whatever else is written to it meanwhile.
    async fn fence(
        &self,
        mut object: MeshLocation,
        fence: &Fence,
    ) -> Result<MeshLocation, MoveError> {
        let location = object.spec.location.clone();
        for _ in 0..super::ATTEMPTS {
            let mut change = json!({ "fence": fence.to_string() });
            if let Some(mut record) = record(&object).cloned() {
                record.fence = fence.to_string();
                change["move"] = json!(record);
            }
            self.check(fence)?;
            match self.records.swap(object, change).await {
                Err(error) if error.is_conflict() => object = self.records.get(&location).await?,
                outcome => return outcome,
            }
        }
        Err(MoveError::Conflict { what: format!("take over location {location:?}") })
    }

    async fn resume(
        &self,
        scene: Scene,
        location: &Location,
        record: &MoveRecord,
    ) -> Result<MeshLocation, MoveError> {
        match record.phase {
            MovePhase::Written | MovePhase::Reverted => Ok(scene.object),
            MovePhase::Reverting => {
                let scene = self.undo(scene, location, "taken over").await?;
                self.reverted(scene).await?;
                self.records.get(location).await
            }
            MovePhase::Recorded if may_finish(&scene, location, record) => {
                match self.advance(scene, location).await {
                    Ok(_) => {}
                    Err(error) if error.is_refusal() => {}
                    Err(error) => return Err(error),
                }
                self.records.get(location).await
            }
            MovePhase::Recorded => {
                let note = Some("its arbiter ended before it was written".to_owned());
                let mut scene = self.undo(scene, location, "taken over").await?;
                self.archive(&mut scene, MoveOutcome::Abandoned, note).await?;
                Ok(scene.object)
            }
        }
    }
}

/// Tells whether a half-made move is to be finished: something of it is written, nobody has paused
/// the location before all was, and the new leader can lead. Else it is undone; if nothing is written yet,
/// the decision starts afresh.
fn may_finish(scene: &Scene, location: &Location, record: &MoveRecord) -> bool {
    let mesh = &scene.view.mesh;
    let touched = steps::touched(mesh, &course::goal(record), &record.incident);
    !steps::back(mesh, location, &touched).is_empty()
        && (steps::forward(mesh, &record.to).is_empty() || paused(scene, location).is_none())
        && ready(&scene.view, location, &record.to).is_ok()
        && led_by_either(&scene.view, location, record).is_ok()
}

fn record(object: &MeshLocation) -> Option<&MoveRecord> {
    object.status.as_ref()?.moving.as_ref()
}
