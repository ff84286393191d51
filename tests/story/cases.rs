//! What can be done while somebody is killed, who that can be, and which of all cases are tried.

use std::fmt;

use crate::proxy::Side;
use crate::writes::Step;

/// What is done while somebody is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// A person asks for a move.
    Hand,
    /// A fault calls for one.
    Fault,
    /// A person puts back what the operator had.
    Restore,
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hand => "move by hand",
            Self::Fault => "move by fault",
            Self::Restore => "restore",
        })
    }
}

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Victim {
    /// The API server.
    Apiserver,
    /// The store, and the API server with it: both begin again with what was stored.
    Etcd,
    /// The agent on the heir's node.
    Agent,
    /// The arbiter that holds the lease.
    Arbiter,
    /// The command that a person runs.
    Command,
}

/// A write of a deed: its step, and of which object if that is always the same.
pub(crate) type Place = (Step, Option<String>);

/// One case.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) deed: Deed,
    pub(crate) place: Place,
    pub(crate) side: Side,
    pub(crate) victim: Victim,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { deed, place: (step, object), side, victim } = self;
        write!(f, "{deed}: {victim:?} killed {side:?} {step:?}")?;
        object.as_ref().map_or(Ok(()), |object| write!(f, " of {object}"))
    }
}

/// Which cases are tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Choice {
    /// Each write with one victim, before and after.
    Dealt,
    /// None: the story alone.
    Alone,
    /// Each write, before and after, with every victim.
    Every,
    /// Of every case those with one of these in their name.
    Named(Vec<String>),
}

impl Choice {
    /// Tells whether a case is to be tried; `turn` counts the sides of all writes.
    pub(crate) fn holds(&self, case: &Case, turn: usize) -> bool {
        match self {
            Self::Every => true,
            Self::Alone => false,
            Self::Named(names) => {
                names.iter().any(|name| case.to_string().to_lowercase().contains(name))
            }
            Self::Dealt => {
                let victims = victims(case.deed, case.place.0);
                let dealt = turn / 2 + if case.side == Side::Before { 0 } else { 2 };
                victims[dealt % victims.len()] == case.victim && case.is_dealt()
            }
        }
    }
}

impl Case {
    /// Tells whether this side of the write is among those that are always tried: what both kinds of
    /// moves write is tried before in one kind, and after in the other.
    fn is_dealt(&self) -> bool {
        let step = self.place.0;
        let early = matches!(step, Step::Inquest | Step::Record | Step::Add | Step::Written);
        let late = matches!(step, Step::Nudge | Step::Remove | Step::Archive);
        match self.deed {
            Deed::Fault => early == (self.side == Side::Before),
            Deed::Hand if early || late => late == (self.side == Side::Before),
            Deed::Hand | Deed::Restore => true,
        }
    }
}

/// Who can be killed at a write: the command only where it is the one that writes.
pub(crate) fn victims(deed: Deed, step: Step) -> Vec<Victim> {
    let mut victims = vec![Victim::Arbiter, Victim::Apiserver, Victim::Agent, Victim::Etcd];
    if deed == Deed::Restore || matches!(step, Step::Request | Step::Withdraw) {
        victims.push(Victim::Command);
    }
    victims
}
