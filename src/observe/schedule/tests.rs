use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::evidence::{RemoteTargets, UnixTime};

/// Bytes of one UDP probe or answer on the wire of a node: 64 and the headers of UDP and IP.
const DATAGRAM: u64 = 64 + 28;

/// The same within WireGuard within UDP, as the WAN and a leader see it.
const TUNNELLED: u64 = DATAGRAM + 60;

const MONTH: u64 = 30 * 86_400;

const fn at(ms: u64) -> Moment {
    Moment::at(Duration::from_millis(ms))
}

const fn answered() -> Outcome {
    Outcome::Answered { round_trip: Duration::from_millis(2) }
}

fn target(location: usize, node: usize) -> Target {
    Target {
        node: NodeName(format!("l{location}-{node}")),
        node_address: Some(
            format!("10.{location}.{}.{}", node / 250, 1 + node % 250).parse().unwrap(),
        ),
        pod_address: Some(
            format!("10.{}.{}.{}", 100 + location, node / 250, 1 + node % 250).parse().unwrap(),
        ),
        overlay_gateway: None,
        overlay_mac: None,
    }
}

/// The plan of location `own` in a mesh of so many locations and nodes in each: node 1 leads,
/// nodes 2, 3, 4 are witnesses, nodes 2, 3 are heirs.
fn plan(own: usize, locations: usize, nodes: usize) -> Assignment {
    let name = |node| target(own, node).node;
    let witnesses = 2..=nodes.min(4);
    Assignment {
        leader: Some(name(1)),
        witnesses: witnesses.clone().map(name).collect(),
        members: (1..=nodes).map(|node| target(own, node)).collect(),
        heirs: (2..=nodes.min(3)).map(name).collect(),
        remote: (1..=locations)
            .filter(|location| *location != own)
            .map(|location| RemoteTargets {
                location: Location(format!("l{location}")),
                leader: target(location, 1),
                members: witnesses.clone().map(|node| target(location, node)).collect(),
            })
            .collect(),
    }
}

fn schedule(me: &str, plan: &Assignment, seed: u64) -> Schedule {
    let mut schedule = Schedule::new(me.into(), Rates::default(), seed);
    schedule.handle_assignment(plan, Moment::START);
    schedule
}

/// Runs a schedule on its own deadlines; `fate` says what becomes of each shot, which is told
/// after 2 ms or after the timeout.
fn run(
    schedule: &mut Schedule,
    (from, to): (Moment, Moment),
    mut fate: impl FnMut(&Shot) -> Outcome,
) -> Vec<Shot> {
    let mut shots = Vec::new();
    let mut flying: Vec<(Moment, Shot, Outcome)> = Vec::new();
    let mut now = from;
    while now < to {
        flying.sort_by_key(|(due, ..)| *due);
        while flying.first().is_some_and(|(due, ..)| *due <= now) {
            let (_, shot, outcome) = flying.remove(0);
            schedule.handle_outcome(&shot, outcome, now);
        }
        for shot in schedule.poll(now) {
            let outcome = fate(&shot);
            let due = match outcome {
                Outcome::Answered { round_trip } | Outcome::Late { round_trip } => now + round_trip,
                Outcome::Lost | Outcome::Unsent => now + shot.timeout,
            };
            flying.push((due, shot.clone(), outcome));
            shots.push(shot);
        }
        let _ = schedule.poll_hairpins(now);
        let deadline = schedule.next_deadline().map(|(at, _)| at);
        let answer = flying.iter().map(|(due, ..)| *due).min();
        let next = deadline.into_iter().chain(answer).min().unwrap_or(to);
        now = next.max(now + Duration::from_micros(1));
    }
    shots
}

fn events(schedule: &mut Schedule) -> Vec<Event> {
    std::iter::from_fn(|| schedule.poll_event()).collect()
}

fn dark(to: &'static str) -> impl FnMut(&Shot) -> Outcome {
    move |shot| if shot.path.to.0.starts_with(to) { Outcome::Lost } else { answered() }
}

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

#[test]
fn a_first_loss_brings_a_burst_that_stops_early() {
    let mut schedule = schedule("l1-2", &plan(1, 3, 3), 5);
    run(&mut schedule, (at(0), at(60_000)), |_| answered());
    assert!(
        events(&mut schedule)
            .iter()
            .all(|event| matches!(event, Event::Changed { to: Condition::Well, .. }))
    );

    let shots = run(&mut schedule, (at(60_000), at(64_000)), dark("l2"));
    let first = shots.iter().find(|shot| shot.path.to.0.starts_with("l2")).unwrap();
    let burst: Vec<_> = shots.iter().filter(|shot| shot.purpose != Purpose::Steady).collect();
    let begun = burst[0].opened;
    assert_eq!(begun, first.opened + first.timeout, "at once");

    let count = |to: &str| {
        let udp = |shot: &&&Shot| shot.path.flow == Flow::NewUdp && shot.path.to.0.starts_with(to);
        burst.iter().filter(udp).count()
    };
    // Six losses in a row are known 100 ms after the sixth flow; until then five more leave.
    let same =
        burst.iter().filter(|shot| (&shot.path, shot.path.flow) == (&first.path, Flow::NewUdp));
    assert!((6..16).contains(&same.count()));
    assert!(count("l3") >= 16, "the other location is asked in full");
    assert!(count("l1") > 0, "and the own leader");
    let kinds: BTreeSet<_> = burst.iter().map(|shot| shot.path.flow).collect();
    assert_eq!(kinds.len(), 7, "{kinds:?}");
    assert!(burst.iter().all(|shot| shot.opened.since(begun) <= Duration::from_millis(700)));

    let told = events(&mut schedule);
    assert!(told.contains(&Event::BurstDark(first.path.clone())), "{told:?}");
    assert!(told.contains(&Event::BurstEnded(None)));
    let report = schedule.report_paths(at(61_500));
    let path = report
        .iter()
        .find(|path| {
            path.to == first.path.to
                && path.address == first.path.address
                && path.flow == Flow::NewUdp
        })
        .unwrap();
    let window = path.burst.unwrap();
    assert!(window.sent == window.lost && window.sent >= 6, "{path:?}");
    assert!(path.steady.lost <= 1, "the burst is left out");
}

#[test]
fn what_never_worked_brings_no_burst() {
    let mut schedule = schedule("l1-2", &plan(1, 3, 3), 5);
    let shots = run(&mut schedule, (at(0), at(120_000)), |_| Outcome::Lost);
    assert!(shots.iter().all(|shot| shot.purpose == Purpose::Steady));
    assert!(schedule.report_paths(at(120_000)).iter().all(|path| path.never_worked));
}

#[test]
fn what_was_not_sent_counts_for_nothing() {
    let mut schedule = schedule("l1-2", &plan(1, 3, 3), 5);
    run(&mut schedule, (at(0), at(60_000)), |_| answered());
    let shots = run(&mut schedule, (at(60_000), at(120_000)), |_| Outcome::Unsent);
    assert!(shots.iter().all(|shot| shot.purpose == Purpose::Steady));
    assert!(schedule.report_paths(at(119_000)).iter().all(|path| path.steady.lost == 0));
}

#[test]
fn an_inquest_is_answered_once_all_is_known() {
    for lost in ["l2", "none"] {
        let mut schedule = schedule("l1-2", &plan(1, 3, 3), 5);
        run(&mut schedule, (at(0), at(60_000)), |_| answered());
        events(&mut schedule);

        schedule.handle_inquest(3, at(60_000));
        let mut early = schedule.clone();
        let asked = run(&mut early, (at(60_000), at(60_050)), dark(lost));
        assert!(asked.iter().filter(|shot| shot.purpose != Purpose::Steady).count() > 20);
        assert_eq!(early.answered(), 0, "not yet");

        run(&mut schedule, (at(60_000), at(60_600)), dark(lost));
        assert_eq!(schedule.answered(), 3, "within 600 ms");
        assert!(events(&mut schedule).contains(&Event::BurstEnded(Some(3))));

        schedule.handle_inquest(3, at(61_000));
        let again = run(&mut schedule, (at(61_000), at(61_050)), |_| answered());
        assert!(again.iter().all(|shot| shot.purpose == Purpose::Steady), "the same number");
    }
}

#[test]
fn a_look_asks_the_doubted_location_only() {
    let asked = |me: &str, looks: &[(&str, u64)], schedule: Option<Schedule>| {
        let mut schedule = schedule.unwrap_or_else(|| self::schedule(me, &plan(1, 4, 6), 5));
        let looks = looks.iter().map(|(place, number)| ((*place).into(), *number)).collect();
        schedule.handle_look(&looks, at(100));
        let shots = run(&mut schedule, (at(100), at(900)), |_| answered());
        let burst = shots.iter().filter(|shot| shot.purpose != Purpose::Steady);
        (burst.map(|shot| shot.path.to.0[..2].to_owned()).collect::<BTreeSet<_>>(), schedule)
    };
    let of =
        |places: &[&str]| places.iter().map(|place| (*place).to_owned()).collect::<BTreeSet<_>>();

    let (first, schedule) = asked("l1-2", &[("l3", 7)], None);
    assert_eq!(first, of(&["l3"]));
    let (again, schedule) = asked("l1-2", &[("l3", 7)], Some(schedule));
    assert_eq!(again, of(&[]), "the same number");
    let (second, _) = asked("l1-2", &[("l2", 1), ("l3", 8)], Some(schedule));
    assert_eq!(second, of(&["l2", "l3"]));
    assert_eq!(asked("l1-6", &[("l3", 7)], None).0, of(&[]), "one of the many");
    assert_eq!(asked("l1-1", &[("l9", 7)], None).0, of(&[]), "nobody knows that place");
}

#[test]
fn an_inquest_without_targets_is_answered_at_once() {
    let mut schedule = Schedule::new("alone".into(), Rates::default(), 1);
    schedule.handle_inquest(9, at(5));
    assert_eq!(schedule.answered(), 9);
}

#[test]
fn the_many_answer_an_inquest_with_few_flows_and_not_all_at_once() {
    let mut begun = BTreeSet::new();
    for seed in 0..20 {
        let mut schedule = schedule("l1-90", &plan(1, 8, 300), seed);
        schedule.handle_inquest(1, at(0));
        let shots = run(&mut schedule, (at(0), at(2000)), |_| answered());
        let burst: Vec<_> = shots.iter().filter(|shot| shot.purpose != Purpose::Steady).collect();
        assert!(burst.len() <= 16, "{}", burst.len());
        assert_eq!(schedule.answered(), 1);
        begun.insert(burst[0].opened);
    }
    assert!(begun.len() > 15, "{begun:?}");
    assert!(begun.iter().all(|begun| *begun <= at(5 * 296)), "{begun:?}");
}

#[test]
fn a_burst_window_is_of_the_last_burst_only() {
    let mut schedule = schedule("l1-2", &plan(1, 2, 3), 5);
    run(&mut schedule, (at(0), at(60_000)), |_| answered());
    schedule.handle_inquest(1, at(60_000));
    run(&mut schedule, (at(60_000), at(61_000)), dark("l2"));
    schedule.handle_inquest(2, at(61_000));
    run(&mut schedule, (at(61_000), at(62_000)), |_| answered());

    let windows: Vec<_> =
        schedule.report_paths(at(62_000)).into_iter().filter_map(|path| path.burst).collect();
    assert!(!windows.is_empty());
    assert!(windows.iter().all(|window| window.lost == 0), "{windows:?}");
    assert!(schedule.report_paths(at(72_000)).iter().all(|path| path.burst.is_none()), "too old");
}

#[test]
fn a_nudge_goes_on_until_fresh_flows_pass() {
    let epoch = Epoch(UnixTime(1_000_000));
    let nudge = |who: &str, until_ms| Nudge {
        who: who.into(),
        targets: vec![target(2, 1), target(3, 1)],
        until_ms,
    };
    let nudged = |shots: &[Shot], to: &str| {
        let nudges = shots.iter().filter(|shot| shot.purpose == Purpose::Nudge);
        nudges.filter(|shot| shot.path.to == to.into()).count()
    };
    let mut schedule = schedule("l1-2", &plan(1, 3, 3), 5);
    run(&mut schedule, (at(0), at(60_000)), |_| answered());

    let nudges = [nudge("l1-2", 1_063_000), nudge("l1-3", 1_063_000)];
    schedule.handle_nudge(&nudges, epoch, at(60_000));
    let shots = run(&mut schedule, (at(60_000), at(62_000)), dark("l2"));
    assert_eq!(nudged(&shots, "l3-1"), 2, "two passes are enough");
    assert!((19..=21).contains(&nudged(&shots, "l2-1")), "ten a second while dark");

    schedule.handle_nudge(&nudges, epoch, at(62_000));
    let shots = run(&mut schedule, (at(62_000), at(70_000)), dark("l2"));
    assert!(nudged(&shots, "l2-1") <= 11, "and not after its time");
    assert_eq!(nudged(&shots, "l3-1"), 0, "the same wish again is no new one");
}

#[test]
fn background_loss_is_of_the_time_before_and_of_working_paths() {
    let mut schedule = schedule("l1-2", &plan(1, 2, 3), 5);
    let mut count = 0;
    run(&mut schedule, (at(0), at(300_000)), |shot| {
        count += u32::from(shot.purpose == Purpose::Steady);
        if shot.purpose == Purpose::Steady && count.is_multiple_of(10) {
            Outcome::Lost
        } else {
            answered()
        }
    });
    let background = |schedule: &Schedule, now| {
        let report = schedule.report_paths(now);
        let udp =
            report.iter().filter(|path| path.flow == Flow::NewUdp && path.to.0.starts_with("l2"));
        let permille: Vec<_> = udp.map(|path| path.background_permille).collect();
        permille.iter().sum::<u32>() / permille.len() as u32
    };
    let before = background(&schedule, at(300_000));
    assert!((40..=160).contains(&before), "{before}");

    run(&mut schedule, (at(300_000), at(500_000)), |_| Outcome::Lost);
    let after = background(&schedule, at(500_000));
    assert!(after <= before + 60, "an outage is no background: {before}, then {after}");
}

#[test]
fn conditions_follow_the_last_flows() {
    #[rustfmt::skip]
    let table = [
        // flows, + passes         condition
        ("",                       Condition::Unknown),
        ("-",                      Condition::Unknown),
        ("+",                      Condition::Well),
        ("+-",                     Condition::Well),
        ("+--",                    Condition::Lossy),
        ("+----",                  Condition::Dark),
        ("----",                   Condition::Dark),
        ("+----+",                 Condition::Lossy),
        ("+----++++++++",          Condition::Well),
        ("+-+-+-+++++++++++++++",  Condition::Well),
        ("+----~",                 Condition::Lossy),
        ("+----~~~~",              Condition::Well),
        ("-~",                     Condition::Well),
    ];
    for (flows, condition) in table {
        assert_eq!(flown(flows).condition(), condition, "{flows}");
    }
}

/// Returns a path after these flows: `+` is answered, `-` lost, and `~` answers the first lost one
/// late.
fn flown(flows: &str) -> Track {
    let (mut track, mut owed) = (Track::default(), VecDeque::new());
    for (index, flow) in flows.bytes().enumerate() {
        let now = at(index as u64);
        let (opened, outcome) = match flow {
            b'+' => (now, answered()),
            b'~' => (owed.pop_front().unwrap(), Outcome::Late { round_trip: SLOW }),
            _ => (now, Outcome::Lost),
        };
        if outcome == Outcome::Lost {
            owed.push_back(opened);
        }
        track.learn((Purpose::Steady, opened), outcome, &Rates::default());
    }

    track
}

const SLOW: Duration = Duration::from_millis(300);

#[test]
fn a_steady_window_begins_anew_when_a_path_goes_dark_or_comes_back() {
    let counts = |flows: &str| {
        let window = flown(flows).steady(at(100), &Rates::default());
        (window.sent, window.lost)
    };
    #[rustfmt::skip]
    let table = [
        ("++++++---",         (9, 3)),
        ("++++++----",        (4, 4)),
        ("+++-++----",        (4, 4)),
        ("++++++----+",       (1, 0)),
        ("++++++----++-+",    (4, 1)),
        ("++-+-++-+",         (9, 3)),
        ("++-+-++-+~~",       (9, 1)),
        ("++++++----~~~~",    (4, 0)),
    ];
    for (flows, expected) in table {
        assert_eq!(counts(flows), expected, "{flows}");
    }
}

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
