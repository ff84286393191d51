use super::*;
use crate::act::tests::bed;
use crate::cluster::objects::{MoveRecord, SlimNode};
use crate::evidence::kilo::TOPOLOGY_LABEL;
use crate::evidence::{AddressKind, Mesh, Node, Path, Window};

/// Wall time is a minute ahead of moments.
const EPOCH: Epoch = Epoch(UnixTime(60_000));

fn at(millis: u64) -> Moment {
    Moment::at(Duration::from_millis(millis))
}

fn here() -> Location {
    Location::from("here")
}

fn node(name: &str, location: &str) -> Node {
    let metadata = serde_json::json!({ "name": name, "labels": { (TOPOLOGY_LABEL): location } });
    let node = serde_json::json!({ "kind": "Node", "apiVersion": "v1", "metadata": metadata });
    serde_json::from_value::<SlimNode>(node).unwrap().read(TOPOLOGY_LABEL)
}

/// A window by its ends, counts and times.
type Seen<'a> = (&'a str, &'a str, (u32, u32), (u64, u64));

/// One location of `a` and `b`, and `far` elsewhere, and these windows.
fn evidence(now: u64, windows: &[Seen<'_>]) -> Evidence {
    let nodes = [("a", "here"), ("b", "here"), ("far", "there")];
    let nodes = nodes.map(|(name, location)| (name.into(), node(name, location)));
    let observations = windows.iter().map(|(from, to, (sent, lost), (oldest, newest))| {
        let address = AddressKind::Pod;
        Observation {
            path: Path { from: (*from).into(), to: (*to).into(), address, flow: Flow::NewUdp },
            pace: Pace::Burst,
            window: Window {
                sent: *sent,
                lost: *lost,
                oldest: at(*oldest),
                newest: at(*newest),
                last_lost: (*lost > 0).then_some(at(*newest)),
                round_trip: None,
            },
            heard: None,
            background: 0.0,
            never_worked: false,
        }
    });
    Evidence {
        now: at(now),
        mesh: Mesh { nodes: nodes.into(), at: EPOCH.unix(at(now)) },
        observations: observations.collect(),
        ..Evidence::default()
    }
}

fn plan(health: Health, wish: Wish) -> LocationPlan {
    LocationPlan { leader: Some("a".into()), health, wish, ..LocationPlan::default() }
}

fn wish(cause: Cause, decided: u64) -> Wish {
    Wish::Move(Move { cause, at: EPOCH.unix(at(decided)), ..bed::wish("i", "a", "b") })
}

fn written(decided: u64, done: u64) -> MeshLocationStatus {
    let record = MoveRecord {
        decided_ms: Some(EPOCH.unix(at(decided)).0),
        started_ms: EPOCH.unix(at(decided)).0,
        written_ms: Some(EPOCH.unix(at(done)).0),
        ..bed::record("i", ("a", "b"), MovePhase::Written)
    };
    MeshLocationStatus { moving: Some(record), ..MeshLocationStatus::default() }
}

fn ended(took: &[(&str, u64)]) -> MeshLocationStatus {
    let past = PastMove {
        incident: "i".to_owned(),
        from: Some("a".into()),
        to: "b".into(),
        why: String::new(),
        outcome: MoveOutcome::Verified,
        note: None,
        started: crate::arbiter::publish::time(UnixTime(0)),
        ended: crate::arbiter::publish::time(UnixTime(0)),
        took_ms: took.iter().map(|(part, took)| ((*part).to_owned(), *took)).collect(),
    };
    MeshLocationStatus { moves: vec![past], ..MeshLocationStatus::default() }
}

fn ms(part: Part, millis: u64) -> (Part, Duration) {
    (part, Duration::from_millis(millis))
}

#[test]
fn a_move_is_timed_part_by_part_and_each_part_is_told_once() {
    let mut watch = Stopwatch::default();
    let mut look = |plan: &LocationPlan, status: Option<&MeshLocationStatus>, seen: &Evidence| {
        watch.look((&here(), plan), status, (seen, EPOCH))
    };
    let stay = |health| plan(health, Wish::Stay);
    let moving = |health| plan(health, wish(Cause::Verdict, 1700));
    let lost = [("far", "b", (8, 8), (1000, 1100)), ("b", "far", (8, 7), (1050, 1150))];

    assert_eq!(look(&stay(Health::Forwards), None, &evidence(900, &[])), []);
    assert_eq!(look(&stay(Health::Dark), None, &evidence(1500, &lost)), []);
    let wished = look(&moving(Health::Dark), None, &evidence(1700, &lost));
    assert_eq!(wished, [ms(Part::Detect, 500), ms(Part::Decide, 200)]);
    assert_eq!(look(&moving(Health::Dark), None, &evidence(1750, &lost)), []);

    // Old windows, and those that reach only the new leader itself, do not show that it relays.
    let own = [("far", "b", (4, 0), (2000, 2100)), ("far", "a", (4, 1), (1800, 2100))];
    let status = written(1700, 1900);
    let told = look(&moving(Health::Unclear), Some(&status), &evidence(2200, &own));
    assert_eq!(told, [ms(Part::Write, 200)]);
    let through = [("far", "a", (4, 3), (2200, 2300)), ("a", "far", (4, 0), (2250, 2400))];
    let told = look(&moving(Health::Unclear), Some(&status), &evidence(2500, &through));
    assert_eq!(told, [ms(Part::Converge, 400)]);

    let status = ended(&[("write", 200), ("verify", 900)]);
    let told = look(&stay(Health::Forwards), Some(&status), &evidence(3000, &through));
    assert_eq!(told, [ms(Part::Verify, 900)]);
    assert_eq!(look(&stay(Health::Forwards), Some(&status), &evidence(3100, &through)), []);

    let took = watch.timed(&here(), &status.moves)[0].took_ms.clone();
    let expected =
        [("converge", 400), ("decide", 200), ("detect", 500), ("verify", 900), ("write", 200)];
    assert_eq!(took, expected.map(|(part, took)| (part.to_owned(), took)).into());
    assert_eq!(watch.timed(&Location::from("there"), &status.moves), status.moves);

    // What was given up before, as when its arbiter ended, went to the same heir.
    let mut moves = ended(&[]).moves;
    moves[0].outcome = MoveOutcome::Abandoned;
    assert_eq!(watch.timed(&here(), &moves), moves);
}

#[test]
fn what_was_not_seen_is_not_made_up() {
    let lost = [("far", "b", (8, 8), (1000, 1100))];
    for (case, first, cause, expected) in [
        ("dark when this reign began", Health::Dark, Cause::Verdict, vec![]),
        ("a person asked", Health::Forwards, Cause::Request, vec![]),
        ("put back", Health::Forwards, Cause::Revert, vec![]),
        (
            "seen",
            Health::Forwards,
            Cause::Verdict,
            vec![ms(Part::Detect, 500), ms(Part::Decide, 100)],
        ),
    ] {
        let mut watch = Stopwatch::default();
        watch.look((&here(), &plan(first, Wish::Stay)), None, (&evidence(900, &[]), EPOCH));
        watch.look(
            (&here(), &plan(Health::Dark, Wish::Stay)),
            None,
            (&evidence(1500, &lost), EPOCH),
        );
        let moving = plan(Health::Dark, wish(cause, 1600));
        let told = watch.look((&here(), &moving), None, (&evidence(1600, &lost), EPOCH));
        assert_eq!(told, expected, "{case}");
    }
}
