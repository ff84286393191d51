//! Create, update, delete; conflicts; dry runs; finalizers; events.

use http::Method;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, ObjectReference};
use kube::Api;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use serde_json::{Value, json};

use super::client::{JSON, LEASES, MERGE, NODES, cluster, lease, node};

#[tokio::test]
async fn a_new_object_gets_what_the_server_gives() {
    let cluster = cluster().await;

    let made = cluster.node("new").await;
    let metadata = &made["metadata"];
    assert_eq!(metadata["uid"].as_str().unwrap().len(), 36);
    let created: jiff::Timestamp = metadata["creationTimestamp"].as_str().unwrap().parse().unwrap();
    assert!((jiff::Timestamp::now().as_second() - created.as_second()).abs() < 60);
    assert!(metadata["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap() > 1);
    assert!(metadata.get("generation").is_none(), "nodes count no generations");
    assert_eq!(made["spec"]["podCIDRs"], json!(["10.42.7.0/24"]));
    assert_eq!(cluster.get(&format!("{NODES}/new")).await.expect(200), made);

    let message = cluster.post(NODES, &node("new")).await.refused(409, "AlreadyExists");
    assert_eq!(message, r#"nodes "new" already exists"#);
}

#[tokio::test]
async fn a_name_is_made_from_a_prefix() {
    let cluster = cluster().await;
    let mut lease = lease("", "a");
    lease["metadata"] = json!({"generateName": "made-"});

    let made = cluster.post(LEASES, &lease).await.expect(201);
    let name = made["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("made-") && name.len() > 5, "{name}");
    cluster.delete(&format!("{LEASES}/{name}")).await.expect(200);
}

#[tokio::test]
async fn bad_bodies_are_refused() {
    let cluster = cluster().await;
    cluster.node("bad").await;
    let path = format!("{NODES}/bad");

    cluster.send(Method::POST, NODES, JSON, "{").await.refused(400, "BadRequest");
    cluster.post(NODES, &lease("x", "y")).await.refused(400, "BadRequest");
    cluster.put(&path, &node("other")).await.refused(400, "BadRequest");
    let mut wrong = node("wrong");
    wrong["metadata"]["annotations"]["a"] = json!(1);
    cluster.post(NODES, &wrong).await.refused(400, "BadRequest");
    let answer = cluster.send(Method::POST, NODES, "text/plain", &node("x").to_string()).await;
    answer.refused(415, "UnsupportedMediaType");

    let mut nameless = node("x");
    nameless["metadata"] = json!({});
    assert_eq!(cluster.post(NODES, &nameless).await.invalid(), ["metadata.name"]);
    assert_eq!(cluster.post(NODES, &node("Not_A_Name")).await.invalid(), ["metadata.name"]);
    let mut labelled = node("labelled");
    labelled["metadata"]["labels"]["a"] = json!("not a label");
    assert_eq!(cluster.post(NODES, &labelled).await.invalid(), ["metadata.labels"]);
    let mut versioned = node("versioned");
    versioned["metadata"]["resourceVersion"] = json!("7");
    let message = cluster.post(NODES, &versioned).await.expect(500)["message"].clone();
    assert_eq!(message, "resourceVersion should not be set on objects to be created");
}

#[tokio::test]
async fn an_update_of_an_old_state_is_a_conflict() {
    let cluster = cluster().await;
    let old = cluster.node("stale").await;
    let path = format!("{NODES}/stale");
    let mut newer = old.clone();
    newer["metadata"]["annotations"]["a"] = json!("1");

    let newer = cluster.put(&path, &newer).await.expect(200);
    assert_ne!(newer["metadata"]["resourceVersion"], old["metadata"]["resourceVersion"]);
    assert_eq!(newer["metadata"]["uid"], old["metadata"]["uid"]);
    let message = cluster.put(&path, &old).await.refused(409, "Conflict");
    assert_eq!(
        message,
        "Operation cannot be fulfilled on nodes \"stale\": the object has been modified; please \
         apply your changes to the latest version and try again"
    );
    let revision = &old["metadata"]["resourceVersion"];
    let patch = json!({"metadata": {"resourceVersion": revision, "labels": {"b": "2"}}});
    cluster.patch(&path, MERGE, &patch).await.refused(409, "Conflict");

    let mut blind = newer;
    blind["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    blind["metadata"]["annotations"] = json!({"c": "3"});
    let blind = cluster.put(&path, &blind).await.expect(200);
    assert_eq!(blind["metadata"]["annotations"], json!({"c": "3"}));
}

#[tokio::test]
async fn leases_are_never_overwritten_blindly() {
    let cluster = cluster().await;
    let path = format!("{LEASES}/blind");
    cluster.delete(&path).await;

    let made = cluster.put(&path, &lease("blind", "a")).await.expect(201);
    assert_eq!(made["spec"]["renewTime"], "2026-01-02T03:04:05.678901Z");
    let wrong = cluster.put(&path, &lease("blind", "b")).await.invalid();
    assert_eq!(wrong, ["metadata.resourceVersion"]);
    let mut zero = made.clone();
    zero["spec"]["leaseDurationSeconds"] = json!(0);
    assert_eq!(cluster.put(&path, &zero).await.invalid(), ["spec.leaseDurationSeconds"]);
    let mut renewed = made;
    renewed["spec"]["holderIdentity"] = json!("b");
    let renewed = cluster.put(&path, &renewed).await.expect(200);
    assert_eq!(renewed["spec"]["holderIdentity"], "b");
}

#[tokio::test]
async fn of_many_who_compare_and_swap_none_is_lost() {
    let cluster = cluster().await;
    let path = format!("{LEASES}/counter");
    cluster.delete(&path).await;
    cluster.post(LEASES, &lease("counter", "0")).await.expect(201);
    let leases: Api<Lease> = Api::namespaced(cluster.client.clone(), "kube-system");

    let count = async || loop {
        let mut lease = leases.get("counter").await.unwrap();
        let spec = lease.spec.as_mut().unwrap();
        spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0) + 1);
        match leases.replace("counter", &Default::default(), &lease).await {
            Ok(_) => break,
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => panic!("{error}"),
        }
    };
    futures::future::join_all((0..10).map(|_| count())).await;

    let found = leases.get("counter").await.unwrap();
    assert_eq!(found.spec.unwrap().lease_transitions, Some(10));
}

#[tokio::test]
async fn what_changes_nothing_makes_no_revision() {
    let cluster = cluster().await;
    let made = cluster.node("calm").await;
    let path = format!("{NODES}/calm");

    let same = cluster.put(&path, &made).await.expect(200);
    assert_eq!(same, made);
    let patch = json!({"metadata": {"labels": {"place": "edge"}}});
    let same = cluster.patch(&path, MERGE, &patch).await.expect(200);
    assert_eq!(same["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
}

#[tokio::test]
async fn the_main_path_and_the_status_path_do_not_mix() {
    let cluster = cluster().await;
    let made = cluster.node("halves").await;
    let path = format!("{NODES}/halves");
    assert_eq!(made["status"]["conditions"][0]["type"], "Ready");

    let both = json!({"spec": {"unschedulable": true}, "status": {"phase": "Running"}});
    let main = cluster.patch(&path, MERGE, &both).await.expect(200);
    assert_eq!(main["spec"]["unschedulable"], true);
    assert!(main["status"].get("phase").is_none());
    let both = json!({"spec": {"unschedulable": null}, "status": {"phase": "Running"}});
    let status = cluster.patch(&format!("{path}/status"), MERGE, &both).await.expect(200);
    assert_eq!(status["spec"]["unschedulable"], true);
    assert_eq!(status["status"]["phase"], "Running");
}

#[tokio::test]
async fn some_fields_of_a_node_are_fixed() {
    let cluster = cluster().await;
    cluster.node("fixed").await;
    let path = format!("{NODES}/fixed");

    let patch = json!({"spec": {"podCIDR": "10.9.9.0/24", "podCIDRs": ["10.9.9.0/24"]}});
    assert_eq!(cluster.patch(&path, MERGE, &patch).await.code, 422);
    let patch = json!({"spec": {"taints": [{"key": "a", "effect": "Sometimes"}]}});
    assert_eq!(cluster.patch(&path, MERGE, &patch).await.code, 422);
}

#[tokio::test]
async fn a_dry_run_leaves_no_trace() {
    let cluster = cluster().await;
    let made = cluster.node("dry").await;
    let path = format!("{NODES}/dry");

    let patch = json!({"metadata": {"labels": {"wet": "yes"}}});
    let dry = cluster.patch(&format!("{path}?dryRun=All"), MERGE, &patch).await.expect(200);
    assert_eq!(dry["metadata"]["labels"]["wet"], "yes");
    cluster.delete(&format!("{path}?dryRun=All")).await.expect(200);
    cluster.post(&format!("{NODES}?dryRun=All"), &node("drier")).await.expect(201);

    assert_eq!(cluster.get(&path).await.expect(200), made);
    assert_eq!(cluster.get(&format!("{NODES}/drier")).await.code, 404);
    let odd = cluster.patch(&format!("{path}?dryRun=Some"), MERGE, &patch).await;
    assert_eq!(odd.invalid(), ["dryRun"]);
}

#[tokio::test]
async fn finalizers_hold_an_object() {
    let cluster = cluster().await;
    let path = format!("{LEASES}/held");
    let free = json!({"metadata": {"finalizers": null}});
    cluster.patch(&path, MERGE, &free).await;
    cluster.delete(&path).await;
    let mut held = lease("held", "a");
    held["metadata"]["finalizers"] = json!(["tanist.dev/held"]);
    cluster.post(LEASES, &held).await.expect(201);

    cluster.delete(&path).await.expect(200);
    let going = cluster.get(&path).await.expect(200);
    assert!(going["metadata"]["deletionTimestamp"].is_string());
    cluster.patch(&path, MERGE, &free).await.expect(200);
    assert_eq!(cluster.get(&path).await.code, 404);
}

#[tokio::test]
async fn a_delete_may_insist() {
    let cluster = cluster().await;
    let made = cluster.node("insisted").await;
    let path = format!("{NODES}/insisted");
    let delete = async |preconditions: Value| {
        let body = json!({"apiVersion": "v1", "kind": "DeleteOptions",
                          "preconditions": preconditions});
        cluster.send(Method::DELETE, &path, JSON, &body.to_string()).await
    };

    let other = "00000000-0000-4000-8000-000000000000";
    delete(json!({"uid": other})).await.refused(409, "Conflict");
    delete(json!({"resourceVersion": "2"})).await.refused(409, "Conflict");
    let status = delete(json!({"uid": made["metadata"]["uid"]})).await.expect(200);
    assert_eq!((&status["kind"], &status["status"]), (&json!("Status"), &json!("Success")));
    assert_eq!(status["details"]["uid"], made["metadata"]["uid"]);
}

#[tokio::test]
async fn events_are_one_store_under_two_names() {
    let cluster = cluster().await;
    let made = cluster.node("eventful").await;
    let reporter =
        Reporter { controller: "tanist.dev/conformance".into(), instance: Some("t".into()) };
    let recorder = Recorder::new(cluster.client.clone(), reporter);
    let about = ObjectReference {
        kind: Some("Node".to_owned()),
        api_version: Some("v1".to_owned()),
        name: Some("eventful".to_owned()),
        uid: made["metadata"]["uid"].as_str().map(str::to_owned),
        ..ObjectReference::default()
    };
    let event = Event {
        type_: EventType::Warning,
        reason: "Dark".to_owned(),
        note: Some("it does not forward".to_owned()),
        action: "Move".to_owned(),
        secondary: None,
    };
    recorder.publish(&event, &about).await.unwrap();

    let uid = made["metadata"]["uid"].as_str().unwrap();
    let old = format!("/api/v1/namespaces/default/events?fieldSelector=involvedObject.uid={uid}");
    let old = cluster.get(&old).await.expect(200);
    let new = "/apis/events.k8s.io/v1/namespaces/default/events";
    let new = cluster.get(&format!("{new}?fieldSelector=regarding.uid={uid}")).await.expect(200);
    assert_eq!(old["items"].as_array().unwrap().len(), 1, "{old}");
    assert_eq!(new["items"].as_array().unwrap().len(), 1, "{new}");
    let (old, new) = (&old["items"][0], &new["items"][0]);
    assert_eq!(old["message"], "it does not forward");
    assert_eq!(new["note"], "it does not forward");
    assert_eq!(old["involvedObject"]["name"], new["regarding"]["name"]);
    assert_eq!(old["metadata"]["uid"], new["metadata"]["uid"]);
}

#[tokio::test]
async fn events_must_be_whole() {
    let cluster = cluster().await;
    let path = "/apis/events.k8s.io/v1/namespaces/default/events";
    let event = json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"generateName": "half-"},
        "eventTime": "2026-01-02T03:04:05.678901Z",
        "type": "Normal",
        "reason": "Half",
        "action": "Half",
        "reportingController": "tanist.dev/conformance",
        "reportingInstance": "t",
        "regarding": {"kind": "Node", "name": "x"},
    });
    cluster.post(path, &event).await.expect(201);

    for key in ["reportingController", "reportingInstance", "action", "reason"] {
        let mut half = event.clone();
        half.as_object_mut().unwrap().remove(key);
        assert_eq!(cluster.post(path, &half).await.code, 422, "without {key}");
    }
}

#[tokio::test]
async fn of_a_new_event_only_the_series_changes() {
    let cluster = cluster().await;
    let made = json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"generateName": "fixed-"},
        "eventTime": "2026-01-02T03:04:05.678901Z",
        "type": "Normal",
        "reason": "Fixed",
        "action": "Fix",
        "note": "as it was",
        "reportingController": "tanist.dev/conformance",
        "reportingInstance": "t",
        "regarding": {"kind": "Node", "name": "x"},
    });
    let all = "/apis/events.k8s.io/v1/namespaces/default/events";
    let made = cluster.post(all, &made).await.expect(201);
    let path = format!("{all}/{}", made["metadata"]["name"].as_str().unwrap());

    let series = json!({"series": {"count": 2, "lastObservedTime": "2026-01-02T03:04:06.000000Z"}});
    let again = cluster.patch(&path, MERGE, &series).await.expect(200);
    assert_eq!(again["series"]["count"], 2);
    let note = json!({"note": "as it was not"});
    assert_eq!(cluster.patch(&path, MERGE, &note).await.invalid(), ["message"]);
}

#[tokio::test]
async fn an_old_event_lies_where_its_object_does() {
    let cluster = cluster().await;
    let post = async |namespace: &str, involved: &str| {
        let event = json!({
            "metadata": {"generateName": "placed-"},
            "involvedObject": {"kind": "Lease", "name": "x", "namespace": involved},
            "reason": "Placed",
            "message": "here",
        });
        cluster.post(&format!("/api/v1/namespaces/{namespace}/events"), &event).await
    };

    post("kube-system", "kube-system").await.expect(201);
    assert_eq!(post("default", "kube-system").await.invalid(), ["involvedObject.namespace"]);
    post("default", "").await.expect(201);
    assert_eq!(post("kube-system", "").await.invalid(), ["involvedObject.namespace"]);
}

#[tokio::test]
async fn typed_clients_read_what_they_wrote() {
    let cluster = cluster().await;
    cluster.delete(&format!("{NODES}/typed")).await;
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let node: Node = serde_json::from_value(node("typed")).unwrap();

    let made = nodes.create(&Default::default(), &node).await.unwrap();
    assert_eq!(nodes.get("typed").await.unwrap(), made);
    let listed = nodes.list(&Default::default()).await.unwrap();
    assert!(listed.items.iter().any(|node| node.metadata.uid == made.metadata.uid));
    let gone = nodes.delete("typed", &Default::default()).await.unwrap();
    assert!(gone.is_right());
    assert!(nodes.get_opt("typed").await.unwrap().is_none());
}
