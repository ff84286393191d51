//! Which counts speak of now: fresh, from nodes whose word counts, of paths whose way is known and
//! did not change meanwhile.
//!
//! Bursts are sharp: all their flows were opened within a third of a second. A steady window looks
//! back a minute, so a fault of five seconds is but a twelfth of it. So bursts are judged first,
//! with what else was sent since the first of them failed (`Since`); then, for small shares of
//! loss, everything together (`Recent`).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Thresholds, elements, likelihood};
use crate::evidence::{
    Abstention, Element, Evidence, Flow, Location, Moment, NodeName, Observation, Pace, Path,
    Window,
};

/// Which part of the windows counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Span {
    /// Bursts, and what else was sent since then.
    Since(Moment),
    /// Bursts and steady windows that ended after these.
    Recent {
        /// The least end of a burst.
        bursts: Moment,
        /// The least end of a steady window.
        steady: Moment,
    },
}

/// How much of a burst was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// All of it, for all that matters.
    Whole,
    /// More than chance loses.
    Partial,
}

/// From this share on a fault takes, for all that matters, every flow.
pub(super) const WHOLE: f64 = 0.9;

/// The counts of one path.
#[derive(Debug, Clone)]
pub(super) struct Counted<'a> {
    /// The path.
    pub(super) path: &'a Path,
    /// Flows opened.
    pub(super) sent: u32,
    /// Of these, lost.
    pub(super) lost: u32,
    /// Of one of its windows: flows opened, requests that the far end says it got, answers.
    pub(super) heard: Option<(u32, u32, u32)>,
    /// The loss to expect when nothing is wrong.
    pub(super) background: f64,
    /// What it crosses.
    pub(super) crossed: Vec<Element>,
}

impl Counted<'_> {
    /// Returns how many flows were answered.
    pub(super) const fn passed(&self) -> u32 {
        self.sent - self.lost
    }

    /// Tells whether the path crosses any of these.
    pub(super) fn crosses_any(&self, elements: &BTreeSet<Element>) -> bool {
        self.crossed.iter().any(|element| elements.contains(element))
    }
}

/// The evidence with its untrustworthy parts left out.
pub(super) struct View<'a> {
    /// All of the evidence.
    pub(super) evidence: &'a Evidence,
    /// The figures to judge by.
    pub(super) thresholds: &'a Thresholds,
    paths: Vec<Windows<'a>>,
    churning: BTreeSet<&'a Location>,
    /// The mean background loss between two locations.
    ways: BTreeMap<(&'a Location, &'a Location), f64>,
}

struct Windows<'a> {
    path: &'a Path,
    burst: Option<&'a Observation>,
    steady: Option<&'a Observation>,
}

impl<'a> View<'a> {
    /// Sorts the evidence by path.
    pub(super) fn new(evidence: &'a Evidence, thresholds: &'a Thresholds) -> Self {
        let mut view = Self {
            evidence,
            thresholds,
            paths: windows(evidence),
            churning: BTreeSet::new(),
            ways: BTreeMap::new(),
        };
        view.churning = view.churning();
        view.ways = view.ways();
        view
    }

    /// Returns when the first burst began that failed wholly or in part, if any counts.
    pub(super) fn onset(&self, flow: Flow, loss: Loss) -> Option<Moment> {
        let failed = |windows: &Windows<'a>| {
            let burst = windows.burst.filter(|burst| self.is_fresh_burst(&burst.window))?;
            let background = self.background(burst);
            let (sent, lost) = (burst.window.sent, burst.window.lost);
            let odd = likelihood::deviance(sent, lost, background) > -self.thresholds.misfit.ln();
            let least = match loss {
                Loss::Whole => WHOLE,
                Loss::Partial => background,
            };
            (odd && burst.window.loss() > least).then_some(burst.window.oldest)
        };

        self.paths.iter().filter(|windows| windows.path.flow == flow).filter_map(failed).min()
    }

    /// Returns the counts of all paths of one kind of flow, those left out whose losses are
    /// `explained` already. What passes is kept: it may speak against the next explanation.
    pub(super) fn counts(
        &self,
        flow: Flow,
        span: Span,
        explained: &BTreeSet<Element>,
    ) -> Vec<Counted<'a>> {
        self.select(span, |path| path.flow == flow)
            .into_iter()
            .filter(|counted| counted.lost == 0 || !counted.crosses_any(explained))
            .collect()
    }

    /// Returns the counts of all paths that `wanted` names.
    pub(super) fn select(&self, span: Span, wanted: impl Fn(&Path) -> bool) -> Vec<Counted<'a>> {
        self.paths
            .iter()
            .filter(|windows| wanted(windows.path))
            .filter_map(|windows| self.counted(windows, span))
            .collect()
    }

    /// Tells whether any trusted path of this kind lost anything of late: if not, all is well.
    pub(super) fn any_loss(&self, flow: Flow) -> bool {
        let lossy = |observation: &Observation| observation.window.lost > 0;
        self.paths.iter().any(|windows| {
            windows.path.flow == flow
                && (windows.burst.is_some_and(lossy) || windows.steady.is_some_and(lossy))
        })
    }

    /// Returns the locations whose nodes came or went too short a while ago.
    pub(super) fn is_churning(&self, location: &Location) -> bool {
        self.churning.contains(location)
    }

    fn counted(&self, windows: &Windows<'a>, span: Span) -> Option<Counted<'a>> {
        if self.ends(windows.path).any(|location| self.churning.contains(location)) {
            return None;
        }
        let window = self.window(windows, span)?;
        let crossed = elements(windows.path, &self.evidence.mesh, &self.evidence.leaders);
        if crossed.is_empty() {
            return None;
        }

        let any = windows.burst.or(windows.steady)?;
        let heard = windows.burst.filter(|burst| self.is_fresh_burst(&burst.window));
        let heard = heard
            .or(windows.steady)
            .and_then(|seen| Some((seen.window.sent, seen.heard?, seen.window.passed())));
        Some(Counted {
            path: windows.path,
            sent: window.sent,
            lost: window.lost.min(window.sent),
            heard,
            background: self.background(any),
            crossed,
        })
    }

    fn window(&self, windows: &Windows<'a>, span: Span) -> Option<Window> {
        let led_since = self.ends(windows.path).filter_map(|location| {
            self.evidence.leaders.get(location).map(|leadership| self.settled(leadership.since))
        });
        let valid_from = led_since.max().unwrap_or_default();

        let (burst, steady) = match span {
            Span::Since(onset) => {
                let from = onset.max(valid_from);
                let burst = windows.burst.filter(|burst| self.is_fresh_burst(&burst.window));
                (burst.and_then(|seen| clip(seen.window, from)), self.clip(windows.steady, from))
            }
            Span::Recent { bursts, steady } => {
                let burst = windows.burst.filter(|seen| seen.window.newest >= bursts);
                let steady = windows.steady.filter(|seen| seen.window.newest >= steady);
                (self.clip(burst, valid_from), self.clip(steady, valid_from))
            }
        };

        let window = burst.unwrap_or_default().merge(steady.unwrap_or_default());
        (window.sent > 0).then_some(window)
    }

    /// Kilo's agents follow a new leader each at its own resync: once the quiet after a change is
    /// over, what was lost in the first two thirds of it accuses nobody.
    fn settled(&self, led_since: Moment) -> Moment {
        let quiet = self.thresholds.quiet;
        if self.evidence.now.since(led_since) < quiet {
            led_since
        } else {
            led_since + quiet * 2 / 3
        }
    }

    fn clip(&self, seen: Option<&Observation>, from: Moment) -> Option<Window> {
        seen.and_then(|seen| clip(seen.window, from))
    }

    /// One path's background is known from few flows; the mean of its way steadies it.
    fn background(&self, seen: &Observation) -> f64 {
        let mean = self.way(&seen.path).and_then(|way| self.ways.get(&way)).copied();
        seen.background.max(mean.unwrap_or(0.0)).clamp(self.thresholds.background, 0.5)
    }

    fn ways(&self) -> BTreeMap<(&'a Location, &'a Location), f64> {
        let mut sums: BTreeMap<_, (f64, f64)> = BTreeMap::new();
        for windows in self.paths.iter().filter(|windows| windows.path.flow == Flow::NewUdp) {
            let (Some(way), Some(steady)) = (self.way(windows.path), windows.steady) else {
                continue;
            };
            let (sum, count) = sums.entry(way).or_default();
            *sum += steady.background;
            *count += 1.0;
        }

        sums.into_iter().map(|(way, (sum, count))| (way, sum / count)).collect()
    }

    fn way(&self, path: &Path) -> Option<(&'a Location, &'a Location)> {
        let mut ends = self.ends(path);
        let (one, other) = (ends.next()?, ends.next()?);
        Some(if one <= other { (one, other) } else { (other, one) })
    }

    fn is_fresh_burst(&self, window: &Window) -> bool {
        self.evidence.now.since(window.newest) <= self.thresholds.burst_age
    }

    fn ends(&self, path: &Path) -> impl Iterator<Item = &'a Location> + use<'a> {
        let mesh = &self.evidence.mesh;
        let location = |node: &NodeName| mesh.nodes.get(node).map(|node| &node.location);
        [location(&path.from), location(&path.to)].into_iter().flatten()
    }

    fn churning(&self) -> BTreeSet<&'a Location> {
        let long_dark = self.long_dark();
        let changed = |(location, leadership): (&'a Location, &'a crate::evidence::Leadership)| {
            let young = self.evidence.now.since(leadership.changed) < self.thresholds.churn;
            (young && !long_dark.contains(location)).then_some(location)
        };

        self.evidence.leaders.iter().filter_map(changed).collect()
    }

    /// Returns the locations with a path that is dark now and, by its share of the last minute,
    /// has been for long.
    fn long_dark(&self) -> BTreeSet<&'a Location> {
        let dark_for_long = |windows: &&Windows<'a>| {
            let (Some(burst), Some(steady)) = (windows.burst, windows.steady) else {
                return false;
            };
            let span = steady.window.newest.since(steady.window.oldest);
            self.is_fresh_burst(&burst.window)
                && burst.window.loss() >= 0.9
                && span.mul_f64(steady.window.loss()) >= self.thresholds.dark_despite_churn
        };

        self.paths.iter().filter(dark_for_long).flat_map(|seen| self.ends(seen.path)).collect()
    }
}

/// Returns what of a window lies after `from`. How its losses are spread is not known, but for the
/// last of them, so a window that straddles `from` counts only if it has none after that.
pub(super) fn clip(window: Window, from: Moment) -> Option<Window> {
    if window.sent == 0 || window.newest < from {
        return None;
    }
    if window.oldest >= from {
        return Some(window);
    }
    if window.last_lost.is_some_and(|lost| lost >= from) {
        return None;
    }

    let whole = window.newest.since(window.oldest).as_secs_f64();
    let share = window.newest.since(from).as_secs_f64() / whole;
    let sent = (f64::from(window.passed()) * share).floor().max(1.0) as u32;
    Some(Window { sent, lost: 0, oldest: from, last_lost: None, ..window })
}

/// Tells whether a path's prober may be believed, and its target be judged by it.
pub(super) fn is_trusted(evidence: &Evidence, path: &Path) -> bool {
    let abstains = |node: &NodeName| evidence.reporters.get(node).and_then(|node| node.abstains);
    let deaf = matches!(
        abstains(&path.to),
        Some(Abstention::JustStarted | Abstention::RoundLate | Abstention::KiloJustStarted)
    );

    abstains(&path.from).is_none() && !deaf
}

fn windows(evidence: &Evidence) -> Vec<Windows<'_>> {
    let mut index: HashMap<&Path, usize> = HashMap::with_capacity(evidence.observations.len());
    let mut paths: Vec<Windows<'_>> = Vec::new();
    for seen in &evidence.observations {
        if seen.never_worked || !is_trusted(evidence, &seen.path) {
            continue;
        }
        let at = *index.entry(&seen.path).or_insert_with(|| {
            paths.push(Windows { path: &seen.path, burst: None, steady: None });
            paths.len() - 1
        });
        match seen.pace {
            Pace::Burst => paths[at].burst = Some(seen),
            Pace::Steady => paths[at].steady = Some(seen),
        }
    }

    paths
}

/// Adds up flows passed and flows sent.
pub(super) fn tally<'b>(counted: impl IntoIterator<Item = &'b Counted<'b>>) -> (u32, u32) {
    counted
        .into_iter()
        .fold((0, 0), |(passed, sent), path| (passed + path.passed(), sent + path.sent))
}

/// Indexes paths by element: for each, which of the paths cross it.
pub(super) fn covers(paths: &[Counted<'_>]) -> BTreeMap<Element, Vec<usize>> {
    let suspects: std::collections::HashSet<&Element> =
        paths.iter().filter(|path| path.lost > 0).flat_map(|path| &path.crossed).collect();

    let mut covers: HashMap<&Element, Vec<usize>> = HashMap::with_capacity(suspects.len());
    for (at, path) in paths.iter().enumerate() {
        for element in path.crossed.iter().filter(|element| suspects.contains(element)) {
            covers.entry(element).or_default().push(at);
        }
    }

    covers.into_iter().map(|(element, paths)| (element.clone(), paths)).collect()
}
