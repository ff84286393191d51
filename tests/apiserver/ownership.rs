//! Server-side apply, and who owns which field.

use http::{Method, Request};
use kube::client::Body;
use serde_json::{Value, json};

use super::client::{APPLY, Answer, Cluster, MERGE, NODES, cluster, custom, entry};

async fn apply(cluster: &Cluster, path: &str, manager: &str, object: &Value) -> Answer {
    let path = format!("{path}?fieldManager={manager}");
    cluster.patch(&path, APPLY, object).await
}

fn wish(name: &str, annotations: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Node",
           "metadata": {"name": name, "annotations": annotations}})
}

#[tokio::test]
async fn each_writer_owns_what_it_wrote() {
    let cluster = cluster().await;
    cluster.node("owned").await;
    let path = format!("{NODES}/owned");
    let leader = json!({"metadata": {"annotations": {"kilo.squat.ai/leader": "true"}}});
    let field = "/fieldsV1/f:metadata/f:annotations/f:kilo.squat.ai~1leader";
    let owns = |object: &Value, manager: &str| {
        entry(object, manager, "Update").is_some_and(|entry| entry.pointer(field).is_some())
    };

    let by = |manager: &str| format!("{path}?fieldManager={manager}");
    let first = cluster.patch(&by("talos"), MERGE, &leader).await.expect(200);
    assert!(owns(&first, "talos"));
    assert!(entry(&first, "talos", "Update").unwrap()["time"].is_string());
    let gone = json!({"metadata": {"annotations": {"kilo.squat.ai/leader": null}}});
    let second = cluster.patch(&by("tanist"), MERGE, &gone).await.expect(200);
    assert!(!owns(&second, "talos") && !owns(&second, "tanist"));
    let agent = Request::builder().method(Method::PATCH).uri(&path).header("content-type", MERGE);
    let agent = agent.header("user-agent", "gitops/v1.2 (linux)");
    let agent = agent.body(Body::from(leader.to_string().into_bytes())).unwrap();
    let third = cluster.ask(agent).await.expect(200);
    assert!(owns(&third, "gitops"), "named after its user agent: {third}");

    let other = json!({"metadata": {"annotations": {"kilo.squat.ai/leader": "yes"}}});
    let fourth = cluster.patch(&by("tanist"), MERGE, &other).await.expect(200);
    assert!(owns(&fourth, "tanist") && !owns(&fourth, "gitops"), "who changes it owns it alone");
}

#[tokio::test]
async fn the_status_path_has_entries_of_its_own() {
    let cluster = cluster().await;
    cluster.node("statused").await;

    let patch = json!({"status": {"phase": "Running"}});
    let path = format!("{NODES}/statused/status?fieldManager=kubelet");
    let patched = cluster.patch(&path, MERGE, &patch).await.expect(200);
    let entry = entry(&patched, "kubelet", "Update").unwrap();
    assert_eq!(entry["subresource"], "status");
    assert_eq!(entry["apiVersion"], "v1");
    assert!(entry.pointer("/fieldsV1/f:status/f:phase").is_some());
}

#[tokio::test]
async fn an_apply_creates_changes_and_takes_back() {
    let cluster = cluster().await;
    let path = cluster.define("wishes").await;
    let one = format!("{path}/one");

    let wish = custom("wishes", "one", &json!({"place": "edge", "budget": 3}));
    let made = apply(&cluster, &one, "alice", &wish).await.expect(201);
    assert_eq!(made["spec"]["mode"], "observe");
    let owned = entry(&made, "alice", "Apply").unwrap();
    assert_eq!(owned["fieldsV1"], json!({"f:spec": {"f:place": {}, "f:budget": {}}}));

    let again = apply(&cluster, &one, "alice", &wish).await.expect(200);
    assert_eq!(again["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
    let null = custom("wishes", "one", &json!({"place": "edge", "budget": null}));
    let null = apply(&cluster, &one, "alice", &null).await.invalid();
    assert_eq!(null, ["spec.budget"], "an apply drops no nulls");
    let less = custom("wishes", "one", &json!({"place": "edge"}));
    let less = apply(&cluster, &one, "alice", &less).await.expect(200);
    assert!(less["spec"].get("budget").is_none(), "what is no longer wished for goes");
    assert_eq!(less["metadata"]["generation"], 2);
}

#[tokio::test]
async fn an_apply_respects_others_unless_forced() {
    let cluster = cluster().await;
    cluster.node("contested").await;
    let path = format!("{NODES}/contested");

    let alice = wish("contested", &json!({"a": "1", "b": "1"}));
    apply(&cluster, &path, "alice", &alice).await.expect(200);
    let same = wish("contested", &json!({"a": "1"}));
    apply(&cluster, &path, "bob", &same).await.expect(200);
    let other = wish("contested", &json!({"a": "2"}));
    let refused = apply(&cluster, &path, "bob", &other).await;
    let cause = refused.body["details"]["causes"][0].clone();
    let message = refused.refused(409, "Conflict");
    assert!(
        message.starts_with("Apply failed with 1 conflict: conflict with \"alice\""),
        "{message}"
    );
    assert_eq!(cause["reason"], "FieldManagerConflict");
    assert_eq!(cause["field"], ".metadata.annotations.a");

    let forced = apply(&cluster, &path, "bob&force=true", &other).await.expect(200);
    assert_eq!(forced["metadata"]["annotations"]["a"], "2");
    let left = entry(&forced, "alice", "Apply").unwrap();
    let left = left.pointer("/fieldsV1/f:metadata/f:annotations").unwrap();
    assert_eq!(left, &json!({"f:b": {}}));

    // What alice shares with nobody goes when she no longer wants it; the rest stays.
    let none = wish("contested", &json!({}));
    let none = apply(&cluster, &path, "alice", &none).await.expect(200);
    assert!(none["metadata"]["annotations"].get("b").is_none());
    assert_eq!(none["metadata"]["annotations"]["a"], "2");
    assert_eq!(none["metadata"]["annotations"]["kilo.squat.ai/location"], "edge");
}

#[tokio::test]
async fn lists_by_key_have_an_owner_per_element() {
    let cluster = cluster().await;
    let path = cluster.define("elements").await;
    let object = custom("elements", "one", &json!({"place": "edge"}));
    cluster.post(&path, &object).await.expect(201);
    let status = format!("{path}/one/status");
    let wish = |kind: &str| {
        json!({"apiVersion": "conformance.tanist.dev/v1", "kind": "Element",
               "metadata": {"name": "one"},
               "status": {"conditions": [{"type": kind, "status": "True"}]}})
    };

    apply(&cluster, &status, "alice", &wish("Well")).await.expect(200);
    let both = apply(&cluster, &status, "bob", &wish("Near")).await.expect(200);
    assert_eq!(both["status"]["conditions"].as_array().unwrap().len(), 2);
    let mut less = wish("Well");
    less["status"] = json!({"leader": "n1"});
    let less = apply(&cluster, &status, "alice", &less).await.expect(200);
    let left = less["status"]["conditions"].as_array().unwrap();
    assert_eq!(left.iter().map(|c| &c["type"]).collect::<Vec<_>>(), ["Near"]);
}

#[tokio::test]
async fn an_apply_must_say_who_and_what() {
    let cluster = cluster().await;
    cluster.node("vague").await;
    let path = format!("{NODES}/vague");

    let nobody = cluster.patch(&path, APPLY, &wish("vague", &json!({}))).await;
    assert_eq!(nobody.invalid(), ["fieldManager"]);
    let mut unversioned = wish("vague", &json!({}));
    unversioned["metadata"]["managedFields"] = json!([{"manager": "x"}]);
    apply(&cluster, &path, "alice", &unversioned).await.refused(400, "BadRequest");
    let mut unknown = wish("vague", &json!({}));
    unknown["spec"] = json!({"unknown": 1});
    let message = apply(&cluster, &path, "alice", &unknown).await.expect(500);
    let message = message["message"].as_str().unwrap();
    assert!(message.contains(".spec.unknown: field not declared in schema"), "{message}");
    let kindless = json!({"metadata": {"name": "vague"}});
    assert_eq!(apply(&cluster, &path, "alice", &kindless).await.code, 400);
}

#[tokio::test]
async fn nobody_owns_what_its_write_did_not_change() {
    let cluster = cluster().await;
    let path = cluster.define("resets").await;
    let mut object = custom("resets", "one", &json!({"place": "edge"}));
    object["status"] = json!({"leader": "n1"});

    let made = cluster.post(&format!("{path}?fieldManager=carol"), &object).await.expect(201);
    let owned = &entry(&made, "carol", "Update").unwrap()["fieldsV1"];
    assert!(owned.get("f:status").is_none() && owned.get("f:spec").is_some(), "{owned}");
    let status = format!("{path}/one/status");
    object["metadata"]["labels"] = json!({"a": "b"});
    let applied = apply(&cluster, &status, "alice", &object).await.expect(200);
    let owned = &entry(&applied, "alice", "Apply").unwrap()["fieldsV1"];
    assert_eq!(*owned, json!({"f:status": {"f:leader": {}}}));
    assert!(applied["metadata"].get("labels").is_none());

    object["metadata"]["name"] = json!("two");
    apply(&cluster, &format!("{path}/two/status"), "alice", &object).await.refused(404, "NotFound");
}
