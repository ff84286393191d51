//! What a number of probes over one path came to.

use std::time::Duration;

use super::Moment;

/// Counts of fresh flows over one path, and when they were opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Window {
    /// Flows opened whose outcome is known.
    pub sent: u32,
    /// Of these, the flows that got no answer in time.
    pub lost: u32,
    /// When the first of them was opened.
    pub oldest: Moment,
    /// When the last of them was opened.
    pub newest: Moment,
    /// When the last lost one was opened, if any was lost.
    pub last_lost: Option<Moment>,
    /// The least round trip seen, if any flow was answered.
    pub round_trip: Option<Duration>,
}

impl Window {
    /// Returns how many flows were answered.
    #[must_use]
    pub const fn passed(&self) -> u32 {
        self.sent.saturating_sub(self.lost)
    }

    /// Returns the share of flows lost, from 0 to 1; 0 where none was sent.
    #[must_use]
    pub fn loss(&self) -> f64 {
        if self.sent == 0 { 0.0 } else { f64::from(self.lost) / f64::from(self.sent) }
    }

    /// Returns both windows as one.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        if self.sent == 0 {
            return other;
        }
        if other.sent == 0 {
            return self;
        }
        Self {
            sent: self.sent + other.sent,
            lost: self.lost + other.lost,
            oldest: self.oldest.min(other.oldest),
            newest: self.newest.max(other.newest),
            last_lost: self.last_lost.max(other.last_lost),
            round_trip: [self.round_trip, other.round_trip].into_iter().flatten().min(),
        }
    }
}
