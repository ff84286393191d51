//! What is known of a path from its last flows.

use super::*;

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
