//! What is told of a location's health: at once that its leader is convicted or forwards, but of a
//! mere doubt only what lasts. While one leader is moved, paths of other locations are short of
//! evidence for a moment; nobody should be called for that.

use std::time::Duration;

use super::case::Case;
use super::plan::Health;
use crate::evidence::Moment;

/// What was told last.
#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    health: Health,
    because: String,
    /// Since when neither a conviction nor soundness could be told.
    doubtful: Option<Moment>,
}

impl Told {
    /// Begins anew with another leader.
    pub(super) fn of_new_leader() -> Self {
        Self { because: "another node leads since a moment ago".to_owned(), ..Self::default() }
    }

    /// Takes what the evidence says, and returns what to tell: a doubt younger than `least` not yet.
    pub(super) fn hear(&mut self, case: &Case, now: Moment, least: Duration) -> (Health, String) {
        let young = match case.health {
            Health::Forwards | Health::Dark => {
                self.doubtful = None;
                false
            }
            Health::Unclear | Health::Impaired => {
                now.since(*self.doubtful.get_or_insert(now)) < least && !self.because.is_empty()
            }
        };
        if !young || case.health == self.health {
            self.health = case.health;
            self.because.clone_from(&case.because);
        }

        (self.health, self.because.clone())
    }
}
