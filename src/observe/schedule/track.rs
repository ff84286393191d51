//! What is known of one path: two windows, its background loss, its condition.
//!
//! ```text
//!              a first pass                 two of the last 16 lost
//!   Unknown ────────────────▶ Well ────────────────────────────────▶ Lossy
//!      │                      ▲  ▲          ≤ 1 of 16, or 8 passes     │ ▲
//!      │ four lost in a row   │  └─────────────────────────────────────┘ │
//!      └──────────▶ Dark ◀────┴──────── four lost in a row ──────────────┤
//!                     └──────────────────── a pass ──────────────────────┘
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use super::{Condition, Outcome, Purpose, Rates};
use crate::evidence::{Moment, WindowReport};

/// Losses in a row that make a path dark.
const DARK_AFTER: u32 = 4;

/// Passes in a row that make a lossy path well.
const WELL_AFTER: u32 = 8;

/// Buckets of background loss.
const BUCKETS: u32 = 10;

/// A window never holds more, whatever the rates.
const SAMPLES: usize = 256;

/// One flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sample {
    opened: Moment,
    round_trip: Option<Duration>,
}

/// Some time's worth of steady flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bucket {
    since: Moment,
    sent: u32,
    lost: u32,
    dark: bool,
}

/// What is known of one path.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Track {
    steady: VecDeque<Sample>,
    burst: VecDeque<Sample>,
    burst_id: u64,
    buckets: VecDeque<Bucket>,
    /// The last flows, the newest in the lowest bit; set where lost.
    recent: u16,
    known: u32,
    condition: Condition,
    answered: bool,
    last: Moment,
}

impl Default for Track {
    fn default() -> Self {
        Self {
            steady: VecDeque::new(),
            burst: VecDeque::new(),
            burst_id: 0,
            buckets: VecDeque::new(),
            recent: 0,
            known: 0,
            condition: Condition::Unknown,
            answered: false,
            last: Moment::START,
        }
    }
}

impl Track {
    /// Takes what came of a flow; returns the condition before and after.
    pub(super) fn learn(
        &mut self,
        (purpose, opened): (Purpose, Moment),
        outcome: Outcome,
        rates: &Rates,
    ) -> (Condition, Condition) {
        let round_trip = match outcome {
            Outcome::Answered { round_trip } => Some(round_trip),
            Outcome::Lost => None,
            Outcome::Late { round_trip } => return self.redeem((purpose, opened), round_trip),
            Outcome::Unsent => return (self.condition, self.condition),
        };
        let sample = Sample { opened, round_trip };
        self.answered |= round_trip.is_some();
        self.last = self.last.max(opened);

        match purpose {
            Purpose::Nudge => return (self.condition, self.condition),
            Purpose::Steady => {
                self.count(sample, rates);
                push(&mut self.steady, sample, rates.steady_window);
            }
            Purpose::Burst(id) if id >= self.burst_id => {
                if id > self.burst_id {
                    self.burst.clear();
                    self.burst_id = id;
                }
                push(&mut self.burst, sample, rates.burst_window);
            }
            Purpose::Burst(_older) => {}
        }
        self.judge(round_trip.is_none())
    }

    /// Takes back a loss: its answer came late.
    fn redeem(
        &mut self,
        (purpose, opened): (Purpose, Moment),
        round_trip: Duration,
    ) -> (Condition, Condition) {
        let samples = match purpose {
            Purpose::Nudge => return (self.condition, self.condition),
            Purpose::Steady => &mut self.steady,
            Purpose::Burst(_) => &mut self.burst,
        };
        let lost = |sample: &&mut Sample| sample.opened == opened && sample.round_trip.is_none();
        if let Some(sample) = samples.iter_mut().find(lost) {
            sample.round_trip = Some(round_trip);
        }
        self.answered = true;
        if purpose == Purpose::Steady
            && let Some(bucket) = self.buckets.iter_mut().rfind(|bucket| bucket.since <= opened)
        {
            bucket.lost = bucket.lost.saturating_sub(1);
        }
        // Of the last flows one that was lost passed: the newest of them will do.
        self.recent &= self.recent.wrapping_sub(1);

        self.reconsider(false)
    }

    /// Returns how the path does.
    pub(super) const fn condition(&self) -> Condition {
        self.condition
    }

    /// Tells whether a flow on it was ever answered.
    pub(super) const fn answered(&self) -> bool {
        self.answered
    }

    /// Returns when the last flow was opened.
    pub(super) const fn last(&self) -> Moment {
        self.last
    }

    /// Returns the steady window.
    pub(super) fn steady(&self, now: Moment, rates: &Rates) -> WindowReport {
        window(&self.steady, now, rates.steady_window)
    }

    /// Returns the burst window, if there is one.
    pub(super) fn burst(&self, now: Moment, rates: &Rates) -> Option<WindowReport> {
        Some(window(&self.burst, now, rates.burst_window)).filter(|window| window.sent > 0)
    }

    /// Returns the loss in permille of the time before the steady window in which the path worked.
    pub(super) fn background(&self, now: Moment, rates: &Rates) -> u32 {
        let (until, from) = (now - rates.steady_window, now - rates.background);
        let whole = rates.background / BUCKETS;
        let counted = |bucket: &&Bucket| {
            !bucket.dark && bucket.since + whole <= until && bucket.since >= from
        };
        let (sent, lost) = (self.buckets.iter().filter(counted))
            .fold((0, 0), |(sent, lost), bucket| (sent + bucket.sent, lost + bucket.lost));

        (lost * 1000).checked_div(sent).unwrap_or(0)
    }

    fn count(&mut self, sample: Sample, rates: &Rates) {
        let whole = rates.background / BUCKETS;
        if self.buckets.back().is_none_or(|bucket| sample.opened >= bucket.since + whole) {
            self.buckets.push_back(Bucket { since: sample.opened, sent: 0, lost: 0, dark: false });
            while self.buckets.len() > 2 * BUCKETS as usize {
                self.buckets.pop_front();
            }
        }
        let dark = self.condition == Condition::Dark;
        if let Some(bucket) = self.buckets.back_mut() {
            bucket.sent += 1;
            bucket.lost += u32::from(sample.round_trip.is_none());
            bucket.dark |= dark;
        }
    }

    fn judge(&mut self, lost: bool) -> (Condition, Condition) {
        self.recent = self.recent << 1 | u16::from(lost);
        self.known = (self.known + 1).min(u16::BITS);

        let (before, after) = self.reconsider(lost);
        let is_dark = after == Condition::Dark;
        if is_dark != (before == Condition::Dark) {
            self.turn(is_dark);
        }
        (before, after)
    }

    /// Concludes from the last flows, of which one has just been `lost` or answered.
    fn reconsider(&mut self, lost: bool) -> (Condition, Condition) {
        let before = self.condition;
        let lost_in_row = self.recent.trailing_ones().min(self.known);
        let passed_in_row = self.recent.trailing_zeros().min(self.known);
        let well = self.recent.count_ones() <= 1 || passed_in_row >= WELL_AFTER;

        self.condition = match before {
            _ if lost_in_row >= DARK_AFTER => Condition::Dark,
            Condition::Unknown if lost => Condition::Unknown,
            Condition::Unknown | Condition::Well | Condition::Lossy if well => Condition::Well,
            Condition::Dark if lost => Condition::Dark,
            Condition::Unknown | Condition::Well | Condition::Lossy | Condition::Dark => {
                Condition::Lossy
            }
        };
        (before, self.condition)
    }

    /// A path that goes dark or comes back is another path: what it did before says nothing of it
    /// now. The steady window starts anew with the flows that told of the change; and the losses
    /// that made it dark are no background.
    fn turn(&mut self, dark: bool) {
        if let Some(bucket) = self.buckets.back_mut() {
            bucket.dark |= dark;
        }
        let since = self.steady.iter().rposition(|sample| sample.round_trip.is_none() != dark);
        self.steady.drain(..since.map_or(0, |last_of_old| last_of_old + 1));
    }
}

fn push(samples: &mut VecDeque<Sample>, sample: Sample, span: Duration) {
    // Outcomes arrive in the order of their timeouts; windows are in the order of opening.
    let at = samples.partition_point(|other| other.opened <= sample.opened);
    samples.insert(at, sample);

    let newest = samples.back().map_or(sample.opened, |newest| newest.opened);
    while samples.front().is_some_and(|oldest| oldest.opened + span < newest)
        || samples.len() > SAMPLES
    {
        samples.pop_front();
    }
}

fn window(samples: &VecDeque<Sample>, now: Moment, span: Duration) -> WindowReport {
    let from = now - span;
    let within: Vec<_> = samples.iter().filter(|sample| sample.opened >= from).collect();
    let age =
        |sample: Option<&&Sample>| sample.map_or(0, |sample| millis(now.since(sample.opened)));
    let trips = within.iter().filter_map(|sample| sample.round_trip);
    let lost = || within.iter().filter(|sample| sample.round_trip.is_none());

    WindowReport {
        sent: within.len() as u32,
        lost: lost().count() as u32,
        oldest_ms: age(within.first()),
        newest_ms: age(within.last()),
        last_lost_ms: lost().next_back().map(|sample| age(Some(sample))),
        round_trip_us: trips.min().map(|trip| u32::try_from(trip.as_micros()).unwrap_or(u32::MAX)),
    }
}

fn millis(span: Duration) -> u32 {
    u32::try_from(span.as_millis()).unwrap_or(u32::MAX)
}
