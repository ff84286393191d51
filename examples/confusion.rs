//! Prints the confusion table of the diagnosis, and what it costs, as Markdown:
//! `cargo run --release --example confusion > docs/confusion.md`. An argument sets the draws.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use std::collections::BTreeMap;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use tanist::diagnose::{Class, Finding, Thresholds, Verdict, diagnose, verdict};
use tanist::evidence;

#[path = "../src/diagnose/tests/scenario.rs"]
mod scenario;

use scenario::{Fault, MESHES, Scenario};

/// What came out of one draw, in the order of the columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// The leader that is to blame was convicted.
    Leader(Class),
    /// What is broken was named; no leader was convicted.
    Named(Class),
    /// Nothing was convicted.
    Unconvicted(Class),
    /// Nothing was found.
    Nothing,
    /// Something sound was convicted.
    Wrong,
}

impl Outcome {
    fn name(self) -> String {
        match self {
            Self::Leader(class) => format!("**{}**", class.as_str()),
            Self::Named(class) | Self::Unconvicted(class) => class.as_str().to_owned(),
            Self::Nothing => "nothing".to_owned(),
            Self::Wrong => "WRONG".to_owned(),
        }
    }
}

fn main() {
    let draws = std::env::args().nth(1).and_then(|argument| argument.parse().ok()).unwrap_or(1000);
    println!("{}", include_str!("confusion.md"));
    println!("Each row is {draws} draws; a third each with background loss 0, 0.3 % and 2 %.\n");

    for (mesh, sizes) in MESHES {
        println!(
            "## {mesh}\n\n| fault | finding (% of draws) | convicted in error |\n|---|---|--:|"
        );
        for (name, outcomes) in rows(sizes, draws) {
            println!("{}", row(name, &outcomes, draws));
        }
        println!();
    }
    speed();
}

/// Draws every fault on one mesh, half of the faults on each of two threads.
fn rows(sizes: &'static [usize], draws: u64) -> Vec<(&'static str, BTreeMap<Outcome, u64>)> {
    let half = |odd: usize| {
        let faults = Fault::ALL.into_iter().enumerate().filter(move |(at, _)| at % 2 == odd);
        faults.map(move |(at, (fault, name))| (at, name, draw(sizes, fault, draws))).collect()
    };
    let mut rows: Vec<_> = std::thread::scope(|scope| {
        let other = scope.spawn(|| half(1));
        let mut rows: Vec<_> = half(0);
        rows.extend(other.join().unwrap_or_default());
        rows
    });
    rows.sort_by_key(|(at, ..)| *at);

    rows.into_iter().map(|(_, name, outcomes)| (name, outcomes)).collect()
}

fn draw(sizes: &[usize], fault: Fault, draws: u64) -> BTreeMap<Outcome, u64> {
    let mut outcomes = BTreeMap::new();
    for seed in 0..draws {
        let background = [0.0, 0.003, 0.02][(seed % 3) as usize];
        let (truth, evidence) = Scenario::new(sizes, fault, background, seed).evidence();
        let thresholds = Thresholds::default();
        let findings = diagnose(&evidence, &thresholds);
        let verdicts = evidence
            .leaders
            .keys()
            .map(|location| {
                (location.clone(), verdict(location, &findings, &evidence, &thresholds))
            })
            .collect();
        *outcomes.entry(outcome(&truth, &findings, &verdicts)).or_default() += 1;
    }

    outcomes
}

fn outcome(
    truth: &Scenario,
    findings: &[Finding],
    verdicts: &BTreeMap<evidence::Location, Verdict>,
) -> Outcome {
    let culprits =
        || findings.iter().filter_map(|finding| Some((finding, finding.culprit.as_ref()?)));
    let dark = verdicts.iter().find_map(|(location, verdict)| match verdict {
        Verdict::Dark(class) => Some((location, *class)),
        Verdict::Forwards | Verdict::Unclear(_) => None,
    });

    if culprits().any(|(_, culprit)| !truth.is_true(culprit)) {
        return Outcome::Wrong;
    }
    match dark {
        Some((location, _)) if *location != Scenario::location(0) => Outcome::Wrong,
        Some(_) if !truth.is_of_leader() => Outcome::Wrong,
        Some((_, class)) => Outcome::Leader(class),
        None => culprits().map(|(finding, _)| Outcome::Named(finding.class)).next().unwrap_or_else(
            || findings.first().map_or(Outcome::Nothing, |first| Outcome::Unconvicted(first.class)),
        ),
    }
}

fn row(name: &str, outcomes: &BTreeMap<Outcome, u64>, draws: u64) -> String {
    let percent = |count: u64| format!("{:.1}", count as f64 * 100.0 / draws as f64);
    let mut sorted: Vec<_> =
        outcomes.iter().filter(|(outcome, _)| **outcome != Outcome::Wrong).collect();
    sorted.sort_by_key(|(outcome, count)| (std::cmp::Reverse(**count), **outcome));
    let cells =
        sorted.iter().map(|(outcome, count)| format!("{} {}", outcome.name(), percent(**count)));
    let wrong = outcomes.get(&Outcome::Wrong).copied().unwrap_or(0);

    format!("| {name} | {} | {wrong} |", cells.collect::<Vec<_>>().join(", "))
}

/// Returns what this thread has computed so far: other work on the machine must not count.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// Times one diagnosis of a mesh of ten locations with thirty nodes each.
fn speed() {
    println!("## Cost of one diagnosis, 10 locations of 30 nodes (CPU time)\n");
    println!("| fault | observations | n | median | p99 |\n|---|--:|--:|--:|--:|");
    for (fault, name) in
        [Fault::None, Fault::NewFlows, Fault::Partial(0.25), Fault::WholeMesh].map(|fault| {
            (
                fault,
                Fault::ALL.into_iter().find(|(other, _)| *other == fault).map_or("", |row| row.1),
            )
        })
    {
        let (mut times, mut observations) = (Vec::new(), 0);
        for seed in 0..10 {
            let (_, evidence) = Scenario::new(&[30; 10], fault, 0.003, seed).evidence();
            observations = evidence.observations.len();
            for _ in 0..20 {
                let start = cpu_time();
                std::hint::black_box(diagnose(&evidence, &Thresholds::default()));
                times.push(cpu_time().saturating_sub(start));
            }
        }
        times.sort();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        let millis = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1000.0);
        println!(
            "| {name} | {observations} | {} | {} | {} |",
            times.len(),
            millis(at(0.5)),
            millis(at(0.99))
        );
    }
}
