//! What people may wish for, and how a wish is followed to its end.

use super::mesh::*;
use crate::cluster::objects::{
    IncidentEnd, MeshLocationStatus, MoveOutcome, MovePhase, RequestAnswer,
};
use crate::decide::{Memory, MoveRequest, Readded};
use crate::evidence::{Location, NodeName};
use crate::operator::steer::{
    Acknowledgeable, Insistence, Refusal, Wanted, acknowledgeable, pinnable, wanted,
};
use crate::operator::view::{Arbiter, View};
use crate::operator::watch::{Ending, Follow};

type Change = fn(&mut View);

fn request(id: &str) -> MoveRequest {
    MoveRequest { id: id.to_owned(), by: "jane".to_owned(), ..MoveRequest::default() }
}

/// What changes, who is asked for and how, what follows.
type Row = (Change, Option<&'static str>, Insistence, Result<Wanted, Refusal>);

fn spec<'v>(
    view: &'v mut View,
    location: &str,
) -> &'v mut crate::cluster::objects::MeshLocationSpec {
    &mut view.locations.get_mut(&Location::from(location)).unwrap().spec
}

fn stale(view: &mut View, node: &str) {
    view.mesh.nodes.get_mut(&NodeName::from(node)).unwrap().last_seen = Some(1);
}

#[test]
fn a_move_is_asked_for_only_if_it_can_be_answered_and_is_fit() {
    use Insistence::{Fit, Forced};
    let to = |node: &str| Ok(Wanted::Move(node.into()));
    let unfit =
        |node: &str, why: &str| Err(Refusal::Unfit { node: node.into(), why: why.to_owned() });
    #[rustfmt::skip]
    let table: Vec<Row> = vec![
        (|_| {}, None, Fit, to("a2")),
        (|_| {}, Some("a2"), Fit, to("a2")),
        (|_| {}, Some("a1"), Fit, Ok(Wanted::Leads("a1".into()))),
        (|_| {}, Some("a3"), Fit, unfit("a3", "Hairpin: frames did not arrive")),
        (|_| {}, Some("a3"), Forced, to("a3")),
        (|_| {}, Some("b2"), Forced, Err(Refusal::NotMember("b2".into(), "a1, a2, a3".to_owned()))),
        (|v| stale(v, "a3"), Some("a3"), Forced, Err(Refusal::NotReady("a3".into()))),
        (|v| { status(v, "a").heirs.remove(0); }, None, Fit, Err(Refusal::NoHeir)),
        (|v| status(v, "a").heirs = vec![heir("a2", &["Proven: could not be tested"])], Some("a2"), Fit, to("a2")),
        (|v| status(v, "a").heirs = vec![heir("a2", &["AnswersInquest: answered inquest 3, not 4"])], None, Fit, to("a2")),
        (|v| status(v, "a").heirs = vec![heir("a2", &["Proven: no", "Ready: no"])], None, Fit, Err(Refusal::NoHeir)),
        (|v| status(v, "a").heirs.clear(), Some("a2"), Fit, unfit("a2", "the arbiter has not vetted it")),
        (|v| spec(v, "a").pause = Some("work".to_owned()), None, Forced, Err(Refusal::Paused("work".to_owned()))),
        (|v| annotate(v, "a1", "pause", "work"), None, Fit, Err(Refusal::Paused("work (annotation of a1)".to_owned()))),
        (|v| annotate(v, "a1", "pin", "true"), Some("a2"), Fit, Err(Refusal::Pinned("a1".into()))),
        (|v| annotate(v, "a2", "pin", "true"), Some("a2"), Fit, to("a2")),
        (|v| annotate(v, "a1", "pin", "perhaps"), Some("a2"), Fit, to("a2")),
        (|v| status(v, "a").moving = Some(record(MovePhase::Written)), None, Fit, Err(Refusal::Moving("a2".into()))),
        (|v| spec(v, "a").request = Some(request("r1")), None, Fit, Err(Refusal::Pending { by: "jane".to_owned(), id: "r1".to_owned() })),
        (|v| { spec(v, "a").request = Some(request("r1")); answer(status(v, "a"), "r1", "moving to a2"); }, None, Fit, to("a2")),
        (|v| annotate(v, "a1", "leader-before", "=true"), None, Fit, Err(Refusal::Readded(Readded { node: "a1".into(), by: None }))),
        (|v| annotate(v, "a1", "leader-before", "absent"), None, Fit, to("a2")),
        (|v| v.arbiter = Arbiter::Nobody, None, Fit, Err(Refusal::NoArbiter)),
        (|v| v.arbiter = Arbiter::Unknown, None, Fit, to("a2")),
        (|v| { v.locations.remove(&"a".into()); }, None, Fit, Err(Refusal::NoObject)),
    ];
    for (index, (change, to, insistence, expected)) in table.into_iter().enumerate() {
        let mut view = view();
        change(&mut view);
        let to = to.map(NodeName::from);
        let outcome = wanted(&view, &"a".into(), to.as_ref(), insistence);
        assert_eq!(outcome, expected, "row {index}");
    }
}

#[test]
fn a_node_is_pinned_only_if_it_can_lead_and_nobody_else_is_pinned() {
    use Insistence::{Fit, Forced};
    let cannot = |why: &str| Err(Refusal::CannotLead { node: "a2".into(), why: why.to_owned() });
    fn a2(view: &mut View) -> &mut crate::evidence::Node {
        view.mesh.nodes.get_mut(&NodeName::from("a2")).unwrap()
    }
    #[rustfmt::skip]
    let table: Vec<(Change, Insistence, Result<Location, Refusal>)> = vec![
        (|_| {}, Fit, Ok("a".into())),
        (|v| annotate(v, "a2", "pin", "true"), Fit, Ok("a".into())),
        (|v| annotate(v, "a3", "pin", "true"), Forced, Err(Refusal::Pinned("a3".into()))),
        (|v| annotate(v, "b1", "pin", "true"), Fit, Ok("a".into())),
        (|v| a2(v).cordoned = true, Fit, cannot("it is cordoned")),
        (|v| a2(v).cordoned = true, Forced, Ok("a".into())),
        (|v| a2(v).deleting = true, Fit, cannot("it is being deleted")),
        (|v| stale(v, "a2"), Fit, cannot("Kilo does not count it as Ready")),
        (|v| a2(v).internal_ip = None, Fit, cannot("it has no internal address, so it is a location of its own")),
        (|v| { v.mesh.nodes.remove(&NodeName::from("a2")); }, Forced, Err(Refusal::NoNode("a2".into()))),
    ];
    for (index, (change, insistence, expected)) in table.into_iter().enumerate() {
        let mut view = view();
        change(&mut view);
        assert_eq!(pinnable(&view, &"a2".into(), insistence), expected, "row {index}");
    }
}

#[test]
fn only_the_incident_at_hand_is_acknowledged_and_the_known_ones_are_named() {
    let unknown = |asked: &str, known: &str| {
        Err(Refusal::NoIncident { asked: asked.to_owned(), known: known.to_owned() })
    };
    let open = |incident: &str| Ok(Acknowledgeable::Open(incident.to_owned()));
    let mut view = view();
    let ask = |view: &View, asked| acknowledgeable(view, &"a".into(), asked);
    assert_eq!(ask(&view, None), Err(Refusal::NothingToAcknowledge));
    assert_eq!(ask(&view, Some("a1-7")), Err(Refusal::NothingToAcknowledge));

    status(&mut view, "a").incident = Some("a1-7".to_owned());
    assert_eq!(ask(&view, None), open("a1-7"));
    assert_eq!(ask(&view, Some("a1-7")), open("a1-7"));
    assert_eq!(ask(&view, Some("a1-8")), unknown("a1-8", "there is a1-7"));

    let past = incident(900, Some((600, IncidentEnd::Healed)));
    let known = format!("there is a1-7; over already: {}", past.incident);
    status(&mut view, "a").incidents = vec![past.clone()];
    assert_eq!(ask(&view, Some(&past.incident)), unknown(&past.incident, &known));

    let memory = Memory { acknowledged: Some("a1-7".to_owned()), ..Memory::default() };
    status(&mut view, "a").memory = Some(serde_json::to_value(memory).unwrap());
    assert_eq!(ask(&view, None), Ok(Acknowledgeable::Done("a1-7".to_owned())));
}

fn answer(status: &mut MeshLocationStatus, id: &str, answer: &str) {
    status.answered = Some(RequestAnswer { id: id.to_owned(), answer: answer.to_owned() });
}

#[test]
fn a_request_is_followed_from_its_answer_to_its_proof() {
    let mut status = MeshLocationStatus {
        moves: vec![past("a9", MoveOutcome::Reverted)],
        ..MeshLocationStatus::default()
    };
    let mut follow = Follow::begin("r1", &status);
    answer(&mut status, "r0", "moving to a9");
    assert_eq!(follow.look(&status), (vec![], None), "an older request's answer is none");

    answer(&mut status, "r1", "moving to a2");
    let said = vec!["the arbiter answers: moving to a2".to_owned()];
    assert_eq!(follow.look(&status), (said, None));
    assert!(follow.is_granted());
    status.moving = Some(record(MovePhase::Recorded));
    assert_eq!(follow.look(&status), (vec!["the move to a2 is on record".to_owned()], None));
    assert_eq!(follow.look(&status), (vec![], None), "nothing is said twice");
    status.moving = Some(record(MovePhase::Written));
    assert_eq!(follow.look(&status).0.len(), 1);

    status.moving = None;
    let done = past("a2", MoveOutcome::Verified);
    status.moves.insert(0, done.clone());
    assert_eq!(follow.look(&status), (vec![], Some(Ending::Moved(Box::new(done)))));
}

#[test]
fn a_move_that_is_given_up_ends_it() {
    let mut status = MeshLocationStatus::default();
    let mut follow = Follow::begin("r1", &status);
    answer(&mut status, "r1", "moving to a2");
    follow.look(&status);
    let past = crate::decide::PastMove {
        incident: "a1-1".to_owned(),
        from: "a1".into(),
        to: "a2".into(),
        cause: crate::decide::Cause::Request,
        at: NOW,
        end: crate::decide::End::Refused,
    };
    let memory = Memory { moves: vec![past], ..Default::default() };
    status.memory = Some(serde_json::to_value(memory).unwrap());
    assert_eq!(follow.look(&status), (vec![], Some(Ending::GivenUp)));
}

#[test]
fn a_refusal_ends_it() {
    let table = [
        ("refused, no heir is fit", Ending::Refused("refused, no heir is fit".to_owned())),
        ("it leads already", Ending::Needless("it leads already".to_owned())),
    ];
    for (said, ending) in table {
        let mut status = MeshLocationStatus::default();
        let mut follow = Follow::begin("r1", &status);
        answer(&mut status, "r1", said);
        assert_eq!(follow.look(&status).1, Some(ending));
    }
}
