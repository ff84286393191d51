//! Meshes, faults, and the evidence that the probing of one minute leaves of them: the truth that
//! tests and the confusion table hold diagnoses against. It follows every packet leg by leg and
//! knows nothing of elements.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::evidence::{
    AddressKind, Element, Evidence, Flow, Granularity, Leadership, Location, Mesh, Moment, Node,
    NodeName, Observation, Pace, Path, Reporter, Window,
};

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
    const fn lasted(self) -> Duration {
        match self {
            Self::Partial(share) if share < 0.1 => Duration::from_secs(60),
            Self::Partial(_) => Duration::from_secs(10),
            Self::Mtu => Duration::from_secs(90),
            _ => Duration::from_millis(2500),
        }
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

/// Flows: when opened, whether the request arrived, whether the answer did.
type Samples = Vec<(Moment, bool, bool)>;

#[derive(Debug, Clone, PartialEq)]
enum Leg {
    Overlay(NodeName, NodeName),
    Forward(NodeName, Inward),
    Wan(NodeName, NodeName),
    Lan(NodeName, NodeName),
}

/// Which way a packet passes a leader.
type Inward = bool;

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
        let node = match self.fault {
            Fault::None | Fault::PortNeverOpen | Fault::WholeMesh | Fault::ApiStorm => {
                return false;
            }
            Fault::WanCut => {
                let cut = Element::tunnel(&Self::location(0), &Self::location(1));
                return *element == cut;
            }
            Fault::OverlayPair => {
                let (leader, member) = (self.victim().clone(), self.member().clone());
                return matches!(element, Element::OverlayPair(one, other)
                    if (one, other) == (&leader, &member) || (one, other) == (&member, &leader));
            }
            Fault::MemberDead | Fault::MemberOverlay | Fault::PortBlocked => self.member(),
            _ => self.victim(),
        };
        element.node() == Some(node)
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

// Probing, as the schedule does it.
impl Scenario {
    fn probe(&mut self) {
        let probers = self.probers();
        let dark: Vec<Moment> = probers.iter().flat_map(|prober| self.steady(prober)).collect();
        let lately = |at: &&Moment| **at + Duration::from_secs(10) > self.now;
        let Some(first) = dark.iter().filter(lately).min() else { return };

        // The arbiter asks once it hears of it, and again while it lasts.
        let asked = (*first + Duration::from_millis(300)).max(self.now - Duration::from_secs(2));
        for prober in probers {
            let start = asked + Duration::from_millis(self.random.below(200) as u64);
            self.inquest(&prober, start);
        }
    }

    fn probers(&self) -> Vec<NodeName> {
        self.names.iter().flat_map(|names| names.iter().take(4)).cloned().collect()
    }

    fn is_alive(&self, node: &NodeName, at: Moment) -> bool {
        let dead = match self.fault {
            Fault::MemberDead => self.member() == node,
            Fault::LeaderDead => self.victim() == node,
            _ => false,
        };
        !dead || at < self.onset
    }

    /// Runs the steady lanes of a minute and the bursts they start; returns when it saw
    /// something dark.
    fn steady(&mut self, prober: &NodeName) -> Vec<Moment> {
        let rotation = self.rotation(prober);
        let inside = self.inside(prober);
        let fixed = self.fixed(prober);
        let (mut calm, mut dark) = (BTreeMap::<String, Moment>::new(), Vec::new());

        let mut at = self.now - Duration::from_secs(60);
        let mut turn = self.random.below(64);
        while at < self.now - Duration::from_millis(150) {
            turn += 1;
            at = at + Duration::from_micros(997_500 + self.random.below(332_500) as u64);
            let target = &rotation[turn % rotation.len()];
            let lost = self.shoot(prober, target, Flow::NewUdp, at);
            if lost && calm.get(&target.0.0[..1]).is_none_or(|calm| at >= *calm) {
                let start = at + Duration::from_millis(120);
                let other = self.other(&rotation, target).clone();
                for way in [target, &other] {
                    calm.insert(way.0.0[..1].to_owned(), at + Duration::from_secs(10));
                }
                let other = &other;
                if self.first_loss(prober, [target, other], (&inside, &fixed), start) {
                    dark.push(start);
                }
            }
            if turn % 8 == 0 && !inside.is_empty() {
                self.shoot(prober, &inside[(turn / 8) % inside.len()], Flow::NewUdp, at);
            }
            if turn % 9 == 0 && !fixed.is_empty() {
                let target = &fixed[(turn / 9) % fixed.len()];
                self.shoot(prober, target, Flow::KeptUdp, at);
                self.shoot(prober, target, Flow::KeptTcp, at);
            }
            if turn % 17 == 0 {
                self.shoot(prober, &rotation[(turn / 17) % rotation.len()], Flow::NewTcp, at);
            }
            if turn % 51 == 0 {
                let target = &fixed[(turn / 51) % fixed.len()];
                for flow in [Flow::Ping, Flow::Control] {
                    self.shoot(prober, target, flow, at);
                }
                if self.shoot(prober, target, Flow::Large, at) {
                    let start = at + Duration::from_millis(120);
                    self.first_loss(prober, [target, target], (&inside, &fixed), start);
                    dark.push(start);
                }
            }
        }

        dark
    }

    fn other<'a>(
        &mut self,
        rotation: &'a [(NodeName, AddressKind)],
        lost: &(NodeName, AddressKind),
    ) -> &'a (NodeName, AddressKind) {
        let elsewhere: Vec<_> =
            rotation.iter().filter(|spot| spot.0.0[..1] != lost.0.0[..1]).collect();
        if elsewhere.is_empty() {
            return &rotation[self.random.below(rotation.len())];
        }
        elsewhere[self.random.below(elsewhere.len())]
    }

    fn first_loss(
        &mut self,
        prober: &NodeName,
        targets: [&(NodeName, AddressKind); 2],
        (inside, fixed): (&[(NodeName, AddressKind)], &[(NodeName, AddressKind)]),
        start: Moment,
    ) -> bool {
        let mut dark = false;
        for target in targets {
            dark |= self.salvo(prober, target, Flow::NewUdp, 16, start) >= 2;
        }
        for target in inside {
            self.salvo(prober, target, Flow::NewUdp, 4, start);
        }
        self.contrast(prober, fixed.first(), start);
        if let Some(leader) = self
            .names
            .iter()
            .map(|names| &names[0])
            .find(|leader| leader.0[..1] == targets[0].0.0[..1] && *leader != prober)
        {
            let target = (leader.clone(), AddressKind::Pod);
            self.salvo(prober, &target, Flow::NewUdp, 4, start);
        }

        dark
    }

    fn inquest(&mut self, prober: &NodeName, start: Moment) {
        let home = prober.0[..1].to_owned();
        for names in self.names.clone().iter().filter(|names| names[0].0[..1] != home) {
            let chosen = [names.first(), names.get(1..).and_then(<[_]>::last)];
            for node in chosen.into_iter().flatten() {
                let target = (node.clone(), AddressKind::Pod);
                self.salvo(prober, &target, Flow::NewUdp, 8, start);
            }
        }
        for target in self.inside(prober) {
            self.salvo(prober, &target, Flow::NewUdp, 8, start);
        }
        for target in self.fixed(prober) {
            self.contrast(prober, Some(&target), start);
        }
    }

    fn contrast(
        &mut self,
        prober: &NodeName,
        target: Option<&(NodeName, AddressKind)>,
        start: Moment,
    ) {
        let Some(target) = target else { return };
        for flow in
            [Flow::KeptUdp, Flow::KeptTcp, Flow::Ping, Flow::Large, Flow::NewTcp, Flow::Control]
        {
            self.salvo(prober, target, flow, 2, start);
        }
    }

    /// Sends a salvo, which begins its path's burst anew; returns how many flows died of it.
    fn salvo(
        &mut self,
        prober: &NodeName,
        (to, address): &(NodeName, AddressKind),
        flow: Flow,
        count: u32,
        start: Moment,
    ) -> u32 {
        if !self.is_alive(prober, start) || start + Duration::from_millis(200) > self.now {
            return 0;
        }
        let path = Path { from: prober.clone(), to: to.clone(), address: *address, flow };
        let (mut samples, mut in_row, mut lost) = (Vec::new(), 0, 0);
        for number in 0..count {
            let at = start + Duration::from_millis(20) * number;
            let (arrives, answered) = self.fate(&path, at);
            samples.push((at, arrives, answered));
            lost += u32::from(!answered);
            in_row = if answered { 0 } else { in_row + 1 };
            if in_row == 6 {
                break;
            }
        }
        self.probing.entry(path).or_default().1 = samples;

        lost
    }

    fn shoot(
        &mut self,
        prober: &NodeName,
        (to, address): &(NodeName, AddressKind),
        flow: Flow,
        at: Moment,
    ) -> bool {
        if !self.is_alive(prober, at) {
            return false;
        }
        let path = Path { from: prober.clone(), to: to.clone(), address: *address, flow };
        let (arrives, answered) = self.fate(&path, at);
        self.probing.entry(path).or_default().0.push((at, arrives, answered));

        !answered
    }

    fn rotation(&self, prober: &NodeName) -> Vec<(NodeName, AddressKind)> {
        let others = self.names.iter().filter(|names| !names.contains(prober));
        let of = |names: &Vec<NodeName>| {
            let spots = names.iter().take(4).flat_map(|node| {
                [AddressKind::Node, AddressKind::Pod].map(|kind| (node.clone(), kind))
            });
            spots.collect::<Vec<_>>()
        };
        others.flat_map(of).collect()
    }

    fn inside(&self, prober: &NodeName) -> Vec<(NodeName, AddressKind)> {
        let Some(home) = self.names.iter().find(|names| names.contains(prober)) else {
            return Vec::new();
        };
        let leads = home[0] == *prober;
        let heirs = home.iter().skip(1).take(2);
        let nodes: BTreeSet<&NodeName> = if leads {
            home.iter().skip(1).take(3).collect()
        } else {
            heirs.chain([&home[0]]).filter(|node| *node != prober).collect()
        };
        nodes.into_iter().map(|node| (node.clone(), AddressKind::Pod)).collect()
    }

    fn fixed(&self, prober: &NodeName) -> Vec<(NodeName, AddressKind)> {
        let leads = self.names.iter().any(|names| names[0] == *prober);
        let others = self.names.iter().filter(|names| !names.contains(prober));
        let aim = |names: &Vec<NodeName>| {
            let member = names.get(1).filter(|_| leads);
            (member.unwrap_or(&names[0]).clone(), AddressKind::Pod)
        };
        others.map(aim).collect()
    }
}

// What becomes of one flow.
impl Scenario {
    fn fate(&mut self, path: &Path, at: Moment) -> (bool, bool) {
        let legs = self.legs(path);
        let broken = at >= self.onset || self.fault == Fault::PortNeverOpen;
        let lucky = self.lucky(path);
        let mut passes = |request: bool| {
            let unharmed = !broken || legs.iter().all(|leg| !self.drops(leg, path, request, lucky));
            unharmed && self.random.unit() >= self.background / 2.0
        };
        let arrives = passes(true);

        (arrives, arrives && passes(false))
    }

    /// What keeps its ports fares the same each time.
    fn lucky(&mut self, path: &Path) -> bool {
        let Fault::Partial(share) = self.fault else { return true };
        let keeps = !path.flow.is_fresh() || path.flow == Flow::Ping;
        let drawn = self.random.unit() >= share;
        if keeps { *self.lucky.entry(path.clone()).or_insert(drawn) } else { drawn }
    }

    fn legs(&self, path: &Path) -> Vec<Leg> {
        let home = |node: &NodeName| self.names.iter().find(|names| names.contains(node));
        let (Some(from), Some(to)) = (home(&path.from), home(&path.to)) else { return Vec::new() };
        let (source, target) = (path.from.clone(), path.to.clone());
        if from == to {
            return match path.address {
                AddressKind::Node => vec![Leg::Lan(source, target)],
                AddressKind::Pod => vec![Leg::Overlay(source, target)],
            };
        }
        let (here, there) = (from[0].clone(), to[0].clone());
        let mut legs = Vec::new();
        if source != here {
            legs.push(Leg::Overlay(source, here.clone()));
            legs.push(Leg::Forward(here.clone(), false));
        }
        legs.push(Leg::Wan(here, there.clone()));
        if target != there {
            legs.push(Leg::Forward(there.clone(), true));
            legs.push(Leg::Overlay(there, target));
        }

        legs
    }

    fn drops(&self, leg: &Leg, path: &Path, request: bool, lucky: bool) -> bool {
        let (victim, fresh) = (self.victim(), path.flow.is_fresh());
        let member = || self.member();
        let forward = |wanted: Option<bool>| {
            matches!(leg, Leg::Forward(node, inward) if node == victim
                && wanted.is_none_or(|wanted| wanted == (*inward == request)))
        };
        let sends = |node: &NodeName| match leg {
            Leg::Overlay(one, other) => node == if request { one } else { other },
            Leg::Forward(..) | Leg::Wan(..) | Leg::Lan(..) => false,
        };
        let touches = |node: &NodeName| match leg {
            Leg::Overlay(one, other) | Leg::Wan(one, other) | Leg::Lan(one, other) => {
                node == one || node == other
            }
            Leg::Forward(one, _) => node == one,
        };
        let ours = !matches!(path.flow, Flow::Control | Flow::Ping);
        let overlay = |one: &NodeName| matches!(leg, Leg::Overlay(..)) && touches(one);

        match self.fault {
            Fault::None => false,
            Fault::NewFlows => forward(None) && fresh && request,
            Fault::ForwardOff => forward(None),
            Fault::VxlanWedge => sends(victim) && fresh && path.flow != Flow::Ping,
            Fault::Partial(_) => sends(victim) && !lucky,
            Fault::OneWayIn => forward(Some(true)),
            Fault::OneWayOut => forward(Some(false)),
            Fault::Mtu => forward(None) && path.flow == Flow::Large,
            Fault::WanCut => {
                matches!(leg, Leg::Wan(..)) && touches(victim) && touches(&self.names[1][0])
            }
            Fault::UplinkDead => matches!(leg, Leg::Wan(..)) && touches(victim),
            Fault::MemberDead => touches(member()),
            Fault::LeaderDead => touches(victim),
            Fault::MemberOverlay => overlay(member()),
            Fault::OverlayPair => overlay(member()) && touches(victim),
            Fault::PortBlocked => ours && request && path.to == *member(),
            Fault::PortNeverOpen => ours && request,
            Fault::WholeMesh => true,
            Fault::ApiStorm => matches!(leg, Leg::Wan(..)),
        }
    }
}

fn window(samples: &Samples) -> Option<Window> {
    let (first, last) = (samples.first()?, samples.last()?);
    Some(Window {
        sent: samples.len() as u32,
        lost: samples.iter().filter(|sample| !sample.2).count() as u32,
        oldest: first.0,
        newest: last.0,
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
        leader: false,
        endpoint: None,
        key: None,
        internal_ip: None,
        pod_cidr: None,
        last_seen: None,
        wireguard_ip: None,
        keepalive: Duration::ZERO,
        granularity: Granularity::Location,
        discovered_endpoints: BTreeMap::new(),
        allowed_location_ips: Vec::new(),
        cni_compatibility_ip: None,
        intent: BTreeMap::new(),
        cordoned: false,
        taints: Vec::new(),
        deleting: false,
        kubernetes_ready: Some(true),
        failure_domain: None,
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
