//! A small source of chance that a seed repeats (SplitMix64): for jitter, never for keys.

use std::time::Duration;

/// A repeatable sequence of numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Random(u64);

impl Random {
    /// Returns the sequence of a seed.
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns the next number.
    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number from 0 to just below 1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Returns three quarters of `period` up to all of it, so that nodes do not fall into step.
    pub(crate) fn jitter(&mut self, period: Duration) -> Duration {
        period.mul_f64(0.25_f64.mul_add(self.unit(), 0.75))
    }

    /// Returns an index below `len`; 0 for an empty list.
    pub(crate) const fn below(&mut self, len: usize) -> usize {
        if len == 0 { 0 } else { (self.next() % len as u64) as usize }
    }
}
