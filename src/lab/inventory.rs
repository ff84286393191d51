//! What is in the cluster from the start, as a cluster's installer would have put it there: Tanist's
//! and Kilo's kinds, and a Node for each place.

use k8s_openapi::api::core::v1::{NodeAddress, NodeCondition};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionNames, CustomResourceDefinitionSpec,
    CustomResourceDefinitionVersion, CustomResourceValidation, JSONSchemaProps,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client};

use super::topology::{Place, Topology};
use crate::cluster::objects::{NodeSpec, NodeStatus, SlimNode, crds};
use crate::evidence::kilo::TOPOLOGY_LABEL;

/// What could not be put there.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A request.
    #[error("could not {tried}")]
    Request {
        /// What was tried.
        tried: String,
        /// Why it failed.
        #[source]
        source: Box<kube::Error>,
    },
    /// A definition is not taken up.
    #[error("could not wait for the definition {name}")]
    Definition {
        /// Which.
        name: String,
        /// Why it failed.
        #[source]
        source: kube::runtime::wait::Error,
    },
}

fn request(tried: impl FnOnce() -> String) -> impl FnOnce(kube::Error) -> Error {
    move |source| Error::Request { tried: tried(), source: Box::new(source) }
}

/// Puts all of it into the cluster.
pub async fn register(client: &Client, topology: &Topology) -> Result<(), Error> {
    for definition in crds().iter().chain([&kilo_peers()]) {
        define(client, definition).await?;
    }
    for place in &topology.places {
        add_node(client, place).await?;
    }
    Ok(())
}

async fn define(client: &Client, definition: &CustomResourceDefinition) -> Result<(), Error> {
    let definitions = Api::<CustomResourceDefinition>::all(client.clone());
    let name = definition.metadata.name.as_deref().unwrap_or_default();

    let params = PatchParams::apply("tanist-lab").force();
    let applied = definitions.patch(name, &params, &Patch::Apply(definition)).await;
    applied.map_err(request(|| format!("apply the definition {name}")))?;
    let served = await_condition(definitions, name, conditions::is_crd_established()).await;
    served.map_err(|source| Error::Definition { name: name.to_owned(), source })?;
    Ok(())
}

async fn add_node(client: &Client, place: &Place) -> Result<(), Error> {
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

    let nodes = Api::<SlimNode>::all(client.clone());
    nodes.create(&PostParams::default(), &node).await.map_err(request(tried))?;
    let status = Patch::Merge(serde_json::json!({ "status": status }));
    let patched = nodes.patch_status(name, &PatchParams::default(), &status).await;
    patched.map(|_| ()).map_err(request(tried))
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
