//! Runs on the virtual clock and prints figures.
//!
//! ```text
//! cargo run --release --example simulate                  every scenario, three seeds
//! cargo run --release --example simulate latency 1000     fault to verdict, that many runs
//! ```

#![expect(clippy::print_stdout, reason = "it is there to print")]

use std::time::{Duration, Instant};

use tanist::simulate::Fault;
use tanist::simulate::scenario::{all, node, verdict_delays};

fn main() {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("latency") => {
            latency(arguments.next().and_then(|runs| runs.parse().ok()).unwrap_or(1000));
        }
        only => scenarios(only.unwrap_or_default()),
    }
}

fn scenarios(only: &str) {
    let mut wrong = 0;
    for scenario in all().into_iter().filter(|scenario| scenario.name.contains(only)) {
        for seed in 0..3 {
            let began = Instant::now();
            let record = scenario.run(seed);
            let complaint = scenario.complaint(&record);
            wrong += u32::from(complaint.is_some());
            println!(
                "{:40} seed {seed}: {} moves, {:5.1} s: {}",
                scenario.name,
                record.moves.len(),
                began.elapsed().as_secs_f64(),
                complaint.unwrap_or_else(|| "as expected".to_owned()),
            );
        }
    }
    assert_eq!(wrong, 0, "runs that did not come out as they must");
}

fn latency(runs: u64) {
    let faults = [Fault::NewFlows(node(0, 1)), Fault::VxlanWedge(node(0, 1))];
    for (sizes, fault) in [vec![3, 3, 3], vec![2, 2]]
        .iter()
        .flat_map(|sizes| faults.iter().map(move |fault| (sizes, fault)))
    {
        let delays = verdict_delays(sizes, fault, 0..runs);
        let missed = delays.iter().filter(|delay| delay.is_none()).count();
        let mut known: Vec<Duration> = delays.into_iter().flatten().collect();
        known.sort();
        let at = |share: f64| {
            let index = (known.len() as f64 * share) as usize;
            known.get(index.min(known.len().saturating_sub(1))).copied().unwrap_or_default()
        };
        println!(
            "{sizes:?} {fault:?}: n {runs}, without verdict {missed}, median {:?}, p99 {:?}, max {:?}",
            at(0.5),
            at(0.99),
            at(1.0),
        );
    }
}
