//! What is asked after a loss, for an inquest, and while sessions begin anew.

use super::*;
use crate::evidence::UnixTime;

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
