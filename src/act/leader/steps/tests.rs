use proptest::prelude::*;

use super::*;
use crate::evidence::UnixTime;
use crate::evidence::kilo::{RawNode, key};

const NOW: UnixTime = UnixTime(1_795_254_307_000);

/// A member by what matters to who leads.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) public: bool,
    pub(crate) annotated: bool,
    pub(crate) ready: bool,
}

/// A location of such members, named `a`, `b`, ...
pub(crate) fn mesh(members: &[Member]) -> Mesh {
    let nodes = members.iter().zip('a'..='z').map(|(member, name)| {
        let endpoint = if member.public { "198.51.100.1:51820" } else { "10.0.0.1:51820" };
        let seen = if member.ready { NOW.seconds() } else { NOW.seconds() - 600 };
        let mut annotations = vec![
            (key::ENDPOINT, endpoint.to_owned()),
            (key::INTERNAL_IP, "10.1.0.11/24".to_owned()),
            (key::KEY, "GARLLbpcxSdsAVBtBpUlRIUSJbX4PBXreJzPbGxKMj4=".to_owned()),
            (key::LAST_SEEN, seen.to_string()),
            (key::LOCATION, "l".to_owned()),
        ];
        if member.annotated {
            annotations.push((key::LEADER, String::new()));
        }
        let raw = RawNode {
            name: name.to_string(),
            annotations: annotations.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
            pod_cidr: Some("10.42.1.0/24".to_owned()),
            ..RawNode::default()
        };
        let node = kilo::read(&raw, kilo::TOPOLOGY_LABEL);
        (node.name.clone(), node)
    });
    Mesh { nodes: nodes.collect(), at: NOW }
}

fn leader(mesh: &Mesh) -> Option<NodeName> {
    kilo::leader_of(mesh, &"l".into()).map(|node| node.name.clone())
}

fn write(mesh: &mut Mesh, step: &Step) {
    mesh.nodes.get_mut(&step.node).unwrap().leader = step.value.is_some();
}

fn marks(mesh: &Mesh) -> Goal {
    let mark = |node: &Node| node.leader.then(String::new);
    mesh.nodes.values().map(|node| (node.name.clone(), mark(node))).collect()
}

fn members() -> impl Strategy<Value = Vec<Member>> {
    let member = (any::<bool>(), any::<bool>(), prop::bool::weighted(0.8))
        .prop_map(|(public, annotated, ready)| Member { public, annotated, ready });
    prop::collection::vec(member, 1..7)
}

proptest! {
    /// Two moves of one incident, cut short anywhere, then back: nobody leads on the way but the
    /// leader of the start of each leg and the one of its end, and all marks are as they were.
    #[test]
    fn the_way_back_is_exact_and_knows_no_third_leader(
        members in members(),
        first in any::<prop::sample::Index>(),
        second in any::<prop::sample::Index>(),
        cut in 0_usize..5,
    ) {
        let mut mesh = mesh(&members);
        let names: Vec<_> = mesh.nodes.keys().cloned().collect();
        let goal = marks(&mesh);
        let start = leader(&mesh);
        for to in [first.get(&names), second.get(&names)] {
            if kilo::is_ready(&mesh.nodes[to], NOW) {
                for step in forward(&mesh, to).iter().take(cut) {
                    write(&mut mesh, step);
                }
            }
        }

        let before = leader(&mesh);
        let steps = back(&mesh, &"l".into(), &goal);
        for step in &steps {
            write(&mut mesh, step);
            let now = leader(&mesh);
            prop_assert!(now == before || now == start, "{now:?} after {step:?} of {steps:?}");
        }

        prop_assert_eq!(back(&mesh, &"l".into(), &goal), []);
        prop_assert_eq!(leader(&mesh), start);
        prop_assert_eq!(marks(&mesh), goal);
    }
}
