//! All scenarios in a row, each a lab of its own in its own process, two at a time; and one table
//! of what came of them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, Table};
use futures::StreamExt;
use serde::Deserialize;
use tokio::process::Command;

/// How many labs run side by side: each takes some tenth of a core, and idles most of the time.
const SIDE_BY_SIDE: usize = 2;

/// A scenario: its name, and the lab's arguments that make it.
type Scenario = (&'static str, &'static [&'static str]);

/// Every scenario, the longest first, so that none is left to run alone at the end.
#[rustfmt::skip]
const SCENARIOS: &[Scenario] = &[
    ("api-down:180", &["--fault", "api-down:180"]),
    ("port-blocked", &["--fault", "port-blocked"]),
    ("agent-dead", &["--fault", "agent-dead"]),
    ("partial:5", &["--fault", "partial:5"]),
    ("partial:25", &["--fault", "partial:25"]),
    ("arbiter killed: recorded", &["--fault", "new-flows", "--kill-arbiter", "recorded"]),
    ("arbiter killed: annotated", &["--fault", "new-flows", "--kill-arbiter", "annotated"]),
    ("arbiter killed: all-annotated", &["--fault", "new-flows", "--kill-arbiter", "all-annotated"]),
    ("arbiter killed: verifying", &["--fault", "new-flows", "--kill-arbiter", "verifying"]),
    ("rollout", &["--fault", "rollout"]),
    ("tanist-rollout", &["--fault", "tanist-rollout"]),
    ("new-flows", &["--fault", "new-flows"]),
    ("rejected", &["--fault", "rejected"]),
    ("vxlan-wedge", &["--fault", "vxlan-wedge"]),
    ("forward-off", &["--fault", "forward-off"]),
    ("one-way", &["--fault", "one-way"]),
    ("node-dead", &["--fault", "node-dead"]),
    ("node-dead@lease", &["--fault", "node-dead@lease"]),
    ("one-way between locations", &["--fault", "one-way:cloud,edge"]),
    ("mtu at the leader", &["--fault", "mtu:1200"]),
    ("mtu between locations", &["--fault", "mtu:1200,cloud,edge"]),
    ("wan-cut", &["--fault", "wan-cut:cloud,edge"]),
    ("member-dead", &["--fault", "member-dead"]),
    ("agent-restart", &["--fault", "agent-restart"]),
    ("cpu-starved", &["--fault", "cpu-starved"]),
    ("probes-dropped everywhere", &["--fault", "probes-dropped"]),
    ("vxlan-wedge in 2 x 2", &["--fault", "vxlan-wedge", "--locations", "2", "--nodes", "2"]),
    ("vxlan-wedge in 3 x 2", &["--fault", "vxlan-wedge", "--nodes", "2"]),
    ("new-flows, observe", &["--fault", "new-flows", "--mode", "observe"]),
];

/// What went wrong with running them.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is none of this name.
    #[error("there is no scenario with «{0}» in its name")]
    None(String),
    /// Files.
    #[error("could not write {path}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
}

/// Runs the scenarios with `filter` in their name, tells each as it ends, and then all in a table.
/// Returns whether every one came out as it should. `more` are arguments for each lab.
pub async fn run(
    (program, more): (&Path, &[OsString]),
    filter: &str,
    say: fn(&str),
) -> Result<bool, Error> {
    let chosen = SCENARIOS.iter().filter(|(name, _)| name.contains(filter)).collect::<Vec<_>>();
    if chosen.is_empty() {
        return Err(Error::None(filter.to_owned()));
    }
    let folder = std::env::temp_dir().join(format!("tanist-scenarios-{}", std::process::id()));
    let failed = |source| Error::File { path: folder.clone(), source };
    std::fs::create_dir_all(&folder).map_err(failed)?;
    say(&format!(
        "{} scenarios, {SIDE_BY_SIDE} at a time; logs and journals in {}",
        chosen.len(),
        folder.display()
    ));

    let runs = chosen.iter().enumerate().map(|(turn, scenario)| {
        let folder = &folder;
        async move {
            let outcome = one((program, more), scenario, folder).await?;
            say(&outcome.line());
            Ok::<_, Error>((turn, outcome))
        }
    });
    let mut outcomes = Vec::new();
    let mut runs = futures::stream::iter(runs).buffer_unordered(SIDE_BY_SIDE);
    while let Some(outcome) = runs.next().await {
        outcomes.push(outcome?);
    }
    outcomes.sort_by_key(|(turn, _)| *turn);

    let outcomes = outcomes.into_iter().map(|(_, outcome)| outcome).collect::<Vec<_>>();
    say(&table(&outcomes));
    Ok(outcomes.iter().all(Outcome::is_ok))
}

async fn one(
    (program, more): (&Path, &[OsString]),
    (name, arguments): &Scenario,
    folder: &Path,
) -> Result<Outcome, Error> {
    let file = name.replace(|sign: char| !sign.is_ascii_alphanumeric(), "-");
    let of = |ending: &str| folder.join(format!("{file}.{ending}"));
    let (log, json) = (of("log"), of("json"));
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::File { path, source }
    };
    let output = std::fs::File::create(&log).map_err(failed(&log))?;
    let error = output.try_clone().map_err(failed(&log))?;

    let began = Instant::now();
    let status = Command::new(program)
        .args(["lab", "--without-tanist", "0s", "--json"])
        .arg(&json)
        .arg("--journal")
        .arg(of("journal"))
        .args(*arguments)
        .args(more)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(error)
        .kill_on_drop(true)
        .status()
        .await
        .map_err(failed(program))?;
    let seen = std::fs::read(&json).ok().and_then(|text| serde_json::from_slice(&text).ok());

    let (exited_well, took) = (status.success(), began.elapsed());
    Ok(Outcome { name, exited_well, took, seen, log })
}

/// What came of one scenario.
struct Outcome {
    name: &'static str,
    exited_well: bool,
    took: Duration,
    /// The lab's own report; none if it ended before it had one.
    seen: Option<Seen>,
    log: PathBuf,
}

/// The part of a lab's report that the table shows.
#[derive(Debug, Deserialize)]
struct Seen {
    expected: String,
    faults: Vec<Fault>,
    changes: Vec<Change>,
    failures: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Fault {
    from: String,
    to: Option<String>,
    by: String,
    deeds: Deeds,
    moments: Moments,
}

#[derive(Debug, Deserialize)]
struct Deeds {
    moves: Vec<serde_json::Value>,
    told: Vec<String>,
    killed: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Moments {
    reported: Option<Duration>,
    verdict: Option<Duration>,
    written: Option<Duration>,
    restored: Option<Duration>,
    verified: Option<Duration>,
}

#[derive(Debug, Deserialize)]
struct Change {
    expected: bool,
}

impl Outcome {
    fn is_ok(&self) -> bool {
        self.exited_well && self.seen.as_ref().is_some_and(|seen| seen.failures.is_empty())
    }

    fn fault(&self) -> Option<&Fault> {
        self.seen.as_ref()?.faults.last()
    }

    fn line(&self) -> String {
        let ok = if self.is_ok() { "ok" } else { "FAILED" };
        let mut line = format!("{ok:6} {:32} {:4} s", self.name, self.took.as_secs());
        match &self.seen {
            None => line.push_str(&format!("  no report: see {}", self.log.display())),
            Some(seen) => {
                line.extend(seen.failures.iter().map(|why| format!("\n         {why}")));
            }
        }
        line
    }

    fn row(&self) -> Vec<String> {
        let moment = |of: fn(&Moments) -> Option<Duration>| {
            let at = self.fault().and_then(|fault| of(&fault.moments));
            at.map_or_else(|| "–".to_owned(), |at| format!("{:.3}", at.as_secs_f64()))
        };
        let stray = self
            .seen
            .as_ref()
            .map_or(0, |seen| seen.changes.iter().filter(|change| !change.expected).count());
        vec![
            self.name.to_owned(),
            self.seen.as_ref().map(|seen| seen.expected.clone()).unwrap_or_default(),
            self.fault().map_or_else(|| "no report".to_owned(), Fault::words),
            moment(|at| at.reported),
            moment(|at| at.verdict),
            moment(|at| at.written),
            moment(|at| at.restored),
            moment(|at| at.verified),
            self.fault().map_or(0, |fault| fault.deeds.moves.len()).to_string(),
            stray.to_string(),
            if self.is_ok() { "ok" } else { "FAILED" }.to_owned(),
        ]
    }
}

impl Fault {
    fn words(&self) -> String {
        let mut words = match (&self.to, self.by.as_str()) {
            (None, _) => format!("{} leads on", self.from),
            (Some(to), by) => format!("{} → {to} by {by}", self.from),
        };
        if let Some(killed) = &self.deeds.killed {
            words.push_str(&format!(", arbiter of {killed} killed"));
        }
        if !self.deeds.told.is_empty() {
            words.push_str(", a person was told");
        }
        words
    }
}

fn table(outcomes: &[Outcome]) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY);
    table.set_header([
        "scenario", "expected", "seen", "reported", "verdict", "written", "back", "verified",
        "moves", "stray", "",
    ]);
    for outcome in outcomes {
        table.add_row(outcome.row());
    }
    for column in table.column_iter_mut().skip(3).take(7) {
        column.set_cell_alignment(CellAlignment::Right);
    }

    table.to_string()
}

#[cfg(test)]
mod tests;
