//! The API server's return, the worst moment to judge anybody: for up to a minute each Kilo agent
//! believes itself alone, becomes leader of a mesh of one and drops its peers.

use std::collections::BTreeSet;
use std::time::Duration;

use super::policy::Policy;
use super::{Api, Situation};
use crate::evidence::{Moment, Node, NodeName};

/// The age from which a check-in says that a node's agent could not reach the API server.
const STALE_SECONDS: i64 = 60;

/// The age from which a check-in says only that a node is gone.
const GONE_SECONDS: i64 = 60 * 60;

/// Follows the API server's absence and return.
#[derive(Debug, Clone, Default)]
pub(super) struct Outage {
    /// The nodes that were Ready when all was well.
    ready: BTreeSet<NodeName>,
    /// Which return this is about, and since when all nodes are back.
    whole: Option<(Moment, Moment)>,
    /// Until when nothing is decided since most agents were cut off, whoever saw it.
    until: Option<Moment>,
}

impl Outage {
    /// Tells whether nothing may be decided.
    pub(super) fn step(&mut self, situation: &Situation<'_>, policy: &Policy) -> bool {
        let now = situation.evidence.now;
        if most_are_cut_off(situation) {
            self.until = Some(now + policy.settle);
        }
        let holds = self.until.is_some_and(|until| now < until)
            || match situation.api {
                Api::Steady => false,
                Api::Away => true,
                Api::Back { since } => !self.is_over(since, situation, policy),
            };
        if !holds {
            let leaders = situation.evidence.leaders.values();
            self.ready = leaders.flat_map(|led| led.ready.iter().cloned()).collect();
        }

        holds
    }

    fn is_over(&mut self, since: Moment, situation: &Situation<'_>, policy: &Policy) -> bool {
        let now = situation.evidence.now;
        let whole = match self.whole {
            Some((about, whole)) if about == since => whole,
            _ if self.are_back(since, situation) || now >= since + policy.longest_return => {
                self.whole = Some((since, now));
                now
            }
            _ => return false,
        };
        now >= whole + policy.settle
    }

    /// Tells whether every node that was Ready before has checked in since.
    fn are_back(&self, since: Moment, situation: &Situation<'_>) -> bool {
        let mesh = &situation.evidence.mesh;
        // Clocks may be off by as much as a node may be without abstaining.
        let slack = Duration::from_secs(5);
        let elapsed = situation.evidence.now.since(since) + slack;
        let back = mesh.at.seconds() - i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX);
        let is_back = |node: &Node| node.last_seen.is_none_or(|seen| seen >= back);
        let awaited = |node: &&Node| {
            self.ready.contains(&node.name)
                || (self.ready.is_empty()
                    && node.last_seen.is_some_and(|seen| mesh.at.seconds() - seen < GONE_SECONDS))
        };
        mesh.nodes.values().filter(awaited).all(is_back)
    }
}

/// Tells whether more than half of the agents that checked in within the hour are overdue: the API
/// server was away, or is for most of them, even if it answers us.
fn most_are_cut_off(situation: &Situation<'_>) -> bool {
    let mesh = &situation.evidence.mesh;
    let ages = mesh.nodes.values().filter_map(|node| Some(mesh.at.seconds() - node.last_seen?));
    let (mut recent, mut overdue) = (0_usize, 0_usize);
    for age in ages.filter(|age| *age < GONE_SECONDS) {
        recent += 1;
        overdue += usize::from(age >= STALE_SECONDS);
    }
    overdue > 1 && overdue * 2 > recent
}
