//! The checks that make a member fit to lead, one by one.

use std::collections::{BTreeMap, BTreeSet};

use super::heirs::{Check, Heir};
use super::intent::{Intent, Promotion};
use super::memory::PastMove;
use super::policy::Policy;
use crate::diagnose::{Finding, Thresholds, served};
use crate::evidence::{
    Abstention, Element, Evidence, HairpinSeen, Leadership, Moment, Node, NodeName, Reporter, kilo,
};

/// What a location's members are vetted by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Vetting<'a> {
    /// What can be known.
    pub(super) evidence: &'a Evidence,
    /// What the diagnosis says of it.
    pub(super) findings: &'a [Finding],
    /// The figures it judged by.
    pub(super) thresholds: &'a Thresholds,
    /// Who leads the location and who belongs to it.
    pub(super) leadership: &'a Leadership,
    /// Its leader.
    pub(super) leader: Option<&'a NodeName>,
    /// Whether the leader's overlay, or all of it, is convicted, so that nobody reaches it.
    pub(super) leader_cut_off: bool,
    /// Whether the leader is known to forward, so that a test that ends with it counts.
    pub(super) leader_forwards: bool,
    /// What the operator wants.
    pub(super) intent: &'a Intent,
    /// Nodes replaced for a fault.
    pub(super) quarantine: &'a BTreeSet<NodeName>,
    /// Nodes tried in this incident in vain.
    pub(super) tried: &'a BTreeSet<NodeName>,
    /// The last moves.
    pub(super) moves: &'a [PastMove],
    /// The inquest to be answered.
    pub(super) inquest: Inquest,
    /// When each node last passed a hairpin, and none failed that can be trusted since.
    pub(super) forwarded: &'a BTreeMap<NodeName, Moment>,
    /// Whom each heir was last known to serve.
    pub(super) served: &'a BTreeMap<NodeName, BTreeSet<NodeName>>,
    /// Whether nothing is about to be decided, so that what was last known will do.
    pub(super) quiet: bool,
    /// The numbers.
    pub(super) policy: &'a Policy,
}

/// An inquest, which heirs must have answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Inquest {
    /// Its number.
    pub(super) number: u64,
    /// The number of the first one of the present doubt.
    pub(super) first: u64,
    /// When it was held.
    pub(super) at: Moment,
}

/// What is known of a node's forwarding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Forwarding {
    Passed,
    Failed,
    Untestable,
}

type Failure = Option<String>;

impl Vetting<'_> {
    /// Vets one member.
    #[must_use]
    pub(super) fn vet(&self, name: &NodeName) -> Heir {
        let reporter = self.evidence.reporters.get(name);
        let node = self.evidence.mesh.nodes.get(name);
        let failure = |check| match (check, node) {
            (Check::Ready, _) => self.not_ready(name),
            (_, None) => Some("there is no such node".to_owned()),
            (Check::CheckedIn, Some(node)) => self.overdue(node),
            (Check::AgentSettled, _) => self.unsettled(reporter),
            (Check::AnswersInquest, _) => self.unanswered(reporter),
            (Check::Endpoint, Some(node)) => self.less_public(node),
            (Check::Hairpin, _) => (self.forwarding(name) == Forwarding::Failed)
                .then(|| "frames sent through it did not arrive".to_owned()),
            (Check::Proven, _) => self.unproven(name),
            (Check::Allowed, _) => self.forbidden(name),
            (Check::Schedulable, Some(node)) => node.cordoned.then(|| "cordoned".to_owned()),
            (Check::Staying, Some(node)) => leaving(node),
            (Check::LocallyClean, _) => unclean(reporter),
            (Check::NotAccused, _) => self.accused(name),
            (Check::NotQuarantined, _) => self.quarantined(name),
        };
        let failed = Check::ALL.into_iter().filter_map(|check| Some((check, failure(check)?)));

        Heir { node: name.clone(), failed: failed.collect(), serves: self.serves(name) }
    }

    /// Returns the members that a node would serve, itself included. In quiet times, when reports
    /// are seldom, what was last known stands.
    fn serves(&self, name: &NodeName) -> BTreeSet<NodeName> {
        let mut serves = served(self.evidence, name, self.thresholds);
        if serves.is_empty() && self.quiet {
            serves = self.served.get(name).cloned().unwrap_or_default();
        }
        if self.leader_cut_off
            && let Some(leader) = self.leader
        {
            serves.remove(leader);
        }
        serves.insert(name.clone());

        serves
    }

    fn not_ready(&self, name: &NodeName) -> Failure {
        let ready = self.leadership.ready.contains(name);
        (!ready).then(|| "Kilo does not count it as Ready".to_owned())
    }

    fn overdue(&self, node: &Node) -> Failure {
        let Some(seen) = node.last_seen else { return Some("it never checked in".to_owned()) };
        let age = self.evidence.mesh.at.seconds() - seen;
        let due = i64::try_from(self.policy.check_in.as_secs()).unwrap_or(i64::MAX);
        (age > due).then(|| format!("its Kilo agent checked in {age} s ago"))
    }

    fn unsettled(&self, reporter: Option<&Reporter>) -> Failure {
        let reporter = reporter?;
        let up = reporter.kilo_up.filter(|up| *up < self.policy.settle);
        match (up, reporter.abstains) {
            (Some(up), _) => Some(format!("its Kilo agent started {} s ago", up.as_secs())),
            (None, Some(Abstention::KiloJustStarted)) => {
                Some("its Kilo agent has just started".to_owned())
            }
            (None, _) => None,
        }
    }

    /// The last inquest, or an earlier one of this doubt while the answer to the last may still be
    /// on its way.
    fn unanswered(&self, reporter: Option<&Reporter>) -> Failure {
        let Inquest { number, first, at } = self.inquest;
        let on_its_way = self.evidence.now.since(at) < self.policy.inquest;
        match reporter {
            None => Some("it has never reported".to_owned()),
            Some(reporter) if reporter.inquest >= number => None,
            Some(reporter) if on_its_way && reporter.inquest >= first => None,
            Some(reporter) => {
                Some(format!("it answered inquest {}, not {number}", reporter.inquest))
            }
        }
    }

    fn less_public(&self, node: &Node) -> Failure {
        let leader = self.leader.and_then(|leader| self.evidence.mesh.nodes.get(leader));
        let leader_is_public = leader.is_some_and(kilo::has_public_endpoint);
        let open = kilo::has_public_endpoint(node) || !node.keepalive.is_zero();
        (leader_is_public && !open).then(|| {
            "its endpoint is private, the leader's is public, and it keeps no session open"
                .to_owned()
        })
    }

    fn unproven(&self, name: &NodeName) -> Failure {
        let unknown = self.forwarding(name) == Forwarding::Untestable;
        (unknown && !self.intent.accept_unproven)
            .then(|| "its forwarding could not be tested, and acceptUnproven is not set".to_owned())
    }

    fn forwarding(&self, name: &NodeName) -> Forwarding {
        let trusted = |seen: &&HairpinSeen| self.is_trusted(seen) && seen.result.heir == *name;
        let seen = self.evidence.hairpins.iter().filter(trusted);
        let failed = |seen: &HairpinSeen| !passed(seen) && seen.result.ever_passed;
        let (sent, counted) =
            seen.clone().fold((0, 0), |(s, c), h| (s + h.result.sent, c + h.result.counted));

        if sent > 0 && forwards(sent, counted) {
            Forwarding::Passed
        } else if seen.clone().any(failed) {
            Forwarding::Failed
        } else if self.forwarded.contains_key(name) {
            Forwarding::Passed
        } else {
            Forwarding::Untestable
        }
    }

    /// A test that failed with a leader that is not known to be well at one end accuses nobody.
    fn is_trusted(&self, seen: &HairpinSeen) -> bool {
        let reporter = self.evidence.reporters.get(&seen.prober);
        let abstains = reporter.is_some_and(|reporter| reporter.abstains.is_some());
        let fresh = self.evidence.now.since(seen.at) < self.policy.hairpin;
        let ends_with_leader = self
            .leader
            .is_some_and(|leader| [&seen.prober, &seen.result.counter].contains(&leader));
        let void = !passed(seen) && ends_with_leader && !self.leader_forwards;

        fresh && !abstains && !void
    }

    /// Returns the heirs that passed a hairpin within the last `policy.hairpin`, and when.
    #[must_use]
    pub(super) fn remember(&self) -> BTreeMap<NodeName, Moment> {
        let mut forwarded = self.forwarded.clone();
        for seen in self.evidence.hairpins.iter().filter(|seen| self.is_trusted(seen)) {
            match self.forwarding(&seen.result.heir) {
                Forwarding::Passed if passed(seen) => {
                    let last = forwarded.entry(seen.result.heir.clone()).or_insert(seen.at);
                    *last = seen.at.max(*last);
                }
                Forwarding::Failed => {
                    forwarded.remove(&seen.result.heir);
                }
                Forwarding::Passed | Forwarding::Untestable => {}
            }
        }
        forwarded.retain(|_, at| self.evidence.now.since(*at) < self.policy.hairpin);

        forwarded
    }

    fn forbidden(&self, name: &NodeName) -> Failure {
        match self.intent.promotion(name) {
            Promotion::MustNot => Some("its promotion rule is must-not".to_owned()),
            Promotion::Prefer | Promotion::Neutral | Promotion::PreferNot => None,
        }
    }

    fn accused(&self, name: &NodeName) -> Failure {
        let accuses =
            |finding: &&Finding| finding.candidates.iter().any(|element| self.names(element, name));
        self.findings.iter().find(accuses).map(|finding| finding.because.clone())
    }

    /// Tells whether a broken element makes the node unfit. A broken overlay between it and the
    /// leader does not.
    fn names(&self, element: &Element, name: &NodeName) -> bool {
        match element {
            Element::Forward(node, _)
            | Element::Overlay(node)
            | Element::Uplink(node)
            | Element::Host(node) => node == name,
            Element::OverlayPair(one, other) => {
                [one, other].contains(&name)
                    && self.leader.is_none_or(|leader| ![one, other].contains(&leader))
            }
            // Filtering our port is no fault; whom it hides is not counted as served.
            Element::Tunnel(..) | Element::Responder(_) => false,
        }
    }

    fn quarantined(&self, name: &NodeName) -> Failure {
        if self.quarantine.contains(name) {
            Some("it was replaced for a fault that nobody has acknowledged".to_owned())
        } else if self.tried.contains(name) {
            Some("it was tried in this incident and did not prove itself".to_owned())
        } else {
            None
        }
    }
}

const fn forwards(sent: u32, counted: u32) -> bool {
    counted.saturating_mul(10) > sent.saturating_mul(9)
}

const fn passed(seen: &HairpinSeen) -> bool {
    seen.result.sent > 0 && forwards(seen.result.sent, seen.result.counted)
}

/// Taints by which autoscalers say that a node is about to go.
const LEAVING: [&str; 5] = [
    "ToBeDeletedByClusterAutoscaler",
    "DeletionCandidateOfClusterAutoscaler",
    "karpenter.sh/disrupted",
    "karpenter.sh/disruption",
    "node.cloudprovider.kubernetes.io/shutdown",
];

fn leaving(node: &Node) -> Failure {
    if node.deleting {
        return Some("it is being deleted".to_owned());
    }
    let taint = node.taints.iter().find(|taint| LEAVING.contains(&taint.key.as_str()))?;
    Some(format!("it is about to go: taint {}", taint.key))
}

fn unclean(reporter: Option<&Reporter>) -> Failure {
    let reporter = reporter?;
    if let Some(finding) = reporter.local.first() {
        return Some(format!("{:?}: {}", finding.cause, finding.detail));
    }
    match reporter.abstains? {
        Abstention::RoundLate => Some("its own rounds run late".to_owned()),
        Abstention::ClockOff => Some("its clock is off".to_owned()),
        Abstention::JustStarted | Abstention::KiloJustStarted | Abstention::NoPlan => None,
    }
}
