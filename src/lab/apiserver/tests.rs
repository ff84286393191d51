//! What the server does beside what any API server does: its faults, and what it tells the lab.

use std::pin::pin;
use std::time::Duration;

use ::http::Request;
use futures::{AsyncBufRead, AsyncBufReadExt, TryStreamExt};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Fault, Server, Verb};

struct Lab {
    server: Server,
    client: Client,
    _cancel: DropGuard,
}

async fn lab() -> Lab {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (server, cancel) = (Server::new(), CancellationToken::new());
    let (serving, cancelled) = (server.clone(), cancel.clone());
    tokio::spawn(async move { serving.serve(listener, cancelled).await });
    let kubeconfig = Kubeconfig::from_yaml(&Server::kubeconfig_as(&url, "node-1")).unwrap();
    let options = KubeConfigOptions::default();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
    config.default_retry = false;

    Lab { server, client: Client::try_from(config).unwrap(), _cancel: cancel.drop_guard() }
}

impl Lab {
    fn nodes(&self) -> Api<Node> {
        Api::all(self.client.clone())
    }

    async fn node(&self, name: &str) -> Node {
        let mut node = Node::default();
        node.metadata.name = Some(name.to_owned());
        self.nodes().create(&Default::default(), &node).await.unwrap()
    }

    async fn watch(&self, query: &str) -> impl AsyncBufRead + use<> {
        let path = format!("/api/v1/nodes?watch=true&{query}");
        self.client.request_stream(Request::get(path).body(Vec::new()).unwrap()).await.unwrap()
    }
}

async fn all(watch: impl AsyncBufRead) -> Vec<Value> {
    let lines: Vec<String> = pin!(watch.lines()).try_collect().await.unwrap();
    lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn every_write_is_told_and_nothing_else() {
    let lab = lab().await;
    let mut told = lab.server.subscribe();

    lab.node("n").await;
    let patch = Patch::Merge(json!({"metadata": {"labels": {"a": "b"}}}));
    lab.nodes().patch("n", &PatchParams::default(), &patch).await.unwrap();
    lab.nodes().patch("n", &PatchParams::default(), &patch).await.unwrap();
    lab.nodes().patch("n", &PatchParams::default().dry_run(), &patch).await.unwrap();
    lab.nodes().get("n").await.unwrap();
    lab.nodes().delete("n", &DeleteParams::default()).await.unwrap();

    let made = told.recv().await.unwrap();
    assert_eq!((made.verb, &*made.resource, &*made.name), (Verb::Create, "nodes", "n"));
    assert_eq!((&*made.user, made.old.is_some(), made.new.is_some()), ("node-1", false, true));
    let patched = told.recv().await.unwrap();
    assert_eq!(patched.verb, Verb::Patch);
    assert_eq!(patched.new.unwrap()["metadata"]["labels"]["a"], "b");
    let gone = told.recv().await.unwrap();
    assert_eq!((gone.verb, gone.old.is_some(), gone.new.is_some()), (Verb::Delete, true, false));
    assert!(made.revision < patched.revision && patched.revision < gone.revision);
    assert!(told.is_empty(), "a write of nothing, a dry run and a read are not told");
}

#[tokio::test]
async fn a_throttled_client_is_told_how_long_to_wait() {
    let lab = lab().await;

    lab.server.faults().set(Fault::Throttle(Duration::from_secs(7)));
    let request = Request::get("/api/v1/nodes").body(kube::client::Body::empty()).unwrap();
    let answer = lab.client.send(request).await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["retry-after"]),
        (429, &"7".parse().unwrap())
    );
    lab.server.faults().lift();
    lab.nodes().list(&Default::default()).await.unwrap();
}

#[tokio::test]
async fn a_refusing_server_resets_what_is_and_what_comes() {
    let lab = lab().await;
    let watch = lab.watch("").await;

    lab.server.faults().set(Fault::Refuse);
    let cut: Result<Vec<_>, _> = pin!(watch.lines()).try_collect().await;
    assert!(cut.is_err(), "a watch breaks rather than ends");
    assert!(lab.nodes().list(&Default::default()).await.is_err());
    lab.server.faults().lift();
    lab.nodes().list(&Default::default()).await.unwrap();
}

#[tokio::test]
async fn a_hung_server_goes_on_where_it_was() {
    let lab = lab().await;
    let mut told = lab.server.subscribe();
    lab.server.faults().set(Fault::Hang);

    let late = lab.node("late");
    let mut late = pin!(late);
    tokio::select! {
        biased;
        _ = &mut late => panic!("a hung server answered"),
        () = tokio::time::sleep(Duration::from_millis(50)) => {}
    }
    assert!(told.is_empty(), "a hung server writes nothing");
    lab.server.faults().lift();
    late.await;
    assert_eq!(told.recv().await.unwrap().name, "late");
}

#[tokio::test]
async fn a_slow_server_answers_late() {
    let lab = lab().await;

    let slow = Duration::from_millis(30);
    lab.server.faults().set(Fault::Slow(slow));
    let before = std::time::Instant::now();
    lab.nodes().list(&Default::default()).await.unwrap();
    assert!(before.elapsed() >= slow);
}

#[tokio::test]
async fn watches_can_be_cut() {
    let lab = lab().await;
    lab.node("n").await;
    let watch = lab.watch("").await;

    lab.server.faults().cut_watches();
    let events = all(watch).await;
    assert!(events.iter().all(|event| event["type"] == "ADDED"), "{events:?}");
    let node = lab.nodes().get("n").await.unwrap();
    assert_eq!(node.metadata.name.unwrap(), "n", "other requests go on");
}

#[tokio::test]
async fn after_a_compaction_a_watch_cannot_resume() {
    let lab = lab().await;
    let old = lab.node("a").await.metadata.resource_version.unwrap();
    lab.node("b").await;

    let resumed = all(lab.watch(&format!("resourceVersion={old}&timeoutSeconds=1")).await).await;
    assert_eq!(resumed[0]["type"], "ADDED");
    lab.server.compact();
    let gone = all(lab.watch(&format!("resourceVersion={old}")).await).await;
    assert_eq!((&gone[0]["type"], &gone[0]["object"]["code"]), (&json!("ERROR"), &json!(410)));
}

#[tokio::test]
async fn a_watch_that_ends_says_how_far_it_came() {
    let lab = lab().await;
    let since = lab.node("a").await.metadata.resource_version.unwrap();
    let elsewhere = lab.node("b").await.metadata.resource_version.unwrap();

    let query = format!(
        "resourceVersion={since}&timeoutSeconds=1&allowWatchBookmarks=true\
         &fieldSelector=metadata.name=a"
    );
    let events = all(lab.watch(&query).await).await;
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0]["type"], "BOOKMARK");
    assert_eq!(events[0]["object"]["metadata"]["resourceVersion"], json!(elsewhere));
}

#[tokio::test]
async fn faults_can_be_set_from_another_process() {
    let lab = lab().await;
    let ask = async |path: &str| {
        let request = Request::post(path).body(kube::client::Body::empty()).unwrap();
        lab.client.send(request).await.unwrap().status().as_u16()
    };

    assert_eq!(ask("/lab/slow?delay=200ms").await, 200);
    assert_eq!(lab.server.faults().current(), Fault::Slow(Duration::from_millis(200)));
    assert_eq!(ask("/lab/throttle?delay=3s").await, 200);
    assert_eq!(lab.server.faults().current(), Fault::Throttle(Duration::from_secs(3)));
    assert_eq!(ask("/lab/none").await, 200, "the way out is not throttled");
    assert_eq!(lab.server.faults().current(), Fault::None);
    assert_eq!(ask("/lab/hang?for=10ms").await, 200);
    lab.nodes().list(&Default::default()).await.unwrap();
    assert_eq!(ask("/lab/slow?delay=soon").await, 400);
    assert_eq!(ask("/lab/nonsense").await, 404);
}

#[tokio::test]
async fn thirty_watchers_see_thirty_nodes() {
    let lab = lab().await;
    let watches = futures::future::join_all((0..30).map(|_| lab.watch("timeoutSeconds=20"))).await;

    for index in 0..30 {
        lab.node(&format!("n{index}")).await;
    }
    let seen = watches.into_iter().map(async |watch| {
        let lines = pin!(watch.lines());
        let mut lines = futures::StreamExt::take(lines, 30);
        let mut names = Vec::new();
        while let Some(line) = lines.try_next().await.unwrap() {
            let event: Value = serde_json::from_str(&line).unwrap();
            names.push(event["object"]["metadata"]["name"].as_str().unwrap().to_owned());
        }
        names
    });
    let wanted: Vec<_> = (0..30).map(|index| format!("n{index}")).collect();
    for names in futures::future::join_all(seen).await {
        assert_eq!(names, wanted);
    }
}
