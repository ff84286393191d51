//! Whom a node probes, how often, and what that costs.

use super::*;

/// Bytes of one UDP probe or answer on the wire of a node: 64 and the headers of UDP and IP.
const DATAGRAM: u64 = 64 + 28;

/// The same within WireGuard within UDP, as the WAN and a leader see it.
const TUNNELLED: u64 = DATAGRAM + 60;

const MONTH: u64 = 30 * 86_400;

#[test]
fn a_role_follows_from_the_plan() {
    let plan = plan(1, 3, 9);
    #[rustfmt::skip]
    let table = [
        ("l1-1", Role::Leader),
        ("l1-2", Role::Witness),
        ("l1-4", Role::Witness),
        ("l1-5", Role::Other(5)),
        ("l2-1", Role::Other(5)), // not of this location: harmless
    ];
    for (me, role) in table {
        assert_eq!(schedule(me, &plan, 1).role(), role, "{me}");
    }
}

#[test]
fn who_probes_what() {
    let plan = plan(1, 3, 5);
    let to = |me: &str, flow: Flow| {
        let mut schedule = schedule(me, &plan, 7);
        let shots = run(&mut schedule, (at(0), at(120_000)), |_| answered());
        let visited = shots.into_iter().filter(|shot| shot.path.flow == flow);
        visited
            .map(|shot| format!("{}/{:?}", shot.path.to, shot.path.address))
            .collect::<BTreeSet<_>>()
    };
    let all_remote: BTreeSet<_> = [2, 3]
        .into_iter()
        .flat_map(|location| (1..=4).map(move |node| format!("l{location}-{node}")))
        .flat_map(|node| [format!("{node}/Node"), format!("{node}/Pod")])
        .collect();
    let with = |inside: &[&str]| {
        let inside = inside.iter().map(|node| format!("{node}/Pod"));
        all_remote.iter().cloned().chain(inside).collect::<BTreeSet<_>>()
    };

    assert_eq!(to("l1-1", Flow::NewUdp), with(&["l1-2", "l1-3", "l1-4"]), "leader");
    assert_eq!(to("l1-2", Flow::NewUdp), with(&["l1-1", "l1-3"]), "witness that is an heir");
    assert_eq!(to("l1-4", Flow::NewUdp), with(&["l1-1", "l1-2", "l1-3"]), "witness");
    assert_eq!(to("l1-5", Flow::NewUdp), with(&["l1-1"]), "other");

    for kind in [Flow::KeptUdp, Flow::KeptTcp, Flow::Ping, Flow::Large, Flow::Control] {
        let leaders = BTreeSet::from(["l2-1/Pod".to_owned(), "l3-1/Pod".to_owned()]);
        assert_eq!(to("l1-4", kind), leaders, "a witness's {kind:?}");
        let members = BTreeSet::from(["l2-2/Pod".to_owned(), "l3-2/Pod".to_owned()]);
        assert_eq!(to("l1-1", kind), members, "the leader's {kind:?}");
        assert_eq!(to("l1-5", kind), BTreeSet::new(), "another's {kind:?}");
    }
}

#[test]
fn hairpins_spare_the_leader_and_oneself() {
    let tests = |me: &str, nodes| {
        let targets = Targets::new(&me.into(), &plan(1, 2, nodes));
        let pairs =
            targets.hairpins.into_iter().map(|test| (test.heir.node.0, test.counter.node.0));
        pairs.collect::<BTreeSet<_>>()
    };
    let pair = |heir: &str, counter: &str| (heir.to_owned(), counter.to_owned());

    assert_eq!(tests("l1-1", 4), BTreeSet::new());
    assert_eq!(tests("l1-2", 3), BTreeSet::from([pair("l1-3", "l1-1")]));
    assert_eq!(
        tests("l1-4", 4),
        BTreeSet::from([
            pair("l1-2", "l1-1"),
            pair("l1-2", "l1-3"),
            pair("l1-3", "l1-1"),
            pair("l1-3", "l1-2"),
        ])
    );
    assert_eq!(tests("l1-2", 2), BTreeSet::new(), "nobody is left to test");
}

#[test]
fn an_inquest_tests_every_heir_at_once() {
    let mut schedule = schedule("l1-4", &plan(1, 2, 4), 3);
    schedule.handle_inquest(5, at(10));
    let heirs: Vec<_> =
        schedule.poll_hairpins(at(10)).into_iter().map(|test| test.heir.node.0).collect();
    assert_eq!(heirs, ["l1-2", "l1-3"]);
    assert_eq!(schedule.poll_hairpins(at(11)), []);
}

#[test]
fn every_path_is_visited_in_time() {
    // Two other locations, four nodes each, two addresses: 16 paths at 1.33 s at most.
    let mut schedule = schedule("l1-2", &plan(1, 3, 30), 11);
    let shots = run(&mut schedule, (at(0), at(600_000)), |_| answered());

    let mut visits: BTreeMap<_, Vec<Moment>> = BTreeMap::new();
    for shot in shots.iter().filter(|shot| shot.path.flow == Flow::NewUdp) {
        visits.entry(shot.path.clone()).or_default().push(shot.opened);
    }
    for (path, visits) in visits {
        let limit = if path.to.0.starts_with("l1-") { 30_000 } else { 16 * 1330 };
        let worst = visits.windows(2).map(|pair| pair[1].since(pair[0])).max().unwrap();
        assert!(worst <= Duration::from_millis(limit), "{path:?} rested {worst:?}");
        assert!(visits[0] <= at(limit), "{path:?} began at {:?}", visits[0]);
    }
}

#[test]
fn jitter_stays_within_its_bounds_and_varies() {
    let mut schedule = schedule("l1-2", &plan(1, 3, 3), 5);
    let fresh: Vec<_> = run(&mut schedule, (at(0), at(120_000)), |_| answered())
        .into_iter()
        .filter(|shot| shot.path.flow == Flow::NewUdp && !shot.path.to.0.starts_with("l1-"))
        .map(|shot| shot.opened)
        .collect();
    let gaps: Vec<_> = fresh.windows(2).map(|pair| pair[1].since(pair[0])).collect();

    let (least, most) = (Duration::from_micros(997_500), Duration::from_millis(1330));
    assert!(gaps.iter().all(|gap| (least..=most).contains(gap)), "{gaps:?}");
    assert!(gaps.iter().collect::<BTreeSet<_>>().len() > gaps.len() / 2);
}

/// Flows per second and node, as they go through leader 1 of location 1, and bytes a second that
/// one node originates.
fn cost(locations: usize, nodes: usize) -> (f64, f64, u64) {
    const SECONDS: u64 = 400;
    let (mut through, mut others, mut most) = (0, 0, 0);
    for location in 1..=locations {
        let plan = plan(location, locations, nodes);
        for node in 1..=nodes {
            let me = target(location, node).node;
            // All nodes of a class cost the same: of the many others, some stand for all.
            let (weight, skip) = if node > 8 { (nodes - 8, node > 9) } else { (1, false) };
            if skip {
                continue;
            }
            let mut schedule = schedule(&me.0, &plan, (location * 1000 + node) as u64);
            let shots = run(&mut schedule, (at(0), at(SECONDS * 1000)), |_| answered());
            most = most.max(shots.len() as u64 * DATAGRAM / SECONDS);

            let relayed = |shot: &&Shot| {
                let own = location == 1 && node > 1 && !shot.path.to.0.starts_with("l1-");
                own || location > 1 && shot.path.to.0.starts_with("l1-") && shot.path.to.0 != "l1-1"
            };
            through += weight * shots.iter().filter(relayed).count();
            if location == 1 && matches!(schedule.role(), Role::Other(_)) {
                others += weight * shots.len();
            }
        }
    }
    let second = |flows: usize| flows as f64 / SECONDS as f64;
    (second(through), second(others), most)
}

#[test]
fn the_budget_does_not_grow_with_the_mesh() {
    for (locations, nodes) in [(3, 3), (3, 10), (3, 100), (30, 10)] {
        let (through, others, bytes) = cost(locations, nodes);
        let mesh = format!("{locations} x {nodes}: {through:.1} flows/s, {bytes} B/s");

        assert!(others <= 1.1, "{mesh}: {others} flows/s of others");
        // A flow is a request and an answer, in over one device and out over the other.
        let month = (through * 2.0 * TUNNELLED as f64) as u64 * MONTH;
        assert!(month <= 8_000_000_000, "{mesh}: {month} B a month through the leader");
        assert!(bytes * MONTH <= 1_000_000_000, "{mesh}: {bytes} B/s originated");
    }
}
