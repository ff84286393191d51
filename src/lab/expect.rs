//! What each fault must lead to, and whether it did.

use super::faults::Fault;
use super::figures::{Figures, Mover};
use crate::decide::Mode;

/// What a fault is watched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// The leader moves, and service is back.
    Move,
    /// Tanist moves nothing.
    Nothing,
}

impl Expect {
    /// Returns what a fault must lead to, in this mode and with so many nodes in each location.
    #[must_use]
    pub fn of(fault: &Fault, mode: Mode, nodes: usize) -> Self {
        let moves = match fault {
            Fault::NewFlows
            | Fault::VxlanWedge
            | Fault::ForwardOff
            | Fault::OneWay
            | Fault::NodeDead => true,
            // Less than a tenth is reported, and no reason to move.
            Fault::Partial(share) => *share >= 10,
            Fault::Mtu(_)
            | Fault::MemberDead
            | Fault::AgentDead
            | Fault::AgentRestart
            | Fault::WanCut(..)
            | Fault::ApiDown
            | Fault::CpuStarved
            | Fault::ProbesDropped => false,
        };
        // An heir is proven by a frame from one node through it to another: with two nodes nobody
        // is left to send it.
        let acts = mode == Mode::Act && nodes > 2;

        if moves && acts { Self::Move } else { Self::Nothing }
    }

    /// Tells what a fault did not show that it should have.
    #[must_use]
    pub fn failures(self, fault: &Figures) -> Vec<String> {
        let what = format!("{} in {}", fault.fault, fault.location);
        let mut failures = Vec::new();

        match self {
            Self::Nothing => {
                if fault.by == Mover::Tanist {
                    failures.push(format!("{what}: Tanist moved the leader for nothing"));
                }
            }
            Self::Move => {
                if fault.to.is_none() {
                    failures.push(format!("{what}: the leader was not moved"));
                }
                if fault.moments.restored.is_none() {
                    failures.push(format!("{what}: service did not come back"));
                }
                if fault.by == Mover::Tanist && !fault.fit {
                    failures.push(format!("{what}: the new leader was not known to be fit"));
                }
            }
        }

        failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_leader_that_relays_badly_is_to_be_moved_and_only_where_an_heir_can_be_proven() {
        for (fault, mode, nodes, expected) in [
            ("new-flows", Mode::Act, 3, Expect::Move),
            ("new-flows", Mode::Observe, 3, Expect::Nothing),
            ("vxlan-wedge", Mode::Act, 2, Expect::Nothing),
            ("partial:25", Mode::Act, 3, Expect::Move),
            ("partial:5", Mode::Act, 3, Expect::Nothing),
            ("wan-cut:onprem,cloud", Mode::Act, 3, Expect::Nothing),
            ("api-down", Mode::Act, 3, Expect::Nothing),
        ] {
            let fault = fault.parse::<Fault>().unwrap();
            assert_eq!(Expect::of(&fault, mode, nodes), expected, "{fault} {mode} {nodes}");
        }
    }
}
