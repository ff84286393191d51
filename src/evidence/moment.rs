//! Time as a value. Nothing here can ask what time it is.

use std::ops::{Add, Sub};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A point in time in microseconds since this process (or simulation, or journal) began. It is
/// monotonic; it may be negative for what was remembered from before.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Moment(i64);

impl Moment {
    /// The beginning.
    pub const START: Self = Self(0);

    /// Returns the moment that lies `since_start` after the beginning.
    #[must_use]
    pub const fn at(since_start: Duration) -> Self {
        Self(since_start.as_micros() as i64)
    }

    /// Returns how long after `earlier` this moment is; zero if it is not after it.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        let micros = self.0.saturating_sub(earlier.0);
        Duration::from_micros(if micros < 0 { 0 } else { micros as u64 })
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, later: Duration) -> Self {
        Self(self.0.saturating_add(later.as_micros() as i64))
    }
}

impl Sub<Duration> for Moment {
    type Output = Self;

    fn sub(self, earlier: Duration) -> Self {
        Self(self.0.saturating_sub(earlier.as_micros() as i64))
    }
}

/// Wall time in milliseconds since 1970-01-01 UTC, as objects in the cluster carry it.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(transparent)]
pub struct UnixTime(pub i64);

impl UnixTime {
    /// Returns whole seconds, which is how Kilo's `last-seen` counts.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }
}

/// The wall time at which [`Moment::START`] was: translates between the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch(pub UnixTime);

impl Epoch {
    /// Returns the wall time of a moment.
    #[must_use]
    pub const fn unix(self, moment: Moment) -> UnixTime {
        UnixTime(self.0.0 + moment.0.div_euclid(1000))
    }

    /// Returns the moment of a wall time; negative if it lies before the start.
    #[must_use]
    pub const fn moment(self, time: UnixTime) -> Moment {
        Moment((time.0 - self.0.0).saturating_mul(1000))
    }
}
