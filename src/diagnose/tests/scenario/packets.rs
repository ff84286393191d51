//! What becomes of one flow, packet by packet and leg by leg.

use super::super::evidence::{AddressKind, Flow, Moment, NodeName, Path};
use super::{Fault, Scenario};

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
    pub(super) fn fate(&mut self, path: &Path, at: Moment) -> (bool, bool) {
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
