//! Which broken elements best explain the counts of all paths.
//!
//! Each path loses its own background; a broken element takes a share of the flows on every path
//! that crosses it, the same share on each. A set of elements is scored by the binomial likelihood
//! of all counts, passing and failing, with the shares fitted, less a price per element. An element
//! of the best set is convicted if no set without its node comes near, and if no path of its
//! location contradicts the set.

use std::collections::{BTreeMap, BTreeSet};

use super::Thresholds;
use super::plane::{Counted, covers};
use crate::evidence::{Element, Mesh};

/// At most so many elements are taken to be broken at once: one or two that matter, and old
/// lesser faults that nobody repaired.
const MOST_PARTS: usize = 4;
/// No fault loses everything: some flow always finds an old way.
const GREATEST_SHARE: f64 = 0.998;
/// A lesser share is not worth telling from chance.
const LEAST_SHARE: f64 = 0.005;

/// One element of the best explanation.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// All elements that may stand in its place, best first.
    pub(super) candidates: Vec<Element>,
    /// The share of flows it takes.
    pub(super) share: f64,
    /// By how much it beats the next-best that is not among the candidates.
    pub(super) log_odds: f64,
    /// Whether no path of its locations contradicts the explanation, and no set of elements of
    /// other nodes explains as much.
    pub(super) fits: bool,
}

/// Returns the best explanation of the counts; empty if nothing is wrong.
pub(super) fn explain(paths: &[Counted<'_>], mesh: &Mesh, thresholds: &Thresholds) -> Vec<Part> {
    let (elements, covers): (Vec<_>, Vec<_>) = covers(paths).into_iter().unzip();
    let search = Search { paths, elements, covers, thresholds };
    let best = search.grow(Hypothesis::null(paths), &BTreeSet::new());

    (0..best.parts.len()).map(|part| search.judge(&best, part, mesh)).collect()
}

/// Returns how far counts lie from what a rate of loss predicts: the negative logarithm of the
/// (Chernoff) bound on the chance of counts as far out as these.
pub(super) fn deviance(sent: u32, lost: u32, rate: f64) -> f64 {
    if sent == 0 {
        return 0.0;
    }
    let (sent, lost) = (f64::from(sent), f64::from(lost));
    let term = |count: f64, rate: f64| {
        if count == 0.0 { 0.0 } else { count * (count / sent / rate).ln() }
    };

    term(lost, rate) + term(sent - lost, 1.0 - rate)
}

/// Which elements are broken, each with its share, and what each path should then lose.
#[derive(Debug, Clone)]
struct Hypothesis {
    parts: Vec<(usize, f64)>,
    rates: Vec<f64>,
    score: f64,
}

impl Hypothesis {
    fn null(paths: &[Counted<'_>]) -> Self {
        let rates = paths.iter().map(|path| path.background).collect();
        Self { parts: Vec::new(), rates, score: 0.0 }
    }
}

/// What could stand in a part's place.
struct Rivals {
    /// Elements, best first.
    rivals: Vec<usize>,
    /// The score of the best hypothesis with none of these.
    next_best: f64,
    /// Whether no set of elements of other nodes scores as much.
    none_together: bool,
}

struct Search<'a> {
    paths: &'a [Counted<'a>],
    elements: Vec<Element>,
    covers: Vec<Vec<usize>>,
    thresholds: &'a Thresholds,
}

impl Search<'_> {
    /// Adds elements while that pays, then swaps single ones while that pays.
    fn grow(&self, from: Hypothesis, without: &BTreeSet<usize>) -> Hypothesis {
        let mut best = from;
        while best.parts.len() < MOST_PARTS {
            let Some(next) = self
                .extend(&best, without)
                .filter(|next| next.score - best.score >= self.thresholds.log_odds)
            else {
                break;
            };
            best = self.settle(next, without);
        }

        best
    }

    /// Replaces parts, one at a time, where another fits better beside the rest.
    fn settle(&self, hypothesis: Hypothesis, without: &BTreeSet<usize>) -> Hypothesis {
        if hypothesis.parts.len() < 2 {
            return hypothesis;
        }
        let mut best = self.refit(&hypothesis.parts);
        for part in 0..best.parts.len() {
            let mut rest = best.parts.clone();
            rest.remove(part);
            let swapped = self.extend(&self.refit(&rest), without);
            if let Some(swapped) = swapped.filter(|swapped| swapped.score > best.score + 0.1) {
                best = self.refit(&swapped.parts);
            }
        }

        best
    }

    /// Returns the hypothesis with the one further element that explains most.
    fn extend(&self, base: &Hypothesis, without: &BTreeSet<usize>) -> Option<Hypothesis> {
        let mut best: Option<(usize, f64, f64)> = None;
        for (element, most) in self.ranked(base, without) {
            if best.is_some_and(|(.., gain)| most <= gain) {
                break;
            }
            let share = self.fit(base, element);
            let gain = self.gain(base, element, share);
            if best.is_none_or(|(.., best)| gain > best) {
                best = Some((element, share, gain));
            }
        }

        best.map(|(element, share, _)| self.with(base, element, share))
    }

    /// Returns the elements that may explain anything, with the most that each could gain if every
    /// path of it had a share of its own; greatest first.
    fn ranked(&self, base: &Hypothesis, without: &BTreeSet<usize>) -> Vec<(usize, f64)> {
        let taken = |element: &usize| base.parts.iter().any(|(part, _)| part == element);
        let excess = |(path, rate): (&Counted<'_>, &f64)| {
            let above = f64::from(path.lost) > f64::from(path.sent) * rate;
            if above { deviance(path.sent, path.lost, *rate) } else { 0.0 }
        };
        let excess: Vec<f64> = self.paths.iter().zip(&base.rates).map(excess).collect();

        let mut ranked: Vec<(usize, f64)> = (0..self.elements.len())
            .filter(|element| !without.contains(element) && !taken(element))
            .map(|element| (element, self.covers[element].iter().map(|&at| excess[at]).sum()))
            .filter(|(_, most)| *most > self.thresholds.parsimony)
            .collect();
        ranked.sort_by(|one, other| other.1.total_cmp(&one.1).then(one.0.cmp(&other.0)));
        ranked
    }

    /// Returns the share that best explains the element's paths. The likelihood is concave in what
    /// is left over, so its slope has one zero.
    fn fit(&self, base: &Hypothesis, element: usize) -> f64 {
        let slope = |left: f64| -> f64 {
            self.covers[element]
                .iter()
                .map(|&at| {
                    let path = &self.paths[at];
                    let clean = 1.0 - base.rates[at];
                    f64::from(path.passed()) / left
                        - f64::from(path.lost) * clean / clean.mul_add(-left, 1.0)
                })
                .sum()
        };
        let (mut least, mut most) = (1.0 - GREATEST_SHARE, 1.0 - LEAST_SHARE);
        for _ in 0..14 {
            let middle = f64::midpoint(least, most);
            if slope(middle) > 0.0 { least = middle } else { most = middle }
        }

        1.0 - f64::midpoint(least, most)
    }

    fn gain(&self, base: &Hypothesis, element: usize, share: f64) -> f64 {
        let gain = |&at: &usize| {
            let path = &self.paths[at];
            let rate = joined(base.rates[at], share);
            let lost = f64::from(path.lost) * (rate / base.rates[at]).ln();
            let passed = f64::from(path.passed()) * ((1.0 - rate) / (1.0 - base.rates[at])).ln();
            lost + passed
        };

        self.covers[element].iter().map(gain).sum()
    }

    fn with(&self, base: &Hypothesis, element: usize, share: f64) -> Hypothesis {
        let score = base.score + self.gain(base, element, share) - self.thresholds.parsimony;
        let mut next = Hypothesis { score, ..base.clone() };
        next.parts.push((element, share));
        for &at in &self.covers[element] {
            next.rates[at] = joined(next.rates[at], share);
        }

        next
    }

    /// Fits the shares of all parts again, each beside the others.
    fn refit(&self, parts: &[(usize, f64)]) -> Hypothesis {
        let mut parts = parts.to_vec();
        for part in 0..parts.len() {
            let others = parts.iter().enumerate().filter(|(at, _)| *at != part);
            let rest = others.fold(Hypothesis::null(self.paths), |base, (_, &(element, share))| {
                self.with(&base, element, share)
            });
            parts[part].1 = self.fit(&rest, parts[part].0);
        }

        parts.iter().fold(Hypothesis::null(self.paths), |base, &(element, share)| {
            self.with(&base, element, share)
        })
    }

    fn judge(&self, best: &Hypothesis, part: usize, mesh: &Mesh) -> Part {
        let (element, share) = best.parts[part];
        let Rivals { rivals, next_best, none_together } = self.rivals(best, part);
        let mut candidates = vec![self.elements[element].clone()];
        candidates.extend(rivals.into_iter().map(|rival| self.elements[rival].clone()));

        let fits =
            none_together && candidates.iter().all(|candidate| self.fits(best, candidate, mesh));
        Part { candidates, share, log_odds: best.score - next_best, fits }
    }

    /// Looks for what could stand in a part's place: single elements, or sets of them.
    fn rivals(&self, best: &Hypothesis, part: usize) -> Rivals {
        let element = best.parts[part].0;
        let mut rest = best.parts.clone();
        rest.remove(part);
        let rest = self.refit(&rest);
        let near = best.score - self.thresholds.log_odds;

        let (mut swaps, mut next_best) = (Vec::new(), rest.score);
        for (swap, most) in self.ranked(&rest, &BTreeSet::from([element])) {
            if rest.score + most - self.thresholds.parsimony <= next_best {
                break;
            }
            let gain = self.gain(&rest, swap, self.fit(&rest, swap));
            let score = rest.score + gain - self.thresholds.parsimony;
            if score > near {
                swaps.push((swap, score));
            } else {
                next_best = next_best.max(score);
            }
        }
        swaps.sort_by(|one, other| other.1.total_cmp(&one.1).then(one.0.cmp(&other.0)));
        let mut rivals: Vec<usize> = swaps.into_iter().map(|(swap, _)| swap).collect();

        let others = self.grow(Hypothesis::null(self.paths), &self.of_one_thing(element));
        let none_together = others.score <= near;
        if !none_together {
            let kept = |at: &usize| best.parts.iter().any(|(part, _)| part == at);
            let new = others.parts.iter().map(|(at, _)| *at).filter(|at| !kept(at));
            let new: Vec<usize> = new.filter(|at| !rivals.contains(at)).collect();
            rivals.extend(new);
        } else {
            next_best = next_best.max(others.score);
        }

        Rivals { rivals, next_best, none_together }
    }

    /// Returns the elements that would be told as the same thing as this one.
    fn of_one_thing(&self, element: usize) -> BTreeSet<usize> {
        let same = |at: &usize| self.elements[*at].is_same_thing(&self.elements[element]);
        (0..self.elements.len()).filter(same).collect()
    }

    /// Tells whether no path of the element's locations contradicts the hypothesis, nor all paths
    /// together between one of them and another: a share that every way loses is not what one way
    /// loses whole and another not at all, however few flows each path had.
    fn fits(&self, hypothesis: &Hypothesis, element: &Element, mesh: &Mesh) -> bool {
        let limit = (self.paths.len() as f64 / self.thresholds.misfit).ln();
        let locations = element.locations(mesh);
        let location = |node| mesh.nodes.get(node).map(|node| &node.location);

        let mut ways: BTreeMap<_, (u32, u32, f64)> = BTreeMap::new();
        for (path, rate) in self.paths.iter().zip(&hypothesis.rates) {
            let mut ends = [location(&path.path.from), location(&path.path.to)];
            if !ends.into_iter().flatten().any(|end| locations.contains(&end)) {
                continue;
            }
            if deviance(path.sent, path.lost, *rate) > limit {
                return false;
            }
            ends.sort();
            let (sent, lost, due) = ways.entry(ends).or_default();
            *sent += path.sent;
            *lost += path.lost;
            *due += f64::from(path.sent) * rate;
        }

        ways.into_values()
            .all(|(sent, lost, due)| deviance(sent, lost, due / f64::from(sent.max(1))) <= limit)
    }
}

fn joined(base: f64, share: f64) -> f64 {
    (1.0 - base).mul_add(-(1.0 - share), 1.0)
}
