//! A mesh of two locations, led by `a1` and `b1`, in which everything is well.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::super::view::{Arbiter, Told, View};
use crate::act::tests::bed;
use crate::cluster::objects::{
    HeirStatus, IncidentEnd, MeshLocation, MeshLocationSpec, MeshLocationStatus, MoveOutcome,
    MovePhase, MoveRecord, PastIncident, PastMove, Served, SlimNode, mesh_location_name,
};
use crate::evidence::kilo::{TOPOLOGY_LABEL, key};
use crate::evidence::{
    AddressKind, Flow, Heard, Location, NodeName, PathReport, Report, UnixTime, WindowReport,
};

/// The time in the mesh.
pub(in crate::operator) const NOW: UnixTime = UnixTime(1_800_000_000_000);

pub(in crate::operator) fn ago(seconds: i64) -> Time {
    Time(Timestamp::from_second(NOW.seconds() - seconds).unwrap())
}

/// Returns a Node of a location, Ready, with some more annotations.
pub(in crate::operator) fn node(name: &str, location: &str, more: &[(&str, &str)]) -> SlimNode {
    let number = match name.as_bytes() {
        [letter, digit] => (letter - b'a') * 10 + digit - b'0',
        _ => 200,
    };
    let seen = NOW.seconds() - 5;
    let mut annotations = BTreeMap::from([
        (key::ENDPOINT, format!("192.168.0.{number}:51820")),
        (key::INTERNAL_IP, format!("10.1.0.{number}/24")),
        (key::KEY, "GARLLbpcxSdsAVBtBpUlRIUSJbX4PBXreJzPbGxKMj4=".to_owned()),
        (key::LAST_SEEN, seen.to_string()),
        (key::LOCATION, location.to_owned()),
        (key::GRANULARITY, "location".to_owned()),
    ]);
    annotations.extend(more.iter().map(|(key, value)| (*key, (*value).to_owned())));
    serde_json::from_value(json!({
        "metadata": { "name": name, "annotations": annotations },
        "spec": { "podCIDR": format!("10.42.{number}.0/24") },
    }))
    .unwrap()
}

pub(in crate::operator) fn heir(node: &str, failed: &[&str]) -> HeirStatus {
    HeirStatus {
        node: node.into(),
        fit: failed.is_empty(),
        serves: 3,
        passed: vec!["Ready".to_owned()],
        failed: failed.iter().map(|why| (*why).to_owned()).collect(),
    }
}

/// Returns a location's object with a status in which all is well.
pub(in crate::operator) fn object(
    location: &str,
    leader: &str,
    heirs: Vec<HeirStatus>,
) -> MeshLocation {
    let location = Location::from(location);
    let spec = MeshLocationSpec { location: location.clone(), ..MeshLocationSpec::default() };
    let mut object = MeshLocation::new(&mesh_location_name(&location), spec);
    object.status = Some(MeshLocationStatus {
        leader: Some(leader.into()),
        why: Some("annotated, with a public endpoint".to_owned()),
        since: Some(ago(7200)),
        mode: Some("observe".to_owned()),
        heirs,
        verdict: Some("forwards".to_owned()),
        because: Some("fresh flows pass".to_owned()),
        served: Some(Served { now: 3, best: 3 }),
        ..MeshLocationStatus::default()
    });
    object
}

pub(in crate::operator) fn path(to: &str, flow: Flow, (sent, lost): (u32, u32)) -> PathReport {
    PathReport {
        to: to.into(),
        address: AddressKind::Pod,
        flow,
        burst: None,
        steady: WindowReport {
            sent,
            lost,
            oldest_ms: 59_000,
            newest_ms: 900,
            round_trip_us: Some(1_500),
            ..WindowReport::default()
        },
        background_permille: 0,
        never_worked: false,
    }
}

pub(in crate::operator) fn told(node: &str, location: &str, paths: Vec<PathReport>) -> Told {
    let report = Report {
        node: node.into(),
        location: location.into(),
        version: "0.1.0".to_owned(),
        incarnation: 1,
        sequence: 1,
        written_ms: NOW.0 - 10_000,
        paths,
        kilo_nodes: Some(5),
        ..Report::default()
    };
    Told { report, received: Some(UnixTime(NOW.0 - 10_000)) }
}

pub(in crate::operator) fn heard(from: &str) -> Heard {
    Heard { from: from.into(), flow: Flow::NewUdp, received: 5, span_ms: 10_000, newest_ms: 500 }
}

/// Returns the mesh: `a1` to `a3`, and `b1` and `b2` in a location whose name is empty.
pub(in crate::operator) fn view() -> View {
    let nodes = vec![
        node("a1", "a", &[(key::LEADER, "true")]),
        node("a2", "a", &[]),
        node("a3", "a", &[]),
        node("b1", "", &[]),
        node("b2", "", &[]),
    ];
    let locations = vec![
        object("a", "a1", vec![heir("a2", &[]), heir("a3", &["Hairpin: frames did not arrive"])]),
        object("", "b1", vec![HeirStatus { serves: 2, ..heir("b2", &[]) }]),
    ];
    let mut view = View::of(nodes, locations, TOPOLOGY_LABEL, NOW);
    view.arbiter = Arbiter::Holds { holder: "a2".to_owned() };
    let all: BTreeMap<&str, &str> =
        [("a1", "a"), ("a2", "a"), ("a3", "a"), ("b1", ""), ("b2", "")].into();
    view.reports = all
        .into_iter()
        .map(|(node, at)| (NodeName::from(node), told(node, at, Vec::new())))
        .collect();
    view
}

/// Changes the status of a location.
pub(in crate::operator) fn status<'v>(
    view: &'v mut View,
    location: &str,
) -> &'v mut MeshLocationStatus {
    view.locations.get_mut(&Location::from(location)).unwrap().status.as_mut().unwrap()
}

/// Annotates a node with one of our annotations.
pub(in crate::operator) fn annotate(view: &mut View, node: &str, key: &str, value: &str) {
    let node = view.mesh.nodes.get_mut(&NodeName::from(node)).unwrap();
    node.intent.insert(key.to_owned(), value.to_owned());
}

pub(in crate::operator) fn record(phase: MovePhase) -> MoveRecord {
    MoveRecord { started_ms: NOW.0 - 1_000, ..bed::record("a1-1", ("a1", "a2"), phase) }
}

pub(in crate::operator) fn past(to: &str, outcome: MoveOutcome) -> PastMove {
    PastMove {
        incident: "a1-1".to_owned(),
        from: Some("a1".into()),
        to: to.into(),
        why: "it drops new flows".to_owned(),
        outcome,
        note: None,
        started: ago(60),
        ended: ago(48),
        took_ms: BTreeMap::new(),
    }
}

pub(in crate::operator) fn incident(began: i64, end: Option<(i64, IncidentEnd)>) -> PastIncident {
    PastIncident {
        incident: format!("a1-{began}"),
        leader: "a1".into(),
        because: "fresh UDP: 0 of 8 passed".to_owned(),
        began: ago(began),
        would_move: Some("a2".into()),
        held: Some("the mode is observe".to_owned()),
        ended: end.map(|(at, _)| ago(at)),
        end: end.map(|(_, end)| end),
    }
}
