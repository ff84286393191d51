//! Moves on the embedded API server: whole, cut short at every request, with a predecessor that
//! wakes up late, against others who write the same objects.

use kube::api::{Patch, PatchParams};

use super::*;
use crate::act::tests::bed::{Bed, Gate, HERE, Term, now, record, wish};
use crate::cluster::objects::{SlimNode, mesh_location_name};
use crate::decide::{Cause, Readded};
use crate::evidence::kilo::key::{LAST_SEEN, LEADER, LOCATION};

/// Every shape of promotion: with and without annotations to remove, public or not, with a beaten
/// node that is not Ready.
#[rustfmt::skip]
const SHAPES: [(&[&str], &str, &str); 6] = [
    (&["a", "b", "c"],            "a", "b"),
    (&["a*", "b", "c"],           "a", "b"),
    (&["a", "b*", "c"],           "b", "a"),
    (&["a*", "b*", "c*"],         "a", "c"),
    (&["a*+", "b*+", "c+"],       "a", "c"),
    (&["a*+-", "b*+", "c", "d+"], "b", "d"),
];

/// The annotations that matter: a fence only changes a version.
async fn marks(bed: &Bed) -> BTreeMap<String, String> {
    let mut marks = bed.marks().await;
    marks.retain(|key, _| !key.ends_with(FENCE));
    marks
}

async fn nodes(bed: &Bed) -> Vec<SlimNode> {
    bed.nodes().list(&Default::default()).await.unwrap().items
}

/// Tells which leaders were seen, each change once.
fn changes(leaders: &[Option<NodeName>]) -> Vec<&str> {
    let mut names: Vec<_> =
        leaders.iter().map(|leader| leader.as_ref().map_or("", |leader| &leader.0)).collect();
    names.dedup();
    names
}

#[tokio::test]
async fn a_move_is_written_once_and_undone_exactly() {
    for (members, from, to) in SHAPES {
        let mut bed = Bed::with(members).await;
        let (mover, gate, _term) = bed.arbiter(1);
        let before = nodes(&bed).await;
        let marked = marks(&bed).await;

        let wish = wish("i1", from, to);
        let record = mover.hold(&HERE.into(), &wish, &Nudges::new()).await.unwrap();

        assert_eq!(record.phase, MovePhase::Written, "{members:?}");
        assert_eq!(changes(&bed.leaders(&before)), [from, to], "{members:?}");
        assert_eq!(bed.status().await.moving, Some(record.clone()));

        let passed = gate.passed();
        let again = mover.hold(&HERE.into(), &wish, &Nudges::new()).await.unwrap();
        assert_eq!(again, record);
        assert_eq!(gate.passed() - passed, 2, "looking again writes nothing");

        let before = nodes(&bed).await;
        let back = Move { cause: Cause::Revert, from: to.into(), to: from.into(), ..wish };
        let record = mover.hold(&HERE.into(), &back, &Nudges::new()).await.unwrap();
        assert_eq!(record.phase, MovePhase::Reverted);
        assert_eq!(changes(&bed.leaders(&before)), [to, from], "{members:?}");
        assert_eq!(marks(&bed).await, marked, "{members:?}");

        mover.close(&HERE.into(), MoveOutcome::Reverted, None).await.unwrap();
        let status = bed.status().await;
        assert_eq!(status.moving, None);
        assert_eq!(status.moves[0].outcome, MoveOutcome::Reverted);
        assert_eq!(status.moves[0].to, NodeName::from(to));
    }
}

/// An arbiter that carries out a wish until it stands at its gate, or is done.
struct Stopped {
    gate: Gate,
    term: Term,
    task: tokio::task::JoinHandle<Result<MoveRecord, MoveError>>,
}

/// Lets the arbiter of a term carry out a wish for so many requests. Returns none if it needs no
/// more than that.
async fn stop_after(bed: &Bed, term: i32, wish: &Move, requests: usize) -> Option<Stopped> {
    let (mover, gate, term) = bed.arbiter(term);
    mover.take_over().await.unwrap();
    gate.close_after(requests);
    let wish = wish.clone();
    let mut task =
        tokio::spawn(async move { mover.hold(&HERE.into(), &wish, &Nudges::new()).await });
    tokio::select! {
        done = &mut task => {
            assert!(done.unwrap().is_ok());
            None
        }
        () = gate.arrival() => Some(Stopped { gate, term, task }),
    }
}

impl Stopped {
    /// Lets the request that is under way arrive after all.
    async fn wake(self) -> Result<MoveRecord, MoveError> {
        self.gate.open();
        self.task.await.unwrap()
    }
}

#[tokio::test]
async fn whoever_is_killed_at_any_request_leaves_a_move_that_is_finished_or_undone() {
    for (members, from, to) in SHAPES {
        for requests in 0.. {
            let mut bed = Bed::with(members).await;
            let before = nodes(&bed).await;
            let wish = wish("i1", from, to);
            let Some(first) = stop_after(&bed, 1, &wish, requests).await else {
                assert!(requests > 4, "a move takes a record, a write and a note at least");
                break;
            };

            first.term.end();
            let (second, _gate, _term) = bed.arbiter(2);
            second.take_over().await.unwrap();
            let status = bed.status().await;
            let phase = status.moving.as_ref().map(|record| record.phase);
            assert!(matches!(phase, None | Some(MovePhase::Written)), "{phase:?}");
            let expected = if phase.is_some() { to } else { from };
            assert_eq!(bed.leader().await, Some(expected.into()), "after {requests} requests");

            // The predecessor wakes up, and what it had under way comes too late.
            let marked = marks(&bed).await;
            let late = first.wake().await;
            assert!(late.is_err(), "{late:?} after {requests} requests");
            assert_eq!(marks(&bed).await, marked, "after {requests} requests");
            assert_eq!(bed.status().await.moving, status.moving, "after {requests} requests");

            let record = second.hold(&HERE.into(), &wish, &Nudges::new()).await.unwrap();
            assert_eq!(record.phase, MovePhase::Written);
            assert_eq!(changes(&bed.leaders(&before)), [from, to], "after {requests} requests");
        }
    }
}

#[tokio::test]
async fn whoever_is_killed_on_the_way_back_leaves_a_way_back() {
    for (members, from, to) in SHAPES {
        for requests in 0.. {
            let mut bed = Bed::with(members).await;
            let marked = marks(&bed).await;
            let forth = wish("i1", from, to);
            assert!(stop_after(&bed, 1, &forth, usize::MAX).await.is_none());
            let before = nodes(&bed).await;
            bed.leaders(&before);

            let back =
                Move { cause: Cause::Revert, from: to.into(), to: from.into(), ..forth.clone() };
            let Some(first) = stop_after(&bed, 1, &back, requests).await else { break };
            first.term.end();
            let (second, _gate, _term) = bed.arbiter(2);
            second.take_over().await.unwrap();
            second.hold(&HERE.into(), &back, &Nudges::new()).await.unwrap();
            assert!(first.wake().await.is_err(), "after {requests} requests");

            assert_eq!(bed.leader().await, Some(from.into()), "after {requests} requests");
            assert_eq!(changes(&bed.leaders(&before)), [to, from], "after {requests} requests");
            assert_eq!(marks(&bed).await, marked, "after {requests} requests");
        }
    }
}

/// Every two moves of different incidents from the leader of each shape, one after the other: the
/// first of them is proven and over.
fn in_a_row() -> Vec<(&'static [&'static str], &'static str, [&'static str; 2])> {
    let name = |node: &&'static str| node.trim_end_matches(['*', '+']);
    let mut rows = Vec::new();
    for (members, from, _) in SHAPES {
        let ready = || members.iter().filter(|node| !node.contains('-')).map(name);
        for first in ready().filter(|first| *first != from) {
            rows.extend(
                ready()
                    .filter(|second| *second != first)
                    .map(|second| (members, from, [first, second])),
            );
        }
    }
    rows
}

/// Lets a first incident move the leader, and be over.
async fn moved_before(members: &[&str], from: &str, to: &str) -> Bed {
    let bed = Bed::with(members).await;
    let (mover, _gate, _term) = bed.arbiter(1);
    mover.take_over().await.unwrap();
    mover.hold(&HERE.into(), &wish("i1", from, to), &Nudges::new()).await.unwrap();
    mover.close(&HERE.into(), MoveOutcome::Verified, None).await.unwrap();
    bed
}

#[tokio::test]
async fn a_second_incident_is_undone_exactly_too() {
    for (members, from, [first, second]) in in_a_row() {
        let mut bed = moved_before(members, from, first).await;
        let (mover, _gate, _term) = bed.arbiter(2);
        mover.take_over().await.unwrap();
        let marked = bed.marks().await;
        let shape = format!("{members:?}: {from} to {first} to {second}");
        assert!(marked.keys().all(|key| !key.ends_with(INCIDENT)), "{shape}: {marked:?}");

        let forth = wish("i2", first, second);
        mover.hold(&HERE.into(), &forth, &Nudges::new()).await.unwrap();
        let before = nodes(&bed).await;
        bed.leaders(&before);
        let back = Move { cause: Cause::Revert, from: second.into(), to: first.into(), ..forth };
        mover.hold(&HERE.into(), &back, &Nudges::new()).await.unwrap();

        assert_eq!(changes(&bed.leaders(&before)), [second, first], "{shape}");
        assert_eq!(bed.marks().await, marked, "{shape}");
    }
}

#[tokio::test]
async fn a_second_incident_that_is_half_made_is_finished_or_undone_too() {
    for (members, from, [first, second]) in in_a_row() {
        for requests in 2.. {
            let bed = moved_before(members, from, first).await;
            let marked = marks(&bed).await;
            let wish = wish("i2", first, second);
            let Some(stopped) = stop_after(&bed, 2, &wish, requests).await else { break };
            stopped.term.end();
            let half_made = marks(&bed).await != marked;

            let (successor, _gate, _term) = bed.arbiter(3);
            successor.take_over().await.unwrap();

            let at = format!("{members:?}: {from} to {first} to {second}, {requests} requests");
            let moving = bed.status().await.moving;
            assert_eq!(moving.is_some(), half_made, "{at}");
            let expected = if half_made { second } else { first };
            assert_eq!(bed.leader().await, Some(expected.into()), "{at}");
            if half_made {
                let (from, to) = (second.into(), first.into());
                let back = Move { cause: Cause::Revert, from, to, ..wish };
                successor.hold(&HERE.into(), &back, &Nudges::new()).await.unwrap();
            }
            assert_eq!(marks(&bed).await, marked, "{at}");
        }
    }
}

#[tokio::test]
async fn successors_may_be_killed_too() {
    let (members, from, to) = SHAPES[4];
    for first_requests in 2..7 {
        for second_requests in 0.. {
            let mut bed = Bed::with(members).await;
            let before = nodes(&bed).await;
            let wish = wish("i1", from, to);
            let Some(first) = stop_after(&bed, 1, &wish, first_requests).await else { break };
            first.term.end();
            let (second, gate, term) = bed.arbiter(2);
            gate.close_after(second_requests);
            let mut task = tokio::spawn(async move { second.take_over().await });
            let is_done = tokio::select! {
                _ = &mut task => true,
                () = gate.arrival() => false,
            };
            term.end();

            let (third, _gate, _term) = bed.arbiter(3);
            third.take_over().await.unwrap();
            let marked = marks(&bed).await;
            assert!(first.wake().await.is_err());
            if !is_done {
                gate.open();
                // It may have stood at a last read.
                let _ = task.await.unwrap();
            }
            assert_eq!(marks(&bed).await, marked);

            third.hold(&HERE.into(), &wish, &Nudges::new()).await.unwrap();
            assert_eq!(changes(&bed.leaders(&before)), [from, to]);
            if is_done {
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_lost_lease_stops_a_move_between_two_writes() {
    let bed = Bed::with(&["a*", "b", "c"]).await;
    let first = stop_after(&bed, 1, &wish("i1", "a", "b"), 3).await.unwrap();
    first.term.end();

    // The request that was under way still passes, nobody fenced it off; nothing follows it.
    assert!(matches!(first.wake().await, Err(MoveError::NotHolding)));
    let marked = marks(&bed).await;
    assert_eq!(marked.keys().filter(|key| key.ends_with(LEADER)).count(), 2, "{marked:?}");
}

#[tokio::test]
async fn check_ins_on_the_way_cost_a_second_look_only() {
    let mut bed = Bed::with(&["a*", "b", "c"]).await;
    let before = nodes(&bed).await;
    let first = stop_after(&bed, 1, &wish("i1", "a", "b"), 3).await.unwrap();
    for node in ["a", "b", "c"] {
        bed.annotate(node, LAST_SEEN, Some(&(now().seconds() + 1).to_string())).await;
    }

    assert_eq!(first.wake().await.unwrap().phase, MovePhase::Written);
    assert_eq!(changes(&bed.leaders(&before)), ["a", "b"]);
}

/// Pauses the location: by its object, or by annotating all nodes as `docs/removal.md` says.
async fn pause(bed: &Bed, by: &str) {
    if by == "object" {
        let patch = serde_json::json!({ "spec": { "pause": "work" } });
        let name = mesh_location_name(&HERE.into());
        bed.locations().patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    } else {
        for node in ["a", "b", "c"] {
            bed.annotate(node, "tanist.dev/pause", Some("work")).await;
        }
    }
}

#[tokio::test]
async fn a_pause_lets_no_move_begin_and_undoes_one_that_is_half_made() {
    for by in ["object", "nodes"] {
        let marks = async |bed: &Bed| {
            let mut marks = marks(bed).await;
            marks.retain(|key, _| !key.ends_with("/pause"));
            marks
        };
        let wish = wish("i1", "a", "b");
        let bed = Bed::with(&["a*", "b", "c"]).await;
        let marked = marks(&bed).await;
        let first = stop_after(&bed, 1, &wish, 4).await.unwrap();
        pause(&bed, by).await;
        // The write that is under way fails, as after any check-in.
        bed.annotate("a", LAST_SEEN, Some(&(now().seconds() + 1).to_string())).await;

        let error = first.wake().await.unwrap_err();
        assert_eq!(error.to_string(), "the location is paused: work", "{by}");
        assert!(error.is_refusal());
        assert_eq!(marks(&bed).await, marked, "{by}");

        let (mover, _gate, _term) = bed.arbiter(1);
        let error = mover.hold(&HERE.into(), &wish, &Nudges::new()).await.unwrap_err();
        assert_eq!(error.to_string(), "the location is paused: work", "{by}");
        assert_eq!(bed.status().await.moving, None, "{by}");

        // The same if the arbiter has died on the way.
        let bed = Bed::with(&["a*", "b", "c"]).await;
        let first = stop_after(&bed, 1, &wish, 4).await.unwrap();
        first.term.end();
        pause(&bed, by).await;
        let (successor, _gate, _term) = bed.arbiter(2);
        successor.take_over().await.unwrap();
        assert_eq!(marks(&bed).await, marked, "{by}");
        assert_eq!(bed.status().await.moving, None, "{by}");
    }
}

#[tokio::test]
async fn a_move_of_which_all_is_written_is_not_undone_by_a_pause() {
    for term in [1, 2] {
        let bed = Bed::with(&["a*", "b", "c"]).await;
        let wish = wish("i1", "a", "b");
        let first = stop_after(&bed, 1, &wish, 5).await.unwrap();
        first.term.end();
        pause(&bed, "nodes").await;
        let (mover, _gate, _term) = bed.arbiter(term);
        mover.take_over().await.unwrap();
        let record = mover.hold(&HERE.into(), &wish, &Nudges::new()).await.unwrap();
        assert_eq!(record.phase, MovePhase::Written, "in term {term}");
    }
}

#[tokio::test]
async fn an_heir_that_goes_away_meanwhile_has_not_become_leader() {
    for gone in ["deleted", "in another location"] {
        let bed = Bed::with(&["a*", "b", "c"]).await;
        let marked = marks(&bed).await;
        let first = stop_after(&bed, 1, &wish("i1", "a", "b"), 4).await.unwrap();
        if gone == "deleted" {
            bed.nodes().delete("b", &Default::default()).await.unwrap();
        } else {
            bed.annotate("b", LOCATION, Some("us")).await;
        }
        // The write that is under way fails, as after any check-in.
        bed.annotate("a", LAST_SEEN, Some(&(now().seconds() + 1).to_string())).await;

        let error = first.wake().await.unwrap_err();

        assert!(matches!(&error, MoveError::NotReady { node } if node.0 == "b"), "{gone}: {error}");
        assert_eq!(marks(&bed).await, marked, "{gone}");
        assert_eq!(bed.leader().await, Some("a".into()), "{gone}");
        assert_eq!(bed.status().await.moves[0].outcome, MoveOutcome::Abandoned, "{gone}");
    }
}

#[tokio::test]
async fn a_person_who_moves_the_leader_meanwhile_is_not_fought() {
    let bed = Bed::with(&["a*", "b", "c+"]).await;
    let marked = marks(&bed).await;
    let first = stop_after(&bed, 1, &wish("i1", "a", "b"), 3).await.unwrap();
    bed.annotate("c", LEADER, Some("mine")).await;
    bed.annotate("b", LAST_SEEN, Some(&(now().seconds() + 1).to_string())).await;

    let error = first.wake().await.unwrap_err();

    assert!(matches!(&error, MoveError::Moved { leader: Some(c) } if c.0 == "c"), "{error}");
    assert!(error.is_refusal());
    assert_eq!(bed.leader().await, Some("c".into()));
    let mut left = marks(&bed).await;
    assert_eq!(left.remove(&format!("c {LEADER}")).as_deref(), Some("mine"));
    assert_eq!(left, marked);
    let status = bed.status().await;
    assert_eq!(status.moving, None);
    assert_eq!(status.moves[0].outcome, MoveOutcome::Abandoned);
}

#[tokio::test]
async fn a_controller_that_puts_an_annotation_back_is_noticed_and_not_fought() {
    let bed = Bed::with(&["a*", "b", "c"]).await;
    let (mover, _gate, _term) = bed.arbiter(1);
    mover.hold(&HERE.into(), &wish("i1", "a", "b"), &Nudges::new()).await.unwrap();
    mover.close(&HERE.into(), MoveOutcome::Verified, None).await.unwrap();
    let readded = async || {
        let nodes = nodes(&bed).await;
        nodes.iter().filter_map(|node| Readded::of(&node.read("region"))).collect::<Vec<_>>()
    };
    assert_eq!(readded().await, []);

    bed.annotate("a", LEADER, Some("yes")).await;
    let marked = marks(&bed).await;
    let told = Readded { node: "a".into(), by: Some("gitops".to_owned()) };
    assert_eq!(readded().await, [told], "what the decision goes by names who did it");
    let error = mover.hold(&HERE.into(), &wish("i2", "a", "b"), &Nudges::new()).await.unwrap_err();

    assert!(error.is_refusal());
    assert!(
        matches!(&error, MoveError::Readded { node, manager: Some(manager) }
            if node.0 == "a" && manager == "gitops"),
        "{error}"
    );
    assert_eq!(marks(&bed).await, marked);
    assert_eq!(bed.status().await.moving, None);

    // Its operator can let us have our way again.
    bed.annotate("a", LEADER_BEFORE, None).await;
    mover.hold(&HERE.into(), &wish("i3", "a", "b"), &Nudges::new()).await.unwrap();
}

#[tokio::test]
async fn a_move_to_the_next_heir_is_undone_as_one_incident() {
    let mut bed = Bed::with(&["a*+", "b+", "c*+"]).await;
    let marked = marks(&bed).await;
    let (mover, _gate, _term) = bed.arbiter(1);
    let first = wish("i1", "a", "b");
    mover.hold(&HERE.into(), &first, &Nudges::new()).await.unwrap();
    let next = Move { origin: "a".into(), ..wish("i1", "b", "c") };
    mover.hold(&HERE.into(), &next, &Nudges::new()).await.unwrap();
    assert_eq!(bed.leader().await, Some("c".into()));

    let before = nodes(&bed).await;
    bed.leaders(&before);
    let back = Move { cause: Cause::Revert, from: "c".into(), to: "a".into(), ..first };
    let record = mover.hold(&HERE.into(), &back, &Nudges::new()).await.unwrap();

    let told = progress(Some(&record), Epoch(UnixTime(0)));
    assert!(matches!(&told, Progress::Written { to, .. } if to.0 == "a"), "{told:?}");
    assert_eq!(changes(&bed.leaders(&before)), ["c", "a"]);
    mover.close(&HERE.into(), MoveOutcome::Reverted, None).await.unwrap();
    assert_eq!(marks(&bed).await, marked);
}

#[tokio::test]
async fn what_was_never_wished_for_long_is_refused() {
    let bed = Bed::with(&["a*", "b-", "c"]).await;
    let (mover, _gate, _term) = bed.arbiter(1);
    let marked = marks(&bed).await;
    let table = [("a", "b"), ("a", "nobody"), ("c", "b"), ("b", "c")];
    for (from, to) in table {
        let error =
            mover.hold(&HERE.into(), &wish("i", from, to), &Nudges::new()).await.unwrap_err();
        assert!(error.is_refusal(), "{from} to {to}: {error}");
    }
    assert_eq!(marks(&bed).await, marked);
    assert_eq!(bed.status().await.moving, None);
}

#[tokio::test]
async fn closing_a_half_written_move_undoes_it() {
    let bed = Bed::with(&["a*", "b", "c"]).await;
    let marked = marks(&bed).await;
    let first = stop_after(&bed, 1, &wish("i1", "a", "b"), 4).await.unwrap();
    first.term.end();

    let (mover, _gate, _term) = bed.arbiter(1);
    mover.close(&HERE.into(), MoveOutcome::Verified, Some("paused".into())).await.unwrap();

    assert_eq!(marks(&bed).await, marked);
    assert_eq!(bed.status().await.moves[0].outcome, MoveOutcome::Abandoned);
    assert_eq!(bed.status().await.moves[0].note.as_deref(), Some("paused"));
}

#[tokio::test]
async fn a_move_goes_into_the_history_as_what_it_came_to() {
    use MoveOutcome::{Abandoned, Reverted, Verified};
    let table = [
        // put back before; the last that was said of the incident; in the history
        (false, Verified, (Verified, None)),
        (false, Reverted, (Abandoned, Some(UNPROVEN))),
        (false, Abandoned, (Abandoned, Some(UNPROVEN))),
        (true, Verified, (Reverted, None)),
        (true, Reverted, (Reverted, None)),
        (true, Abandoned, (Reverted, None)),
    ];
    for (put_back, said, expected) in table {
        let bed = Bed::with(&["a*", "b", "c"]).await;
        let (mover, _gate, _term) = bed.arbiter(1);
        let forth = wish("i1", "a", "b");
        mover.hold(&HERE.into(), &forth, &Nudges::new()).await.unwrap();
        if put_back {
            let back = Move { cause: Cause::Revert, from: "b".into(), to: "a".into(), ..forth };
            mover.hold(&HERE.into(), &back, &Nudges::new()).await.unwrap();
        }
        mover.close(&HERE.into(), said, None).await.unwrap();
        let past = bed.status().await.moves.remove(0);
        let found = (past.outcome, past.note.as_deref());
        assert_eq!(found, expected, "put back: {put_back}, {said:?}");
    }
}

#[test]
fn progress_is_read_from_the_record() {
    use MovePhase::{Recorded, Reverted, Reverting, Written};
    let epoch = Epoch(UnixTime(1_000));
    let at = epoch.moment(UnixTime(3_000));
    let table = [
        (Recorded, Progress::Recorded { to: "b".into() }),
        (Written, Progress::Written { to: "b".into(), at }),
        (Reverting, Progress::Recorded { to: "a".into() }),
        (Reverted, Progress::Written { to: "a".into(), at }),
    ];
    for (phase, expected) in table {
        let record = MoveRecord {
            started_ms: 2_000,
            written_ms: Some(3_000),
            ..record("i", ("a", "b"), phase)
        };
        assert_eq!(progress(Some(&record), epoch), expected);
    }
    assert_eq!(progress(None, epoch), Progress::Idle);
}

#[tokio::test]
async fn a_record_edited_by_hand_takes_no_annotation_away() {
    let bed = Bed::with(&["a*+", "b+", "c+"]).await;
    let marked = marks(&bed).await;
    let (mover, _gate, _term) = bed.arbiter(1);
    bed.edit(&serde_json::json!({ "move": {
        "incident": "by hand", "from": "a", "to": "c", "phase": "recorded", "fence": "x",
        "startedMs": 0, "nodes": [{ "node": "a" }],
    } }))
    .await;

    mover.take_over().await.unwrap();
    assert_eq!(marks(&bed).await, marked);
    assert_eq!(bed.leader().await, Some("a".into()));
    assert_eq!(bed.status().await.moving, None, "it is given up");
}
