//! A mesh of namespaces with a Kilo agent on each node, before the real API server.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;
use http::Method;
use kube::Client;
use serde_json::json;
use tanist::evidence::NodeName;
use tanist::lab::faults::Fault;
use tanist::lab::firewall;
use tanist::lab::kilo::{self, Agent, Timing};
use tanist::lab::namespace::Namespace;
use tanist::lab::network::Network;
use tanist::lab::topology::{Place, Topology};
use tanist::lab::wireguard::{RETRY, Wireguard};
use tokio_util::sync::CancellationToken;

use crate::cluster::ask;

/// What the operator has written on a Node before there was a Tanist.
pub(crate) const LEADER: &str = "by hand: the rack with two uplinks";

/// The mesh; everything ends with the process.
pub(crate) struct Mesh {
    pub(crate) network: Network,
}

impl Mesh {
    /// Builds the wires.
    pub(crate) async fn build(wan: Namespace) -> anyhow::Result<Self> {
        let topology = Topology::of(&[("onprem".to_owned(), 3), ("cloud".to_owned(), 3)])?;
        Ok(Self { network: Network::build(topology, wan).await? })
    }

    /// Registers a Node for each place, as kubelets do, and starts Kilo's agents. `leader` carries
    /// its operator's annotation.
    pub(crate) async fn start(
        &self,
        admin: &Client,
        api: &kube::Config,
        leader: &str,
    ) -> anyhow::Result<()> {
        for place in &self.network.topology.places {
            register(admin, place, place.name.0 == leader).await?;
            self.start_kilo(place, api).await?;
        }
        Ok(())
    }

    async fn start_kilo(&self, place: &Place, api: &kube::Config) -> anyhow::Result<()> {
        let host = &self.network.hosts[&place.name];
        let key = [place.number; 32];
        let made = host.host.run(async move || Wireguard::create("kilo0", key, RETRY).await);
        let wireguard = Arc::new(made.await??);
        let addresses = (place.wan().addr(), place.internal());
        let agent = Agent {
            timing: Timing { stale: Timing::default().stale, ..Timing::faster(10) },
            ..Agent::new(place.name.clone(), api.clone(), wireguard, addresses)
        };
        let run = async move || {
            if let Err(error) = kilo::run(agent, CancellationToken::new()).await {
                eprintln!("a Kilo agent ended: {error}");
            }
        };
        host.host.start(run).await?;
        Ok(())
    }

    /// Returns the nodes' own namespaces.
    pub(crate) fn hosts(&self) -> BTreeMap<String, Namespace> {
        let hosts = self.network.hosts.iter();
        hosts.map(|(name, host)| (name.0.clone(), host.host.clone())).collect()
    }

    /// Lets a node drop new flows, or no longer.
    pub(crate) async fn new_flows(&self, node: &str, change: Change) -> anyhow::Result<()> {
        let host = self.network.hosts.get(&NodeName::from(node)).context("no such node")?;
        let rules = Fault::NewFlows.rules(&host.place, &self.network.topology);
        let rules = rules.context("no rules")?;
        let rules = match change {
            Change::Set => rules.set,
            Change::Lift => rules.lift,
        };
        Ok(firewall::apply(&host.host, rules).await?)
    }
}

/// What becomes of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Set,
    Lift,
}

async fn register(admin: &Client, place: &Place, leads: bool) -> anyhow::Result<()> {
    let mut node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {
            "name": place.name,
            "labels": {
                "kubernetes.io/hostname": place.name,
                "topology.kubernetes.io/region": place.location,
            },
            "annotations": {"node.alpha.kubernetes.io/ttl": "0", "example.org/rack": "7"},
        },
        "spec": {"podCIDR": place.pods()},
        "status": {
            "addresses": [{"type": "InternalIP", "address": place.internal().addr()}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    });
    if leads {
        node["metadata"]["annotations"]["kilo.squat.ai/leader"] = LEADER.into();
    }
    let nodes = (Method::POST, "/api/v1/nodes");
    ask(admin, nodes, "application/json", &node).await?.granted()?;
    Ok(())
}
