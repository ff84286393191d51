//! Who asked what: one bounded entry per prober. Time is an argument.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::Counts;
use super::entry::{Admission, Entry};
use super::limit::{Limiter, Limits};
use crate::observe::wire::{Body, Class, Packet, ProberId};

/// How many requests of one class arrived from one prober in the span asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeardCount {
    /// Who asked.
    pub prober: ProberId,
    /// By which kind of flow.
    pub class: Class,
    /// How many arrived.
    pub received: u32,
    /// How long ago the last one arrived.
    pub age: Duration,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    /// It is answered.
    Answer {
        /// Requests of its class heard from its incarnation, this one included.
        heard: u32,
    },
    /// It asked for a count.
    Counted {
        /// The count.
        frames: u32,
    },
    /// It is not answered.
    Silence,
}

/// All probers.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) counts: Counts,
    limiter: Limiter,
    remembered: usize,
    begun: Instant,
    probers: BTreeMap<ProberId, Entry>,
}

impl Table {
    pub(super) fn new(limits: Limits, now: Instant) -> Self {
        Self {
            counts: Counts::default(),
            limiter: Limiter::new(limits, now),
            remembered: limits.remembered,
            begun: now,
            probers: BTreeMap::new(),
        }
    }

    /// Counts a signed packet, and says what becomes of it.
    pub(super) fn judge(&mut self, packet: &Packet, source: IpAddr, now: Instant) -> Judgement {
        match packet.body {
            Body::Request { .. } => self.answer(packet, source, now, |entry, second| {
                Judgement::Answer { heard: entry.hear(packet.class, second, now) }
            }),
            Body::Count { test } => self.answer(packet, source, now, |entry, _| {
                Judgement::Counted { frames: entry.hairpins(test) }
            }),
            Body::Hairpin { frame } => {
                let test = packet.nonce.sequence;
                let entry = self.entry(packet, now);
                let counted = entry.believes(packet.nonce.incarnation, now)
                    && entry.count_hairpin(test, frame);
                self.counts.hairpins += u64::from(counted);
                Judgement::Silence
            }
            Body::Answer(_) | Body::Counted { .. } => {
                self.counts.malformed += 1;
                Judgement::Silence
            }
        }
    }

    /// Returns who was heard within the last `span`.
    pub(super) fn heard(&self, span: Duration, now: Instant) -> Vec<HeardCount> {
        let second = self.second(now);
        let each = self.probers.iter().flat_map(|(prober, entry)| {
            entry.arrivals().map(move |(class, arrivals)| HeardCount {
                prober: *prober,
                class,
                received: arrivals.within(span, second),
                age: arrivals.age(now),
            })
        });

        each.filter(|heard| heard.received > 0).collect()
    }

    /// Answers a request that is new and not too many. Repeats are told apart first, so that
    /// nobody can use up a prober's share by repeating its requests.
    fn answer(
        &mut self,
        packet: &Packet,
        source: IpAddr,
        now: Instant,
        with: impl FnOnce(&mut Entry, u64) -> Judgement,
    ) -> Judgement {
        let second = self.second(now);
        let refused = match self.entry(packet, now).admit(packet.nonce, now) {
            Admission::Repeat => &mut self.counts.repeated,
            Admission::Stale => &mut self.counts.stale,
            Admission::Fresh if self.limiter.admits(source, now) => {
                self.counts.answered += 1;
                return with(self.entry(packet, now), second);
            }
            Admission::Fresh => &mut self.counts.limited,
        };
        *refused += 1;

        Judgement::Silence
    }

    /// Returns the prober's entry; whoever was silent longest makes room for a new one.
    fn entry(&mut self, packet: &Packet, now: Instant) -> &mut Entry {
        if self.probers.len() >= self.remembered && !self.probers.contains_key(&packet.prober) {
            let silent = self.probers.iter().min_by_key(|(_, entry)| entry.newest());
            if let Some(id) = silent.map(|(id, _)| *id) {
                self.probers.remove(&id);
            }
        }

        self.probers.entry(packet.prober).or_insert_with(|| Entry::new(packet.nonce, now))
    }

    fn second(&self, now: Instant) -> u64 {
        now.duration_since(self.begun).as_secs()
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> (usize, usize) {
        (self.probers.len(), self.limiter.remembered())
    }
}
