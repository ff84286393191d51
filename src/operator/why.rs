//! Why a location is judged as it is: the rule by which Kilo chose, the counts of fresh flows, who
//! may lead next and what speaks against the others, what holds a move.

use std::collections::BTreeMap;

use serde::Serialize;

use super::cost::Cost;
use super::status::{LocationStatus, Status};
use super::table::table;
use super::view::{Told, View};
use super::words;
use crate::cluster::objects::HeirStatus;
use crate::decide::Trust;
use crate::evidence::{LocalFinding, Location, NodeName, UnixTime};

mod paths;

pub use paths::{PathSeen, Tally, Way};

use paths::{flow, paths, tallies};

/// Why a location is judged as it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Why {
    /// What `status` shows.
    pub status: LocationStatus,
    /// By which of Kilo's rules the leader leads.
    pub rule: Option<String>,
    /// Where the state machine stands.
    pub trust: Option<Trust<UnixTime>>,
    /// The incident at hand, or the last one.
    pub incident: Option<String>,
    /// What nodes say of their paths, added up.
    pub evidence: Vec<Tally>,
    /// Every path that counts, those that lose first.
    pub paths: Vec<PathSeen>,
    /// Nodes whose word does not count, each with why.
    pub unheard: BTreeMap<NodeName, String>,
    /// What nodes found wrong on themselves.
    pub local: BTreeMap<NodeName, Vec<LocalFinding>>,
    /// Who could lead next, best first.
    pub heirs: Vec<HeirStatus>,
    /// What a move to the best heir would cost.
    pub cost: Option<Cost>,
    /// When this was read, Unix milliseconds.
    pub at_ms: i64,
}

impl Why {
    /// Returns why a location is judged as it is.
    #[must_use]
    pub fn of(view: &View, location: &Location, cost: Option<Cost>) -> Option<Self> {
        let status = Status::of(view, Some(location)).locations.into_iter().next()?;
        let said = view.status(location);
        let paths = paths(view, location, status.leader.as_ref());
        Some(Self {
            rule: said.and_then(|said| said.why.clone()),
            trust: said.and_then(|said| said.remembered()).map(|memory| memory.trust),
            incident: said.and_then(|said| said.incident.clone()),
            evidence: tallies(&paths),
            paths,
            unheard: unheard(view, location),
            local: local(view, location),
            heirs: said.map(|said| said.heirs.clone()).unwrap_or_default(),
            cost,
            at_ms: view.at.0,
            status,
        })
    }

    /// Returns it for people; `every` path, or those that lose only.
    #[must_use]
    pub fn text(&self, width: u16, every: Shown) -> String {
        let mut parts = vec![self.headline(), self.counts(width)];
        parts.extend(self.complaints());
        parts.extend(self.listed(width, every));
        parts.extend(self.silent());
        parts.extend(self.findings());
        parts.push(self.heirs(width));
        parts.extend(self.cost.as_ref().map(|cost| format!("What a move would cost\n{cost}")));
        parts.join("\n\n")
    }

    fn headline(&self) -> String {
        let Self { status, at_ms, .. } = self;
        let now = UnixTime(*at_ms);
        let since = status
            .since_ms
            .map_or_else(String::new, |since| format!(" for {}", words::ago(UnixTime(since), now)));
        let mut lines = vec![format!(
            "{} is led by {}{since}: {}.",
            words::place(&status.location),
            words::node(status.leader.as_ref()),
            self.rule.as_deref().unwrap_or("by Kilo's rules"),
        )];
        lines.push(format!("Health: {}: {}.", status.health, status.because));
        if let Some(trust) = &self.trust {
            lines.push(format!("State: {}.", state(trust, now)));
        }
        if let Some(incident) = &self.incident {
            lines.push(format!("Incident at hand, or the last one: {incident}."));
        }
        for why in &status.paused {
            lines.push(format!("Paused: {why}."));
        }
        if let Some(mode) = &status.mode {
            lines.push(format!("Mode: {mode}."));
        }
        lines.join("\n")
    }

    fn counts(&self, width: u16) -> String {
        if self.evidence.is_empty() {
            return "No node has reported a path of this location.".to_owned();
        }
        let row = |tally: &Tally| {
            let never = match tally.never_worked {
                0 => String::new(),
                some => format!("{some} never worked"),
            };
            [
                tally.way.words().to_owned(),
                flow(tally.flow).to_owned(),
                tally.paths.to_string(),
                format!("{} of {}", tally.passed, tally.sent),
                tally.losing.to_string(),
                never,
            ]
        };
        let header = ["WAY", "FLOW", "PATHS", "PASSED", "LOSING", ""];
        let rows = self.evidence.iter().map(row).collect();
        format!("What the nodes saw in their last minute\n{}", table(header, rows, width))
    }

    fn listed(&self, width: u16, every: Shown) -> Option<String> {
        let shown = self.paths.iter().filter(|seen| every == Shown::Every || seen.loses());
        let rows: Vec<_> = shown.map(PathSeen::row).collect();
        let title = match every {
            Shown::Every => "Every path",
            Shown::Losing => "Paths that lose",
        };
        let header = ["FROM", "TO", "ADDRESS", "FLOW", "BURST", "STEADY", "ROUND TRIP", ""];
        (!rows.is_empty()).then(|| format!("{title}\n{}", table(header, rows, width)))
    }

    fn complaints(&self) -> Option<String> {
        let said: Vec<_> = self.status.complaints.iter().map(|said| format!("  {said}")).collect();
        (!said.is_empty()).then(|| format!("What a person should know\n{}", said.join("\n")))
    }

    fn silent(&self) -> Option<String> {
        let lines: Vec<_> =
            self.unheard.iter().map(|(node, why)| format!("  {node}: {why}")).collect();
        (!lines.is_empty()).then(|| format!("Not heard\n{}", lines.join("\n")))
    }

    fn findings(&self) -> Option<String> {
        let lines: Vec<_> = self
            .local
            .iter()
            .flat_map(|(node, found)| {
                found.iter().map(move |found| format!("  {node}: {}", found.detail))
            })
            .collect();
        (!lines.is_empty()).then(|| format!("Found by nodes on themselves\n{}", lines.join("\n")))
    }

    fn heirs(&self, width: u16) -> String {
        if self.heirs.is_empty() {
            return "Nobody else could lead.".to_owned();
        }
        let row = |heir: &HeirStatus| {
            let verdict = if heir.fit { "yes" } else { "no" };
            let why = if heir.fit {
                format!("passed all {} checks", heir.passed.len())
            } else {
                heir.failed.join("; ")
            };
            [heir.node.0.clone(), verdict.to_owned(), heir.serves.to_string(), why]
        };
        let rows = self.heirs.iter().map(row).collect();
        format!("Who could lead next\n{}", table(["NODE", "FIT", "SERVES", "WHY"], rows, width))
    }
}

/// Which paths are listed one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// All.
    Every,
    /// Those that lose.
    Losing,
}

fn unheard(view: &View, location: &Location) -> BTreeMap<NodeName, String> {
    let why = |told: Option<&Told>| match told {
        None => Some("it has never reported".to_owned()),
        Some(told) => {
            let abstains = told.report.abstains?;
            Some(format!("its word does not count: {}", abstention(abstains)))
        }
    };
    let nodes = view.members(location).into_iter();
    nodes.filter_map(|node| Some((node.name.clone(), why(view.reports.get(&node.name))?))).collect()
}

fn local(view: &View, location: &Location) -> BTreeMap<NodeName, Vec<LocalFinding>> {
    let found = |node: &crate::evidence::Node| {
        let local = view.reports.get(&node.name)?.report.local.clone();
        (!local.is_empty()).then(|| (node.name.clone(), local))
    };
    view.members(location).into_iter().filter_map(found).collect()
}

/// Says why a node's word does not count.
pub(super) const fn abstention(why: crate::evidence::Abstention) -> &'static str {
    use crate::evidence::Abstention::{ClockOff, JustStarted, KiloJustStarted, NoPlan, RoundLate};
    match why {
        JustStarted => "it has just started",
        RoundLate => "its own rounds run late",
        KiloJustStarted => "its Kilo agent has just started",
        ClockOff => "its clock is off",
        NoPlan => "it has no plan to follow",
    }
}

fn state(trust: &Trust<UnixTime>, now: UnixTime) -> String {
    match trust {
        Trust::Trusted => "trusted: nothing is under way".to_owned(),
        Trust::Doubted { since, dark: None } => {
            format!("doubted for {}: its sidecars look closer", words::ago(*since, now))
        }
        Trust::Doubted { dark: Some(dark), .. } => {
            format!("convicted for {} without a break", words::ago(*dark, now))
        }
        Trust::Proving { until, .. } => {
            format!("the new leader has {} left to prove itself", words::ago(now, *until))
        }
        Trust::Resting { until } => {
            format!("resting for {} more: no automatic move", words::ago(now, *until))
        }
    }
}
