//! Rate limits, per source and in all.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How many requests a responder answers. What a mesh really asks is far below: a leader hears some
/// 10 a second, and at most 64 more in a burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For each source address.
    pub source: Rate,
    /// In all.
    pub all: Rate,
    /// How many source addresses, and how many probers, are remembered.
    pub remembered: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Ten times what one prober sends in a burst.
            source: Rate { each: Duration::from_millis(5), burst: 500 },
            // A tenth of a core: an answer costs some 20 µs.
            all: Rate { each: Duration::from_micros(200), burst: 5000 },
            // 2 MiB at the most; a mesh has fewer nodes that speak to one of them.
            remembered: 1024,
        }
    }
}

/// One in each span on average, and some at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// The span.
    pub each: Duration,
    /// How many at once.
    pub burst: u32,
}

impl Rate {
    /// Returns when everything let through so far is paid for, this one included; none if this one
    /// is too many.
    fn admit(self, paid: Instant, now: Instant) -> Option<Instant> {
        let paid = paid.max(now) + self.each;
        (paid.duration_since(now) <= self.each * self.burst).then_some(paid)
    }
}

/// Counts requests against the limits.
#[derive(Debug)]
pub(super) struct Limiter {
    limits: Limits,
    all: Instant,
    sources: BTreeMap<IpAddr, Instant>,
}

impl Limiter {
    pub(super) const fn new(limits: Limits, now: Instant) -> Self {
        Self { limits, all: now, sources: BTreeMap::new() }
    }

    /// Tells whether one more request from there may be answered, and counts it if so.
    pub(super) fn admits(&mut self, source: IpAddr, now: Instant) -> bool {
        if !self.sources.contains_key(&source) && self.sources.len() >= self.limits.remembered {
            self.sources.retain(|_, paid| *paid > now);
            if self.sources.len() >= self.limits.remembered {
                return false;
            }
        }

        let paid = self.sources.get(&source).copied().unwrap_or(now);
        let of_source = self.limits.source.admit(paid, now);
        let (Some(of_source), Some(all)) = (of_source, self.limits.all.admit(self.all, now)) else {
            return false;
        };
        self.sources.insert(source, of_source);
        self.all = all;
        true
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.sources.len()
    }
}
