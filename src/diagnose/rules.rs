//! From what is broken to what kind of fault it is: by contrast with the other kinds of flow that
//! go the same way, and with the paths that go beside it.

use std::collections::BTreeSet;

use super::likelihood::Part;
use super::plane::{Counted, Span, View, WHOLE, tally};
use super::{Class, Doubt};
use crate::evidence::{AddressKind, Direction, Element, Flow, LocalCause, LocalFinding, NodeName};

/// So many flows of another kind must have passed to say that this kind passes.
const ENOUGH: u32 = 3;

/// Counts: flows passed, flows sent.
pub(super) type Tally = (u32, u32);

/// A part of the explanation with all that bears on it.
pub(super) struct Case<'a> {
    /// The kind of flow that showed it.
    pub(super) flow: Flow,
    /// What is broken, its candidates narrowed by contrast.
    pub(super) part: Part,
    /// The counts of all paths of this kind of flow.
    pub(super) paths: &'a [Counted<'a>],
    /// Old flows that go the same way.
    pub(super) kept: Tally,
    /// Pings with new ids that go the same way.
    pub(super) ping: Tally,
    /// New flows to ports that are not ours, and new flows of TCP, that go the same way.
    pub(super) control: Tally,
    /// The nodes whose small flows pass, where it is not small flows that are judged.
    sound: BTreeSet<NodeName>,
    /// Requests that went out through the leader, by the far end's own count.
    out: Tally,
    /// The same, coming in.
    inward: Tally,
}

impl<'a> Case<'a> {
    /// Gathers what bears on a part of the explanation, and drops the candidates through which
    /// other new flows pass.
    pub(super) fn new(
        flow: Flow,
        part: Part,
        paths: &'a [Counted<'a>],
        view: &View<'_>,
        since: Span,
    ) -> Self {
        let mut case = Self {
            flow,
            part,
            paths,
            kept: (0, 0),
            ping: (0, 0),
            control: (0, 0),
            sound: BTreeSet::new(),
            out: (0, 0),
            inward: (0, 0),
        };
        case.narrow(view, since);
        case.contrast(view, since);
        case.directions();
        case
    }

    /// Returns the candidate that stands for all: where several of one node fit, the node as a
    /// whole if nothing passes, else the one that fits best.
    pub(super) fn representative(&self) -> &Element {
        let dead = self.part.share >= WHOLE;
        let host = |element: &&Element| matches!(element, Element::Host(_)) == dead;
        self.part.candidates.iter().find(host).unwrap_or(&self.part.candidates[0])
    }

    /// Tells whether the counts name one thing: one element, or elements of one node.
    pub(super) fn is_clear(&self) -> bool {
        let first = &self.part.candidates[0];
        self.part.fits && self.part.candidates.iter().all(|element| element.is_same_thing(first))
    }

    /// Returns the failing paths that cross a candidate.
    pub(super) fn failing(&self) -> impl Iterator<Item = &'a Counted<'a>> {
        self.crossing().filter(|path| path.lost > 0)
    }

    /// Returns the paths that cross the representative.
    pub(super) fn crossing(&self) -> impl Iterator<Item = &'a Counted<'a>> {
        let element = self.representative();
        self.paths.iter().filter(move |path| path.crossed.contains(element))
    }

    /// Returns the nodes whose own flows die of it, itself left out, and among these only nodes
    /// that got an answer to something else.
    pub(super) fn witnesses(&self) -> BTreeSet<NodeName> {
        let passing = self.passing();
        let own = self.representative().node();

        self.failing()
            .map(|path| &path.path.from)
            .filter(|node| Some(*node) != own && passing.contains(*node))
            .cloned()
            .collect()
    }

    /// Returns the nodes whose flows pass beside it.
    pub(super) fn passing(&self) -> BTreeSet<NodeName> {
        let element = self.representative();
        self.paths
            .iter()
            .filter(|path| path.passed() > path.lost && !path.crossed.contains(element))
            .map(|path| path.path.from.clone())
            .chain(self.sound.iter().cloned())
            .collect()
    }

    /// Returns what kind of fault it is, if the counts name one thing.
    pub(super) fn class(&self, leader: Option<&NodeName>) -> Class {
        let of_leader = |node: &NodeName| Some(node) == leader;
        match self.representative() {
            _ if !self.is_clear() => Class::Unclear,
            _ if self.is_blocked() => Class::ProbeBlocked,
            _ if self.flow == Flow::Large => Class::MtuBlackHole,
            // A filter, or a process that is gone, takes every flow.
            Element::Responder(_) if self.part.share < WHOLE => Class::Unclear,
            Element::Responder(_) => Class::ProbeBlocked,
            Element::Host(_) if self.part.share < WHOLE => Class::Partial,
            Element::Tunnel(..) => Class::Tunnel,
            Element::Uplink(_) => Class::Uplink,
            Element::Host(_) => Class::Host,
            Element::OverlayPair(..) => Class::OverlayPair,
            Element::Overlay(node) if !of_leader(node) => Class::Overlay,
            Element::Forward(..) | Element::Overlay(_) => self.class_of_relaying(),
        }
    }

    fn class_of_relaying(&self) -> Class {
        let one_way = matches!(
            self.part.candidates[..],
            [Element::Forward(_, Direction::In | Direction::Out)]
        );
        if self.part.share < WHOLE {
            Class::Partial
        } else if mostly_passes(self.kept) {
            Class::NewFlowBlackhole
        } else if one_way || self.is_one_way() {
            Class::OneWay
        } else {
            Class::ForwardingDead
        }
    }

    /// Tells whether other new flows pass where all of ours die.
    fn is_blocked(&self) -> bool {
        self.part.share >= WHOLE && self.control.1 >= ENOUGH && mostly_passes(self.control)
    }

    fn is_one_way(&self) -> bool {
        let dead = |(passed, sent): Tally| sent >= 2 * ENOUGH && passed * 10 <= sent;
        let alive = |(passed, sent): Tally| sent >= 2 * ENOUGH && passed * 10 >= sent * 9;

        dead(self.out) && alive(self.inward) || alive(self.out) && dead(self.inward)
    }

    /// What takes every new flow cannot be where other new flows pass.
    fn narrow(&mut self, view: &View<'_>, since: Span) {
        if self.part.share < WHOLE {
            return;
        }
        let others = view.select(since, |path| is_other_new(self.flow, path.flow));
        let refuted = |element: &Element| {
            let (passed, _) = tally(others.iter().filter(|path| path.crossed.contains(element)));
            passed >= ENOUGH
        };
        let standing: Vec<Element> =
            self.part.candidates.iter().filter(|element| !refuted(element)).cloned().collect();
        if !standing.is_empty() {
            self.part.candidates = standing;
        }
    }

    fn contrast(&mut self, view: &View<'_>, since: Span) {
        let ends: BTreeSet<(&NodeName, &NodeName)> =
            self.failing().map(|path| (&path.path.from, &path.path.to)).collect();
        let aims: BTreeSet<(&NodeName, &NodeName, AddressKind)> = self
            .failing()
            .map(|path| (&path.path.from, &path.path.to, path.path.address))
            .collect();
        let along = |flows: &[Flow]| {
            tally(&view.select(since, |path| {
                flows.contains(&path.flow) && ends.contains(&(&path.from, &path.to))
            }))
        };

        let kept = along(&[Flow::KeptUdp, Flow::KeptTcp]);
        let ping = along(&[Flow::Ping]);
        let control = tally(&view.select(since, |path| {
            is_other_new(self.flow, path.flow)
                && aims.contains(&(&path.from, &path.to, path.address))
        }));
        (self.kept, self.ping, self.control) = (kept, ping, control);
        if self.flow != Flow::NewUdp {
            let small = view.select(since, |path| path.flow == Flow::NewUdp);
            let passing = small.iter().filter(|path| path.passed() > path.lost);
            self.sound = passing.map(|path| path.path.from.clone()).collect();
        }
    }

    /// Adds up, by the far ends' own counts, what went out through the leader and what came in.
    fn directions(&mut self) {
        let opened_inside = |path: &Counted<'_>| {
            path.crossed.iter().any(|element| {
                matches!(element, Element::Forward(node, Direction::Out)
                    if Some(node) == self.representative().node())
            })
        };
        let (mut out, mut inward) = ((0, 0), (0, 0));
        for path in self.crossing() {
            let Some((sent, heard, answered)) = path.heard else { continue };
            let heard = heard.clamp(answered, sent);
            let back = (answered, heard);
            let (with, against) =
                if opened_inside(path) { (&mut out, &mut inward) } else { (&mut inward, &mut out) };
            *with = (with.0 + heard, with.1 + sent);
            *against = (against.0 + back.0, against.1 + back.1);
        }
        (self.out, self.inward) = (out, inward);
    }
}

fn is_other_new(flow: Flow, other: Flow) -> bool {
    match flow {
        Flow::NewUdp => matches!(other, Flow::Control | Flow::NewTcp),
        Flow::NewTcp => other == Flow::Control,
        Flow::Ping | Flow::KeptUdp | Flow::KeptTcp | Flow::Large | Flow::Control => false,
    }
}

const fn mostly_passes((passed, sent): Tally) -> bool {
    passed > 0 && passed * 2 > sent
}

/// Returns the doubt that a class carries by itself.
pub(super) const fn doubt_of(class: Class) -> Option<Doubt> {
    match class {
        Class::Unclear => Some(Doubt::SeveralExplanations),
        Class::ProbeBlocked => Some(Doubt::ProbeBlocked),
        Class::MtuBlackHole => Some(Doubt::OnlyLargePackets),
        Class::NeverWorked => Some(Doubt::NeverWorked),
        Class::Storm => Some(Doubt::Storm),
        Class::NewFlowBlackhole
        | Class::ForwardingDead
        | Class::Partial
        | Class::OneWay
        | Class::Tunnel
        | Class::Uplink
        | Class::Host
        | Class::Overlay
        | Class::OverlayPair => None,
    }
}

/// Returns what a person should do.
pub(super) fn advice(class: Class, local: &[LocalFinding]) -> &'static str {
    local.iter().map(|finding| advice_for_cause(finding.cause)).next().unwrap_or(match class {
        Class::NewFlowBlackhole => {
            "look at conntrack, FORWARD rules and the NIC or hypervisor of the node; old flows \
             still pass, so ping and dashboards look well"
        }
        Class::ForwardingDead => {
            "look at ip_forward, FORWARD rules and the overlay device of the node"
        }
        Class::Partial => "look at NIC queues, offloads, conntrack insert failures and CPU",
        Class::OneWay => "look at rp_filter, FORWARD rules and cloud route tables",
        Class::MtuBlackHole => "lower the MTU of the overlay and of pods until large packets pass",
        Class::ProbeBlocked => "open the probe port (UDP and TCP) on the node's firewall",
        Class::Tunnel => "look at the network between the two sites and their firewalls",
        Class::Uplink => "look at the WireGuard port, endpoint and NAT of the leader",
        Class::Host => "look at the node itself: it does not answer",
        Class::Overlay => {
            "look at the overlay device and the neighbour and FDB entries of the node"
        }
        Class::OverlayPair => "compare the neighbour and FDB entries of the two nodes with the API",
        Class::NeverWorked => "open the probe port and check routes: this never worked",
        Class::Storm => "look at what all sites share, the API server and Tanist itself",
        Class::Unclear => "see the candidates; more locations or members would tell them apart",
    })
}

const fn advice_for_cause(cause: LocalCause) -> &'static str {
    match cause {
        LocalCause::ConntrackFull => "raise net.netfilter.nf_conntrack_max on the node",
        LocalCause::ForwardingOff => "set net.ipv4.ip_forward=1 again and find out who unset it",
        LocalCause::NeighboursFull => "raise net.ipv4.neigh.default.gc_thresh3 on the node",
        LocalCause::OverlayMissing => "restart the node's CNI agent: its overlay device is missing",
        LocalCause::ReversePathFilter => "set rp_filter to 0 or 2 on the node's interfaces",
        LocalCause::ResponderUnbound => "free the probe port on the node",
        LocalCause::KiloAgentDown | LocalCause::KiloAgentCrashLoop => {
            "look at the logs of the node's Kilo agent"
        }
        LocalCause::SoftirqDrops => "give the node more CPU, or spread receive queues",
    }
}
