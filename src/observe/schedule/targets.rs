//! What one node makes of its location's plan: its role, and the addresses in its share.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::HairpinShot;
use crate::evidence::{
    AddressKind, Assignment, Flow, Location, NodeName, Path, RemoteTargets, Target,
};

/// Kept flows are visited in turn; beyond this many one would rest longer than conntrack
/// remembers it, and would be a fresh flow at each visit.
const KEPT_TARGETS: usize = 4;

/// Heirs that every witness probes and tests.
const HEIRS: usize = 2;

/// What a node is in its location's plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It relays; it probes all other locations, and its witnesses over the overlay.
    Leader,
    /// It probes at full rate.
    Witness,
    /// One of so many that share a low rate.
    Other(usize),
}

/// One address of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spot {
    /// The node.
    pub(super) node: NodeName,
    /// Its location, if another than ours.
    pub(super) location: Option<Location>,
    /// Its location's leader, where that relays what we send: ours not counted.
    pub(super) behind: Option<NodeName>,
    /// Which of its addresses.
    pub(super) kind: AddressKind,
    /// The address.
    pub(super) address: IpAddr,
}

impl Spot {
    /// Returns the path of a flow from `me` to here.
    pub(super) fn path(&self, me: &NodeName, flow: Flow) -> Path {
        Path { from: me.clone(), to: self.node.clone(), address: self.kind, flow }
    }
}

/// The share of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Targets {
    /// What the node is.
    pub(super) role: Role,
    /// Our own leader, if it is another node: what it relays for us counts against it.
    pub(super) relay: Option<NodeName>,
    /// Addresses to visit in turn, by other location; for an [`Role::Other`], our own too.
    pub(super) rotation: Vec<Vec<Spot>>,
    /// For kept flows and rare kinds: few, and always the same.
    pub(super) fixed: Vec<Spot>,
    /// Over the overlay: our leader; for the leader, its witnesses.
    pub(super) inside: Vec<Spot>,
    /// Over the overlay: the first heirs.
    pub(super) heirs: Vec<Spot>,
    /// Hairpin tests to make in turn.
    pub(super) hairpins: Vec<HairpinShot>,
}

impl Default for Targets {
    fn default() -> Self {
        Self::new(&NodeName::default(), &Assignment::default())
    }
}

impl Targets {
    /// Returns the share of `me` in a plan.
    pub(super) fn new(me: &NodeName, plan: &Assignment) -> Self {
        let role = role(me, plan);
        let inside = inside(me, plan, role);

        let mut rotation: Vec<_> = plan.remote.iter().map(round).collect();
        if matches!(role, Role::Other(_)) {
            rotation.push(inside.clone());
        }
        rotation.retain(|spots| !spots.is_empty());

        Self {
            role,
            relay: plan.leader.clone().filter(|leader| leader != me),
            rotation,
            fixed: fixed(me, plan, role),
            inside,
            heirs: heirs(me, plan),
            hairpins: hairpins(me, plan, role),
        }
    }

    /// Returns every spot, each once or more.
    pub(super) fn spots(&self) -> impl Iterator<Item = &Spot> {
        self.rotation.iter().flatten().chain(&self.fixed).chain(&self.inside).chain(&self.heirs)
    }

    /// Returns one hairpin test for each heir, by a counter that `turn` chooses.
    pub(super) fn every_heir_once(&self, turn: usize) -> Vec<HairpinShot> {
        let heirs: BTreeSet<_> = self.hairpins.iter().map(|test| &test.heir.node).collect();
        let choose = |heir: &NodeName| {
            let tests: Vec<_> =
                self.hairpins.iter().filter(|test| test.heir.node == *heir).collect();
            tests.get(turn.checked_rem(tests.len())?).copied().cloned()
        };
        heirs.into_iter().filter_map(choose).collect()
    }

    /// Returns the leaders that relay a flow to `spot`.
    pub(super) fn relays(&self, spot: &Spot) -> impl Iterator<Item = NodeName> {
        let own = self.relay.clone().filter(|_| spot.location.is_some());
        own.into_iter().chain(spot.behind.clone())
    }
}

fn role(me: &NodeName, plan: &Assignment) -> Role {
    if plan.leader.as_ref() == Some(me) {
        return Role::Leader;
    }
    if plan.witnesses.contains(me) {
        return Role::Witness;
    }
    let busy: BTreeSet<_> = plan.witnesses.iter().chain(&plan.leader).collect();
    let others = plan.members.iter().filter(|member| !busy.contains(&member.node));
    Role::Other(others.count().max(1))
}

/// Returns all addresses of one location, the node's and the pod range's in turn, so that two
/// visits in a row never share both node and kind.
fn round(remote: &RemoteTargets) -> Vec<Spot> {
    let nodes: Vec<_> = std::iter::once(&remote.leader).chain(&remote.members).collect();
    let kinds = [AddressKind::Node, AddressKind::Pod];

    (0..2)
        .flat_map(|turn| nodes.iter().enumerate().map(move |(at, node)| (*node, (turn + at) % 2)))
        .filter_map(|(target, kind)| spot(remote, target, kinds[kind]))
        .collect()
}

fn spot(remote: &RemoteTargets, target: &Target, kind: AddressKind) -> Option<Spot> {
    Some(Spot {
        node: target.node.clone(),
        location: Some(remote.location.clone()),
        behind: Some(remote.leader.node.clone()).filter(|leader| *leader != target.node),
        kind,
        address: address(target, kind)?,
    })
}

const fn address(target: &Target, kind: AddressKind) -> Option<IpAddr> {
    match kind {
        AddressKind::Node => target.node_address,
        AddressKind::Pod => target.pod_address,
    }
}

/// Returns a spot of our own location, over the overlay: only the pod range crosses it.
fn overlay(target: &Target) -> Option<Spot> {
    Some(Spot {
        node: target.node.clone(),
        location: None,
        behind: None,
        kind: AddressKind::Pod,
        address: target.pod_address?,
    })
}

/// A member aims at remote leaders, so that its own leader is the only relay; a leader aims at
/// remote members, so that the remote leader is.
fn fixed(me: &NodeName, plan: &Assignment, role: Role) -> Vec<Spot> {
    if matches!(role, Role::Other(_)) {
        return Vec::new();
    }
    let mut remotes: Vec<_> = plan.remote.iter().collect();
    remotes.sort_by_key(|remote| scatter(me, &remote.location));

    let aim = |remote: &RemoteTargets| {
        let member = remote.members.first().filter(|_| role == Role::Leader);
        let target = member.unwrap_or(&remote.leader);
        spot(remote, target, AddressKind::Pod).or_else(|| spot(remote, target, AddressKind::Node))
    };
    remotes.into_iter().filter_map(aim).take(KEPT_TARGETS).collect()
}

/// Spreads the witnesses of one location over the other locations (FNV-1a).
fn scatter(me: &NodeName, location: &Location) -> u64 {
    let bytes = me.0.bytes().chain([0]).chain(location.0.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn inside(me: &NodeName, plan: &Assignment, role: Role) -> Vec<Spot> {
    let wanted: Vec<_> = match role {
        Role::Leader => plan.witnesses.iter().filter(|witness| *witness != me).collect(),
        Role::Witness | Role::Other(_) => plan.leader.iter().collect(),
    };
    wanted.into_iter().filter_map(|name| overlay(member(plan, name)?)).collect()
}

fn heirs(me: &NodeName, plan: &Assignment) -> Vec<Spot> {
    let others = plan.heirs.iter().filter(|heir| *heir != me).take(HEIRS);
    others.filter_map(|heir| overlay(member(plan, heir)?)).collect()
}

/// Each of the first heirs, once with each node that can count: the incumbent is one, since it
/// only receives. The incumbent itself tests nobody: what it sends may already be dying in it.
fn hairpins(me: &NodeName, plan: &Assignment, role: Role) -> Vec<HairpinShot> {
    if role != Role::Witness {
        return Vec::new();
    }
    let counters: Vec<_> = plan.witnesses.iter().chain(&plan.leader).collect();
    let tests = counters.iter().flat_map(|counter| {
        let heirs = plan.heirs.iter().filter(|heir| *heir != me).take(HEIRS);
        heirs.map(move |heir| (heir, *counter))
    });
    tests
        .filter(|(heir, counter)| heir != counter && *counter != me)
        .filter_map(|(heir, counter)| {
            let (heir, counter) = (member(plan, heir)?.clone(), member(plan, counter)?.clone());
            Some(HairpinShot { heir, counter })
        })
        .collect()
}

fn member<'a>(plan: &'a Assignment, name: &NodeName) -> Option<&'a Target> {
    plan.members.iter().find(|member| member.node == *name)
}
