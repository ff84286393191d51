//! Who could lead instead: the checks that make a member fit, and the order of those that are.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
    /// It forwards: frames sent through it arrived.
    Hairpin,
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
    pub const ALL: [Self; 12] = [
        Self::Ready,
        Self::CheckedIn,
        Self::AgentSettled,
        Self::AnswersInquest,
        Self::Endpoint,
        Self::Hairpin,
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
        f.write_str(match self {
            Self::Ready => "Ready",
            Self::CheckedIn => "CheckedIn",
            Self::AgentSettled => "AgentSettled",
            Self::AnswersInquest => "AnswersInquest",
            Self::Endpoint => "Endpoint",
            Self::Hairpin => "Hairpin",
            Self::Allowed => "Allowed",
            Self::Schedulable => "Schedulable",
            Self::Staying => "Staying",
            Self::LocallyClean => "LocallyClean",
            Self::NotAccused => "NotAccused",
            Self::NotQuarantined => "NotQuarantined",
        })
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
}
