//! `tanist replay`: runs a journal through the same diagnosis and decision, and says what follows.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use super::say;
use crate::decide::{Health, LocationPlan, Wish};
use crate::diagnose::Finding;
use crate::evidence::{Epoch, Location, Moment};
use crate::journal::{self, What};
use crate::judge::Judge;

/// Runs a journal through diagnosis and decision again; exits with 2 if anything came out
/// otherwise than it did then.
#[derive(Debug, Args)]
pub(super) struct Replay {
    /// The journal
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Also prints every finding of every round that changed something
    #[arg(long)]
    findings: bool,
}

impl Replay {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let (header, entries) = journal::read(&self.file)?;
        let epoch = Epoch(header.epoch);
        let begun = wall(epoch, Moment::START)?;
        say(&format!("journal of tanist {}, begun {begun}", header.version));

        let mut replayed = Replayed {
            judge: Judge::new(header.policy, header.thresholds, epoch),
            epoch,
            last: BTreeMap::new(),
            rounds: 0,
            differing: 0,
            findings: self.findings,
        };
        for entry in entries {
            match entry.what {
                What::In(input) => replayed.judge.take(input, entry.at),
                What::Round(then) => replayed.round(entry.at, &then)?,
            }
        }
        let Replayed { rounds, differing, .. } = replayed;
        say(&format!("{rounds} rounds; {differing} plans came out otherwise than they did then"));
        Ok(if differing == 0 { ExitCode::SUCCESS } else { ExitCode::from(2) })
    }
}

/// A replay under way.
struct Replayed {
    judge: Judge,
    epoch: Epoch,
    last: BTreeMap<Location, String>,
    rounds: usize,
    differing: usize,
    findings: bool,
}

impl Replayed {
    /// Holds a round again and prints what it changed, and where it differs from the one then.
    fn round(&mut self, at: Moment, then: &BTreeMap<Location, LocationPlan>) -> anyhow::Result<()> {
        self.rounds += 1;
        let judgement = self.judge.round(at);
        for (location, plan) in &judgement.plan.locations {
            let now = line(location, plan);
            if self.last.get(location) == Some(&now) {
                continue;
            }
            say(&format!("{}  {now}", wall(self.epoch, at)?));
            if self.findings {
                let here = judgement.findings.iter().filter(|f| f.location == *location);
                here.for_each(|finding| say(&format!("    {}", described(finding))));
            }
            self.last.insert(location.clone(), now);
        }
        for (location, then) in then {
            if judgement.plan.locations.get(location) != Some(then) {
                self.differing += 1;
                say(&format!("    then it was: {}", line(location, then)));
            }
        }
        Ok(())
    }
}

/// Returns one location's plan as a line: only what a person would call a change.
fn line(location: &Location, plan: &LocationPlan) -> String {
    let leader = plan.leader.as_ref().map_or("nobody", |node| &node.0);
    let wish = match &plan.wish {
        Wish::Stay => String::new(),
        Wish::Move(wanted) => format!("; move to {}: {}", wanted.to, wanted.why),
    };
    let held = plan.held.as_ref().map_or_else(String::new, |rail| format!("; held: {rail}"));
    let because = match plan.health {
        Health::Forwards => "",
        Health::Unclear | Health::Impaired | Health::Dark => &plan.because,
    };
    format!("{location:?} led by {leader}: {:?} {because}{wish}{held}", plan.health)
}

fn described(finding: &Finding) -> String {
    format!("{}: {} ({})", finding.class.as_str(), finding.because, finding.advice)
}

fn wall(epoch: Epoch, at: Moment) -> anyhow::Result<jiff::Timestamp> {
    jiff::Timestamp::from_millisecond(epoch.unix(at).0).context("the journal names no real time")
}
