//! A schedule run on its own deadlines, with a fate for each of its shots.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::*;
use crate::evidence::RemoteTargets;

mod bursts;
mod properties;
mod shares;
mod tracks;

const fn at(ms: u64) -> Moment {
    Moment::at(Duration::from_millis(ms))
}

const fn answered() -> Outcome {
    Outcome::Answered { round_trip: Duration::from_millis(2) }
}

fn target(location: usize, node: usize) -> Target {
    Target {
        node: NodeName(format!("l{location}-{node}")),
        node_address: Some(
            format!("10.{location}.{}.{}", node / 250, 1 + node % 250).parse().unwrap(),
        ),
        pod_address: Some(
            format!("10.{}.{}.{}", 100 + location, node / 250, 1 + node % 250).parse().unwrap(),
        ),
        overlay_gateway: None,
        overlay_mac: None,
    }
}

/// The plan of location `own` in a mesh of so many locations and nodes in each: node 1 leads,
/// nodes 2, 3, 4 are witnesses, nodes 2, 3 are heirs.
fn plan(own: usize, locations: usize, nodes: usize) -> Assignment {
    let name = |node| target(own, node).node;
    let witnesses = 2..=nodes.min(4);
    Assignment {
        leader: Some(name(1)),
        witnesses: witnesses.clone().map(name).collect(),
        members: (1..=nodes).map(|node| target(own, node)).collect(),
        heirs: (2..=nodes.min(3)).map(name).collect(),
        remote: (1..=locations)
            .filter(|location| *location != own)
            .map(|location| RemoteTargets {
                location: Location(format!("l{location}")),
                leader: target(location, 1),
                members: witnesses.clone().map(|node| target(location, node)).collect(),
            })
            .collect(),
    }
}

fn schedule(me: &str, plan: &Assignment, seed: u64) -> Schedule {
    let mut schedule = Schedule::new(me.into(), Rates::default(), seed);
    schedule.handle_assignment(plan, Moment::START);
    schedule
}

/// Runs a schedule on its own deadlines; `fate` says what becomes of each shot, which is told
/// after 2 ms or after the timeout.
fn run(
    schedule: &mut Schedule,
    (from, to): (Moment, Moment),
    mut fate: impl FnMut(&Shot) -> Outcome,
) -> Vec<Shot> {
    let mut shots = Vec::new();
    let mut flying: Vec<(Moment, Shot, Outcome)> = Vec::new();
    let mut now = from;
    while now < to {
        flying.sort_by_key(|(due, ..)| *due);
        while flying.first().is_some_and(|(due, ..)| *due <= now) {
            let (_, shot, outcome) = flying.remove(0);
            schedule.handle_outcome(&shot, outcome, now);
        }
        for shot in schedule.poll(now) {
            let outcome = fate(&shot);
            let due = match outcome {
                Outcome::Answered { round_trip } | Outcome::Late { round_trip } => now + round_trip,
                Outcome::Lost | Outcome::Unsent => now + shot.timeout,
            };
            flying.push((due, shot.clone(), outcome));
            shots.push(shot);
        }
        let _ = schedule.poll_hairpins(now);
        let deadline = schedule.next_deadline().map(|(at, _)| at);
        let answer = flying.iter().map(|(due, ..)| *due).min();
        let next = deadline.into_iter().chain(answer).min().unwrap_or(to);
        now = next.max(now + Duration::from_micros(1));
    }
    shots
}

fn events(schedule: &mut Schedule) -> Vec<Event> {
    std::iter::from_fn(|| schedule.poll_event()).collect()
}

fn dark(to: &'static str) -> impl FnMut(&Shot) -> Outcome {
    move |shot| if shot.path.to.0.starts_with(to) { Outcome::Lost } else { answered() }
}
