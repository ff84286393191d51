//! A mesh of namespaces with an agent on each node, and what one may ask it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::core::v1;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use tanist::evidence::NodeName;
use tanist::evidence::kilo::topology::Peer;
use tanist::lab::apiserver::Server;
use tanist::lab::kilo::{self, Agent, Timing};
use tanist::lab::namespace::Namespace;
use tanist::lab::network::{Host, Network};
use tanist::lab::topology::{SERVER, Topology};
use tanist::lab::wireguard::{RETRY, Wireguard};
use tanist::net::{Hop, Netlink, Route};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Where pods answer.
const ECHO: u16 = 7100;

/// How long a flow may take, and how long anything may.
const PATIENCE: Duration = Duration::from_millis(500);
const LIMIT: Duration = Duration::from_secs(60);

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let waited = timeout(LIMIT, async {
        while !so().await {
            sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(waited.await.is_ok(), "not in {LIMIT:?}: {what}");
}

pub(crate) struct Mesh {
    pub(crate) network: Network,
    pub(crate) nodes: BTreeMap<NodeName, Node>,
    pub(crate) server: Server,
    client: kube::Client,
}

pub(crate) struct Node {
    pub(crate) host: Host,
    pub(crate) wireguard: Arc<Wireguard>,
    agent: Option<(CancellationToken, AbortHandle)>,
}

/// What an agent has made of its node's kernel.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct InTheKernel {
    /// Whether `kilo0` is up.
    up: bool,
    /// The peers of `kilo0`, by key.
    peers: BTreeMap<[u8; 32], Peer>,
    /// Whether routes lead through it.
    routes: bool,
}

impl Mesh {
    pub(crate) async fn build(shape: &[(&str, usize)]) -> anyhow::Result<Self> {
        let shape = shape.iter().map(|(name, nodes)| ((*name).to_owned(), *nodes));
        let topology = Topology::of(&shape.collect::<Vec<_>>())?;
        let network = Network::build(topology, Namespace::spawn("wan").await?).await?;

        let server = Server::new();
        let (serving, address) = (server.clone(), SocketAddr::from((SERVER, 6443)));
        network
            .wan
            .start(async move || {
                let listener = TcpListener::bind(address).await.expect("the WAN is there");
                serving.serve(listener, CancellationToken::new()).await.expect("it listens");
            })
            .await?;
        let client = network.wan.run(async || kube::Client::try_from(api())).await??;

        let mut mesh = Self { network, nodes: BTreeMap::new(), server, client };
        let hosts: Vec<_> = mesh.network.hosts.values().cloned().collect();
        for host in hosts {
            mesh.add(host).await?;
        }
        Ok(mesh)
    }

    /// Registers a node, as a kubelet does, and gives it `kilo0` and a pod that answers.
    async fn add(&mut self, host: Host) -> anyhow::Result<()> {
        let place = host.place.clone();
        let node = serde_json::from_value::<v1::Node>(serde_json::json!({
            "metadata": {
                "name": place.name,
                "labels": { "topology.kubernetes.io/region": place.location },
                "annotations": { "node.alpha.kubernetes.io/ttl": "0" },
            },
            "spec": { "podCIDR": place.pods() },
        }))?;
        self.api(async move |nodes| nodes.create(&PostParams::default(), &node).await).await?;

        let key = [place.number; 32];
        let made = host.host.run(async move || Wireguard::create("kilo0", key, RETRY).await);
        let wireguard = Arc::new(made.await??);
        host.pod.start(async || echo().await.expect("the pod answers")).await?;

        let node = Node { host, wireguard, agent: None };
        self.nodes.insert(place.name, node);
        Ok(())
    }

    /// Runs a task on a node.
    pub(crate) async fn on<T, F>(
        &self,
        node: &str,
        task: impl FnOnce() -> F + Send + 'static,
    ) -> anyhow::Result<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + 'static,
    {
        Ok(self.nodes[&node.into()].host.host.run(task).await?)
    }

    /// Asks the API server.
    async fn api<T: Send + 'static>(
        &self,
        ask: impl AsyncFnOnce(Api<v1::Node>) -> kube::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let client = self.client.clone();
        let asked = self.network.wan.run(async move || ask(Api::all(client)).await);
        Ok(asked.await??)
    }

    pub(crate) async fn annotations(
        &self,
        node: &NodeName,
    ) -> anyhow::Result<BTreeMap<String, String>> {
        let name = node.0.clone();
        let node = self.api(async move |nodes| nodes.get(&name).await).await?;
        Ok(node.metadata.annotations.unwrap_or_default())
    }

    pub(crate) async fn annotate(
        &self,
        node: &str,
        key: &str,
        value: Option<&str>,
    ) -> anyhow::Result<()> {
        let patch = serde_json::json!({ "metadata": { "annotations": { key: value } } });
        let name = node.to_owned();
        let patched = self.api(async move |nodes| {
            nodes.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await
        });
        patched.await.map(drop)
    }

    pub(crate) async fn start_all(&mut self, timing: Timing) -> anyhow::Result<()> {
        let names: Vec<_> = self.nodes.keys().cloned().collect();
        for name in names {
            self.start(&name.0, timing).await?;
        }
        Ok(())
    }

    pub(crate) async fn start(&mut self, node: &str, timing: Timing) -> anyhow::Result<()> {
        let node = self.nodes.get_mut(&node.into()).context("no such node")?;
        let place = &node.host.place;
        let addresses = (place.wan().addr(), place.internal());
        let agent = Agent {
            timing,
            ..Agent::new(place.name.clone(), api(), Arc::clone(&node.wireguard), addresses)
        };

        let end = CancellationToken::new();
        let token = end.clone();
        let run = async move || kilo::run(agent, token).await.expect("the agent runs");
        node.agent = Some((end, node.host.host.start(run).await?));
        Ok(())
    }

    /// Ends an agent as SIGTERM does.
    pub(crate) async fn stop(&mut self, node: &str) -> anyhow::Result<()> {
        let agent = self.nodes.get_mut(&node.into()).and_then(|node| node.agent.take());
        let (end, handle) = agent.context("no agent runs")?;
        end.cancel();
        until("the agent ends", async || handle.is_finished()).await;
        Ok(())
    }

    /// Ends an agent as SIGKILL does.
    pub(crate) async fn kill(&mut self, node: &str) -> anyhow::Result<()> {
        let agent = self.nodes.get_mut(&node.into()).and_then(|node| node.agent.take());
        let (_end, handle) = agent.context("no agent runs")?;
        handle.abort();
        until("the agent is dead", async || handle.is_finished()).await;
        Ok(())
    }

    pub(crate) async fn leads(&self, node: &str) -> bool {
        self.says(&node.into(), "kilo_leader").await == Some(1.0)
    }

    /// Tells whether all agents say the same of themselves.
    pub(crate) async fn all_say(&self, metric: &str, value: f64) -> bool {
        for name in self.nodes.keys() {
            if self.says(name, metric).await != Some(value) {
                return false;
            }
        }
        true
    }

    /// Waits until every agent has looked at its mesh once more, which they do side by side.
    pub(crate) async fn all_reconcile_again(&self) {
        let mut before = BTreeMap::new();
        until("all agents answer", async || {
            before = self.reconciles().await;
            before.len() == self.nodes.len()
        })
        .await;
        until("all agents reconcile", async || {
            let now = self.reconciles().await;
            before.iter().all(|(name, count)| now.get(name) > Some(count))
        })
        .await;
    }

    /// Returns how often each agent that answers has looked at its mesh.
    async fn reconciles(&self) -> BTreeMap<&NodeName, f64> {
        let mut counts = BTreeMap::new();
        for name in self.nodes.keys() {
            if let Some(count) = self.says(name, "kilo_reconciles_total").await {
                counts.insert(name, count);
            }
        }
        counts
    }

    /// Returns what the agents have made of their nodes' kernels.
    pub(crate) async fn in_the_kernel(&self) -> anyhow::Result<Vec<InTheKernel>> {
        let mut nodes = Vec::new();
        for node in self.nodes.values() {
            let peers = node.wireguard.read().await.peers;
            nodes.push(InTheKernel {
                up: node.is_up().await?,
                peers: peers.into_iter().map(|(key, state)| (key, state.peer)).collect(),
                routes: node.routes_through_kilo0().await?,
            });
        }
        Ok(nodes)
    }

    /// Waits until these and no others lead, and pods of all nodes reach pods of all others.
    pub(crate) async fn settled(&self, leaders: &[&str]) -> anyhow::Result<()> {
        for name in self.nodes.keys() {
            let wanted = leaders.contains(&&*name.0);
            let so = async || {
                let up = self.nodes[name].is_up().await;
                self.leads(&name.0).await == wanted && up.is_ok_and(|up| up == wanted)
            };
            until(&format!("{name} leads: {wanted}"), so).await;
        }
        for from in self.nodes.keys() {
            for to in self.nodes.keys().filter(|to| *to != from) {
                self.passes(&from.0, &to.0).await;
            }
        }
        Ok(())
    }

    /// Opens a fresh flow from pod to pod and tells whether it was answered.
    pub(crate) async fn flow(&self, from: &str, to: &str) -> anyhow::Result<bool> {
        let from = &self.nodes[&from.into()].host.pod;
        let to = SocketAddr::from((self.nodes[&to.into()].host.place.pod().addr(), ECHO));
        let flow = from.run(async move || {
            let socket = UdpSocket::bind("0.0.0.0:0").await?;
            socket.send_to(b"fresh", to).await?;
            let answer = timeout(PATIENCE, socket.recv(&mut [0; 16])).await;
            std::io::Result::Ok(answer.is_ok_and(|received| received.is_ok()))
        });
        Ok(flow.await??)
    }

    /// Waits until a flow passes: sessions that have just begun anew may take five seconds.
    pub(crate) async fn passes(&self, from: &str, to: &str) {
        let passes = async || self.flow(from, to).await.is_ok_and(|passed| passed);
        until(&format!("flows from {from} to {to}"), passes).await;
    }

    /// Returns the value of a metric of an agent, if it answers: it drops whoever takes too long.
    pub(crate) async fn says(&self, node: &NodeName, metric: &str) -> Option<f64> {
        self.metrics(node).await.ok()?.get(metric).copied()
    }

    /// Returns the metrics of an agent, as a sidecar reads them.
    pub(crate) async fn metrics(&self, node: &NodeName) -> anyhow::Result<BTreeMap<String, f64>> {
        let read = self.nodes[node].host.host.run(async || {
            let mut stream = TcpStream::connect(("127.0.0.1", kilo::HTTP_PORT)).await?;
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
            let mut text = String::new();
            stream.read_to_string(&mut text).await?;
            std::io::Result::Ok(text)
        });
        let text = read.await??;
        let pair = |line: &str| {
            let (name, value) = line.split_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        Ok(text.lines().filter_map(pair).collect())
    }
}

impl Node {
    pub(crate) async fn is_up(&self) -> anyhow::Result<bool> {
        let link = self.host.host.run(async || Netlink::open()?.link("kilo0").await);
        Ok(link.await??.up)
    }

    pub(crate) async fn routes_through_kilo0(&self) -> anyhow::Result<bool> {
        let routes = self.host.host.run(async || {
            let net = Netlink::open()?;
            let link = net.link("kilo0").await?.index;
            let routes = net.routes(Route::MAIN).await?;
            anyhow::Ok(routes.iter().any(|route| route.link == link && route.hop != Hop::Direct))
        });
        routes.await?
    }
}

fn api() -> kube::Config {
    kube::Config::new(format!("http://{SERVER}:6443").parse().expect("an address"))
}

async fn echo() -> std::io::Result<()> {
    let socket = UdpSocket::bind(("0.0.0.0", ECHO)).await?;
    let mut buffer = [0; 64];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).await?;
        // Whoever asked may be gone.
        let _gone = socket.send_to(&buffer[..length], from).await;
    }
}
