//! A location of nodes on the embedded API server, clients that can be stopped at any request, and
//! a record of who led after each write.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use http::{Request, Response};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams, PostParams};
use kube::client::{Body, ClientBuilder};
use kube::{Api, Client, Config};
use serde_json::json;
use tokio::sync::broadcast::error::TryRecvError;
use tokio::sync::{Notify, broadcast, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::{BoxError, Service, ServiceExt as _};

use crate::act::hooks::Hooks;
use crate::act::leader::Mover;
use crate::cluster::lease::{Fence, Held, Leadership};
use crate::cluster::objects::{
    MeshLocation, MeshLocationSpec, MeshLocationStatus, MovePhase, MoveRecord, SlimNode, crds,
    mesh_location_name,
};
use crate::decide::{Cause, Move};
use crate::evidence::kilo::{self, key};
use crate::evidence::{Location, Mesh, NodeName, UnixTime};
use crate::lab::apiserver::{Server, Write};

/// The location under test.
pub(crate) const HERE: &str = "eu";

/// A server with a location on it. Ends when dropped.
pub(crate) struct Bed {
    pub(crate) server: Server,
    pub(crate) client: Client,
    url: String,
    writes: broadcast::Receiver<Write>,
    end: CancellationToken,
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

impl Bed {
    /// Starts a server that knows our kinds.
    pub(crate) async fn empty() -> Self {
        let server = Server::new();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let end = CancellationToken::new();
        tokio::spawn({
            let (server, end) = (server.clone(), end.clone());
            async move { server.serve(listener, end).await.unwrap() }
        });

        let client = Client::try_from(config(&url)).unwrap();
        let definitions = Api::<CustomResourceDefinition>::all(client.clone());
        for definition in crds() {
            definitions.create(&PostParams::default(), &definition).await.unwrap();
        }
        let writes = server.subscribe();
        Self { server, client, url, writes, end }
    }

    /// Starts a server with one location. Nodes are written as `a`, `a*` (annotated), `a+` (public
    /// endpoint), `a-` (its agent is dead), or several of these.
    pub(crate) async fn with(nodes: &[&str]) -> Self {
        let mut bed = Self::empty().await;
        for node in nodes {
            bed.add(node).await;
        }
        let spec = MeshLocationSpec { location: HERE.into(), ..MeshLocationSpec::default() };
        let object = MeshLocation::new(&mesh_location_name(&HERE.into()), spec);
        bed.locations().create(&PostParams::default(), &object).await.unwrap();
        bed.writes = bed.server.subscribe();
        bed
    }

    pub(crate) async fn add(&self, node: &str) {
        let name = node.trim_end_matches(['*', '+', '-']);
        let endpoint = if node.contains('+') { "198.51.100.1:51820" } else { "10.0.0.1:51820" };
        let mut annotations = BTreeMap::from([
            (key::ENDPOINT, endpoint.to_owned()),
            (key::INTERNAL_IP, "10.1.0.11/24".to_owned()),
            (key::KEY, "GARLLbpcxSdsAVBtBpUlRIUSJbX4PBXreJzPbGxKMj4=".to_owned()),
            (key::LAST_SEEN, now().seconds().to_string()),
            (key::LOCATION, HERE.to_owned()),
        ]);
        if node.contains('-') {
            annotations.insert(key::LAST_SEEN, "1".to_owned());
        }
        if node.contains('*') {
            annotations.insert(key::LEADER, "yes".to_owned());
        }
        let object = serde_json::from_value::<Node>(json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": { "name": name, "annotations": annotations },
            "spec": { "podCIDR": "10.42.1.0/24" },
        }));
        let api = Api::<Node>::all(self.client.clone());
        api.create(&PostParams::default(), &object.unwrap()).await.unwrap();
    }

    pub(crate) fn nodes(&self) -> Api<SlimNode> {
        Api::all(self.client.clone())
    }

    pub(crate) fn locations(&self) -> Api<MeshLocation> {
        Api::all(self.client.clone())
    }

    pub(crate) async fn status(&self) -> MeshLocationStatus {
        let name = mesh_location_name(&HERE.into());
        self.locations().get(&name).await.unwrap().status.unwrap_or_default()
    }

    /// Changes the status as somebody would by hand.
    pub(crate) async fn edit(&self, change: &serde_json::Value) {
        let (name, status) = (mesh_location_name(&HERE.into()), json!({ "status": change }));
        let params = PatchParams::default();
        self.locations().patch_status(&name, &params, &Patch::Merge(&status)).await.unwrap();
    }

    /// Writes an annotation as somebody else would.
    pub(crate) async fn annotate(&self, node: &str, key: &str, value: Option<&str>) {
        let patch = json!({ "metadata": { "annotations": { key: value } } });
        let params = PatchParams { field_manager: Some("gitops".into()), ..PatchParams::default() };
        self.nodes().patch(node, &params, &Patch::Merge(&patch)).await.unwrap();
    }

    /// Returns our and Kilo's leader annotations of all nodes.
    pub(crate) async fn marks(&self) -> BTreeMap<String, String> {
        let list = self.nodes().list(&Default::default()).await.unwrap();
        let ours = |key: &str| key == key::LEADER || key.starts_with(key::INTENT_PREFIX);
        let of = |node: SlimNode| {
            let name = node.name().to_owned();
            let annotations = node.metadata.annotations.unwrap_or_default();
            annotations
                .into_iter()
                .filter(|(key, _)| ours(key))
                .map(move |(key, value)| (format!("{name} {key}"), value))
        };
        list.items.into_iter().flat_map(of).collect()
    }

    pub(crate) async fn leader(&self) -> Option<NodeName> {
        let list = self.nodes().list(&Default::default()).await.unwrap();
        leader(&list.items)
    }

    /// Returns who led before, and after each write to a node since this was last asked.
    pub(crate) fn leaders(&mut self, before: &[SlimNode]) -> Vec<Option<NodeName>> {
        let mut nodes: BTreeMap<_, _> =
            before.iter().map(|node| (node.name().to_owned(), node.clone())).collect();
        let mut leaders = vec![leader(before)];
        loop {
            match self.writes.try_recv() {
                Ok(write) if write.resource == "nodes" => {
                    let new = serde_json::to_value(write.new.as_deref()).unwrap();
                    nodes.insert(write.name, serde_json::from_value(new).unwrap());
                    leaders.push(leader(&nodes.values().cloned().collect::<Vec<_>>()));
                }
                Ok(_) => {}
                Err(TryRecvError::Empty) => return leaders,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Makes an arbiter in the given term, whose requests pass a gate.
    pub(crate) fn arbiter(&self, term: i32) -> (Mover, Gate, Term) {
        let gate = Gate::default();
        let client = ClientBuilder::try_from(config(&self.url))
            .unwrap()
            .with_layer(&tower::layer::layer_fn({
                let gate = gate.clone();
                move |inner| Gated {
                    gate: gate.clone(),
                    inner: Arc::new(tokio::sync::Mutex::new(inner)),
                }
            }))
            .build();
        let (term_of, leadership) = Leadership::by_hand();
        let term = Term { held: term_of, number: term };
        term.begin();
        (Mover::new(client, leadership, kilo::TOPOLOGY_LABEL, Hooks::default()), gate, term)
    }
}

/// A term that a test ends.
pub(crate) struct Term {
    held: watch::Sender<Option<Held>>,
    number: i32,
}

impl Term {
    fn begin(&self) {
        let fence = Fence { lease: "uid".to_owned(), transitions: self.number };
        let until = Instant::now() + Duration::from_secs(600);
        self.held.send_replace(Some(Held { fence, until }));
    }

    pub(crate) fn end(&self) {
        self.held.send_replace(None);
    }
}

/// Lets a number of requests pass; the one after waits at the gate, as does all that follows.
#[derive(Clone)]
pub(crate) struct Gate {
    left: Arc<AtomicUsize>,
    arrived: Arc<Notify>,
    open: Arc<Notify>,
    passed: Arc<AtomicUsize>,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            left: Arc::new(AtomicUsize::new(usize::MAX)),
            arrived: Arc::default(),
            open: Arc::default(),
            passed: Arc::default(),
        }
    }
}

impl Gate {
    /// Stops whatever comes after `requests` more requests.
    pub(crate) fn close_after(&self, requests: usize) {
        self.left.store(requests, Ordering::SeqCst);
    }

    /// Waits until a request stands at the gate.
    pub(crate) async fn arrival(&self) {
        self.arrived.notified().await;
    }

    /// Lets the requests that stand at the gate pass, and all that follow.
    pub(crate) fn open(&self) {
        self.left.store(usize::MAX, Ordering::SeqCst);
        self.open.notify_waiters();
    }

    /// Returns how many requests passed.
    pub(crate) fn passed(&self) -> usize {
        self.passed.load(Ordering::SeqCst)
    }

    async fn pass(&self) {
        let opened = self.open.notified();
        let take = |left: usize| left.checked_sub(usize::from(left != usize::MAX));
        if self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_err() {
            self.arrived.notify_one();
            opened.await;
        }
        self.passed.fetch_add(1, Ordering::SeqCst);
    }
}

struct Gated<S> {
    gate: Gate,
    inner: Arc<tokio::sync::Mutex<S>>,
}

impl<S, B> Service<Request<Body>> for Gated<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError> + Send + 'static,
    S::Future: Send,
    B: 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<B>, BoxError>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), BoxError>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let gate = self.gate.clone();
        let inner = Arc::clone(&self.inner);
        Box::pin(async move {
            gate.pass().await;
            let answer = inner.lock().await.ready().await?.call(request);
            answer.await
        })
    }
}

fn config(url: &str) -> Config {
    let mut config = Config::new(url.parse().unwrap());
    config.default_retry = false;
    config
}

pub(crate) fn now() -> UnixTime {
    UnixTime(jiff::Timestamp::now().as_millisecond())
}

fn leader(nodes: &[SlimNode]) -> Option<NodeName> {
    let nodes = nodes.iter().map(|node| node.read(kilo::TOPOLOGY_LABEL));
    let mesh = Mesh { nodes: nodes.map(|node| (node.name.clone(), node)).collect(), at: now() };
    kilo::leader_of(&mesh, &Location::from(HERE)).map(|node| node.name.clone())
}

/// Wishes that the leader move.
pub(crate) fn wish(incident: &str, from: &str, to: &str) -> Move {
    Move {
        incident: incident.to_owned(),
        origin: from.into(),
        from: from.into(),
        to: to.into(),
        cause: Cause::Verdict,
        at: now(),
        automatic: true,
        why: "it drops new flows".to_owned(),
        cost: "none".to_owned(),
        serves: [].into(),
        served_before: 0,
    }
}

/// A move on record, of which nothing is noted yet.
pub(crate) fn record(incident: &str, (from, to): (&str, &str), phase: MovePhase) -> MoveRecord {
    MoveRecord {
        incident: incident.to_owned(),
        from: Some(from.into()),
        to: to.into(),
        why: String::new(),
        phase,
        fence: String::new(),
        decided_ms: None,
        started_ms: 0,
        written_ms: None,
        nodes: Vec::new(),
        wish: None,
        reverting: None,
    }
}
