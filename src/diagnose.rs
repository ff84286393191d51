//! Tells from counts of probes which part of the mesh is broken, and how.
//!
//! Pure: the same [`Evidence`] always gives the same findings. A path is a list of elements; the
//! element whose failure best explains all counts, passing and failing, is convicted, and only if
//! nothing else explains them nearly as well and no single path contradicts it.
//!
//! ```text
//! observations ─▶ plane (fresh, trusted counts of one flow kind; what each path crosses)
//!              ─▶ likelihood (which element, or pair of them, explains the counts)
//!              ─▶ rules (what kind of fault: by contrast with the other kinds of flow)
//!              ─▶ doubts (why no verdict may follow, if so)  ─▶ findings ─▶ verdict
//! ```
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

use std::collections::BTreeSet;

use serde::Serialize;

use self::plane::{Loss, Span, View};
use self::rules::Case;
use crate::evidence::{Element, Evidence, Flow, LocalFinding, Location, NodeName};

mod doubts;
mod elements;
mod explain;
mod likelihood;
mod never_worked;
mod plane;
mod rules;
mod served;
#[cfg(test)]
mod tests;
mod thresholds;
mod verdict;

pub use elements::elements;
pub use served::served;
pub use thresholds::Thresholds;
pub use verdict::{Doubt, Verdict, verdict};

/// What kind of fault it is, by how the kinds of flow fare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// New flows die, old ones live: nothing that Kilo watches notices.
    NewFlowBlackhole,
    /// New and old flows die.
    ForwardingDead,
    /// A share of the flows dies.
    Partial,
    /// Packets pass one way only.
    OneWay,
    /// Only large packets die.
    MtuBlackHole,
    /// Only our own probes die.
    ProbeBlocked,
    /// The way between two locations is cut.
    Tunnel,
    /// A leader has lost its way to all other locations.
    Uplink,
    /// A node is dead.
    Host,
    /// A member's own overlay is broken.
    Overlay,
    /// The overlay between two nodes is broken, and only that.
    OverlayPair,
    /// It never worked: a misconfiguration, not a failure.
    NeverWorked,
    /// So much fails at once that it is us or what carries everything.
    Storm,
    /// Several explanations fit.
    Unclear,
}

impl Class {
    /// Returns the class as labels of metrics and objects carry it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NewFlowBlackhole => "new-flow-blackhole",
            Self::ForwardingDead => "forwarding-dead",
            Self::Partial => "partial",
            Self::OneWay => "one-way",
            Self::MtuBlackHole => "mtu-black-hole",
            Self::ProbeBlocked => "probe-blocked",
            Self::Tunnel => "tunnel",
            Self::Uplink => "uplink",
            Self::Host => "host",
            Self::Overlay => "overlay",
            Self::OverlayPair => "overlay-pair",
            Self::NeverWorked => "never-worked",
            Self::Storm => "storm",
            Self::Unclear => "unclear",
        }
    }
}

/// One fault, as far as the evidence tells.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// The location concerned.
    pub location: Location,
    /// What kind of fault it is.
    pub class: Class,
    /// The one element that is convicted, if one is.
    pub culprit: Option<Element>,
    /// Every element that explains the counts, best first; the culprit alone if there is one.
    pub candidates: Vec<Element>,
    /// The share of fresh flows lost to it, 0 to 1.
    pub fraction: f64,
    /// By how much (natural logarithm of the odds) it explains more than the next-best.
    pub log_odds: f64,
    /// The nodes whose flows died of it.
    pub witnesses: BTreeSet<NodeName>,
    /// The nodes whose flows passed beside it.
    pub passing: BTreeSet<NodeName>,
    /// What the culprit's node found wrong on itself.
    pub local: Vec<LocalFinding>,
    /// Why nobody may act on it, if so.
    pub doubt: Option<Doubt>,
    /// The finding in one sentence with its counts, for people.
    pub because: String,
    /// What a person should do about it.
    pub advice: &'static str,
}

/// Returns every fault that the evidence shows, those of which it is unsure included.
#[must_use]
pub fn diagnose(evidence: &Evidence, thresholds: &Thresholds) -> Vec<Finding> {
    let view = View::new(evidence, thresholds);
    let mut findings = Vec::new();
    let mut explained = BTreeSet::new();
    for flow in [Flow::NewUdp, Flow::NewTcp, Flow::Large] {
        if view.any_loss(flow) {
            findings.extend(findings_of(&view, flow, &mut explained));
        }
    }
    // Last: what never worked explains nothing that fails now.
    findings.extend(never_worked::findings(evidence));
    doubts::hold_back_in_storm(&mut findings, evidence, thresholds);

    // Of several riddles about one location the first, which explains most, says enough.
    let mut puzzled = BTreeSet::new();
    findings.retain(|finding| {
        finding.class != Class::Unclear || puzzled.insert(finding.location.clone())
    });
    findings
}

/// Judges one kind of flow: what is sharp first, then what only longer windows show. Of large packets
/// a witness sends one a minute and two in a burst, and nobody is moved for them: all of them
/// together are judged.
fn findings_of(view: &View<'_>, flow: Flow, explained: &mut BTreeSet<Element>) -> Vec<Finding> {
    let lately = view.evidence.now - view.thresholds.steady_age;
    if flow == Flow::Large {
        let rarely = view.evidence.now - view.thresholds.healthy_age;
        let recent = Span::Recent { bursts: lately, steady: rarely };
        return findings_in(view, flow, recent, explained);
    }
    let recent = Span::Recent { bursts: lately, steady: lately };
    if let Some(onset) = view.onset(flow, Loss::Whole) {
        let mut findings = findings_in(view, flow, Span::Since(onset), explained);
        let judged = locations(&findings);
        // Where a longer window shows the same fault again, it is thinned out: elsewhere only.
        let further = findings_in(view, flow, recent, explained).into_iter();
        findings.extend(further.filter(|finding| !judged.contains(&finding.location)));
        return findings;
    }

    let before = explained.clone();
    let onset = view.onset(flow, Loss::Partial);
    let sharp = onset.map(|onset| findings_in(view, flow, Span::Since(onset), explained));
    let sharp = sharp.unwrap_or_default();
    if !sharp.is_empty() && sharp.iter().all(|finding| finding.culprit.is_some()) {
        return sharp;
    }
    // A share of loss that bursts show but do not place may take longer windows to place.
    *explained = before;
    let mut findings = findings_in(view, flow, recent, explained);
    let placed = locations(&findings);
    findings.extend(sharp.into_iter().filter(|finding| !placed.contains(&finding.location)));

    findings
}

fn findings_in(
    view: &View<'_>,
    flow: Flow,
    span: Span,
    explained: &mut BTreeSet<Element>,
) -> Vec<Finding> {
    let paths = view.counts(flow, span, explained);
    let mut findings = Vec::new();
    for part in likelihood::explain(&paths, &view.evidence.mesh, view.thresholds) {
        explained.extend(part.candidates.iter().cloned());
        let case = Case::new(flow, part, &paths, view, span);
        findings.extend(findings_of_case(&case, view.evidence, view.thresholds));
    }

    findings
}

fn locations(findings: &[Finding]) -> BTreeSet<Location> {
    findings.iter().map(|finding| finding.location.clone()).collect()
}

/// Tells each location concerned.
fn findings_of_case(case: &Case<'_>, evidence: &Evidence, thresholds: &Thresholds) -> Vec<Finding> {
    let candidates = case.part.candidates.iter();
    let locations: BTreeSet<&Location> =
        candidates.flat_map(|element| element.locations(&evidence.mesh)).collect();

    locations.into_iter().map(|location| finding(case, location, evidence, thresholds)).collect()
}

fn finding(
    case: &Case<'_>,
    location: &Location,
    evidence: &Evidence,
    thresholds: &Thresholds,
) -> Finding {
    let leader = evidence.leaders.get(location).and_then(|led| led.leader.as_ref());
    let symptom = case.class(leader);
    let doubt = doubts::doubt(case, symptom, location, evidence, thresholds);
    let class = if doubt.is_some_and(Doubt::is_of_witnesses) { Class::Unclear } else { symptom };
    let culprit = (class != Class::Unclear).then(|| case.representative().clone());
    let node = culprit.as_ref().and_then(Element::node);
    let local = node.and_then(|node| evidence.reporters.get(node));
    let local = local.map(|reporter| reporter.local.clone()).unwrap_or_default();

    Finding {
        location: location.clone(),
        class,
        candidates: case.part.candidates.clone(),
        fraction: case.part.share,
        log_odds: case.part.log_odds,
        witnesses: case.witnesses(),
        passing: case.passing(),
        doubt,
        because: explain::because(case, class, &local),
        advice: rules::advice(class, &local),
        culprit,
        local,
    }
}
