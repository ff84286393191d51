use super::*;
use scenario::{Scenario, moves, stays};

fn hold(scenarios: &[Scenario], seeds: std::ops::Range<u64>) {
    let mut complaints = Vec::new();
    for scenario in scenarios {
        for seed in seeds.clone() {
            let record = scenario.run(seed);
            complaints.extend(scenario.complaint(&record).map(|why| format!("seed {seed}: {why}")));
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn a_leader_that_fails_is_replaced_once() {
    hold(&moves(), 0..1);
}

#[test]
fn a_leader_that_is_not_to_blame_stays() {
    hold(&stays(), 0..1);
}
