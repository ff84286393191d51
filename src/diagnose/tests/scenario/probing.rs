//! A minute of probing, as the schedule does it: steady lanes, bursts on a first loss, inquests.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::evidence::{AddressKind, Flow, Moment, NodeName, Path};
use super::{Fault, Scenario, Spot};

impl Scenario {
    pub(super) fn probe(&mut self) {
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
        let dead = (self.fault == Fault::MemberDead && self.member() == node)
            || (self.fault == Fault::LeaderDead && self.victim() == node);
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
            if turn.is_multiple_of(8) && !inside.is_empty() {
                self.shoot(prober, &inside[(turn / 8) % inside.len()], Flow::NewUdp, at);
            }
            if turn.is_multiple_of(9) && !fixed.is_empty() {
                let target = &fixed[(turn / 9) % fixed.len()];
                self.shoot(prober, target, Flow::KeptUdp, at);
                self.shoot(prober, target, Flow::KeptTcp, at);
            }
            if turn.is_multiple_of(17) {
                self.shoot(prober, &rotation[(turn / 17) % rotation.len()], Flow::NewTcp, at);
            }
            if turn.is_multiple_of(51) {
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

    fn other<'a>(&mut self, rotation: &'a [Spot], lost: &Spot) -> &'a Spot {
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
        targets: [&Spot; 2],
        (inside, fixed): (&[Spot], &[Spot]),
        start: Moment,
    ) -> bool {
        let mut dark = false;
        for target in targets {
            dark |= self.salvo(prober, target, (Flow::NewUdp, 16), start) >= 2;
        }
        for target in inside {
            self.salvo(prober, target, (Flow::NewUdp, 4), start);
        }
        self.contrast(prober, fixed.first(), start);
        if let Some(leader) = self
            .names
            .iter()
            .map(|names| &names[0])
            .find(|leader| leader.0[..1] == targets[0].0.0[..1] && *leader != prober)
        {
            let target = (leader.clone(), AddressKind::Pod);
            self.salvo(prober, &target, (Flow::NewUdp, 4), start);
        }

        dark
    }

    fn inquest(&mut self, prober: &NodeName, start: Moment) {
        let home = prober.0[..1].to_owned();
        for names in self.names.clone().iter().filter(|names| names[0].0[..1] != home) {
            let chosen = [names.first(), names.get(1..).and_then(<[_]>::last)];
            for node in chosen.into_iter().flatten() {
                let target = (node.clone(), AddressKind::Pod);
                self.salvo(prober, &target, (Flow::NewUdp, 8), start);
            }
        }
        for target in self.inside(prober) {
            self.salvo(prober, &target, (Flow::NewUdp, 8), start);
        }
        for target in self.fixed(prober) {
            self.contrast(prober, Some(&target), start);
        }
    }

    fn contrast(&mut self, prober: &NodeName, target: Option<&Spot>, start: Moment) {
        let Some(target) = target else { return };
        for flow in
            [Flow::KeptUdp, Flow::KeptTcp, Flow::Ping, Flow::Large, Flow::NewTcp, Flow::Control]
        {
            self.salvo(prober, target, (flow, 2), start);
        }
    }

    /// Sends a salvo, which begins its path's burst anew; returns how many flows died of it.
    fn salvo(
        &mut self,
        prober: &NodeName,
        (to, address): &Spot,
        (flow, count): (Flow, u32),
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

    fn shoot(&mut self, prober: &NodeName, (to, address): &Spot, flow: Flow, at: Moment) -> bool {
        if !self.is_alive(prober, at) {
            return false;
        }
        let path = Path { from: prober.clone(), to: to.clone(), address: *address, flow };
        let (arrives, answered) = self.fate(&path, at);
        self.probing.entry(path).or_default().0.push((at, arrives, answered));

        !answered
    }

    fn rotation(&self, prober: &NodeName) -> Vec<Spot> {
        let others = self.names.iter().filter(|names| !names.contains(prober));
        let of = |names: &Vec<NodeName>| {
            let spots = names.iter().take(4).flat_map(|node| {
                [AddressKind::Node, AddressKind::Pod].map(|kind| (node.clone(), kind))
            });
            spots.collect::<Vec<_>>()
        };
        others.flat_map(of).collect()
    }

    fn inside(&self, prober: &NodeName) -> Vec<Spot> {
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

    fn fixed(&self, prober: &NodeName) -> Vec<Spot> {
        let leads = self.names.iter().any(|names| names[0] == *prober);
        let others = self.names.iter().filter(|names| !names.contains(prober));
        let aim = |names: &Vec<NodeName>| {
            let member = names.get(1).filter(|_| leads);
            (member.unwrap_or(&names[0]).clone(), AddressKind::Pod)
        };
        others.map(aim).collect()
    }
}
