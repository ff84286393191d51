//! The control plane of the lab's mesh: an API server at the WAN, and what a cluster's installer
//! would have put into it.

use std::collections::BTreeMap;
use std::net::TcpListener as Listener;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{NodeAddress, NodeCondition};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionNames, CustomResourceDefinitionSpec,
    CustomResourceDefinitionVersion, CustomResourceValidation, JSONSchemaProps,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::apiserver::Server;
use super::topology::{Place, SERVER, Topology};
use crate::cluster::objects::{NodeSpec, NodeStatus, SlimNode, crds};
use crate::evidence::kilo::TOPOLOGY_LABEL;
use crate::evidence::{Mesh, NodeName, UnixTime};

/// The port of the API server at the WAN.
const PORT: u16 = 6443;

/// What went wrong with the control plane.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Files or sockets.
    #[error("could not {tried}")]
    Io {
        /// What was tried.
        tried: &'static str,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// A kubeconfig that we wrote is not understood.
    #[error("could not use our own kubeconfig")]
    Kubeconfig(#[source] Box<kube::config::KubeconfigError>),
    /// A request.
    #[error("could not {tried}")]
    Request {
        /// What was tried.
        tried: String,
        /// Why it failed.
        #[source]
        source: Box<kube::Error>,
    },
}

fn request(tried: impl FnOnce() -> String) -> impl FnOnce(kube::Error) -> Error {
    move |source| Error::Request { tried: tried(), source: Box::new(source) }
}

fn io(tried: &'static str) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Io { tried, source }
}

/// A running API server and a client of it. Start and use it on the WAN's thread.
pub struct ControlPlane {
    /// The server.
    pub server: Server,
    /// The lab's own client.
    pub client: Client,
    /// Where it is reached from the machine outside.
    pub outside: String,
    folder: PathBuf,
    _end: DropGuard,
}

impl ControlPlane {
    /// Starts the embedded server at the WAN and on the listener that came from outside.
    pub async fn start(loopback: Listener, folder: &Path) -> Result<Self, Error> {
        let server = Server::new();
        let end = CancellationToken::new();

        loopback.set_nonblocking(true).map_err(io("use the loopback listener"))?;
        let outside = loopback.local_addr().map_err(io("read the loopback listener's address"))?;
        let loopback = TcpListener::from_std(loopback).map_err(io("use the loopback listener"))?;
        let wan = TcpListener::bind((SERVER, PORT)).await.map_err(io("listen at the WAN"))?;
        for listener in [wan, loopback] {
            let (server, end) = (server.clone(), end.clone());
            tokio::spawn(async move {
                if let Err(error) = server.serve(listener, end).await {
                    tracing::error!(error = %crate::telemetry::Chain(&error), "The API server ended");
                }
            });
        }

        let client =
            Client::try_from(config("lab").await?).map_err(request(|| "connect".into()))?;
        let (outside, folder) = (format!("http://{outside}"), folder.to_owned());
        Ok(Self { server, client, outside, folder, _end: end.drop_guard() })
    }

    /// Puts Tanist's and Kilo's kinds and a Node for each place into the cluster.
    pub async fn register(&self, topology: &Topology) -> Result<(), Error> {
        let definitions = Api::<CustomResourceDefinition>::all(self.client.clone());
        for definition in crds().iter().chain([&kilo_peers()]) {
            let name = definition.metadata.name.as_deref().unwrap_or_default();
            let applied = definitions
                .patch(name, &PatchParams::apply("tanist-lab").force(), &Patch::Apply(definition))
                .await;
            applied.map_err(request(|| format!("apply the definition {name}")))?;
        }

        for place in &topology.places {
            self.add_node(place).await?;
        }
        Ok(())
    }

    async fn add_node(&self, place: &Place) -> Result<(), Error> {
        let name = &place.name.0;
        let tried = || format!("create the Node {name}");
        let named = |type_: &str, address: String| NodeAddress { type_: type_.to_owned(), address };
        let ready = NodeCondition {
            type_: "Ready".to_owned(),
            status: "True".to_owned(),
            ..NodeCondition::default()
        };
        let status = NodeStatus {
            addresses: Some(vec![
                named("InternalIP", place.internal().addr().to_string()),
                named("Hostname", name.clone()),
            ]),
            conditions: Some(vec![ready]),
        };
        let labels = [("kubernetes.io/hostname", name), (TOPOLOGY_LABEL, &place.location.0)];
        // kg panics on a Node without any; real ones always carry some.
        let annotations = [("node.alpha.kubernetes.io/ttl", "0")];
        let node = SlimNode {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                labels: Some(labels.map(|(key, value)| (key.to_owned(), value.clone())).into()),
                annotations: Some(annotations.map(|(k, v)| (k.to_owned(), v.to_owned())).into()),
                ..ObjectMeta::default()
            },
            spec: NodeSpec { pod_cidr: Some(place.pods().to_string()), ..NodeSpec::default() },
            status: status.clone(),
        };

        let nodes = self.nodes();
        nodes.create(&PostParams::default(), &node).await.map_err(request(tried))?;
        let status = Patch::Merge(serde_json::json!({ "status": status }));
        let patched = nodes.patch_status(name, &PatchParams::default(), &status).await;
        patched.map(|_| ()).map_err(request(tried))
    }

    /// Writes a kubeconfig whose user stands for one process, and returns its path.
    pub fn kubeconfig(&self, user: &str) -> Result<PathBuf, Error> {
        let file = self.folder.join(format!("{user}.kubeconfig"));
        let written = std::fs::write(&file, Server::kubeconfig_as(&wan_url(), user));
        written.map(|()| file).map_err(io("write a kubeconfig"))
    }

    /// Writes a kubeconfig for a person outside, and returns its path.
    pub fn kubeconfig_outside(&self) -> Result<PathBuf, Error> {
        let file = self.folder.join("kubeconfig");
        let written = std::fs::write(&file, Server::kubeconfig_as(&self.outside, "person"));
        written.map(|()| file).map_err(io("write a kubeconfig"))
    }

    /// Returns the access to Nodes, read slimly.
    #[must_use]
    pub fn nodes(&self) -> Api<SlimNode> {
        Api::all(self.client.clone())
    }

    /// Reads all Nodes as Kilo does.
    pub async fn mesh(&self, at: UnixTime) -> Result<Mesh, Error> {
        let nodes = self.nodes().list(&ListParams::default()).await;
        let nodes = nodes.map_err(request(|| "list the Nodes".to_owned()))?;

        Ok(Mesh { nodes: read(&nodes.items), at })
    }
}

/// Reads Nodes as Kilo does.
pub fn read(nodes: &[SlimNode]) -> BTreeMap<NodeName, crate::evidence::Node> {
    let nodes = nodes.iter().map(|node| (node.name().into(), node.read(TOPOLOGY_LABEL)));
    nodes.collect()
}

/// Returns how a process of the mesh that calls itself `user` reaches the server.
pub async fn config(user: &str) -> Result<Config, Error> {
    let text = Server::kubeconfig_as(&wan_url(), user);
    let kubeconfig = Kubeconfig::from_yaml(&text);
    let kubeconfig = kubeconfig.map_err(|source| Error::Kubeconfig(Box::new(source)))?;

    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    config.map_err(|source| Error::Kubeconfig(Box::new(source)))
}

fn wan_url() -> String {
    format!("http://{SERVER}:{PORT}")
}

/// Returns the definition of Kilo's VPN peers, which its agents watch.
fn kilo_peers() -> CustomResourceDefinition {
    let anything = JSONSchemaProps {
        type_: Some("object".to_owned()),
        x_kubernetes_preserve_unknown_fields: Some(true),
        ..JSONSchemaProps::default()
    };
    let version = CustomResourceDefinitionVersion {
        name: "v1alpha1".to_owned(),
        served: true,
        storage: true,
        schema: Some(CustomResourceValidation { open_api_v3_schema: Some(anything) }),
        ..CustomResourceDefinitionVersion::default()
    };
    let names = CustomResourceDefinitionNames {
        kind: "Peer".to_owned(),
        plural: "peers".to_owned(),
        ..CustomResourceDefinitionNames::default()
    };

    CustomResourceDefinition {
        metadata: ObjectMeta {
            name: Some("peers.kilo.squat.ai".to_owned()),
            ..ObjectMeta::default()
        },
        spec: CustomResourceDefinitionSpec {
            group: "kilo.squat.ai".to_owned(),
            names,
            scope: "Cluster".to_owned(),
            versions: vec![version],
            ..CustomResourceDefinitionSpec::default()
        },
        status: None,
    }
}
