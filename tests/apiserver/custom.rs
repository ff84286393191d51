//! Custom resources: schemas, generations, the status path.

use serde_json::{Value, json};

use super::client::{DEFINITIONS, JSON_PATCH, MERGE, cluster, custom, definition};

#[tokio::test]
async fn defaults_are_filled_in_and_the_unknown_is_dropped() {
    let cluster = cluster().await;
    let path = cluster.define("fills").await;

    let spec = json!({"place": "edge", "unknown": 1, "nested": {"strange": true}, "note": null});
    let made = cluster.post(&path, &custom("fills", "one", &spec)).await.expect(201);
    let filled = json!({"place": "edge", "mode": "observe", "nested": {"depth": 2}, "note": null});
    assert_eq!(made["spec"], filled);

    let nulls = json!({"place": "edge", "mode": null, "budget": null});
    let made = cluster.post(&path, &custom("fills", "nulls", &nulls)).await.expect(201);
    assert_eq!(made["spec"], json!({"place": "edge", "mode": "observe"}), "nulls are dropped");
    let kindless = json!({"metadata": {"name": "x"}, "spec": {"place": "edge"}});
    cluster.post(&path, &kindless).await.refused(400, "BadRequest");
    let strict = format!("{path}?fieldValidation=Strict");
    let message = cluster.post(&strict, &custom("fills", "two", &spec)).await;
    let message = message.refused(400, "BadRequest");
    assert!(message.contains(r#"unknown field "spec.unknown""#), "{message}");
}

#[tokio::test]
async fn the_schema_is_kept() {
    let cluster = cluster().await;
    let path = cluster.define("kepts").await;

    #[rustfmt::skip]
    let table: [(Value, &[&str]); 9] = [
        (json!({}),                                           &["spec.place"]),
        (json!({"place": 7}),                                 &["spec.place"]),
        (json!({"place": "muchtoolong"}),                     &["spec.place"]),
        (json!({"place": "EDGE"}),                            &["spec.place"]),
        (json!({"place": "edge", "mode": "dance"}),           &["spec.mode"]),
        (json!({"place": "edge", "budget": 10}),              &["spec.budget"]),
        (json!({"place": "edge", "budget": -1}),              &["spec.budget"]),
        (json!({"place": "edge", "peers": ["a", 2]}),         &["spec.peers[1]"]),
        (json!({"place": "edge", "peers": [1, 2, 3, 4]}),     &["spec.peers"]),
    ];
    for (spec, wrong) in table {
        let found = cluster.post(&path, &custom("kepts", "one", &spec)).await.invalid();
        assert!(wrong.iter().all(|field| found.iter().any(|f| f == field)), "{spec}: {found:?}");
    }
    let both = json!({"place": "EDGE", "mode": "dance"});
    let mut found = cluster.post(&path, &custom("kepts", "one", &both)).await.invalid();
    found.sort();
    assert_eq!(found, ["spec.mode", "spec.place"]);

    cluster.post(&path, &custom("kepts", "one", &json!({"place": "edge"}))).await.expect(201);
    let patch = json!({"spec": {"mode": "dance"}});
    let found = cluster.patch(&format!("{path}/one"), MERGE, &patch).await.invalid();
    assert_eq!(found, ["spec.mode"]);
}

#[tokio::test]
async fn status_has_a_path_of_its_own() {
    let cluster = cluster().await;
    let path = cluster.define("halves").await;
    let one = format!("{path}/one");
    let mut object = custom("halves", "one", &json!({"place": "edge"}));
    object["status"] = json!({"leader": "n1"});

    let made = cluster.post(&path, &object).await.expect(201);
    assert!(made.get("status").is_none(), "a new object has no status");
    assert_eq!(made["metadata"]["generation"], 1);

    let both = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"budget": 5},
                      "status": {"leader": "n2"}});
    let main = cluster.patch(&one, MERGE, &both).await.expect(200);
    assert!(main.get("status").is_none());
    assert_eq!((&main["spec"]["budget"], &main["metadata"]["generation"]), (&json!(5), &json!(2)));

    let both = json!({"metadata": {"labels": {"a": "c"}}, "spec": {"budget": 6},
                      "status": {"leader": "n3"}});
    let status = cluster.patch(&format!("{one}/status"), MERGE, &both).await.expect(200);
    assert_eq!(status["status"]["leader"], "n3");
    assert_eq!(status["spec"]["budget"], 5);
    assert_eq!(status["metadata"]["labels"]["a"], "b");
    assert_eq!(status["metadata"]["generation"], 2);

    let swap = json!([
        {"op": "test", "path": "/status/leader", "value": "n2"},
        {"op": "replace", "path": "/status/leader", "value": "n4"},
    ]);
    cluster.patch(&format!("{one}/status"), JSON_PATCH, &swap).await.refused(422, "Invalid");
    let wrong = json!({"status": {"leader": 4}});
    let found = cluster.patch(&format!("{one}/status"), MERGE, &wrong).await.invalid();
    assert_eq!(found, ["status.leader"]);
    let labelled = json!({"metadata": {"labels": {"a": "d"}}});
    let labelled = cluster.patch(&one, MERGE, &labelled).await.expect(200);
    assert_eq!(labelled["metadata"]["generation"], 2, "labels make no generation");
    assert_eq!(labelled["status"]["leader"], "n3");
}

#[tokio::test]
async fn a_put_needs_the_revision() {
    let cluster = cluster().await;
    let path = cluster.define("puts").await;
    let made = custom("puts", "one", &json!({"place": "edge"}));
    cluster.post(&path, &made).await.expect(201);

    let wrong = cluster.put(&format!("{path}/one"), &made).await.invalid();
    assert_eq!(wrong, ["metadata.resourceVersion"]);
}

#[tokio::test]
async fn definitions_come_and_go() {
    let cluster = cluster().await;
    cluster.define("passings").await;
    let path = format!("{DEFINITIONS}/passings.conformance.tanist.dev");

    let found = cluster.get(&path).await.expect(200);
    let established = found["status"]["conditions"].as_array().unwrap().iter();
    let mut established = established.filter(|condition| condition["type"] == "Established");
    assert_eq!(established.next().unwrap()["status"], "True");
    assert_eq!(found["spec"]["names"]["listKind"], "PassingList");

    cluster.delete(&path).await.expect(200);
    let group = "/apis/never.tanist.dev/v1/passings";
    assert_eq!(cluster.get(group).await.expect(404), "404 page not found\n");
    cluster.get_until("/apis/conformance.tanist.dev/v1/passings", 404).await;
}

#[tokio::test]
async fn definitions_must_be_sound() {
    let cluster = cluster().await;

    let mut misnamed = definition("misnameds");
    misnamed["metadata"]["name"] = json!("other.conformance.tanist.dev");
    assert!(
        cluster.post(DEFINITIONS, &misnamed).await.invalid().contains(&"metadata.name".to_owned())
    );
    let mut shapeless = definition("shapelesses");
    let schema = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/budget";
    shapeless.pointer_mut(schema).unwrap().as_object_mut().unwrap().remove("type");
    let wrong = cluster.post(DEFINITIONS, &shapeless).await.invalid();
    assert!(wrong.iter().any(|field| field.ends_with("properties[budget].type")), "{wrong:?}");
}
