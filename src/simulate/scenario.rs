//! Scenarios by name: what breaks, for how long, and whether anybody may move a leader for it.

use std::time::Duration;

use super::faults::Fault;
use super::world::location;
use super::{Record, Setup, Simulation, Step};
use crate::decide::{Mode, Policy};
use crate::evidence::{Location, NodeName};

/// When the fault of a scenario sets in: late enough that everything has been seen to work.
pub const ONSET: Duration = Duration::from_secs(75);

/// A named run and what must come of it.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// The mesh and the script.
    pub setup: Setup,
    /// For how long it runs.
    pub length: Duration,
    /// What must come of it.
    pub expected: Expected,
}

/// What must come of a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Nobody moves a leader.
    NoMove,
    /// The leader of the first location is moved, decided within this time after the onset, once.
    Move(Duration),
}

impl Scenario {
    /// Runs it with a seed.
    #[must_use]
    pub fn run(&self, seed: u64) -> Record {
        Simulation::run(Setup { seed, ..self.setup.clone() }, self.length)
    }

    /// Says what of a record is not as it must be.
    #[must_use]
    pub fn complaint(&self, record: &Record) -> Option<String> {
        if let Some(violation) = record.violations.first() {
            return Some(format!("{}: {violation}", self.name));
        }
        let moves: Vec<_> = record.automatic().collect();
        match (self.expected, moves.as_slice()) {
            (Expected::NoMove, []) => None,
            (Expected::NoMove, [first, ..]) => Some(format!("{}: moved: {first:?}", self.name)),
            (Expected::Move(within), [only]) => {
                let after = only.decided.since(crate::evidence::Moment::at(ONSET));
                let right = only.location == location(0) && after <= within;
                (!right).then(|| format!("{}: moved after {after:?}: {only:?}", self.name))
            }
            (Expected::Move(_), moves) => {
                Some(format!("{}: {} moves: {moves:?}", self.name, moves.len()))
            }
        }
    }
}

/// Returns every scenario.
#[must_use]
pub fn all() -> Vec<Scenario> {
    let mut all = moves();
    all.extend(stays());
    all
}

/// Returns the scenarios in which the leader has to go.
#[must_use]
pub fn moves() -> Vec<Scenario> {
    let soon = Duration::from_secs(4);
    let lost = |name, fault, within| broken(name, &[3, 3, 3], vec![fault], Expected::Move(within));
    vec![
        lost("new-flows", Fault::NewFlows(node(0, 1)), soon),
        lost("vxlan-wedge", Fault::VxlanWedge(node(0, 1)), soon),
        lost("forward-off", Fault::ForwardOff(node(0, 1)), soon),
        lost("partial:25", Fault::Partial(node(0, 1), 25), Duration::from_secs(60)),
        lost("node-dead", Fault::NodeDead(node(0, 1)), Duration::from_secs(5)),
        Scenario {
            setup: Setup {
                arbiter_on: Some(node(0, 1)),
                ..setup(&[3, 3, 3], vec![(ONSET, Step::Break(Fault::NodeDead(node(0, 1))))])
            },
            ..lost(
                "node-dead with the arbiter",
                Fault::NodeDead(node(0, 1)),
                Duration::from_secs(20),
            )
        },
        broken(
            "new-flows in a large mesh",
            &[5, 4, 3],
            vec![Fault::NewFlows(node(0, 1))],
            Expected::Move(soon),
        ),
    ]
}

/// Returns the scenarios in which every leader has to stay.
#[must_use]
pub fn stays() -> Vec<Scenario> {
    let mut stays = all_stays();
    for scenario in &mut stays {
        // What must not come at any speed is looked for at a lesser one.
        scenario.setup.breath = Duration::from_millis(200);
    }
    stays
}

fn all_stays() -> Vec<Scenario> {
    let (here, there) = (location(0), location(1));
    let three = |name, faults| broken(name, &[3, 3, 3], faults, Expected::NoMove);
    let blocked = Fault::PortBlocked(here.clone());
    let starved = || vec![Fault::Starved(node(0, 1)), Fault::Starved(node(1, 2))];
    vec![
        three("nothing", vec![]),
        three("loss of 2 %", vec![Fault::Loss(20)]),
        three("one-way", vec![Fault::OneWay(here.clone(), there.clone())]),
        three("mtu:1200", vec![Fault::Mtu(here.clone(), there.clone())]),
        three("wan-cut", vec![Fault::WanCut(here, there)]),
        three("member-dead", vec![Fault::NodeDead(node(0, 2))]),
        three("agent-dead", vec![Fault::AgentDead(node(0, 1))]),
        three("cpu-starved", starved()),
        three("probes-dropped", vec![Fault::ProbesDropped]),
        Scenario {
            setup: setup(&[3, 3, 3], vec![(Duration::ZERO, Step::Break(blocked))]),
            ..three("port-blocked from the start", vec![])
        },
        broken(
            "vxlan-wedge of a location of two",
            &[2, 3, 3],
            vec![Fault::VxlanWedge(node(0, 1))],
            Expected::NoMove,
        ),
        Scenario {
            setup: setup(&[3, 3, 3], rollout()),
            length: Duration::from_secs(280),
            ..three("agent-restart, one by one", vec![])
        },
        Scenario {
            setup: setup(
                &[3, 3, 3],
                vec![
                    (ONSET, Step::Break(Fault::ApiDown)),
                    (ONSET + Duration::from_secs(180), Step::Mend(Fault::ApiDown)),
                ],
            ),
            length: Duration::from_secs(440),
            ..three("api-down and return", vec![])
        },
        Scenario {
            setup: Setup {
                mode: Mode::Observe,
                ..setup(&[3, 3, 3], vec![(ONSET, Step::Break(Fault::NewFlows(node(0, 1))))])
            },
            ..three("new-flows in observe mode", vec![])
        },
    ]
}

/// Returns how long after the onset of a fault the first location's leader was convicted, for each
/// seed; none if it was not within ten seconds.
pub fn verdict_delays(
    sizes: &[usize],
    fault: &Fault,
    seeds: impl Iterator<Item = u64>,
) -> Vec<Option<Duration>> {
    let delay = |seed: u64| {
        // The seed also moves the onset within a few rounds of probing.
        let onset = ONSET + Duration::from_millis(seed * 37 % 5_000);
        let setup = Setup {
            seed,
            breath: Duration::from_millis(10),
            ..setup(sizes, vec![(onset, Step::Break(fault.clone()))])
        };
        let record = Simulation::run(setup, onset + Duration::from_secs(10));
        let convicted = record.convicted.get(&location(0))?;
        Some(convicted.since(crate::evidence::Moment::at(onset)))
    };
    seeds.map(delay).collect()
}

/// Returns the name of a simulated node; locations count from 0, nodes from 1.
#[must_use]
pub fn node(place: usize, number: usize) -> NodeName {
    NodeName(format!("{}-{number}", place_name(place)))
}

/// Returns the name of a simulated location, counted from 0.
#[must_use]
pub fn place_name(place: usize) -> Location {
    location(place)
}

/// Returns a mesh in act mode with a script.
#[must_use]
pub fn setup(sizes: &[usize], script: Vec<(Duration, Step)>) -> Setup {
    Setup {
        sizes: sizes.to_vec(),
        seed: 0,
        mode: Mode::Act,
        policy: Policy::default(),
        breath: Duration::from_millis(50),
        arbiter_on: None,
        script,
    }
}

fn broken(name: &'static str, sizes: &[usize], faults: Vec<Fault>, expected: Expected) -> Scenario {
    let script = faults.into_iter().map(|fault| (ONSET, Step::Break(fault))).collect();
    let length = ONSET + Duration::from_secs(100);
    Scenario { name, setup: setup(sizes, script), length, expected }
}

/// Each agent stops cleanly and is back three seconds later; the next follows.
fn rollout() -> Vec<(Duration, Step)> {
    let nodes = (0..3).flat_map(|place| (1..=3).map(move |number| node(place, number)));
    let restart = |(index, name): (u32, NodeName)| {
        let at = ONSET + Duration::from_secs(12) * index;
        [
            (at, Step::Break(Fault::AgentStopped(name.clone()))),
            (at + Duration::from_secs(3), Step::Mend(Fault::AgentStopped(name))),
        ]
    };
    (0..).zip(nodes).flat_map(restart).collect()
}
