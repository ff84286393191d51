//! JSON patch, merge patch, strategic merge patch.

use http::Method;
use serde_json::json;

use super::client::{JSON_PATCH, MERGE, NODES, STRATEGIC, cluster, custom};

#[tokio::test]
async fn a_json_patch_applies_as_a_whole_or_not_at_all() {
    let cluster = cluster().await;
    let made = cluster.node("jp").await;
    let path = format!("{NODES}/jp");
    let leader = "/metadata/annotations/kilo.squat.ai~1leader";

    let patch = json!([
        {"op": "test", "path": "/metadata/resourceVersion",
         "value": made["metadata"]["resourceVersion"]},
        {"op": "add", "path": leader, "value": "true"},
    ]);
    let led = cluster.patch(&path, JSON_PATCH, &patch).await.expect(200);
    assert_eq!(led["metadata"]["annotations"]["kilo.squat.ai/leader"], "true");

    // The same again: the revision is another one now.
    let message = cluster.patch(&path, JSON_PATCH, &patch).await.refused(422, "Invalid");
    assert_eq!(message, "the server rejected our request due to an error in our request");
    let half = json!([
        {"op": "remove", "path": leader},
        {"op": "test", "path": "/metadata/labels/place", "value": "cloud"},
    ]);
    cluster.patch(&path, JSON_PATCH, &half).await.refused(422, "Invalid");
    let missing = json!([{"op": "remove", "path": "/metadata/annotations/none"}]);
    cluster.patch(&path, JSON_PATCH, &missing).await.refused(422, "Invalid");
    let now = cluster.get(&path).await.expect(200);
    assert_eq!(now["metadata"]["resourceVersion"], led["metadata"]["resourceVersion"]);
}

#[tokio::test]
async fn a_json_patch_makes_no_parents() {
    let cluster = cluster().await;
    cluster.node("bare").await;
    let path = format!("{NODES}/bare");
    let none = json!({"metadata": {"annotations": null}});
    let bare = cluster.patch(&path, MERGE, &none).await.expect(200);
    assert!(bare["metadata"].get("annotations").is_none());

    let add = json!([{"op": "add", "path": "/metadata/annotations/a", "value": "b"}]);
    cluster.patch(&path, JSON_PATCH, &add).await.refused(422, "Invalid");
}

/// What RFC 6902 refuses and the server's library does not.
#[tokio::test]
async fn a_json_patch_takes_what_is_missing_for_null() {
    let cluster = cluster().await;
    cluster.node("lenient").await;
    let path = format!("{NODES}/lenient");
    let leader = "/metadata/annotations/kilo.squat.ai~1leader";

    let absent = json!([
        {"op": "test", "path": leader, "value": null},
        {"op": "replace", "path": leader, "value": "true"},
    ]);
    let led = cluster.patch(&path, JSON_PATCH, &absent).await.expect(200);
    assert_eq!(led["metadata"]["annotations"]["kilo.squat.ai/leader"], "true");
    cluster.patch(&path, JSON_PATCH, &absent).await.refused(422, "Invalid");
    let orphan = json!([{"op": "test", "path": "/status/images/none", "value": null}]);
    cluster.patch(&path, JSON_PATCH, &orphan).await.refused(422, "Invalid");
}

#[tokio::test]
async fn patches_that_are_none_are_refused() {
    let cluster = cluster().await;
    cluster.node("odd").await;
    let path = format!("{NODES}/odd");

    for kind in [JSON_PATCH, MERGE, STRATEGIC] {
        let answer = cluster.send(Method::PATCH, &path, kind, "{").await;
        answer.refused(400, "BadRequest");
    }
    cluster.patch(&path, "application/json", &json!({})).await.refused(415, "UnsupportedMediaType");
    let unknown = json!([{"op": "dance", "path": "/metadata"}]);
    cluster.patch(&path, JSON_PATCH, &unknown).await.refused(422, "Invalid");
    let numbered = json!({"metadata": {"labels": {"a": 1}}});
    assert_eq!(cluster.patch(&path, MERGE, &numbered).await.invalid(), ["patch"]);
    let named = json!({"metadata": {"name": "even"}});
    cluster.patch(&path, MERGE, &named).await.refused(400, "BadRequest");
}

#[tokio::test]
async fn a_merge_patch_replaces_lists_and_removes_by_null() {
    let cluster = cluster().await;
    cluster.node("mp").await;
    let path = format!("{NODES}/mp/status");

    let conditions = json!([{"type": "DiskPressure", "status": "False"}]);
    let patch = json!({"metadata": {"annotations": {"kilo.squat.ai/location": null, "a": "b"}},
                       "status": {"conditions": conditions}});
    let patched = cluster.patch(&path, MERGE, &patch).await.expect(200);
    let types = patched["status"]["conditions"].as_array().unwrap().iter();
    assert_eq!(types.map(|c| &c["type"]).collect::<Vec<_>>(), ["DiskPressure"]);
    assert_eq!(patched["metadata"]["annotations"], json!({"a": "b"}));
}

#[tokio::test]
async fn a_strategic_patch_merges_by_key() {
    let cluster = cluster().await;
    cluster.node("smp").await;
    let path = format!("{NODES}/smp/status");

    let conditions = json!([{"type": "DiskPressure", "status": "False"},
                            {"type": "Ready", "reason": "Told"}]);
    let addresses = json!([{"type": "InternalIP", "address": "10.0.0.1"}]);
    let patch = json!({"metadata": {"annotations": {"kilo.squat.ai/location": null}},
                       "status": {"conditions": conditions, "addresses": addresses}});
    let patched = cluster.patch(&path, STRATEGIC, &patch).await.expect(200);
    let mut found = patched["status"]["conditions"].as_array().unwrap().clone();
    found.sort_by_key(|condition| condition["type"].as_str().unwrap().to_owned());
    assert_eq!((&found[0]["type"], &found[0]["status"]), (&json!("DiskPressure"), &json!("False")));
    assert_eq!((&found[1]["status"], &found[1]["reason"]), (&json!("True"), &json!("Told")));
    assert!(patched["metadata"].get("annotations").is_none());

    let patch = json!({"status": {
        "conditions": [{"type": "Ready", "$patch": "delete"}],
        "addresses": [{"type": "InternalIP", "address": "10.0.0.2"}],
    }});
    let patched = cluster.patch(&path, STRATEGIC, &patch).await.expect(200);
    assert_eq!(patched["status"]["conditions"].as_array().unwrap().len(), 1);
    assert_eq!(
        patched["status"]["addresses"],
        json!([{"type": "InternalIP", "address": "10.0.0.2"}])
    );

    let patch = json!({"status": {"conditions": [{"status": "True"}]}});
    let keyless = cluster.patch(&path, STRATEGIC, &patch).await.expect(500);
    let message = keyless["message"].as_str().unwrap();
    assert!(message.ends_with("does not contain declared merge key: type"), "{message}");
}

#[tokio::test]
async fn taints_are_of_one_piece() {
    let cluster = cluster().await;
    cluster.node("tainted").await;
    let path = format!("{NODES}/tainted");
    let taint = |key: &str| json!({"key": key, "effect": "NoSchedule"});

    let both = json!({"spec": {"taints": [taint("a"), taint("b")]}});
    cluster.patch(&path, STRATEGIC, &both).await.expect(200);
    let one = json!({"spec": {"taints": [taint("c")]}});
    let patched = cluster.patch(&path, STRATEGIC, &one).await.expect(200);
    assert_eq!(patched["spec"]["taints"], json!([taint("c")]));
    let none = json!({"spec": {"taints": null}});
    let patched = cluster.patch(&path, STRATEGIC, &none).await.expect(200);
    assert!(patched["spec"].get("taints").is_none());
}

#[tokio::test]
async fn custom_resources_take_no_strategic_patch() {
    let cluster = cluster().await;
    let path = cluster.define("plains").await;
    cluster.post(&path, &custom("plains", "one", &json!({"place": "edge"}))).await.expect(201);

    let patch = json!({"spec": {"budget": 1}});
    let one = format!("{path}/one");
    cluster.patch(&one, STRATEGIC, &patch).await.refused(415, "UnsupportedMediaType");
    let patched = cluster.patch(&one, MERGE, &patch).await.expect(200);
    assert_eq!(patched["spec"]["budget"], 1);
}
