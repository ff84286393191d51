//! How long to wait for an answer: RFC 6298's smoothing, without its back-off, since a lost probe
//! is not sent again.

use std::time::Duration;

/// With no answer seen yet, as RFC 6298 (2.1) has it.
const FIRST: Duration = Duration::from_secs(1);

/// Beyond this an answer is of no use to a verdict that should take a second.
const LONGEST: Duration = Duration::from_secs(2);

/// What the answers of one address took so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Patience {
    smoothed: Option<(Duration, Duration)>,
}

impl Patience {
    /// Takes the round trip of one answer.
    pub(super) fn learn(&mut self, round_trip: Duration) {
        self.smoothed = Some(match self.smoothed {
            None => (round_trip, round_trip / 2),
            Some((mean, variation)) => {
                ((mean * 7 + round_trip) / 8, (variation * 3 + mean.abs_diff(round_trip)) / 4)
            }
        });
    }

    /// Returns how long to wait for the next answer, at least `least`.
    pub(super) fn timeout(&self, least: Duration) -> Duration {
        let wanted = self.smoothed.map_or(FIRST, |(mean, variation)| mean + variation * 4);
        wanted.clamp(least.min(LONGEST), LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn waits_as_rfc_6298_says() {
        #[rustfmt::skip]
        let table = [
            // round trips           timeout
            (vec![],                 ms(1000)),
            (vec![1],                ms(100)),  // the least
            (vec![80],               ms(240)),  // 80 + 4 * 40
            (vec![80, 80],           ms(200)),  // 80 + 4 * 30
            (vec![80, 160],          ms(290)),  // 90 + 4 * 50
            (vec![900],              ms(2000)), // the most
        ];

        for (round_trips, timeout) in table {
            let mut patience = Patience::default();
            for round_trip in &round_trips {
                patience.learn(ms(*round_trip));
            }
            assert_eq!(patience.timeout(ms(100)), timeout, "{round_trips:?}");
        }
    }
}
