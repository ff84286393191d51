//! What to ask once something was lost, or somebody asks: the salvos of a burst.

use std::time::Duration;

use super::Rates;
use super::burst::Salvo;
use super::targets::{Role, Spot, Targets};
use crate::evidence::{Flow, Location, Moment};

/// Flows to the address that was lost, and to one other.
const FULL: u32 = 16;

/// Flows to each address of an inquest: as few as tell all from some, since a move waits for the
/// last of them.
const ASKED: u32 = 6;

/// Locations that an inquest reaches at most: the suspected ones, then others in turn.
const ASKED_LOCATIONS: usize = 8;

/// The same for one that is neither witness nor leader: they may be hundreds.
const ASKED_OF_OTHERS: u32 = 2;
const ASKED_LOCATIONS_OF_OTHERS: usize = 2;

/// Returns the salvos after a first loss on the way to `lost`: the same again; one other target,
/// behind another leader if there is one; and what splits the causes.
pub(super) fn first_loss(
    lost: &Spot,
    targets: &Targets,
    rates: &Rates,
    (now, turn): (Moment, usize),
) -> Vec<Salvo> {
    let full = |spot: &Spot| Salvo::new(spot.clone(), Flow::NewUdp, FULL, (now, rates.burst_gap));
    let other = other(lost, targets, turn);

    let mut salvos = vec![full(lost)];
    salvos.extend(other.map(full));
    salvos.extend(contrast(lost.location.as_ref(), targets, rates, now));
    salvos.extend(within(targets, ASKED / 2, (now, rates.burst_gap)));
    salvos.extend(leader_path(lost, other, targets, (now, rates.burst_gap)));
    salvos
}

/// Returns the salvos of an inquest: some flows of every class of path of this node.
pub(super) fn inquest(
    suspected: &[Location],
    targets: &Targets,
    rates: &Rates,
    (now, turn): (Moment, usize),
) -> Vec<Salvo> {
    let (count, locations) = match targets.role {
        Role::Other(_) => (ASKED_OF_OTHERS, ASKED_LOCATIONS_OF_OTHERS),
        Role::Leader | Role::Witness => (ASKED, ASKED_LOCATIONS),
    };
    let mut rounds: Vec<_> =
        targets.rotation.iter().filter(|round| round[0].location.is_some()).collect();
    if !rounds.is_empty() {
        let len = rounds.len();
        rounds.rotate_left(turn % len);
    }
    rounds.sort_by_key(|round| {
        round[0].location.as_ref().is_none_or(|location| !suspected.contains(location))
    });

    let rounds = rounds.into_iter().take(locations);
    let mut salvos: Vec<_> =
        rounds.flat_map(|round| into(round, count, (targets, rates), now)).collect();
    salvos.extend(within(targets, count, (now, rates.burst_gap)));
    salvos
}

/// Returns the salvos on every class of path into some other locations.
pub(super) fn look(
    locations: &[Location],
    targets: &Targets,
    rates: &Rates,
    now: Moment,
) -> Vec<Salvo> {
    let meant = |round: &&Vec<Spot>| {
        round[0].location.as_ref().is_some_and(|location| locations.contains(location))
    };
    let rounds = targets.rotation.iter().filter(meant);
    rounds.flat_map(|round| into(round, ASKED, (targets, rates), now)).collect()
}

/// Flows into one other location: of every class, and the contrast.
fn into(
    round: &[Spot],
    count: u32,
    (targets, rates): (&Targets, &Rates),
    now: Moment,
) -> Vec<Salvo> {
    let fresh = |spot: &Spot| Salvo::new(spot.clone(), Flow::NewUdp, count, (now, rates.burst_gap));
    let mut salvos: Vec<_> = classes(round).map(fresh).collect();
    if !matches!(targets.role, Role::Other(_)) {
        salvos.extend(contrast(round[0].location.as_ref(), targets, rates, now));
    }
    salvos
}

/// One address of the leader and one of a member, of the pod range where there is one: what users'
/// packets cross.
fn classes(round: &[Spot]) -> impl Iterator<Item = &Spot> {
    let pick = |leader: bool| {
        let class = round.iter().filter(move |spot| spot.behind.is_none() == leader);
        class.max_by_key(|spot| spot.kind)
    };
    pick(true).into_iter().chain(pick(false))
}

/// Kinds whose difference names the cause: kept flows, ping, large, TCP, a port not ours.
fn contrast(
    location: Option<&Location>,
    targets: &Targets,
    rates: &Rates,
    now: Moment,
) -> Vec<Salvo> {
    let fixed = targets.fixed.iter().find(|spot| spot.location.as_ref() == location);
    let Some(spot) = fixed.or_else(|| targets.fixed.first()) else { return Vec::new() };

    let gap: Duration = rates.burst_gap * 4;
    let kinds =
        [Flow::KeptUdp, Flow::KeptTcp, Flow::Ping, Flow::Large, Flow::NewTcp, Flow::Control];
    kinds.into_iter().map(|flow| Salvo::new(spot.clone(), flow, 2, (now, gap))).collect()
}

/// The overlay: our leader (or, for the leader, its witnesses) and the heirs.
fn within(targets: &Targets, count: u32, pace: (Moment, Duration)) -> Vec<Salvo> {
    let mut spots: Vec<_> = targets.inside.iter().collect();
    spots.extend(targets.heirs.iter().filter(|heir| !targets.inside.contains(heir)));
    spots.into_iter().map(|spot| Salvo::new(spot.clone(), Flow::NewUdp, count, pace)).collect()
}

/// The other location's leader itself, unless it is among the full salvos: what lies behind it is
/// not asked then.
fn leader_path(
    lost: &Spot,
    other: Option<&Spot>,
    targets: &Targets,
    pace: (Moment, Duration),
) -> Option<Salvo> {
    let round = targets.rotation.iter().find(|round| round[0].location == lost.location)?;
    let leader = classes(round).find(|spot| spot.behind.is_none() && spot.location.is_some())?;
    let asked = leader == lost || Some(leader) == other;
    (!asked).then(|| Salvo::new(leader.clone(), Flow::NewUdp, ASKED / 2, pace))
}

/// Another location's target shares only our own leader with the lost one; failing that, another
/// node of the same location; failing that, the other address.
fn other<'a>(lost: &Spot, targets: &'a Targets, turn: usize) -> Option<&'a Spot> {
    let spots: Vec<_> = targets.rotation.iter().flatten().collect();
    let choose = |fits: &dyn Fn(&Spot) -> bool| {
        let fitting: Vec<_> = spots.iter().filter(|spot| fits(spot)).collect();
        fitting.get(turn.checked_rem(fitting.len())?).copied().copied()
    };
    choose(&|spot| spot.location != lost.location && spot.location.is_some())
        .or_else(|| choose(&|spot| spot.node != lost.node))
        .or_else(|| choose(&|spot| spot != lost))
}
