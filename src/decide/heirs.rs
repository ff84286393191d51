//! Who could lead instead: the checks that make a member fit, and the order of those that are.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::intent::Promotion;
use super::memory::{End, PastMove};
use super::vetting::Vetting;
use crate::evidence::NodeName;

/// One thing that a member must pass to be fit to lead.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// Kilo counts it as Ready.
    Ready,
    /// Its Kilo agent checked in when it was due.
    CheckedIn,
    /// Its Kilo agent has been up for a minute.
    AgentSettled,
    /// Its report answers this inquest through the API: else it would never learn that it leads.
    AnswersInquest,
    /// Its endpoint is at least as public as the leader's, or is kept open from its side.
    Endpoint,
    /// No frames sent through it were lost.
    Hairpin,
    /// Frames sent through it arrived, or the operator accepts that nobody could try.
    Proven,
    /// Nobody forbade it.
    Allowed,
    /// It is not cordoned.
    Schedulable,
    /// It is not about to be deleted.
    Staying,
    /// Nothing is wrong on the node itself.
    LocallyClean,
    /// The evidence does not accuse it.
    NotAccused,
    /// It was not replaced for a fault.
    NotQuarantined,
}

impl Check {
    /// All checks, in the order in which they are told.
    pub const ALL: [Self; 13] = [
        Self::Ready,
        Self::CheckedIn,
        Self::AgentSettled,
        Self::AnswersInquest,
        Self::Endpoint,
        Self::Hairpin,
        Self::Proven,
        Self::Allowed,
        Self::Schedulable,
        Self::Staying,
        Self::LocallyClean,
        Self::NotAccused,
        Self::NotQuarantined,
    ];
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// A member of a location and what speaks for and against its leading.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Heir {
    /// The member.
    pub node: NodeName,
    /// The checks it failed, each with why.
    pub failed: BTreeMap<Check, String>,
    /// The members it would serve, itself included.
    pub serves: BTreeSet<NodeName>,
}

impl Heir {
    /// Tells whether it passed every check.
    #[must_use]
    pub fn is_fit(&self) -> bool {
        self.failed.is_empty()
    }

    /// Returns the checks it passed.
    pub fn passed(&self) -> impl Iterator<Item = Check> + '_ {
        Check::ALL.into_iter().filter(|check| !self.failed.contains_key(check))
    }

    /// Returns how many nodes it would serve, itself included.
    #[must_use]
    pub fn serves(&self) -> u32 {
        u32::try_from(self.serves.len()).unwrap_or(u32::MAX)
    }
}

/// What puts one heir before another, the weightiest first; the lesser is the better.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    fitness: Fitness,
    promotion: Promotion,
    serves: Reverse<usize>,
    domain: Domain,
    failures: usize,
    name: NodeName,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fitness {
    Fit,
    /// Nothing speaks against it; it was not asked yet.
    Untried,
    Unfit,
}

impl Fitness {
    fn of(heir: &Heir) -> Self {
        let untried = |check: &Check| matches!(check, Check::Proven | Check::AnswersInquest);
        if heir.is_fit() {
            Self::Fit
        } else if heir.failed.keys().all(untried) {
            Self::Untried
        } else {
            Self::Unfit
        }
    }
}

/// Whether an heir is likely to fail together with the leader.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Domain {
    Apart,
    Unknown,
    Shared,
}

/// Returns every member but the leader, vetted, best first.
#[must_use]
pub(super) fn rank(view: &Vetting<'_>) -> Vec<Heir> {
    let others = view.leadership.members.iter().filter(|node| Some(*node) != view.leader);
    let mut heirs: Vec<_> = others.map(|node| view.vet(node)).collect();
    heirs.sort_by_cached_key(|heir| view.rank(heir));

    heirs
}

impl Vetting<'_> {
    fn rank(&self, heir: &Heir) -> Rank {
        Rank {
            fitness: Fitness::of(heir),
            promotion: self.intent.promotion(&heir.node),
            serves: Reverse(heir.serves.len()),
            domain: self.domain(&heir.node),
            failures: self.failures(&heir.node),
            name: heir.node.clone(),
        }
    }

    fn domain(&self, heir: &NodeName) -> Domain {
        let domain = |node| self.evidence.mesh.nodes.get(node)?.failure_domain.as_ref();
        match (domain(heir), self.leader.and_then(domain)) {
            (Some(its), Some(leaders)) if its == leaders => Domain::Shared,
            (Some(_), Some(_)) => Domain::Apart,
            (None, _) | (_, None) => Domain::Unknown,
        }
    }

    fn failures(&self, heir: &NodeName) -> usize {
        let failed = |past: &&PastMove| past.to == *heir && past.end == End::Unproven;
        self.moves.iter().filter(failed).count()
    }
}
