use std::collections::BTreeMap;

use super::*;

type Annotations = &'static [(&'static str, &'static str)];

/// A node at version 7 with these annotations.
fn node(annotations: &[(&str, &str)]) -> Value {
    let annotations: BTreeMap<_, _> = annotations.iter().copied().collect();
    json!({ "metadata": { "name": "n", "resourceVersion": "7", "annotations": annotations } })
}

fn applied(annotations: &[(&str, &str)], value: Option<&str>, incident: Option<&str>) -> Value {
    let mut document = node(annotations);
    let object = serde_json::from_value(document.clone()).unwrap();
    let step = Step { node: "n".into(), value: value.map(str::to_owned) };
    json_patch::patch(&mut document, &patch(&object, &step, incident)).unwrap();
    document
}

#[test]
fn a_write_remembers_what_stood_there_and_forgets_it_when_it_stands_there_again() {
    #[rustfmt::skip]
    let table: [(Annotations, Option<&str>, Annotations); 9] = [
        (&[],                 Some("true"), &[(LEADER, "true"), (LEADER_BEFORE, "absent")]),
        (&[(LEADER, "")],     None,         &[(LEADER_BEFORE, "=")]),
        (&[(LEADER, "no")],   None,         &[(LEADER_BEFORE, "=no")]),
        // Back to what the operator had, with the operator's own value.
        (&[(LEADER_BEFORE, "=no")],                        Some("true"), &[(LEADER, "no")]),
        (&[(LEADER, "true"), (LEADER_BEFORE, "absent")],   None,         &[]),
        (&[(LEADER, "true"), (LEADER_BEFORE, "absent"), (FENCE, "u/1")], None, &[]),
        // Remembered the first time only, and even if it cannot be read.
        (&[(LEADER, "x"), (LEADER_BEFORE, "=no")],         None,         &[(LEADER_BEFORE, "=no")]),
        (&[(LEADER, "x"), (LEADER_BEFORE, "what?")],       None,         &[(LEADER_BEFORE, "what?")]),
        (&[(LEADER_BEFORE, "absent")],                     Some("true"), &[(LEADER, "true"), (LEADER_BEFORE, "absent")]),
    ];
    for (before, value, after) in table {
        assert_eq!(applied(before, value, None), node(after), "{before:?} {value:?}");
    }
}

#[test]
fn a_write_of_an_incident_names_it_until_the_way_back_or_its_end() {
    #[rustfmt::skip]
    let table: [(Annotations, Option<&str>, Option<&str>, Annotations); 5] = [
        (&[],                                              Some("true"), Some("i"), &[(LEADER, "true"), (LEADER_BEFORE, "absent"), (INCIDENT, "i")]),
        (&[(LEADER, "true"), (LEADER_BEFORE, "absent")],   None,         Some("i"), &[(INCIDENT, "i")]),
        (&[(LEADER_BEFORE, "=no"), (INCIDENT, "h")],       Some("true"), Some("i"), &[(LEADER, "no"), (INCIDENT, "i")]),
        (&[(INCIDENT, "i")],                               Some("true"), None,      &[(LEADER, "true"), (LEADER_BEFORE, "absent")]),
        (&[(LEADER, "no"), (INCIDENT, "i")],               None,         None,      &[(LEADER_BEFORE, "=no")]),
    ];
    for (before, value, incident, after) in table {
        assert_eq!(applied(before, value, incident), node(after), "{before:?} {value:?}");
    }

    let marked = [(LEADER_BEFORE, "=no"), (INCIDENT, "i"), (FENCE, "u/1")];
    let mut document = node(&marked);
    let patch = release(&serde_json::from_value(document.clone()).unwrap()).unwrap();
    json_patch::patch(&mut document, &patch).unwrap();
    assert_eq!(document, node(&[(LEADER_BEFORE, "=no")]));
    assert_eq!(release(&serde_json::from_value(document).unwrap()), None);
    let mut next = node(&[(INCIDENT, "j"), (FENCE, "u/1")]);
    assert!(json_patch::patch(&mut next, &patch).is_err(), "another move has begun");
}

#[test]
fn a_write_fails_on_a_node_that_changed() {
    let object = serde_json::from_value(node(&[(LEADER, "x")])).unwrap();
    let patch = patch(&object, &Step { node: "n".into(), value: None }, Some("i"));

    let mut later = node(&[(LEADER, "x")]);
    later["metadata"]["resourceVersion"] = json!("8");
    assert!(json_patch::patch(&mut later, &patch).is_err());
    assert!(json_patch::patch(&mut node(&[(LEADER, "y")]), &patch).is_err());
    assert!(json_patch::patch(&mut node(&[(LEADER, "x")]), &patch).is_ok());
}

#[test]
fn only_what_we_took_away_can_be_put_back() {
    #[rustfmt::skip]
    let table: [(Annotations, bool); 5] = [
        (&[(LEADER, "x")],                            false),
        (&[(LEADER, "x"), (LEADER_BEFORE, "absent")], false),
        (&[(LEADER, "x"), (LEADER_BEFORE, "=x")],     true),
        (&[(LEADER_BEFORE, "=x")],                    false),
        (&[],                                         false),
    ];
    for (annotations, readded) in table {
        let object: SlimNode = serde_json::from_value(node(annotations)).unwrap();
        assert_eq!(object.read("region").was_readded(), readded, "{annotations:?}");
    }
}
