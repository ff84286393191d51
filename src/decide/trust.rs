//! The state machine of one location: how far its leader is trusted.
//!
//! ```text
//!            suspect, sick                     curable, for `patience`
//!  Trusted ───────────────▶ Doubted ───────────────────────────────────▶ Proving
//!   ▲   ▲                      │                                          │   │ not in time:
//!   │   └──────────────────────┘                                          │   │ the next heir once,
//!   │        sound, unclear                          proven, refused,     │   │ else back, each with
//!   │                                                or not even back     │◀──┘ a time of its own
//!   └──────────────────────── Resting ◀───────────────────────────────────┘
//!            rest is over        │
//!                                └──▶ Proving, if Kilo brought a quarantined leader back
//! ```

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use std::time::Duration;

use super::policy::Policy;
use crate::evidence::Moment;

/// How far a location's leader is trusted. `T` is a time: a [`Moment`] here, wall time where it is
/// stored for the next arbiter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase", tag = "state")]
pub enum Trust<T = Moment> {
    /// Nothing speaks against it.
    #[default]
    Trusted,
    /// Something does; the location's sidecars are asked to look.
    Doubted {
        /// Since when.
        since: T,
        /// Since when it has been convicted without a break, if it is.
        dark: Option<T>,
    },
    /// Another node was asked to lead and has to show that it forwards.
    Proving {
        /// Which of the tries this is.
        attempt: Attempt,
        /// Until when.
        until: T,
        /// The same if members still follow the old leader.
        limit: T,
    },
    /// Nothing is moved for a while.
    Resting {
        /// Until when.
        until: T,
    },
}

/// Which of an incident's tries a new leader is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Attempt {
    /// The best heir; if it fails, the next one follows.
    First,
    /// The next heir, or the one a person named; if it fails, the old leader is put back.
    Next,
    /// A pinned or forced one: nothing follows it.
    Only,
    /// The old leader, put back: nothing follows it.
    Back,
}

/// What one round says of the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Word {
    /// It forwards; while proving: every served path passed twice.
    Sound,
    /// Nothing can be said for or against it.
    Unclear,
    /// While proving: members still follow the old leader.
    Converging,
    /// While proving: the move was refused, and nothing was written.
    Refused,
    /// While proving: written, but it can neither be shown nor undone, as while the API is away or
    /// another node leads.
    Stranded,
    /// There are losses through it, not yet a verdict.
    Suspect,
    /// It is convicted, but no heir would do better, or a guard rail holds the move.
    Incurable,
    /// It is convicted, and a fit heir may take over.
    Curable,
    /// It was replaced for a fault, Kilo brought it back, and there are losses through it.
    Relapsed,
}

/// What a round calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Ask the location's sidecars to probe at once.
    Inquire,
    /// Make the best heir leader.
    Promote,
    /// Put the old leader back.
    Revert,
    /// Leave all as it is and tell a person.
    Alert,
}

/// The spans that hold for one location at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spans {
    /// How long a leader must stay convicted before it is replaced.
    pub patience: Duration,
    /// How long a move may take to be written and proven.
    pub proof: Duration,
    /// The same while members still follow the old leader.
    pub longest_proof: Duration,
    /// The rest after a move, doubled as often as it is due.
    pub rest: Duration,
    /// The wait after a refused write.
    pub retry: Duration,
}

impl Trust {
    /// Returns where we stand after one round, and the action that round calls for.
    #[must_use]
    pub fn step(self, word: Word, now: Moment, spans: &Spans) -> (Self, Option<Action>) {
        use Attempt::{Back, First, Next, Only};
        use Word::{
            Converging, Curable, Incurable, Refused, Relapsed, Sound, Stranded, Suspect, Unclear,
        };

        let resting = Self::Resting { until: now + spans.rest };
        let doubted = |since, dark| Self::Doubted { since, dark };

        match (self, word) {
            (Self::Trusted, Sound | Unclear | Converging | Refused | Stranded) => (self, None),
            (Self::Trusted, Suspect) => (doubted(now, None), Some(Action::Inquire)),
            (Self::Trusted, Incurable | Curable) => {
                (doubted(now, Some(now)), Some(Action::Inquire))
            }
            (Self::Trusted, Relapsed) => Self::promote(First, now, spans),

            (Self::Doubted { .. }, Sound | Unclear | Converging | Refused | Stranded) => {
                (Self::Trusted, None)
            }
            (Self::Doubted { since, .. }, Suspect) => (doubted(since, None), None),
            (Self::Doubted { since, dark }, Incurable) => {
                (doubted(since, dark.or(Some(now))), None)
            }
            (Self::Doubted { since, dark }, Curable) => {
                let dark = dark.unwrap_or(now);
                if now < dark + spans.patience {
                    return (doubted(since, Some(dark)), None);
                }
                Self::promote(First, now, spans)
            }
            (Self::Doubted { .. }, Relapsed) => Self::promote(First, now, spans),

            (Self::Proving { .. }, Sound) => (resting, None),
            (Self::Proving { .. }, Refused) => {
                (Self::Resting { until: now + spans.retry }, Some(Action::Alert))
            }
            (Self::Proving { .. }, Stranded) => (resting, Some(Action::Alert)),
            (Self::Proving { limit, .. }, Converging) if now < limit => (self, None),
            (Self::Proving { until, .. }, _) if now < until => (self, None),
            (Self::Proving { attempt: First, .. }, Curable) => Self::promote(Next, now, spans),
            (Self::Proving { attempt: First | Next, .. }, _) => {
                (Self::proving(Back, now, spans), Some(Action::Revert))
            }
            (Self::Proving { attempt: Only | Back, .. }, _) => (resting, Some(Action::Alert)),

            (Self::Resting { .. }, Relapsed) => Self::promote(First, now, spans),
            (Self::Resting { until }, _) if now < until => (self, None),
            (Self::Resting { .. }, _) => (Self::Trusted, None),
        }
    }

    /// Tells whether it proves a new leader whose time is not over.
    #[must_use]
    pub fn is_in_time(self, now: Moment) -> bool {
        match self {
            Self::Proving { until, .. } => now < until,
            Self::Trusted | Self::Doubted { .. } | Self::Resting { .. } => false,
        }
    }

    /// Returns the same state as another process takes it up: whose clock may tell another time, and
    /// which has to ask what a new leader can show before it judges it.
    #[must_use]
    pub fn taken_up(self, now: Moment, policy: &Policy) -> Self {
        let within = |moment: Moment, longest| moment.clamp(now + policy.inquest, now + longest);
        match self {
            Self::Trusted => self,
            Self::Doubted { since, dark } => {
                Self::Doubted { since: since.min(now), dark: dark.map(|dark| dark.min(now)) }
            }
            Self::Proving { attempt, until, limit } => Self::Proving {
                attempt,
                until: within(until, policy.inquest + policy.write + policy.proof),
                limit: within(limit, policy.inquest + policy.write + policy.longest_proof),
            },
            Self::Resting { until } => {
                Self::Resting { until: until.min(now + policy.longest_rest) }
            }
        }
    }

    /// Returns the state in which a new leader, asked for now, has to prove itself.
    #[must_use]
    pub fn proving(attempt: Attempt, now: Moment, spans: &Spans) -> Self {
        Self::Proving { attempt, until: now + spans.proof, limit: now + spans.longest_proof }
    }

    fn promote(attempt: Attempt, now: Moment, spans: &Spans) -> (Self, Option<Action>) {
        (Self::proving(attempt, now, spans), Some(Action::Promote))
    }
}

impl<T> Trust<T> {
    /// Returns the same state with its times told by another clock.
    #[must_use]
    pub fn map<U>(self, tell: impl Fn(T) -> U) -> Trust<U> {
        match self {
            Self::Trusted => Trust::Trusted,
            Self::Doubted { since, dark } => {
                Trust::Doubted { since: tell(since), dark: dark.map(tell) }
            }
            Self::Proving { attempt, until, limit } => {
                Trust::Proving { attempt, until: tell(until), limit: tell(limit) }
            }
            Self::Resting { until } => Trust::Resting { until: tell(until) },
        }
    }
}

#[cfg(test)]
mod tests;
