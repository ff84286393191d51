//! What a location's object says: composed from the plan, written only when it matters.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::conditions::{Subject, agree};
use super::incidents;
use super::stopwatch::Stopwatch;
use super::transitions::way_out;
use crate::cluster::objects::{HeirStatus, MeshLocationStatus, RequestAnswer, Served};
use crate::decide::{Answer, Health, Heir, LocationPlan, Memory};
use crate::evidence::{Assignment, Epoch, Location, Moment, UnixTime};

/// How often a status is written for its wording alone.
const WORDING: Duration = Duration::from_secs(30);

/// Everything that a status is composed of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Composition<'a> {
    /// Which location.
    pub(super) location: &'a Location,
    /// What to remember of it.
    pub(super) memory: &'a Memory,
    /// Whom its sidecars probe.
    pub(super) assignment: &'a Assignment,
    /// Why Kilo chose its leader.
    pub(super) why: &'a str,
    /// What translates moments.
    pub(super) epoch: Epoch,
    /// The inquests of other locations that are doubted.
    pub(super) look: &'a BTreeMap<Location, u64>,
    /// What its conditions are made of.
    pub(super) subject: Subject<'a>,
    /// How long past moves took.
    pub(super) stopwatch: &'a Stopwatch,
}

impl Composition<'_> {
    /// Returns the status, with what the actor writes itself taken over from `before`.
    pub(super) fn status(&self, before: &MeshLocationStatus) -> MeshLocationStatus {
        let plan = self.subject.plan;
        MeshLocationStatus {
            leader: plan.leader.clone(),
            why: Some(self.why.to_owned()),
            since: Some(time(self.epoch.unix(plan.since))),
            mode: Some(match &self.subject.intent.pause {
                Some(_) => "paused".to_owned(),
                None => self.subject.mode.to_string(),
            }),
            next: Some(next(plan)),
            heirs: plan.heirs.iter().map(heir).collect(),
            verdict: Some(health(plan.health).to_owned()),
            because: Some(because(plan)),
            incident: plan.incident.clone(),
            served: Some(Served { now: plan.served_now, best: plan.served_best }),
            plan: Some(self.assignment.clone()),
            inquest: plan.inquest,
            look: self.look.clone(),
            complaints: complaints(plan),
            incidents: incidents::after(&before.incidents, plan, self.subject.now),
            answered: plan.answered.as_ref().map(answer).or_else(|| before.answered.clone()),
            memory: serde_json::to_value(self.memory).ok(),
            moves: self.stopwatch.timed(self.location, &before.moves),
            conditions: self.subject.conditions(&before.conditions),
            ..before.clone()
        }
    }
}

/// Returns a time as objects carry it.
pub(super) fn time(at: UnixTime) -> Time {
    Time(jiff::Timestamp::from_millisecond(at.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH))
}

/// Tells whether `after` must be written now, given when the status was last written.
pub(super) fn is_due(
    before: &MeshLocationStatus,
    after: &MeshLocationStatus,
    written: Option<Moment>,
    now: Moment,
) -> bool {
    if before == after {
        return false;
    }
    let worded = MeshLocationStatus {
        because: before.because.clone(),
        heirs: reworded(&before.heirs, &after.heirs),
        served: before.served,
        conditions: if agree(&before.conditions, &after.conditions) {
            before.conditions.clone()
        } else {
            after.conditions.clone()
        },
        ..after.clone()
    };
    worded != *before || written.is_none_or(|written| now.since(written) >= WORDING)
}

/// Returns the heirs as they were if only the wording of what they failed has changed.
fn reworded(before: &[HeirStatus], after: &[HeirStatus]) -> Vec<HeirStatus> {
    let essence = |heirs: &[HeirStatus]| {
        heirs.iter().map(|heir| (heir.node.clone(), heir.fit)).collect::<Vec<_>>()
    };
    if essence(before) == essence(after) { before.to_vec() } else { after.to_vec() }
}

/// Returns what a person should know, annotations that somebody put back last.
fn complaints(plan: &LocationPlan) -> Vec<String> {
    let readded = plan.readded.iter().map(|it| format!("{it}; {}", way_out(it)));
    plan.complaints.iter().cloned().chain(readded).collect()
}

fn next(plan: &LocationPlan) -> String {
    let fit = plan.heirs.iter().find(|heir| heir.is_fit());
    fit.map_or_else(|| "nobody".to_owned(), |heir| heir.node.0.clone())
}

fn heir(heir: &Heir) -> HeirStatus {
    HeirStatus {
        node: heir.node.clone(),
        fit: heir.is_fit(),
        serves: u32::try_from(heir.serves.len()).unwrap_or(u32::MAX),
        passed: heir.passed().map(|check| check.to_string()).collect(),
        failed: heir.failed.iter().map(|(check, why)| format!("{check}: {why}")).collect(),
    }
}

fn answer(answer: &Answer) -> RequestAnswer {
    RequestAnswer { id: answer.id.clone(), answer: answer.answer.clone() }
}

const fn health(health: Health) -> &'static str {
    match health {
        Health::Forwards => "forwards",
        Health::Unclear => "unclear",
        Health::Impaired => "impaired",
        Health::Dark => "dark",
    }
}

/// Returns the reason with the rail that holds a wanted move, if one does.
fn because(plan: &LocationPlan) -> String {
    match (&plan.held, &plan.would_move) {
        (Some(rail), Some(heir)) => {
            format!("{}; would move to {heir}, but {rail}", plan.because)
        }
        (Some(rail), None) => format!("{}; no move: {rail}", plan.because),
        (None, _) => plan.because.clone(),
    }
}
