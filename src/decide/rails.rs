//! The guard rails: what holds a move that the evidence would justify.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::case::Case;
use super::heirs::Heir;
use super::intent::Mode;
use super::ledger;
use super::readded::{Readded, readded};
use super::trust::Trust;
use super::turn::{Standing, View, choose, needed_gain};
use super::unresolved::unresolved;
use crate::evidence::{Granularity, Location, Moment, NodeName};

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
    /// Who leads hangs on the DNS name in this node's endpoint, and the agents do not agree on it.
    Unresolved(NodeName),
    /// The API server has just come back, or does not answer: agents may believe themselves alone.
    ApiReturn,
    /// More than half of the leaders would be convicted at once: it is us, or the underlay.
    Storm,
    /// A pin names the leader; a person wants it there.
    Pinned,
    /// Somebody put a leader annotation back that Tanist had taken away; nobody is fought.
    Readded(Readded),
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

impl Rail {
    /// Tells whether it may hold only until the heirs that were asked have answered.
    #[must_use]
    pub const fn awaits_heirs(&self) -> bool {
        matches!(self, Self::NoHeir | Self::NoGain { .. })
    }

    /// Tells whether it does not hold a move that continues an incident: Kilo brought a convicted
    /// leader back, and the move away from it was already paid for.
    #[must_use]
    pub const fn yields_to_relapse(&self) -> bool {
        match self {
            Self::Resting { .. } | Self::Budget(_) | Self::NoHeir | Self::NoGain { .. } => true,
            Self::Paused(_)
            | Self::Granularity(_)
            | Self::OneReady
            | Self::Unresolved(_)
            | Self::ApiReturn
            | Self::Storm
            | Self::Pinned
            | Self::Readded(_)
            | Self::Mode(_)
            | Self::KiloPeers
            | Self::AnotherMove(_) => false,
        }
    }
}

/// Returns the rails that hold an automatic move of this location's leader, weightiest first.
pub(super) fn holding(
    standing: &Standing,
    case: &Case,
    heirs: &[Heir],
    view: &View<'_>,
) -> Vec<Rail> {
    let intent = view.intent;
    let Some(leader) = &view.leadership.leader else { return vec![Rail::OneReady] };
    let node = view.situation.evidence.mesh.nodes.get(leader);
    let granularity = node.map_or(Granularity::Unknown, |node| node.granularity);
    let peers = view.situation.kilo_peers > 0 && !intent.accept_peers;
    let elsewhere = view.mesh.moving.clone().filter(|location| location != view.location);

    let rails = [
        intent.pause.clone().map(Rail::Paused),
        (granularity != Granularity::Location).then_some(Rail::Granularity(granularity)),
        (view.leadership.ready.len() < 2).then_some(Rail::OneReady),
        unresolved(view).map(Rail::Unresolved),
        view.mesh.api_returns.then_some(Rail::ApiReturn),
        view.mesh.storm.then_some(Rail::Storm),
        (intent.pins == [leader.clone()]).then_some(Rail::Pinned),
        readded(view).into_iter().next().map(Rail::Readded),
        want(case, heirs, view),
        (view.mode() != Mode::Act).then_some(Rail::Mode(view.mode())),
        peers.then_some(Rail::KiloPeers),
        elsewhere.map(Rail::AnotherMove),
        resting(standing.trust),
        ledger::is_spent(standing, view).then_some(Rail::Budget(view.policy.daily_moves)),
    ];
    rails.into_iter().flatten().collect()
}

/// Says what the heirs lack, if no one would do.
fn want(case: &Case, heirs: &[Heir], view: &View<'_>) -> Option<Rail> {
    let need = needed_gain(view);
    if choose(heirs, case.served, need).is_some() {
        return None;
    }
    let most = heirs.iter().filter(|heir| heir.is_fit()).map(Heir::serves).max();
    Some(match most {
        None => Rail::NoHeir,
        Some(most) => Rail::NoGain { gain: most.saturating_sub(case.served), need },
    })
}

const fn resting(trust: Trust) -> Option<Rail> {
    match trust {
        Trust::Resting { until } => Some(Rail::Resting { until }),
        Trust::Trusted | Trust::Doubted { .. } | Trust::Proving { .. } => None,
    }
}

impl fmt::Display for Rail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Paused(why) => write!(f, "the location is paused: {why}"),
            Self::Granularity(granularity) => {
                write!(f, "no leader can be moved in {granularity:?} granularity")
            }
            Self::OneReady => write!(f, "only one node is Ready"),
            Self::Unresolved(node) => {
                write!(f, "whether {node} leads hangs on the DNS name in its endpoint")
            }
            Self::ApiReturn => write!(f, "the API server is away or has just come back"),
            Self::Storm => write!(f, "more than half of the leaders would be convicted at once"),
            Self::Pinned => write!(f, "the leader is pinned"),
            Self::Readded(readded) => write!(f, "{readded}"),
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
