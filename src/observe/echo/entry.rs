//! What is remembered of one prober.
//!
//! It believes the newest incarnation, which starts afresh:
//!
//! ```text
//! greater incarnation ──▶ believed at once; window, totals and tests start anew
//! the same            ──▶ answered if its sequence was not seen yet
//! lesser              ──▶ stale, unless the greater one has been silent for REPLACED: then the
//!                         prober's clock was set back, and it is believed like a greater one
//! ```

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::observe::wire::{Class, Nonce};

/// How many of the newest sequences are told apart; anything older counts as a repeat. Far more
/// than a prober sends within the time that a packet may be late.
const WINDOW: u32 = 512;
/// How many seconds of arrivals are kept.
const SECONDS: u64 = 64;
/// How many hairpin tests are counted at a time: the newest.
const TESTS: usize = 4;
/// After how long a silence an older incarnation is believed. A new process is no witness for as
/// long, so nobody misses its answers meanwhile.
const REPLACED: Duration = Duration::from_secs(10);

/// Whether a request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// It was never seen before.
    Fresh,
    /// It was, or is too old to tell.
    Repeat,
    /// It is of a process that has been replaced.
    Stale,
}

/// One prober.
#[derive(Debug)]
pub(super) struct Entry {
    incarnation: u32,
    sequences: Sequences,
    newest: Instant,
    arrivals: BTreeMap<Class, Arrivals>,
    tests: BTreeMap<u32, u64>,
}

impl Entry {
    pub(super) fn new(nonce: Nonce, now: Instant) -> Self {
        Self {
            incarnation: nonce.incarnation,
            sequences: Sequences::default(),
            newest: now,
            arrivals: BTreeMap::new(),
            tests: BTreeMap::new(),
        }
    }

    /// Returns when the incarnation that it believes was heard last.
    pub(super) const fn newest(&self) -> Instant {
        self.newest
    }

    /// Tells whether a request is new, and notes it.
    pub(super) fn admit(&mut self, nonce: Nonce, now: Instant) -> Admission {
        if !self.believes(nonce.incarnation, now) {
            return Admission::Stale;
        }
        if !self.sequences.insert(nonce.sequence) {
            return Admission::Repeat;
        }
        self.newest = now;

        Admission::Fresh
    }

    /// Tells whether that incarnation is believed; a new one starts afresh.
    pub(super) fn believes(&mut self, incarnation: u32, now: Instant) -> bool {
        if incarnation == self.incarnation {
            return true;
        }
        if incarnation < self.incarnation && now.duration_since(self.newest) < REPLACED {
            return false;
        }

        self.incarnation = incarnation;
        self.sequences = Sequences::default();
        self.tests.clear();
        for arrivals in self.arrivals.values_mut() {
            arrivals.total = 0;
        }
        true
    }

    /// Counts a request; returns how many of its class there were in this incarnation. Classes that
    /// this version does not know are counted as one.
    pub(super) fn hear(&mut self, class: Class, second: u64, now: Instant) -> u32 {
        let class = if class.flow().is_some() { class } else { Class(0) };
        let arrivals = self.arrivals.entry(class).or_insert_with(|| Arrivals::new(now));
        arrivals.add(second, now);

        arrivals.total
    }

    /// Returns the arrivals by class.
    pub(super) fn arrivals(&self) -> impl Iterator<Item = (Class, &Arrivals)> {
        self.arrivals.iter().map(|(class, arrivals)| (*class, arrivals))
    }

    /// Counts a frame of a hairpin test; false if it was counted before, or cannot be.
    pub(super) fn count_hairpin(&mut self, test: u32, frame: u32) -> bool {
        let Some(bit) = 1_u64.checked_shl(frame) else { return false };
        let frames = self.tests.entry(test).or_default();
        let is_new = *frames & bit == 0;
        *frames |= bit;
        while self.tests.len() > TESTS {
            self.tests.pop_first();
        }

        is_new
    }

    /// Returns how many frames of a hairpin test were counted.
    pub(super) fn hairpins(&self, test: u32) -> u32 {
        self.tests.get(&test).map_or(0, |frames| frames.count_ones())
    }
}

/// Which of the newest sequences were seen: bit 0 of word 0 is the newest.
#[derive(Debug, Default)]
struct Sequences {
    newest: Option<u32>,
    seen: [u64; WINDOW as usize / 64],
}

impl Sequences {
    /// Notes a sequence; false if it was seen before, or is too old to tell.
    fn insert(&mut self, sequence: u32) -> bool {
        let newest = *self.newest.get_or_insert(sequence);
        let behind = if sequence > newest {
            self.shift(sequence - newest);
            self.newest = Some(sequence);
            0
        } else {
            newest - sequence
        };
        if behind >= WINDOW {
            return false;
        }

        let (word, bit) = ((behind / 64) as usize, 1_u64 << (behind % 64));
        let is_new = self.seen[word] & bit == 0;
        self.seen[word] |= bit;
        is_new
    }

    fn shift(&mut self, by: u32) {
        let (words, bits) = ((by / 64) as usize, by % 64);
        for to in (0..self.seen.len()).rev() {
            let at = |back: usize| to.checked_sub(words + back).map_or(0, |from| self.seen[from]);
            let carry = if bits == 0 { 0 } else { at(1) >> (64 - bits) };
            self.seen[to] = at(0) << bits | carry;
        }
    }
}

/// When requests of one class arrived.
#[derive(Debug)]
pub(super) struct Arrivals {
    total: u32,
    newest: Instant,
    second: u64,
    by_second: [u16; SECONDS as usize],
}

impl Arrivals {
    const fn new(now: Instant) -> Self {
        Self { total: 0, newest: now, second: 0, by_second: [0; SECONDS as usize] }
    }

    fn add(&mut self, second: u64, now: Instant) {
        // The seconds since the last arrival hold counts of a minute ago: at most all of them do.
        for passed in (self.second + 1..=second).rev().take(SECONDS as usize) {
            self.by_second[(passed % SECONDS) as usize] = 0;
        }
        self.second = second;
        self.total = self.total.saturating_add(1);
        self.newest = now;
        let count = &mut self.by_second[(second % SECONDS) as usize];
        *count = count.saturating_add(1);
    }

    /// Returns how many arrived in the last `span`, by whole seconds.
    pub(super) fn within(&self, span: Duration, second: u64) -> u32 {
        let oldest = second.saturating_sub(span.as_secs().min(SECONDS - 1));
        let kept = self.second.saturating_sub(SECONDS - 1);
        let seconds = oldest.max(kept)..=self.second;

        seconds.map(|each| u32::from(self.by_second[(each % SECONDS) as usize])).sum()
    }

    /// Returns how long ago the last one arrived.
    pub(super) fn age(&self, now: Instant) -> Duration {
        now.duration_since(self.newest)
    }
}
