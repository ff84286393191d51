//! The arbiter's clock: the one place in it that asks what time it is.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::evidence::{Epoch, Moment, UnixTime};

/// Reports and check-ins are dated by wall time, and one that is 5 s off does not count: a clock set
/// by more than this would soon make all of them seem off.
const TOLERANCE: Duration = Duration::from_secs(2);

/// A monotonic clock that knows the wall time of its start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    start: Instant,
    epoch: Epoch,
}

impl Clock {
    /// Starts a clock: now is [`Moment::START`].
    #[must_use]
    pub(super) fn start() -> Self {
        Self { start: Instant::now(), epoch: Epoch(wall()) }
    }

    /// Starts a clock whose wall time is then set by so much.
    #[cfg(test)]
    pub(super) fn set_by(by: Duration) -> Self {
        let started = UnixTime(wall().0 - i64::try_from(by.as_millis()).unwrap());
        Self { start: Instant::now(), epoch: Epoch(started) }
    }

    /// Returns the present moment.
    #[must_use]
    pub(super) fn now(&self) -> Moment {
        Moment::at(self.start.elapsed())
    }

    /// Returns the wall time of the start.
    #[must_use]
    pub(super) const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Returns by how much the wall clock was set since the start, if by too much to go on: by
    /// somebody, or since this machine was suspended.
    #[must_use]
    pub(super) fn was_set(&self) -> Option<Duration> {
        let expected = self.epoch.unix(self.now());
        let by = Duration::from_millis(wall().0.abs_diff(expected.0));
        (by > TOLERANCE).then_some(by)
    }
}

fn wall() -> UnixTime {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixTime(i64::try_from(unix.as_millis()).unwrap_or(i64::MAX))
}
