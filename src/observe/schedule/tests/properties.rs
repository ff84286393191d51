//! What holds whatever happens.

use proptest::prelude::*;

use super::*;

#[test]
fn a_late_poll_makes_up_for_nothing() {
    let mut schedule = schedule("l1-2", &plan(1, 3, 3), 5);
    let shots = schedule.poll(at(3_600_000));
    assert!(shots.len() <= 9, "one turn of each lane: {}", shots.len());
    assert_eq!(schedule.poll(at(3_600_001)), []);
}

#[test]
fn a_changing_plan_does_not_hold_probes_back() {
    let mut schedule = schedule("l1-2", &plan(1, 3, 3), 5);
    let mut shots = Vec::new();
    for second in 0..60 {
        let nodes = if second % 2 == 0 { 3 } else { 4 };
        schedule.handle_assignment(&plan(1, 3, nodes), at(second * 1000));
        let span = (at(second * 1000), at(second * 1000 + 1000));
        shots.extend(run(&mut schedule, span, |_| answered()));
    }
    assert!(shots.iter().filter(|shot| shot.path.flow == Flow::NewUdp).count() >= 45);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn bursts_keep_to_their_cap(
        seed: u64,
        loss in 0.0..=1.0_f64,
        locations in 2..6_usize,
        node in 1..6_usize,
    ) {
        let plan = plan(1, locations, 5);
        let me = target(1, node).node;
        let mut schedule = schedule(&me.0, &plan, seed);
        let mut chance = Random::new(seed ^ 1);
        run(&mut schedule, (at(0), at(60_000)), |_| answered());
        let shots = run(&mut schedule, (at(60_000), at(180_000)), |_| {
            if chance.unit() < loss { Outcome::Lost } else { answered() }
        });

        let mut spent: BTreeMap<NodeName, Vec<Moment>> = BTreeMap::new();
        for shot in shots.iter().filter(|shot| matches!(shot.purpose, Purpose::Burst(_))) {
            let spot = schedule.targets.spots().find(|spot| spot.address == shot.address).unwrap();
            for relay in schedule.targets.relays(spot) {
                spent.entry(relay).or_default().push(shot.opened);
            }
        }
        for (leader, spent) in spent {
            for (index, from) in spent.iter().enumerate() {
                let within = spent[index..].iter().filter(|at| at.since(*from) < Duration::from_secs(10));
                let within = within.count();
                prop_assert!(within <= 64, "{within} through {leader} in ten seconds");
            }
        }
        prop_assert!(schedule.bursts.next_deadline().is_none_or(|due| due > at(170_000)));
    }

    #[test]
    fn a_seed_says_all(seed: u64, loss in 0.0..0.5_f64) {
        let play = || {
            let mut schedule = schedule("l1-2", &plan(1, 3, 4), seed);
            let mut chance = Random::new(seed);
            let shots = run(&mut schedule, (at(0), at(60_000)), |_| {
                if chance.unit() < loss { Outcome::Lost } else { answered() }
            });
            (shots, events(&mut schedule), schedule.report_paths(at(60_000)))
        };
        prop_assert_eq!(play(), play());
    }

    #[test]
    fn any_plan_is_taken(seed: u64, leader in 0..5_usize, witness in 0..5_usize, gaps: u8) {
        let mut odd = plan(1, 3, 4);
        odd.leader = (leader > 0).then(|| target(1, leader).node);
        odd.witnesses = vec![target(1, witness).node; 2];
        odd.heirs = vec![target(9, 9).node, target(1, witness).node];
        for (index, member) in odd.members.iter_mut().enumerate() {
            if gaps >> index & 1 == 1 {
                member.pod_address = None;
            }
            if gaps >> (index + 4) & 1 == 1 {
                member.node_address = None;
            }
        }
        odd.remote[0].members.clear();
        odd.remote[1].leader.pod_address = None;
        odd.remote[1].leader.node_address = None;
        let mut schedule = schedule("l1-2", &odd, seed);
        schedule.handle_inquest(1, at(0));
        run(&mut schedule, (at(0), at(30_000)), dark("l3"));
        prop_assert_eq!(schedule.answered(), 1);
    }
}
