//! The figures by which evidence is judged, each with its reason.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// When evidence counts and when it suffices.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Thresholds {
    /// By how much an explanation must beat the next-best (natural logarithm of the odds).
    pub log_odds: f64,
    /// What each further broken element costs an explanation (same unit).
    pub parsimony: f64,
    /// How likely a whole mesh may look, by chance, as if some path contradicted the truth.
    pub misfit: f64,
    /// The least loss that any path is taken to have when nothing is wrong.
    pub background: f64,
    /// From which share of flows lost a leader no longer counts as forwarding.
    pub dark_share: f64,
    /// How old a burst may be.
    pub burst_age: Duration,
    /// How old a steady window may be to accuse.
    pub steady_age: Duration,
    /// How old a steady window may be to speak for a leader or an heir, and one of large packets to
    /// accuse.
    pub healthy_age: Duration,
    /// How long after a change of leader its location is not judged.
    pub quiet: Duration,
    /// How long after any other change in a location its paths are void.
    pub churn: Duration,
    /// How long paths must stay dark to count despite such changes.
    pub dark_despite_churn: Duration,
    /// How many nodes must see it.
    pub witnesses: usize,
    /// The share of leaders that may be convicted at once (one always may).
    pub storm_share: f64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            // 150 to 1: one wrong in 150 of the undecided is rarer than the faults themselves.
            log_odds: 5.0,
            // Two independent faults at once are a thousand times rarer than one.
            parsimony: 7.0,
            // One sound conviction in 100 waits for the next round; a path that passes says so
            // with a few flows.
            misfit: 0.01,
            // Below this a lost packet is ordinary on any WAN.
            background: 0.003,
            // Users notice a tenth; hash buckets of a sick NIC come in quarters and halves.
            dark_share: 0.1,
            // Three rounds of probing, 1.33 s each.
            burst_age: Duration::from_secs(4),
            // Three rounds over a rotation of five targets.
            steady_age: Duration::from_secs(20),
            // Healthy witnesses write every 60 s; half as much again covers a slow API.
            healthy_age: Duration::from_secs(90),
            // WireGuard's slowest start after a move, measured at 15 s, four times over.
            quiet: Duration::from_secs(60),
            // Kilo's own resync of 30 s is seldom waited for; 15 to 20 s is its measured worst.
            churn: Duration::from_secs(20),
            // Longer than any convergence seen, shorter than Kilo's own election.
            dark_despite_churn: Duration::from_secs(30),
            // One node's word may be that node's fault.
            witnesses: 2,
            // Most leaders do not fail at once; what carries them, or we, might.
            storm_share: 0.5,
        }
    }
}
