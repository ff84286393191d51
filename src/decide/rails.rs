//! The guard rails: what holds a move that the evidence would justify.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::intent::Mode;
use crate::evidence::{Granularity, Location, Moment};

/// What holds a move that the evidence would justify. The first that holds, in this order, is told.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rail {
    /// The location is paused.
    Paused(String),
    /// A leader can only be moved where locations have leaders.
    Granularity(Granularity),
    /// Nobody else could lead.
    OneReady,
    /// The API server has just come back, or does not answer: agents may believe themselves alone.
    ApiReturn,
    /// More than half of the leaders would be convicted at once: it is us, or the underlay.
    Storm,
    /// A pin names the leader; a person wants it there.
    Pinned,
    /// No heir is fit.
    NoHeir,
    /// The best heir would not serve enough more nodes.
    NoGain {
        /// How many more it would serve.
        gain: u32,
        /// How many would be enough.
        need: u32,
    },
    /// Tanist watches only.
    Mode(Mode),
    /// Static VPN configurations name the old leader.
    KiloPeers,
    /// Another location's leader is being moved.
    AnotherMove(Location),
    /// The last move is too recent.
    Resting {
        /// Until when.
        until: Moment,
    },
    /// The day's moves are used up.
    Budget(u32),
}

impl fmt::Display for Rail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Paused(why) => write!(f, "the location is paused: {why}"),
            Self::Granularity(granularity) => {
                write!(f, "no leader can be moved in {granularity:?} granularity")
            }
            Self::OneReady => write!(f, "only one node is Ready"),
            Self::ApiReturn => write!(f, "the API server is away or has just come back"),
            Self::Storm => write!(f, "more than half of the leaders would be convicted at once"),
            Self::Pinned => write!(f, "the leader is pinned"),
            Self::NoHeir => write!(f, "no heir is fit"),
            Self::NoGain { gain, need } => {
                write!(f, "the best heir would serve {gain} nodes more, and {need} are needed")
            }
            Self::Mode(mode) => write!(f, "the mode is {mode}"),
            Self::KiloPeers => {
                write!(f, "Kilo Peers exist, whose static configurations name the old leader")
            }
            Self::AnotherMove(location) => {
                write!(f, "the leader of location {:?} is being moved", location.0)
            }
            Self::Resting { .. } => write!(f, "the last move is too recent"),
            Self::Budget(moves) => write!(f, "{moves} automatic moves were made within a day"),
        }
    }
}
