//! A mesh of three locations of three nodes as a decision sees it, to be bent by each test.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::decide::*;
use crate::diagnose::{Class, Finding, Thresholds};
use crate::evidence::*;

pub(super) const EPOCH: Epoch = Epoch(UnixTime(1_800_000_000_000));

/// The bench: everything that a round goes by, and the decider.
pub(super) struct Bench {
    pub(super) decider: Decider,
    pub(super) evidence: Evidence,
    pub(super) findings: Vec<Finding>,
    pub(super) intents: BTreeMap<Location, Intent>,
    pub(super) progress: BTreeMap<Location, Progress>,
    pub(super) api: Api,
    pub(super) kilo_peers: usize,
    pub(super) mode: Mode,
    /// Nodes that reach nobody inside their location.
    pub(super) dark: BTreeSet<NodeName>,
}

impl Bench {
    pub(super) fn new() -> Self {
        let mut evidence = Evidence::default();
        for place in ["a", "b", "c"] {
            let names: Vec<NodeName> = (1..=3).map(|n| NodeName(format!("{place}{n}"))).collect();
            let members: BTreeSet<_> = names.iter().cloned().collect();
            evidence.leaders.insert(
                place.into(),
                Leadership {
                    leader: names.first().cloned(),
                    since: Moment::START - Duration::from_secs(3600),
                    ready: members.clone(),
                    members,
                    changed: Moment::START - Duration::from_secs(3600),
                },
            );
            for name in &names {
                evidence.mesh.nodes.insert(name.clone(), object(name, place));
                evidence.reporters.insert(name.clone(), reporter());
            }
            for (from, heir, counter) in [(2, 3, 1), (3, 2, 1)] {
                evidence.hairpins.push(hairpin(place, from, heir, counter));
            }
        }
        Self {
            decider: Decider::new(Policy::default(), EPOCH),
            evidence,
            findings: Vec::new(),
            intents: BTreeMap::new(),
            progress: BTreeMap::new(),
            api: Api::Steady,
            kilo_peers: 0,
            mode: Mode::Act,
            dark: BTreeSet::new(),
        }
    }

    /// Decides at a second, with everything fresh that is not told otherwise.
    pub(super) fn at(&mut self, second: u64) -> Plan {
        let now = Moment::at(Duration::from_secs(second));
        self.evidence.now = now;
        self.evidence.mesh.at = EPOCH.unix(now);
        self.refresh(now);
        self.decider.step(&Situation {
            evidence: &self.evidence,
            findings: &self.findings,
            thresholds: &Thresholds::default(),
            intents: &self.intents,
            progress: &self.progress,
            api: self.api,
            kilo_peers: self.kilo_peers,
            default_mode: self.mode,
        })
    }

    /// Lets the actor write the move that a plan wishes for, and Kilo follow.
    pub(super) fn obey(&mut self, plan: &Plan, second: u64) {
        let at = Moment::at(Duration::from_secs(second));
        for (location, plan) in &plan.locations {
            if let Wish::Move(moving) = &plan.wish {
                let to = moving.to.clone();
                self.progress.insert(location.clone(), Progress::Written { to: to.clone(), at });
                self.lead(location, &to, at);
            }
        }
    }

    /// Lets the actor give up the move that a plan wishes for. It says so once, and nothing after
    /// it: of what never was on record there is nothing to close.
    pub(super) fn refuse(&mut self, plan: &Plan) {
        for (location, plan) in &plan.locations {
            if let Wish::Move(Move { to, at, .. }) = &plan.wish {
                let (to, decided, why) = (to.clone(), *at, "conflict".to_owned());
                self.progress.insert(location.clone(), Progress::Refused { to, decided, why });
            }
        }
    }

    pub(super) fn lead(&mut self, location: &Location, leader: &NodeName, at: Moment) {
        let led = self.evidence.leaders.get_mut(location).expect("a location");
        led.leader = Some(leader.clone());
        led.since = at;
    }

    /// Lets a controller put the leader annotation of a node back that Tanist had taken away.
    pub(super) fn readd(&mut self, node: &str) {
        let node = self.node(node);
        node.leader = true;
        node.leader_writer = Some("argocd".to_owned());
        node.intent.insert("leader-before".to_owned(), "=true".to_owned());
    }

    pub(super) fn convict(&mut self, node: &str) {
        let name = NodeName::from(node);
        let location = self.evidence.mesh.nodes[&name].location.clone();
        self.findings.push(Finding {
            location,
            class: Class::NewFlowBlackhole,
            culprit: Some(Element::Forward(name.clone(), Direction::Both)),
            candidates: vec![Element::Forward(name, Direction::Both)],
            fraction: 1.0,
            log_odds: 20.0,
            witnesses: ["b1".into(), "a2".into()].into(),
            passing: BTreeSet::new(),
            local: Vec::new(),
            doubt: None,
            because: "new flows die".to_owned(),
            advice: "",
        });
    }

    /// Shows bursts into a location since a second, lost or answered.
    pub(super) fn burst(&mut self, place: &str, since: u64, lost: u32) {
        self.evidence.observations.retain(|seen| seen.pace != Pace::Burst);
        let oldest = Moment::at(Duration::from_secs(since));
        let far = if place == "b" { "c1" } else { "b1" };
        for number in 1..=3 {
            let inner = NodeName(format!("{place}{number}"));
            for (from, to) in [(inner.clone(), far.into()), (far.into(), inner)] {
                let window = Window {
                    sent: 16,
                    lost,
                    oldest,
                    newest: oldest,
                    last_lost: (lost > 0).then_some(oldest),
                    round_trip: None,
                };
                self.evidence.observations.push(seen((from, to), Pace::Burst, window));
            }
        }
    }

    /// Shows one more path, on which one of some flows was lost, the first and last at a second.
    pub(super) fn stray(&mut self, ends: (&str, &str), second: u64, sent: u32) {
        let at = Moment::at(Duration::from_secs(second));
        let last_lost = Some(at);
        let window = Window { sent, lost: 1, oldest: at, newest: at, last_lost, round_trip: None };
        let ends = (ends.0.into(), ends.1.into());
        self.evidence.observations.push(seen(ends, Pace::Burst, window));
    }

    /// Shows that fresh flows pass into a location and out of it.
    pub(super) fn forwards(&mut self, place: &str) {
        self.burst(place, 0, 0);
    }

    pub(super) fn intent(&mut self, place: &str) -> &mut Intent {
        self.intents.entry(place.into()).or_default()
    }

    pub(super) fn node(&mut self, name: &str) -> &mut Node {
        self.evidence.mesh.nodes.get_mut(&NodeName::from(name)).expect("a node")
    }

    pub(super) fn reporter(&mut self, name: &str) -> &mut Reporter {
        self.evidence.reporters.get_mut(&NodeName::from(name)).expect("a reporter")
    }

    /// Everything that ages is fresh: check-ins, reports, and what passes inside each location.
    fn refresh(&mut self, now: Moment) {
        for node in self.evidence.mesh.nodes.values_mut() {
            let stale = node.last_seen == Some(0);
            if !stale {
                node.last_seen = Some(EPOCH.unix(now).seconds() - 5);
            }
        }
        for seen in &mut self.evidence.hairpins {
            seen.at = now - Duration::from_secs(30);
        }
        self.evidence.observations.retain(|seen| seen.pace == Pace::Burst);
        let names: Vec<_> = self.evidence.mesh.nodes.keys().cloned().collect();
        for from in &names {
            for to in names.iter().filter(|to| *to != from && to.0[..1] == from.0[..1]) {
                let lost = if self.dark.contains(from) || self.dark.contains(to) { 9 } else { 0 };
                let window = Window {
                    sent: 9,
                    lost,
                    oldest: now - Duration::from_secs(40),
                    newest: now - Duration::from_secs(1),
                    last_lost: (lost > 0).then_some(now - Duration::from_secs(1)),
                    round_trip: None,
                };
                let ends = (from.clone(), to.clone());
                self.evidence.observations.push(seen(ends, Pace::Steady, window));
            }
        }
    }
}

fn seen((from, to): (NodeName, NodeName), pace: Pace, window: Window) -> Observation {
    Observation {
        path: Path { from, to, address: AddressKind::Pod, flow: Flow::NewUdp },
        pace,
        window,
        heard: None,
        background: 0.0,
        never_worked: false,
    }
}

fn reporter() -> Reporter {
    Reporter {
        received: Moment::START,
        inquest: u64::MAX,
        abstains: None,
        local: Vec::new(),
        kilo_nodes: Some(9),
        kilo_up: Some(Duration::from_secs(3600)),
        leader_seen: None,
    }
}

fn hairpin(place: &str, from: u32, heir: u32, counter: u32) -> HairpinSeen {
    let name = |number| NodeName(format!("{place}{number}"));
    HairpinSeen {
        prober: name(from),
        result: Hairpin {
            heir: name(heir),
            counter: name(counter),
            sent: 8,
            counted: 8,
            age_ms: 0,
            ever_passed: true,
        },
        at: Moment::START,
    }
}

fn object(name: &NodeName, place: &str) -> Node {
    let host = Ipv4Addr::new(203, 0, 113, name.0.as_bytes()[1]);
    Node {
        name: name.clone(),
        location: place.into(),
        endpoint: Some(Endpoint::Address(SocketAddr::new(IpAddr::V4(host), 51820))),
        key: Some([1; 32]),
        internal_ip: "10.0.0.1/24".parse().ok(),
        pod_cidr: "10.1.0.0/24".parse().ok(),
        last_seen: Some(1),
        granularity: Granularity::Location,
        kubernetes_ready: Some(true),
        ..Node::default()
    }
}
