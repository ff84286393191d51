//! The numbers that decisions are made by, each with its reason.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The numbers that decisions are made by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Policy {
    /// How long a leader must stay convicted before it is replaced. A verdict has already been
    /// tested by bursts, so it need not wait.
    pub patience: Duration,
    /// The same for one that loses only a share of the flows. A busy machine loses some for a second
    /// too, and what comes late has come by then; bursts speak for four.
    pub patience_if_partial: Duration,
    /// How long a conviction counts towards a storm: faults that follow each other so closely have
    /// one cause, and it is not that many leaders.
    pub storm: Duration,
    /// How long a doubt must last before it is told, and that there is no heir. Convergence elsewhere
    /// takes 0.3 s, and what was lost in it is asked again 2 s later; heirs answer within a second.
    pub hesitation: Duration,
    /// How long the answers to an inquest are waited for before it is held again. Three times what
    /// a watch, a burst and a write take on a slow API server.
    pub inquest: Duration,
    /// How often a new leader's paths are looked at while it proves itself, and a convicted one's
    /// while its conviction has to last. Convergence takes 0.3 s or 5 s; this sees either soon, and
    /// before a burst's answers are too old, within the sidecars' limit on bursts.
    pub reprobe: Duration,
    /// How long the actor may take from the wish to the last annotation. The API's own time limit
    /// for a hung write, twice.
    pub write: Duration,
    /// How long a new leader has to prove itself. A lost handshake costs 5 s, a crossing one 5 s
    /// more, a stale session 15 s.
    pub proof: Duration,
    /// The same while members still report the old leader. One resync of Kilo (30 s) and a little.
    pub longest_proof: Duration,
    /// The wait after a refused move. A refusal is mostly a conflict with Kilo's own check-in.
    pub retry: Duration,
    /// The rest after an automatic move. Each move resets every WireGuard session in the mesh.
    pub rest: Duration,
    /// What the rest doubles up to. A fault that keeps coming back needs a person.
    pub longest_rest: Duration,
    /// Automatic moves per location and day, those of one incident counted once. More is flapping.
    pub daily_moves: u32,
    /// The share of members, in percent, that a move must win back; at least one node.
    pub least_gain_percent: u8,
    /// How long a node whose Kilo agent started is left out, and how long after the API's return
    /// nothing is decided. Each agent believes itself alone for up to a minute.
    pub settle: Duration,
    /// How long after the API's return nodes are waited for that do not check in again. Two
    /// readiness windows of Kilo and one for a slow relist.
    pub longest_return: Duration,
    /// The age at which a check-in is overdue. Kilo checks in every 30 s; clocks may be 5 s off
    /// and a write 10 s late.
    pub check_in: Duration,
    /// How long a passed hairpin speaks for an heir while no newer one can be trusted. Ten rounds.
    pub hairpin: Duration,
    /// How long an unbroken good record takes a leader out of quarantine, and a bad one keeps an
    /// incident open.
    pub memory: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            patience: Duration::ZERO,
            patience_if_partial: Duration::from_secs(3),
            storm: Duration::from_secs(10),
            hesitation: Duration::from_secs(3),
            inquest: Duration::from_secs(5),
            reprobe: Duration::from_secs(2),
            write: Duration::from_secs(20),
            proof: Duration::from_secs(20),
            longest_proof: Duration::from_secs(40),
            retry: Duration::from_secs(10),
            rest: Duration::from_secs(10 * 60),
            longest_rest: Duration::from_secs(2 * 60 * 60),
            daily_moves: 3,
            least_gain_percent: 20,
            settle: Duration::from_secs(60),
            longest_return: Duration::from_secs(3 * 60),
            check_in: Duration::from_secs(45),
            hairpin: Duration::from_secs(10 * 60),
            memory: Duration::from_secs(10 * 60),
        }
    }
}
