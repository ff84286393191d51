//! Kilo's agents as far as they matter: they check in, apply what they see, and lose and make
//! WireGuard sessions as they do.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "most faults do not concern most parts of the mesh"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use super::faults::Fault;
use super::world::{Applied, pair};
use super::{EPOCH, Happening, Simulation};
use crate::evidence::{NodeName, kilo};
use crate::judge::Input;

/// One handshake in seven loses its first message, and the next try comes 5 s later (measured).
const SLOW_HANDSHAKE: f64 = 0.15;

/// One reset of sessions in fifty makes third leaders' handshakes cross (measured).
const CROSSED: f64 = 0.02;

impl Simulation {
    /// Lets an agent check in, if it can.
    pub(super) fn check_in(&mut self, index: usize) {
        let name = self.nodes[index].name.clone();
        if self.world.agent_runs(&name) && self.world.api_answers() {
            let seen = EPOCH.unix(self.now).seconds();
            let object = self.world.objects.get_mut(&name);
            let was_ready = object.is_some_and(|object| {
                let ready = kilo::is_ready(object, EPOCH.unix(self.now));
                object.last_seen = Some(seen);
                ready
            });
            if was_ready {
                let latency = self.chance.millis(5, 30);
                self.after(latency, Happening::Seen(name));
            } else {
                self.changed(&name);
            }
        }
    }

    /// Tells every agent, and the arbiter, of a changed Node object.
    pub(super) fn changed(&mut self, name: &NodeName) {
        for index in 0..self.nodes.len() {
            let latency = self.chance.millis(20, 120);
            self.after(latency, Happening::Apply(index));
        }
        let latency = self.chance.millis(5, 30);
        self.after(latency, Happening::Seen(name.clone()));
    }

    /// Shows the arbiter a Node object as it is.
    pub(super) fn show(&mut self, name: &NodeName) {
        let Some(node) = self.world.objects.get(name).filter(|_| self.world.api_answers()) else {
            return;
        };
        let location = node.location.clone();
        let mut intent = crate::decide::Intent::default();
        let members = self.world.objects.values().filter(|member| member.location == location);
        members.for_each(|member| intent.read_node(member));
        if let Some(arbiter) = &mut self.arbiter {
            arbiter.judge.take(Input::Node(Box::new(node.clone())), self.now);
            arbiter.judge.take(Input::Intent(location, Box::new(intent)), self.now);
        }
    }

    /// Lets an agent apply what it sees, unless it is frozen: its own check-in is stale, or the API
    /// server is away.
    pub(super) fn apply(&mut self, index: usize) {
        let name = self.nodes[index].name.clone();
        let at = EPOCH.unix(self.now);
        let ready = self.world.objects.get(&name).is_some_and(|node| kilo::is_ready(node, at));
        if !self.world.agent_runs(&name) || !self.world.api_answers() || !ready {
            return;
        }
        let applied: Applied = if self.alone[index] {
            [(self.nodes[index].location.clone(), name.clone())].into()
        } else {
            self.world.elect(at)
        };
        let known = self.world.objects.values().filter(|node| kilo::is_ready(node, at)).count();
        let known = if self.alone[index] { 1 } else { known };
        self.kilo_nodes[index] = u32::try_from(known).unwrap_or(u32::MAX);

        let before = self.world.applied.insert(name.clone(), applied.clone()).unwrap_or_default();
        if before != applied {
            self.reset_sessions(&name, &before, &applied);
        }
    }

    /// A leader whose peers change resets all its sessions; a new pair shakes hands.
    fn reset_sessions(&mut self, name: &NodeName, before: &Applied, after: &Applied) {
        let leads = |applied: &Applied| applied.values().any(|leader| leader == name);
        if !leads(before) && !leads(after) {
            return;
        }
        let peers: Vec<_> = after.values().filter(|peer| *peer != name).cloned().collect();
        for peer in peers {
            let old = before.values().any(|known| *known == peer) && leads(before);
            let delay = match old {
                false if self.chance.happens(SLOW_HANDSHAKE) => Duration::from_millis(5_050),
                false => self.chance.millis(50, 250),
                true if self.chance.happens(CROSSED) => Duration::from_millis(4_600),
                true => continue,
            };
            self.world.sessions.insert(pair(name, &peer), self.now + delay);
        }
    }

    /// Breaks something.
    pub(super) fn break_down(&mut self, fault: Fault) {
        self.world.faults.insert(fault.clone());
        match fault {
            Fault::AgentStopped(name) => {
                if let Some(node) = self.world.objects.get_mut(&name) {
                    node.endpoint = None;
                    node.key = None;
                    node.last_seen = None;
                }
                self.world.applied.insert(name.clone(), BTreeMap::new());
                self.changed(&name);
            }
            Fault::ApiDown => self.api_down_since = Some(self.now),
            Fault::NodeDead(name) if self.setup.arbiter_on.as_ref() == Some(&name) => {
                self.kill_arbiter();
            }
            _ => {}
        }
    }

    /// Mends something.
    pub(super) fn mend(&mut self, fault: &Fault) {
        self.world.faults.remove(fault);
        match fault {
            Fault::AgentStopped(name) | Fault::AgentDead(name) | Fault::NodeDead(name) => {
                self.start_agent(name);
            }
            Fault::ApiDown => self.api_returns(),
            _ => {}
        }
    }

    fn start_agent(&mut self, name: &NodeName) {
        let Some(index) = self.nodes.iter().position(|node| node.name == *name) else { return };
        let fresh = super::World::new(&self.setup.sizes, EPOCH.unix(self.now));
        if let (Some(node), Some(fresh)) =
            (self.world.objects.get_mut(name), fresh.objects.get(name))
        {
            node.endpoint.clone_from(&fresh.endpoint);
            node.key = fresh.key;
            node.last_seen = fresh.last_seen;
        }
        self.nodes[index].kilo_started = self.now;
        self.changed(name);
        self.wake(index, self.now);
    }

    /// Each agent checks in at once but lists the nodes only when its back-off ends: until then it
    /// sees itself Ready and all others stale.
    fn api_returns(&mut self) {
        let since = self.api_down_since.take().unwrap_or(self.now);
        let long = self.now.since(since) > Duration::from_secs(60);
        for index in 0..self.nodes.len() {
            let soon = self.chance.millis(0, 5_000);
            let name = self.nodes[index].name.clone();
            if long && self.world.agent_runs(&name) {
                self.alone[index] = true;
                self.after(soon, Happening::Returns(index));
                let relist = self.chance.millis(8_000, 60_000);
                self.after(relist, Happening::Relist(index));
            } else {
                self.after(soon, Happening::Apply(index));
            }
            self.wake(index, self.now);
        }
        for name in self.world.objects.keys().cloned().collect::<Vec<_>>() {
            self.after(Duration::from_millis(30), Happening::Seen(name));
        }
    }
}
