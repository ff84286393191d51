//! The API server as the agent sees it: Node objects and VPN peers come in, the agent's own
//! annotations go out.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use json_patch::jsonptr::PointerBuf;
use json_patch::{PatchOperation, RemoveOperation};
use k8s_openapi::api::core::v1;
use kube::api::{Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client, ResourceExt};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::reflector::{Change, reflect};
use super::{Agent, Error, Timing};
use crate::evidence::kilo::topology::VpnPeer;
use crate::evidence::kilo::{RawNode, key};
use crate::evidence::{Endpoint, Node, NodeName, Taint};

/// What the agent writes about its node, and takes away when it ends.
const OWN: [&str; 7] = [
    key::ENDPOINT,
    key::INTERNAL_IP,
    key::KEY,
    key::LAST_SEEN,
    key::WIREGUARD_IP,
    key::DISCOVERED_ENDPOINTS,
    key::GRANULARITY,
];

/// What the agent is told.
#[derive(Debug)]
pub(super) enum Event {
    /// A node is there, changed or not.
    Node(RawNode),
    /// A node is gone.
    NodeGone(NodeName),
    /// A VPN peer is there, changed or not.
    VpnPeer(VpnPeer),
    /// A VPN peer is gone.
    VpnPeerGone(String),
}

/// Node objects as they were last seen. They may be old, and the agent does not know.
type Store = RefCell<BTreeMap<NodeName, RawNode>>;

/// The API server.
pub(super) struct Backend {
    client: Client,
    node: NodeName,
    timing: Timing,
    store: Store,
}

impl Backend {
    pub(super) fn new(client: Client, agent: &Agent) -> Self {
        Self { client, node: agent.node.clone(), timing: agent.timing, store: Store::default() }
    }

    /// Keeps the store and tells of every Node.
    pub(super) async fn watch_nodes(self: Rc<Self>, tell: mpsc::UnboundedSender<Event>) -> ! {
        let apply = |change| {
            let events = remember(&mut self.store.borrow_mut(), change);
            for event in events {
                // The other end is gone only when the agent ends.
                let _ending = tell.send(event);
            }
        };

        reflect(Api::<v1::Node>::all(self.client.clone()), self.timing, apply).await
    }

    /// Tells of every VPN peer, if the server knows of such.
    pub(super) async fn watch_vpn_peers(self: Rc<Self>, tell: mpsc::UnboundedSender<Event>) -> ! {
        let kind = GroupVersionKind::gvk("kilo.squat.ai", "v1alpha1", "Peer");
        let api =
            Api::<DynamicObject>::all_with(self.client.clone(), &ApiResource::from_gvk(&kind));
        let mut known = BTreeSet::new();
        let apply = |change| {
            for event in translate(&mut known, change) {
                let _ending = tell.send(event);
            }
        };

        reflect(api, self.timing, apply).await
    }

    /// Writes what the agent knows of its node, as far as the store says otherwise.
    pub(super) async fn set(&self, node: &Node) -> Result<(), Error> {
        let old = self.store.borrow().get(&node.name).cloned().unwrap_or_default();
        let changed: BTreeMap<_, _> = annotations(node)
            .into_iter()
            .filter(|(key, value)| old.annotations.get(*key) != Some(value))
            .collect();
        let patch = serde_json::json!({ "metadata": { "annotations": changed } });

        self.patch("write the annotations of the node", &Patch::Strategic(patch)).await
    }

    /// Takes all annotations away that the agent writes: all or none.
    pub(super) async fn clean_up(&self) -> Result<(), Error> {
        let remove = |key: &&str| {
            let path = PointerBuf::from_tokens(["metadata", "annotations", key]);
            PatchOperation::Remove(RemoveOperation { path })
        };
        let patch = json_patch::Patch(OWN.iter().map(remove).collect());

        self.patch("remove the annotations of the node", &Patch::Json::<()>(patch)).await
    }

    async fn patch<T>(&self, tried: &'static str, patch: &Patch<T>) -> Result<(), Error>
    where
        T: serde::Serialize + std::fmt::Debug,
    {
        let api = Api::<v1::Node>::all(self.client.clone());
        let after = self.timing.silence;
        let parameters = PatchParams::default();
        match timeout(after, api.patch(&self.node.0, &parameters, patch)).await {
            Ok(Ok(_node)) => Ok(()),
            Ok(Err(source)) => Err(Error::Api { tried, source: Box::new(source) }),
            Err(_elapsed) => Err(Error::Hung { tried, after }),
        }
    }
}

/// Returns what the agent writes about a node.
fn annotations(node: &Node) -> BTreeMap<&'static str, String> {
    let endpoint = match &node.endpoint {
        Some(Endpoint::Address(address)) => address.to_string(),
        Some(Endpoint::Name(name, port, _)) => format!("{name}:{port}"),
        None => String::new(),
    };
    let text = |value: Option<&dyn ToString>| value.map(ToString::to_string).unwrap_or_default();

    BTreeMap::from([
        (key::ENDPOINT, endpoint),
        (key::INTERNAL_IP, text(node.internal_ip.as_ref().map(|net| net as _))),
        (key::KEY, node.key.map(|key| STANDARD.encode(key)).unwrap_or_default()),
        (key::LAST_SEEN, text(node.last_seen.as_ref().map(|seconds| seconds as _))),
        (key::WIREGUARD_IP, text(node.wireguard_ip.as_ref().map(|net| net as _))),
        (key::DISCOVERED_ENDPOINTS, discovered(&node.discovered_endpoints)),
        (key::GRANULARITY, "location".to_owned()),
        (key::CNI_COMPATIBILITY_IP, String::new()),
    ])
}

fn discovered(endpoints: &BTreeMap<[u8; 32], SocketAddr>) -> String {
    if endpoints.is_empty() {
        return String::new();
    }
    let entry = |(key, at): (&[u8; 32], &SocketAddr)| {
        let address = serde_json::json!({ "IP": at.ip(), "Port": at.port(), "Zone": "" });
        (STANDARD.encode(key), address)
    };
    serde_json::Value::Object(endpoints.iter().map(entry).collect()).to_string()
}

/// Brings the store up to date and returns what to tell of it. After a list everything is told
/// again, as Kubernetes' client library does.
fn remember(store: &mut BTreeMap<NodeName, RawNode>, change: Change<v1::Node>) -> Vec<Event> {
    match change {
        Change::Applied(node) => {
            let raw = raw(&node);
            store.insert(NodeName(raw.name.clone()), raw.clone());
            vec![Event::Node(raw)]
        }
        Change::Deleted(node) => {
            let name = NodeName(node.name_any());
            store.remove(&name);
            vec![Event::NodeGone(name)]
        }
        Change::All(nodes) => {
            let named = |node: &v1::Node| (NodeName(node.name_any()), raw(node));
            let now: BTreeMap<_, _> = nodes.iter().map(named).collect();
            let gone = store.keys().filter(|name| !now.contains_key(name)).cloned();
            let events = gone.map(Event::NodeGone).chain(now.values().cloned().map(Event::Node));
            let events = events.collect();
            *store = now;
            events
        }
    }
}

/// Returns what Kilo's rules look at in a Node object.
fn raw(node: &v1::Node) -> RawNode {
    let spec = node.spec.as_ref();
    let taints = spec.and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    RawNode {
        name: node.name_any(),
        labels: node.labels().clone(),
        annotations: node.annotations().clone(),
        pod_cidr: spec.and_then(|spec| spec.pod_cidr.clone()),
        cordoned: spec.and_then(|spec| spec.unschedulable).unwrap_or_default(),
        taints: taints
            .iter()
            .map(|taint| Taint { key: taint.key.clone(), effect: taint.effect.clone() })
            .collect(),
        deleting: node.metadata.deletion_timestamp.is_some(),
        ready: None,
    }
}

/// The `spec` of a `peers.kilo.squat.ai` object.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct VpnPeerSpec {
    #[serde(rename = "allowedIPs", default)]
    allowed_ips: Vec<String>,
    public_key: String,
    preshared_key: Option<String>,
    endpoint: Option<VpnPeerEndpoint>,
    #[serde(default)]
    persistent_keepalive: u64,
}

#[derive(Deserialize)]
struct VpnPeerEndpoint {
    #[serde(rename = "dnsOrIP")]
    host: VpnPeerHost,
    port: u16,
}

#[derive(Deserialize)]
struct VpnPeerHost {
    dns: Option<String>,
    ip: Option<IpAddr>,
}

/// Returns what to tell of a change of VPN peers. Those that do not parse do not exist.
fn translate(known: &mut BTreeSet<String>, change: Change<DynamicObject>) -> Vec<Event> {
    match change {
        Change::Applied(object) => {
            known.insert(object.name_any());
            vpn_peer(&object).map(Event::VpnPeer).into_iter().collect()
        }
        Change::Deleted(object) => {
            known.remove(&object.name_any());
            vec![Event::VpnPeerGone(object.name_any())]
        }
        Change::All(objects) => {
            let now: BTreeSet<_> = objects.iter().map(ResourceExt::name_any).collect();
            let gone = known.iter().filter(|name| !now.contains(*name)).cloned();
            let events = gone
                .map(Event::VpnPeerGone)
                .chain(objects.iter().filter_map(vpn_peer).map(Event::VpnPeer))
                .collect();
            *known = now;
            events
        }
    }
}

fn vpn_peer(object: &DynamicObject) -> Option<VpnPeer> {
    let spec = VpnPeerSpec::deserialize(object.data.get("spec")?).ok()?;
    let decode = |text: &str| <[u8; 32]>::try_from(STANDARD.decode(text).ok()?).ok();
    let endpoint = spec.endpoint.and_then(|at| match (at.host.ip, at.host.dns) {
        (Some(ip), _) => Some(Endpoint::Address(SocketAddr::new(ip.to_canonical(), at.port))),
        (None, Some(name)) => Some(Endpoint::Name(name, at.port, None)),
        (None, None) => None,
    });

    Some(VpnPeer {
        name: object.name_any(),
        key: decode(&spec.public_key)?,
        preshared_key: spec.preshared_key.as_deref().and_then(decode),
        endpoint,
        keepalive: Duration::from_secs(spec.persistent_keepalive),
        allowed_ips: spec.allowed_ips.iter().filter_map(|net| net.parse().ok()).collect(),
    })
}

#[cfg(test)]
mod tests;
