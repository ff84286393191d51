use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::*;
use crate::cluster::objects::MeshLocationSpec;
use crate::decide::Policy;
use crate::diagnose::Thresholds;
use crate::evidence::Moment;
use crate::evidence::kilo::key;
use crate::judge::Judge;

fn node(name: &str, location: &str, more: &[(&str, &str)]) -> Arc<SlimNode> {
    let mut annotations = BTreeMap::from([(key::LOCATION, location)]);
    annotations.extend(more.iter().copied());
    let object = json!({ "metadata": { "name": name, "annotations": annotations } });
    Arc::new(serde_json::from_value(object).unwrap())
}

fn nodes(nodes: &[Arc<SlimNode>]) -> Objects<SlimNode> {
    nodes.iter().map(|node| (node.name().to_owned(), Arc::clone(node))).collect()
}

fn location(name: &str, location: &str, pause: Option<&str>) -> (String, Arc<MeshLocation>) {
    let pause = pause.map(str::to_owned);
    let spec = MeshLocationSpec { location: location.into(), pause, ..MeshLocationSpec::default() };
    (name.to_owned(), Arc::new(MeshLocation::new(name, spec)))
}

const EPOCH: Epoch = Epoch(UnixTime(0));

fn intent(inputs: &[Input], location: &str) -> Intent {
    let of = |input: &Input| {
        let Input::Intent(at, intent) = input else { return None };
        (*at == location.into()).then(|| (**intent).clone())
    };
    inputs.iter().rev().find_map(of).unwrap_or_default()
}

#[test]
fn an_annotation_that_means_nothing_is_complained_of() {
    let mut intake = Intake::default();
    let told = [
        ("tanist.dev/pined", "true"),
        ("tanist.dev/leader-before", "="),
        ("tanist.dev/pin", "true"),
    ];
    intake.nodes(&nodes(&[node("a1", "a", &told)]), "region");
    let intent = intent(&intake.intents(), "a");
    assert_eq!(intent.pins, ["a1".into()]);
    assert_eq!(
        intent.complaints,
        ["annotation tanist.dev/pined of a1 means nothing; there are promotion, pin and pause"]
    );
}

#[test]
fn an_object_under_another_name_is_not_read_and_complained_of() {
    let own = mesh_location_name(&"a".into());
    let mut intake = Intake::default();
    let objects = [location(&own, "a", None), location("mine", "a", Some("work"))].into();
    intake.locations(&objects, EPOCH);
    let told = intent(&intake.intents(), "a");
    assert_eq!(told.pause, None);
    let complaint =
        format!("MeshLocation mine names location \"a\", whose object is {own}; it is not read");
    assert_eq!(told.complaints, [complaint]);
    assert_eq!(intake.object(&"a".into()).unwrap().metadata.name, Some(own.clone()));

    intake.locations(&[location(&own, "a", Some("work"))].into(), EPOCH);
    let told = intent(&intake.intents(), "a");
    assert_eq!((told.pause.as_deref(), told.complaints), (Some("work"), vec![]));
}

#[test]
fn what_is_wanted_of_a_location_stays_wanted_while_its_nodes_are_away() {
    let own = mesh_location_name(&"a".into());
    let paused = Objects::from([location(&own, "a", Some("work"))]);
    let (here, away) = (nodes(&[node("a1", "a", &[])]), Objects::new());
    let mut intake = Intake::default();
    let mut judge = Judge::new(Policy::default(), Thresholds::default(), EPOCH);
    let mut wanted = |locations: &Objects<_>, nodes: &Objects<_>, second| {
        let now = Moment::at(Duration::from_secs(second));
        let mut inputs = intake.locations(locations, EPOCH);
        inputs.extend(intake.nodes(nodes, "region"));
        inputs.extend(intake.intents());
        inputs.into_iter().for_each(|input| judge.take(input, now));
        judge.round(now);
        let standing = judge.standing();
        let paused = intent(&standing, "a").pause;
        (paused, standing.iter().filter(|input| matches!(input, Input::Intent(..))).count())
    };

    assert_eq!(wanted(&paused, &here, 1).0.as_deref(), Some("work"));
    wanted(&paused, &away, 2);
    assert_eq!(wanted(&paused, &here, 3).0.as_deref(), Some("work"), "scaled to nothing and back");

    assert_eq!(wanted(&Objects::new(), &away, 4), (None, 0), "nothing is kept of what is gone");
    assert_eq!(wanted(&Objects::new(), &here, 5).0, None);
}

#[test]
fn a_report_in_another_nodes_name_is_not_heard() {
    let report = |name: &str| {
        let object = serde_json::json!({
            "metadata": { "name": name },
            "spec": { "node": "a", "location": "cloud", "version": "0", "incarnation": 1,
                      "sequence": 1, "writtenMs": 0 },
        });
        let object: RelayReport = serde_json::from_value(object).unwrap();
        (name.to_owned(), Arc::new(object))
    };
    let mut intake = Intake::default();
    let heard = intake.reports(&Objects::from([report("a"), report("b")]));
    assert_eq!(heard.len(), 1, "{heard:?}");
}
