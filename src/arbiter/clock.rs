//! The arbiter's clock: the one place in it that asks what time it is.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::evidence::{Epoch, Moment, UnixTime};

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
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let unix = i64::try_from(unix.as_millis()).unwrap_or(i64::MAX);
        Self { start: Instant::now(), epoch: Epoch(UnixTime(unix)) }
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
}
