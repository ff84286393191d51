//! Nudges: probes that keep new WireGuard sessions from waiting five seconds for a first packet.

use std::net::IpAddr;
use std::time::Duration;

use super::targets::Spot;
use super::{Outcome, Rates};
use crate::evidence::{AddressKind, Epoch, Moment, NodeName, Nudge, UnixTime};

/// Passes in a row after which a target needs no more.
const ENOUGH: u32 = 2;

/// However far ahead the wish reaches.
const LONGEST: Duration = Duration::from_secs(60);

/// The nudges that this node follows.
#[derive(Debug, Clone, Default)]
pub(super) struct Nudges {
    seen: Vec<Nudge>,
    aims: Vec<Aim>,
}

#[derive(Debug, Clone)]
struct Aim {
    spot: Spot,
    next: Moment,
    until: Moment,
    passed_in_row: u32,
}

impl Nudges {
    /// Takes the nudges that stand. One that was seen before goes on where it was.
    pub(super) fn follow(&mut self, me: &NodeName, nudges: &[Nudge], epoch: Epoch, now: Moment) {
        let mine = |nudge: &&Nudge| nudge.who == *me;
        if nudges.iter().filter(mine).eq(&self.seen) {
            return;
        }
        self.seen = nudges.iter().filter(mine).cloned().collect();
        self.aims = self.seen.iter().flat_map(|nudge| aims(nudge, epoch, now)).collect();
    }

    /// Takes what came of a nudge.
    pub(super) fn learn(&mut self, address: IpAddr, outcome: Outcome) {
        for aim in self.aims.iter_mut().filter(|aim| aim.spot.address == address) {
            aim.passed_in_row = match outcome {
                Outcome::Answered { .. } | Outcome::Late { .. } => aim.passed_in_row + 1,
                Outcome::Lost | Outcome::Unsent => 0,
            };
        }
        self.aims.retain(|aim| aim.passed_in_row < ENOUGH);
    }

    /// Returns when the next is due.
    pub(super) fn next_deadline(&self) -> Option<Moment> {
        self.aims.iter().map(|aim| aim.next).min()
    }

    /// Returns the addresses to probe now.
    pub(super) fn flows(&mut self, rates: &Rates, now: Moment) -> Vec<Spot> {
        self.aims.retain(|aim| now < aim.until);
        let due = self.aims.iter_mut().filter(|aim| aim.next <= now);
        due.map(|aim| {
            aim.next = now + rates.nudge;
            aim.spot.clone()
        })
        .collect()
    }
}

fn aims(nudge: &Nudge, epoch: Epoch, now: Moment) -> impl Iterator<Item = Aim> {
    let until = epoch.moment(UnixTime(nudge.until_ms)).min(now + LONGEST);
    nudge.targets.iter().filter_map(move |target| {
        let spot = Spot {
            node: target.node.clone(),
            location: None,
            behind: None,
            kind: AddressKind::Pod,
            address: target.pod_address?,
        };
        Some(Aim { spot, next: now, until, passed_in_row: 0 })
    })
}
