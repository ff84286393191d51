//! The one clock of a sidecar: moments since its start, and the wall time where others must read it.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::evidence::{Epoch, Moment, UnixTime};

/// Counts from the start of the process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock(Instant);

impl Clock {
    /// Starts to count.
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    /// Returns the time since the start.
    pub(super) fn now(self) -> Moment {
        Moment::at(self.0.elapsed())
    }

    /// Returns when a timer for `moment` must ring.
    pub(super) fn instant(self, moment: Moment) -> Instant {
        self.0 + moment.since(Moment::START)
    }

    /// Returns the wall time.
    pub(super) fn unix() -> UnixTime {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        UnixTime(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    /// Returns how wall time and moments relate at present: the wall may have been set since.
    pub(super) fn epoch(self) -> Epoch {
        let since = i64::try_from(self.0.elapsed().as_millis()).unwrap_or(i64::MAX);
        Epoch(UnixTime(Self::unix().0.saturating_sub(since)))
    }
}

/// Watches for time that this process did not have: it was stopped, starved, or suspended.
#[derive(Debug, Clone)]
pub(super) struct Pulse {
    asleep: Duration,
    /// How late timers ring, averaged over time: a short burst of many timers weighs little.
    mean: Duration,
    last: Moment,
    late_until: Option<Moment>,
}

/// A timer this late means that probes' own timeouts cannot be trusted.
const LATE: Duration = Duration::from_millis(250);

/// Timers this late on average mean the same: a process that runs one twentieth of the time is
/// never late by much, and always late.
const LATE_ON_AVERAGE: Duration = Duration::from_millis(30);

/// The time that the average looks back on, and the most that one timer weighs in it.
const AVERAGED: Duration = Duration::from_secs(4);
const HEAVIEST: f64 = 0.25;

/// How long a late round taints what was seen.
const TAINT: Duration = Duration::from_secs(10);

impl Pulse {
    /// Begins to watch.
    pub(super) fn start() -> Self {
        Self { asleep: asleep(), mean: Duration::ZERO, last: Moment::START, late_until: None }
    }

    /// Takes how late a timer rang that was set for `planned`.
    pub(super) fn rang(&mut self, planned: Moment, now: Moment) {
        let asleep = asleep();
        let suspended = asleep.saturating_sub(self.asleep);
        self.asleep = asleep;

        let late = now.since(planned) + suspended;
        let weight = now.since(self.last).div_duration_f64(AVERAGED).min(HEAVIEST);
        self.mean = self.mean.mul_f64(1.0 - weight) + late.min(LATE).mul_f64(weight);
        self.last = now;
        if late > LATE || self.mean > LATE_ON_AVERAGE {
            self.late_until = Some(now + TAINT);
        }
    }

    /// Tells whether time went missing lately.
    pub(super) fn is_late(&self, now: Moment) -> bool {
        self.late_until.is_some_and(|until| now < until)
    }
}

/// Returns how long this machine was suspended since it started: what the boot clock counts and
/// the monotonic clock does not.
fn asleep() -> Duration {
    use nix::time::{ClockId, clock_gettime};
    let read = |clock| clock_gettime(clock).map(Duration::from).unwrap_or_default();
    let monotonic = read(ClockId::CLOCK_MONOTONIC);
    read(ClockId::CLOCK_BOOTTIME).saturating_sub(monotonic)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Moment {
        Moment::at(Duration::from_millis(ms))
    }

    #[test]
    fn one_very_late_timer_taints_ten_seconds() {
        let mut pulse = Pulse::start();
        pulse.rang(at(1000), at(1251));
        assert!(pulse.is_late(at(11_250)));
        assert!(!pulse.is_late(at(11_252)));
    }

    #[test]
    fn timers_that_are_always_a_little_late_taint_too() {
        let mut starved = Pulse::start();
        let mut busy = Pulse::start();
        for round in 0..40 {
            starved.rang(at(round * 1000), at(round * 1000 + 48));
            busy.rang(at(round * 1000), at(round * 1000 + 10));
        }
        assert!(starved.is_late(at(40_000)));
        assert!(!busy.is_late(at(40_000)));
    }

    #[test]
    fn a_short_crowd_of_late_timers_taints_nothing() {
        let mut pulse = Pulse::start();
        for round in 0..20 {
            pulse.rang(at(1000 + round * 20), at(1080 + round * 20));
        }
        assert!(!pulse.is_late(at(1500)));
    }
}
