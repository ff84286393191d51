//! Whether a new leader has shown that it forwards: every path that it is expected to serve has
//! passed fresh flows twice since the annotations were written.

use std::collections::{BTreeMap, BTreeSet};

use super::case::{inner_end, is_ordinary};
use super::memory::Move;
use crate::evidence::{Evidence, Location, Moment, NodeName, Observation, Path, Window};

/// What a new leader has shown so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Proof {
    /// Every path it is expected to serve passed twice.
    Complete,
    /// Not every path did, but more nodes are served than before, by enough.
    Better,
    /// Members still follow the old leader.
    Converging,
    /// Too little.
    Lacking,
}

/// Returns what a new leader has shown since its annotations were written.
#[must_use]
pub(super) fn proof(
    location: &Location,
    moving: &Move,
    written: Moment,
    needed_gain: u32,
    evidence: &Evidence,
) -> Proof {
    let newest = newest_by_path(location, written, evidence);
    let of = |member: &NodeName| {
        let its = newest.iter().filter(|(path, _)| {
            inner_end(path, location, evidence).is_some_and(|end| end == member)
        });
        its.map(|(_, seen)| *seen).collect::<Vec<_>>()
    };
    let sound_since = |member: &NodeName| {
        let sound = of(member).into_iter().filter(|seen| passes(seen));
        sound.map(|seen| seen.window.oldest).max()
    };
    let served = |member: &&NodeName| sound_since(member).is_some();
    let shown = |member: &&NodeName| {
        let since = sound_since(member);
        since.is_some_and(|since| !of(member).into_iter().any(|seen| fails(seen, since)))
    };

    let complete = moving.serves.iter().all(|member| shown(&member));
    let count = moving.serves.iter().filter(served).count();
    let behind = moving.serves.iter().any(|member| {
        let reporter = evidence.reporters.get(member);
        reporter.is_some_and(|reporter| reporter.leader_seen.as_ref() == Some(&moving.from))
    });

    if complete {
        Proof::Complete
    } else if behind {
        Proof::Converging
    } else if u32::try_from(count).unwrap_or(u32::MAX)
        >= moving.served_before.saturating_add(needed_gain)
    {
        Proof::Better
    } else {
        Proof::Lacking
    }
}

/// One lost flow among several is chance: on a lossy WAN some path of a location always has one.
fn passes(seen: &Observation) -> bool {
    let Window { sent, lost, .. } = seen.window;
    seen.window.passed() >= 2 && (lost * 10 <= sent || (lost == 1 && sent >= 6))
}

/// What was lost while the mesh converged, before the member's newest window that passes began, is
/// over: a path that is seldom probed shall not tell of it for a minute.
fn fails(seen: &Observation, sound_since: Moment) -> bool {
    !passes(seen) && seen.window.last_lost.is_some_and(|lost| lost >= sound_since)
}

/// Returns the newest window of every ordinary path into or out of the location, opened since.
fn newest_by_path<'e>(
    location: &Location,
    since: Moment,
    evidence: &'e Evidence,
) -> BTreeMap<&'e Path, &'e Observation> {
    let mut newest = BTreeMap::<_, &Observation>::new();
    let counts = |seen: &&Observation| {
        seen.window.sent > 0
            && seen.window.oldest >= since
            && !seen.never_worked
            && is_ordinary(seen.path.flow)
            && inner_end(&seen.path, location, evidence).is_some()
    };
    for seen in evidence.observations.iter().filter(counts) {
        let last = newest.entry(&seen.path).or_insert(seen);
        if seen.window.newest > last.window.newest {
            *last = seen;
        }
    }

    newest
}

/// Returns the members that a move leaves behind: those that the old leader may still serve and
/// the new one will not.
#[must_use]
pub(super) fn left_behind(
    ready: &BTreeSet<NodeName>,
    serves: &BTreeSet<NodeName>,
) -> Vec<NodeName> {
    ready.difference(serves).cloned().collect()
}
