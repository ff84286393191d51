//! Chance that a seed repeats: the schedule's own source, in the terms of a simulation.

use std::time::Duration;

use crate::observe::schedule::Random;

/// A repeatable sequence of numbers.
#[derive(Debug, Clone)]
pub(super) struct Chance(Random);

impl Chance {
    /// Returns the sequence of a seed.
    pub(super) const fn new(seed: u64) -> Self {
        Self(Random::new(seed))
    }

    /// Returns the next number.
    pub(super) const fn next(&mut self) -> u64 {
        self.0.next()
    }

    /// Returns a number from 0 to just below 1.
    pub(super) fn unit(&mut self) -> f64 {
        self.0.unit()
    }

    /// Returns a span between two.
    pub(super) fn between(&mut self, least: Duration, most: Duration) -> Duration {
        least + most.saturating_sub(least).mul_f64(self.unit())
    }

    /// Returns a number of milliseconds between two, as a span.
    pub(super) fn millis(&mut self, least: u64, most: u64) -> Duration {
        self.between(Duration::from_millis(least), Duration::from_millis(most))
    }

    /// Tells whether something of this probability happens.
    pub(super) fn happens(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }
}
