//! Meshes, faults, and the evidence that the probing of one minute leaves of them: the truth that
//! tests and the confusion table hold diagnoses against. It follows every packet leg by leg and
//! knows nothing of elements.

use std::collections::BTreeMap;
use std::time::Duration;

use super::evidence::{
    AddressKind, Element, Evidence, Flow, Granularity, Leadership, Location, Mesh, Moment, Node,
    NodeName, Observation, Pace, Path, Reporter, Window,
};

#[path = "scenario/packets.rs"]
mod packets;
#[path = "scenario/probing.rs"]
mod probing;

/// What is broken, and where; of the location that [`Scenario::victim`] names unless it says so.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// The leader drops new flows between WireGuard and overlay (conntrack full, FORWARD rules).
    NewFlows,
    /// The leader forwards nothing.
    ForwardOff,
    /// The leader's overlay sends no flow whose outer port it has not seen.
    VxlanWedge,
    /// The leader's overlay sends all but this share of flows, by outer port.
    Partial(f64),
    /// The leader forwards nothing that comes in.
    OneWayIn,
    /// The leader forwards nothing that goes out.
    OneWayOut,
    /// The leader forwards no large packets.
    Mtu,
    /// The way between the first two locations is cut.
    WanCut,
    /// The leader's way to all other locations is cut.
    UplinkDead,
    /// A member is dead.
    MemberDead,
    /// The leader is dead.
    LeaderDead,
    /// A member's overlay is dead.
    MemberOverlay,
    /// The overlay between the leader and one member is dead.
    OverlayPair,
    /// A member's firewall drops our requests since a while.
    PortBlocked,
    /// Every firewall always dropped our requests.
    PortNeverOpen,
    /// Everything is dropped everywhere.
    WholeMesh,
    /// Every agent believes itself alone: nothing passes between locations.
    ApiStorm,
}

impl Fault {
    /// Every fault, with the name of its row.
    pub(crate) const ALL: [(Self, &'static str); 20] = [
        (Self::None, "none"),
        (Self::NewFlows, "new-flows"),
        (Self::ForwardOff, "forward-off"),
        (Self::VxlanWedge, "vxlan-wedge"),
        (Self::Partial(0.05), "partial:5"),
        (Self::Partial(0.25), "partial:25"),
        (Self::Partial(0.5), "partial:50"),
        (Self::OneWayIn, "one-way in"),
        (Self::OneWayOut, "one-way out"),
        (Self::Mtu, "mtu"),
        (Self::WanCut, "wan-cut"),
        (Self::UplinkDead, "uplink dead"),
        (Self::MemberDead, "member dead"),
        (Self::LeaderDead, "leader dead"),
        (Self::MemberOverlay, "member overlay"),
        (Self::OverlayPair, "overlay pair"),
        (Self::PortBlocked, "port blocked"),
        (Self::PortNeverOpen, "port never open"),
        (Self::WholeMesh, "whole mesh"),
        (Self::ApiStorm, "API storm"),
    ];

    /// Returns how long it has lasted when judged: small shares take longer to show.
    fn lasted(self) -> Duration {
        if self == Self::Mtu {
            return Duration::from_secs(90);
        }
        let Self::Partial(share) = self else { return Duration::from_millis(2500) };
        Duration::from_secs(if share < 0.1 { 60 } else { 10 })
    }
}

/// Sizes of the locations; the first node of each leads it.
pub(crate) const MESHES: [(&str, &[usize]); 5] = [
    ("2×2", &[2, 2]),
    ("2×3", &[3, 3]),
    ("3×3", &[3, 3, 3]),
    ("1×4", &[4, 1]),
    ("3+3+1", &[3, 3, 1]),
];

/// A mesh, a fault in it, and chance.
pub(crate) struct Scenario {
    names: Vec<Vec<NodeName>>,
    fault: Fault,
    background: f64,
    random: Random,
    now: Moment,
    onset: Moment,
    probing: BTreeMap<Path, (Samples, Samples)>,
    lucky: BTreeMap<Path, bool>,
}

/// Where a probe goes.
type Spot = (NodeName, AddressKind);

/// Flows: when opened, whether the request arrived, whether the answer did.
type Samples = Vec<(Moment, bool, bool)>;

impl Scenario {
    /// Lays out a mesh and draws from `seed` what its probing sees.
    pub(crate) fn new(sizes: &[usize], fault: Fault, background: f64, seed: u64) -> Self {
        let names = sizes.iter().enumerate().map(|(location, size)| {
            (0..*size).map(|node| NodeName(format!("{}{node}", letter(location)))).collect()
        });
        let now = Moment::at(Duration::from_secs(100_000));
        let mut random = Random::new(seed);
        let jitter = Duration::from_millis(random.below(1000) as u64);
        let lasted = fault.lasted() + jitter;
        Self {
            names: names.collect(),
            fault,
            background,
            random,
            now,
            onset: now - lasted,
            probing: BTreeMap::new(),
            lucky: BTreeMap::new(),
        }
    }

    /// Returns the leader of the location with the fault.
    pub(crate) fn victim(&self) -> &NodeName {
        &self.names[0][0]
    }

    /// Returns the node that faults of members strike.
    pub(crate) fn member(&self) -> &NodeName {
        &self.names[0][1]
    }

    /// Returns a location's name.
    pub(crate) fn location(at: usize) -> Location {
        Location(letter(at).to_string())
    }

    /// Tells whether an element is what is really broken, or a part of it.
    pub(crate) fn is_true(&self, element: &Element) -> bool {
        let pair = [self.victim(), self.member()];
        match self.fault {
            Fault::None | Fault::PortNeverOpen | Fault::WholeMesh | Fault::ApiStorm => false,
            Fault::WanCut => *element == Element::tunnel(&Self::location(0), &Self::location(1)),
            Fault::OverlayPair => matches!(element, Element::OverlayPair(one, other)
                if pair == [one, other] || pair == [other, one]),
            Fault::MemberDead | Fault::MemberOverlay | Fault::PortBlocked => {
                element.node() == Some(self.member())
            }
            Fault::NewFlows
            | Fault::ForwardOff
            | Fault::VxlanWedge
            | Fault::Partial(_)
            | Fault::OneWayIn
            | Fault::OneWayOut
            | Fault::Mtu
            | Fault::UplinkDead
            | Fault::LeaderDead => element.node() == Some(self.victim()),
        }
    }

    /// Tells whether the leader is to blame.
    pub(crate) fn is_of_leader(&self) -> bool {
        self.is_true(&Element::Host(self.victim().clone()))
    }

    /// Returns what the arbiter knows after a minute of probing.
    pub(crate) fn evidence(mut self) -> (Self, Evidence) {
        self.probe();
        let mesh = self.mesh();
        let leaders = self.leaders();
        let observations = self.observations();
        let reporters = mesh.nodes.keys().map(|name| (name.clone(), self.reporter())).collect();
        let now = self.now;
        let evidence =
            Evidence { now, mesh, leaders, observations, hairpins: Vec::new(), reporters };
        (self, evidence)
    }

    fn mesh(&self) -> Mesh {
        let nodes = self.names.iter().enumerate().flat_map(|(location, names)| {
            names.iter().map(move |name| (name.clone(), node(name, Self::location(location))))
        });
        Mesh { nodes: nodes.collect(), ..Mesh::default() }
    }

    fn leaders(&self) -> BTreeMap<Location, Leadership> {
        let leadership = |names: &Vec<NodeName>| Leadership {
            leader: names.first().cloned(),
            since: Moment::START,
            members: names.iter().cloned().collect(),
            ready: names.iter().cloned().collect(),
            changed: Moment::START,
        };
        let of = |(location, names)| (Self::location(location), leadership(names));
        self.names.iter().enumerate().map(of).collect()
    }

    fn reporter(&self) -> Reporter {
        Reporter {
            received: self.now,
            inquest: 0,
            abstains: None,
            local: Vec::new(),
            kilo_nodes: Some(self.names.iter().map(Vec::len).sum::<usize>() as u32),
            kilo_up: None,
            leader_seen: None,
        }
    }

    fn observations(&mut self) -> Vec<Observation> {
        let probing = std::mem::take(&mut self.probing);
        let never = self.fault == Fault::PortNeverOpen;
        let mut observations = Vec::new();
        for (path, (steady, burst)) in probing {
            let known = (0..43).filter(|_| self.random.unit() < self.background).count();
            for (pace, samples) in [(Pace::Steady, steady), (Pace::Burst, burst)] {
                let Some(window) = window(&samples) else { continue };
                observations.push(Observation {
                    path: path.clone(),
                    pace,
                    window,
                    heard: Some(samples.iter().filter(|sample| sample.1).count() as u32),
                    background: known as f64 / 43.0,
                    never_worked: never && path.flow != Flow::Control && path.flow != Flow::Ping,
                });
            }
        }

        observations
    }
}

fn window(samples: &Samples) -> Option<Window> {
    let (first, last) = (samples.first()?, samples.last()?);
    Some(Window {
        sent: samples.len() as u32,
        lost: samples.iter().filter(|sample| !sample.2).count() as u32,
        oldest: first.0,
        newest: last.0,
        last_lost: samples.iter().filter(|sample| !sample.2).map(|sample| sample.0).next_back(),
        round_trip: None,
    })
}

fn letter(location: usize) -> char {
    char::from(b'a' + location as u8)
}

/// Returns a node that Kilo finds nothing wrong with.
pub(crate) fn node(name: &NodeName, location: Location) -> Node {
    Node {
        name: name.clone(),
        location,
        granularity: Granularity::Location,
        kubernetes_ready: Some(true),
        ..Node::default()
    }
}

/// SplitMix64: small, seeded, the same everywhere.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(crate) const fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}
