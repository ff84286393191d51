//! When to write the report: at once where a verdict waits for it, soon where something changed,
//! else now and then. Never two writes at a time, never closer than the API server should bear.

use std::time::Duration;

use crate::evidence::Moment;

/// Between two reports, at least.
const APART: Duration = Duration::from_millis(50);

/// Between two reports for which no verdict waits.
const CALM: Duration = Duration::from_secs(1);

/// After a failed write, doubling up to the longest.
const RETRY: Duration = Duration::from_millis(200);
const LONGEST_RETRY: Duration = Duration::from_secs(8);

/// How much a report matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    /// A verdict may hang on it.
    AtOnce,
    /// Something changed.
    Soon,
}

/// Decides when to write.
#[derive(Debug, Clone, Default)]
pub(super) struct Pen {
    last: Option<Moment>,
    wish: Option<Moment>,
    failures: u32,
    busy: bool,
}

impl Pen {
    /// Wishes a report.
    pub(super) fn ask(&mut self, urgency: Urgency, now: Moment) {
        let apart = match urgency {
            Urgency::AtOnce => APART,
            Urgency::Soon => CALM,
        };
        let due = self.last.map_or(now, |last| now.max(last + apart));
        self.wish = Some(self.wish.map_or(due, |wish| wish.min(due)));
    }

    /// Returns when to write next, if no write is under way.
    pub(super) fn due(&self, period: Duration) -> Option<Moment> {
        if self.busy {
            return None;
        }
        let regular = self.last.map_or(Moment::START, |last| last + period);
        let due = self.wish.map_or(regular, |wish| wish.min(regular));
        let retry = self.last.zip(self.failures.checked_sub(1));
        Some(retry.map_or(due, |(last, times)| {
            last + (RETRY * 2_u32.saturating_pow(times.min(10))).min(LONGEST_RETRY)
        }))
    }

    /// Notes that a write began.
    pub(super) fn begin(&mut self, now: Moment) {
        self.last = Some(now);
        self.wish = None;
        self.busy = true;
    }

    /// Notes how it ended.
    pub(super) fn end(&mut self, written: bool) {
        self.busy = false;
        self.failures = if written { 0 } else { self.failures.saturating_add(1) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(60);

    const fn at(ms: u64) -> Moment {
        Moment::at(Duration::from_millis(ms))
    }

    fn written(at: Moment) -> Pen {
        let mut pen = Pen::default();
        pen.begin(at);
        pen.end(true);
        pen
    }

    #[test]
    fn the_first_report_is_due_at_once_and_the_next_a_period_later() {
        assert_eq!(Pen::default().due(PERIOD), Some(at(0)));
        assert_eq!(written(at(100)).due(PERIOD), Some(at(60_100)));
    }

    #[test]
    fn urgency_says_how_soon() {
        let due = |urgency, now| {
            let mut pen = written(at(1000));
            pen.ask(urgency, now);
            pen.due(PERIOD)
        };
        assert_eq!(due(Urgency::AtOnce, at(1010)), Some(at(1050)));
        assert_eq!(due(Urgency::AtOnce, at(5000)), Some(at(5000)));
        assert_eq!(due(Urgency::Soon, at(1010)), Some(at(2000)));

        let mut both = written(at(1000));
        both.ask(Urgency::AtOnce, at(1010));
        both.ask(Urgency::Soon, at(1020));
        assert_eq!(both.due(PERIOD), Some(at(1050)), "the sooner stands");
    }

    #[test]
    fn one_write_at_a_time_and_a_wish_outlives_it() {
        let mut pen = Pen::default();
        pen.begin(at(0));
        pen.ask(Urgency::AtOnce, at(10));
        assert_eq!(pen.due(PERIOD), None);
        pen.end(true);
        assert_eq!(pen.due(PERIOD), Some(at(50)));
    }

    #[test]
    fn failures_space_the_tries_and_a_success_ends_them() {
        let mut pen = Pen::default();
        let mut gaps = Vec::new();
        let mut now = at(0);
        for _ in 0..8 {
            pen.begin(now);
            pen.end(false);
            pen.ask(Urgency::AtOnce, now);
            let due = pen.due(PERIOD).unwrap();
            gaps.push(due.since(now).as_millis());
            now = due;
        }
        assert_eq!(gaps, [200, 400, 800, 1600, 3200, 6400, 8000, 8000]);
        pen.begin(now);
        pen.end(true);
        assert_eq!(pen.due(PERIOD), Some(now + PERIOD));
    }
}
