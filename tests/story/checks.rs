//! What must hold whoever was killed.

use anyhow::{bail, ensure};
use serde_json::Value;
use tanist::cluster::objects::{MoveOutcome, PastMove};
use tanist::evidence::Location;
use tanist::evidence::kilo::key::LEADER;

use crate::cases::Deed;
use crate::plot::Before;
use crate::stage::{CLOUD, FIRST, HEIR, Stage};

/// Checks what must hold whoever was killed; says how it ended.
pub(crate) async fn check(
    stage: &Stage,
    before: &Before,
    deed: Deed,
    history: &[PastMove],
) -> anyhow::Result<String> {
    let allowed: &[&str] = match deed {
        Deed::Fault => &[FIRST, HEIR, "cloud-3"],
        Deed::Hand | Deed::Restore => &[FIRST, HEIR],
    };
    stage.vigil.only(&Location::from(CLOUD), allowed)?;
    let leader = stage.vigil.leaders()[&Location::from(CLOUD)].0.clone();
    let annotations = stage.annotations().await?;
    if deed == Deed::Restore {
        ensure!(annotations == before.annotations, "{annotations:?}");
        return Ok(format!("{leader} leads, as before the installation"));
    }
    remembered(before, &annotations, &leader)?;
    let present = stage.location(CLOUD).await?.moves;
    let moves = new_moves(history, &present);
    let verified = moves.iter().filter(|past| past.outcome == MoveOutcome::Verified).count();
    ensure!(verified == usize::from(leader != FIRST), "{leader} leads, and history: {moves:?}");
    // A move that is given up before anything of it is written may be made anew.
    let given_up = moves.iter().filter(|past| past.outcome == MoveOutcome::Abandoned).count();
    ensure!(verified + given_up == moves.len() && given_up <= 1, "history: {moves:?}");
    let outcomes: Vec<_> = moves.iter().map(|past| format!("{:?}", past.outcome)).collect();
    Ok(format!("{leader} leads, history: [{}]", outcomes.join(", ")))
}

/// Checks that one node is asked to lead, and that what the operator had is known where it differs.
fn remembered(before: &Before, present: &[(String, Value)], leader: &str) -> anyhow::Result<()> {
    let asked: Vec<_> = present.iter().filter(|(_, it)| it[LEADER].is_string()).collect();
    let [(asked, _)] = asked.as_slice() else { bail!("not one leader is asked for: {asked:?}") };
    ensure!(asked == leader, "{asked} is asked to lead, and {leader} does");
    for ((node, was), (_, is)) in before.annotations.iter().zip(present) {
        let known = match was[LEADER].as_str() {
            Some(value) => format!("={value}"),
            None => "absent".to_owned(),
        };
        let is_known = is["tanist.dev/leader-before"] == known;
        ensure!(was[LEADER] == is[LEADER] || is_known, "{node} was {was} and is {is}");
    }
    Ok(())
}

/// Returns the moves that were not in the history before; each must be there once.
pub(crate) fn new_moves<'a>(before: &[PastMove], after: &'a [PastMove]) -> Vec<&'a PastMove> {
    let same = |one: &PastMove, other: &PastMove| {
        (&one.incident, &one.to, one.started.0) == (&other.incident, &other.to, other.started.0)
    };
    after.iter().filter(|past| !before.iter().any(|known| same(known, past))).collect()
}
