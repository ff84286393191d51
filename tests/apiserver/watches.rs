//! Watches: order, resumption, bookmarks, selectors, kube's own watcher.

use std::pin::pin;

use futures::{AsyncBufReadExt, TryStreamExt};
use http::Request;
use k8s_openapi::api::core::v1::Node;
use kube::core::{DynamicObject, PartialObjectMeta};
use kube::runtime::watcher::{self, Event};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::client::{Cluster, LEASES, MERGE, NODES, cluster, lease};

/// Reads events of a watch until `enough` says so, or the watch ends.
async fn watch(cluster: &Cluster, path: &str, enough: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let request = Request::get(path).body(Vec::new()).unwrap();
    let lines = cluster.client.request_stream(request).await.unwrap().lines();
    let mut lines = pin!(lines);
    let mut events = Vec::new();
    while let Some(line) = lines.try_next().await.unwrap() {
        events.push(serde_json::from_str(&line).unwrap());
        if enough(&events) {
            break;
        }
    }

    events
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

fn revision(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_watch_tells_what_happened_since() {
    let cluster = cluster().await;
    let path = format!("{LEASES}/watched");
    cluster.delete(&path).await;
    let before = revision(&cluster.get(LEASES).await.expect(200));
    cluster.post(LEASES, &lease("watched", "a")).await.expect(201);
    let patch = json!({"spec": {"holderIdentity": "b"}});
    let last = cluster.patch(&path, MERGE, &patch).await.expect(200);
    cluster.delete(&path).await.expect(200);

    let one = "fieldSelector=metadata.name=watched";
    let url = format!("{LEASES}?watch=true&{one}&resourceVersion={before}");
    let events = watch(&cluster, &url, |events| events.len() == 3).await;
    assert_eq!(kinds(&events), ["ADDED", "MODIFIED", "DELETED"]);
    let holders = events.iter().map(|event| &event["object"]["spec"]["holderIdentity"]);
    assert_eq!(holders.collect::<Vec<_>>(), ["a", "b", "b"]);
    let revisions: Vec<_> = events.iter().map(|event| revision(&event["object"])).collect();
    assert!(revisions.is_sorted() && revisions[2] > revision(&last), "{revisions:?}");

    let url = format!("{LEASES}?watch=true&{one}&resourceVersion={}", revisions[1]);
    let events = watch(&cluster, &url, |events| !events.is_empty()).await;
    assert_eq!(kinds(&events), ["DELETED"], "it resumes after the revision");
}

#[tokio::test]
async fn a_watch_without_a_revision_begins_with_what_is_there() {
    let cluster = cluster().await;
    cluster.node("present").await;

    let url = format!("{NODES}?watch=true&fieldSelector=metadata.name=present");
    for start in ["", "&resourceVersion=0"] {
        let events = watch(&cluster, &format!("{url}{start}"), |events| !events.is_empty()).await;
        assert_eq!(kinds(&events), ["ADDED"]);
        assert_eq!(events[0]["object"]["metadata"]["name"], "present");
    }
}

#[tokio::test]
async fn a_selector_makes_objects_come_and_go() {
    let cluster = cluster().await;
    let made = cluster.node("moving").await;
    let path = format!("{NODES}/moving");
    let label = async |value: Value| {
        let patch = json!({"metadata": {"labels": {"moving": value}}});
        cluster.patch(&path, MERGE, &patch).await.expect(200)
    };
    label(json!("in")).await;
    label(json!("out")).await;
    label(json!("in")).await;
    label(json!(null)).await;

    let since = revision(&made);
    let url = format!("{NODES}?watch=true&labelSelector=moving=in&resourceVersion={since}");
    let events = watch(&cluster, &url, |events| events.len() == 4).await;
    assert_eq!(kinds(&events), ["ADDED", "DELETED", "ADDED", "DELETED"]);
}

#[tokio::test]
async fn a_watch_ends_in_time() {
    let cluster = cluster().await;
    let now = revision(&cluster.get(NODES).await.expect(200));

    let url = format!(
        "{NODES}?watch=true&resourceVersion={now}&timeoutSeconds=1\
                       &fieldSelector=metadata.name=nobody"
    );
    let events = watch(&cluster, &url, |_| false).await;
    assert_eq!(events, Vec::<Value>::new());
}

/// A revision before the kind itself was made known: no server can tell what happened since.
#[tokio::test]
async fn a_revision_that_is_forgotten_is_gone() {
    let cluster = cluster().await;
    cluster.node("before").await;
    let path = cluster.define("forgottens").await;

    let url = format!("{path}?watch=true&resourceVersion=1&timeoutSeconds=10");
    let events = watch(&cluster, &url, |_| false).await;
    assert_eq!(kinds(&events), ["ERROR"]);
    let status = &events[0]["object"];
    assert_eq!((&status["code"], &status["reason"]), (&json!(410), &json!("Expired")));
    let message = status["message"].as_str().unwrap();
    assert!(message.starts_with("too old resource version: 1 ("), "{message}");
}

#[tokio::test]
async fn initial_events_end_with_a_bookmark() {
    let cluster = cluster().await;
    let made = cluster.node("initial").await;

    let url = format!(
        "{NODES}?watch=true&sendInitialEvents=true&allowWatchBookmarks=true\
                       &resourceVersionMatch=NotOlderThan&fieldSelector=metadata.name=initial"
    );
    let events = watch(&cluster, &url, |events| events.len() == 2).await;
    assert_eq!(kinds(&events), ["ADDED", "BOOKMARK"]);
    let mark = &events[1]["object"];
    assert_eq!(mark["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    assert_eq!(mark["kind"], "Node");
    assert!(revision(mark) >= revision(&made));

    let bad = cluster.get(&format!("{NODES}?watch=true&sendInitialEvents=true")).await;
    assert_eq!(bad.invalid(), ["resourceVersionMatch"]);
}

#[tokio::test]
async fn kubes_watcher_follows_a_list() {
    follow("listed", watcher::Config::default()).await;
}

/// A real server needs an etcd of 3.5.8 or later for this.
#[tokio::test]
async fn kubes_watcher_follows_a_streamed_list() {
    follow("streamed", watcher::Config::default().streaming_lists()).await;
}

async fn follow(name: &str, config: watcher::Config) {
    let cluster = cluster().await;
    cluster.node(name).await;
    let path = format!("{NODES}/{name}");
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let config = config.fields(&format!("metadata.name={name}"));
    let mut events = pin!(watcher::watcher(nodes, config));
    let mut told = Vec::new();
    while told.last() != Some(&"deleted") {
        told.push(match events.try_next().await.unwrap().unwrap() {
            Event::Init => "init",
            Event::InitApply(_) => "there",
            Event::InitDone => {
                let patch = json!({"metadata": {"labels": {"a": "b"}}});
                cluster.patch(&path, MERGE, &patch).await.expect(200);
                "done"
            }
            Event::Apply(node) if node.labels().get("a").is_some_and(|it| it == "b") => {
                cluster.delete(&path).await.expect(200);
                "changed"
            }
            // A busy server of several parts may have sent all that it knew before it knew of this.
            Event::Apply(_) => "there",
            Event::Delete(_) => "deleted",
        });
    }
    assert!(told.contains(&"there"), "{told:?}");
    told.retain(|event| *event != "there");
    assert_eq!(told, ["init", "done", "changed", "deleted"]);
}

#[tokio::test]
async fn metadata_alone_can_be_watched() {
    let cluster = cluster().await;
    cluster.node("thin").await;

    let nodes: Api<PartialObjectMeta<Node>> = Api::all(cluster.client.clone());
    let config = watcher::Config::default().fields("metadata.name=thin");
    let mut events = pin!(watcher::watcher(nodes, config));
    loop {
        if let Event::InitApply(node) = events.try_next().await.unwrap().unwrap() {
            assert_eq!(node.metadata.labels.unwrap()["place"], "edge");
            break;
        }
    }
}

#[tokio::test]
async fn custom_resources_are_watched_like_others() {
    let cluster = cluster().await;
    let path = cluster.define("followeds").await;
    let object = super::client::custom("followeds", "one", &json!({"place": "edge"}));
    cluster.post(&path, &object).await.expect(201);

    let kind = kube::api::GroupVersionKind::gvk("conformance.tanist.dev", "v1", "Followed");
    let resource = kube::api::ApiResource::from_gvk(&kind);
    let objects: Api<DynamicObject> = Api::all_with(cluster.client.clone(), &resource);
    let mut events = pin!(watcher::watcher(objects, watcher::Config::default()));
    loop {
        match events.try_next().await.unwrap().unwrap() {
            Event::InitDone => {
                let status = json!({"status": {"leader": "n1"}});
                cluster.patch(&format!("{path}/one/status"), MERGE, &status).await.expect(200);
            }
            Event::Apply(object) => {
                assert_eq!(object.data["status"]["leader"], "n1");
                break;
            }
            Event::Init | Event::InitApply(_) | Event::Delete(_) => {}
        }
    }
}
