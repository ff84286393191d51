//! The accounts that Tanist's processes work under on a real API server: a pod for each process, as
//! its workload's controller would make it, and the token that kubelet would mount in it.

use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, Client};

use super::shape::Part;
use crate::evidence::NodeName;

/// For how long a token is valid, in seconds: longer than any run of the lab. Nobody here renews it,
/// as kubelet does within the hour.
const VALID: i64 = 30 * 24 * 3600;

/// The account of a sidecar, which has no pod of its own that would name it.
const SIDECAR: &str = "tanist-sidecar";

/// What went wrong with an account.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The shipped workload is not understood.
    #[error("could not read the shipped workload of the {0}")]
    Workload(Part, #[source] Box<serde_saphyr::Error>),
    /// It has no pods.
    #[error("the shipped workload of the {0} has no pod in it, or no account")]
    NoPod(Part),
    /// A request.
    #[error("could not {tried} for the {part} of {node}")]
    Request {
        /// What was tried.
        tried: &'static str,
        /// Whose.
        part: Part,
        /// Where it runs.
        node: NodeName,
        /// Why it failed.
        #[source]
        source: Box<kube::Error>,
    },
    /// A token without a token in it.
    #[error("the API server gave no token to the {0} of {1}")]
    NoToken(Part, NodeName),
}

/// Asks for the token of a process. That of an agent or an arbiter is bound to a pod and names its
/// node; that of a sidecar names none, since it comes from a Secret in an installation.
pub async fn token(client: &Client, part: Part, node: &NodeName) -> Result<String, Error> {
    let failed = |source| failed("ask for a token", (part, node), source);
    let (account, bound) = match pod(part, node)? {
        None => (SIDECAR.to_owned(), None),
        Some((account, pod)) => (account, Some(made(client, &pod, (part, node)).await?)),
    };

    let accounts = Api::<ServiceAccount>::namespaced(client.clone(), part.namespace());
    let (params, request) = (PostParams::default(), request(bound));
    let given = accounts.create_token_request(&account, &params, &request).await.map_err(failed)?;
    let token = given.status.map(|status| status.token);
    token.ok_or_else(|| Error::NoToken(part, node.clone()))
}

/// Makes a pod, if it is not there, and returns what a token is bound to.
async fn made(
    client: &Client,
    pod: &Pod,
    whose: (Part, &NodeName),
) -> Result<BoundObjectReference, Error> {
    let pods = Api::<Pod>::namespaced(client.clone(), whose.0.namespace());
    let name = pod.metadata.name.clone().unwrap_or_default();

    let params = PatchParams::apply("tanist-lab");
    let made = pods.patch(&name, &params, &Patch::Apply(pod)).await;
    let made = made.map_err(|source| failed("make a pod", whose, source))?;
    Ok(BoundObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        name: Some(name),
        uid: made.metadata.uid,
    })
}

fn failed(tried: &'static str, (part, node): (Part, &NodeName), source: kube::Error) -> Error {
    Error::Request { tried, part, node: node.clone(), source: Box::new(source) }
}

/// Returns the pod of a process on its node, and its account.
fn pod(part: Part, node: &NodeName) -> Result<Option<(String, Pod)>, Error> {
    let Some(workload) = part.workload() else { return Ok(None) };
    let read = serde_saphyr::from_multiple::<DynamicObject>(workload);
    let read = read.map_err(|source| Error::Workload(part, Box::new(source)))?;
    let template = read.into_iter().find_map(|mut object| {
        let template = object.data.pointer_mut("/spec/template")?.take();
        serde_json::from_value::<PodTemplateSpec>(template).ok()
    });

    let mut spec = template.as_ref().and_then(|template| template.spec.clone());
    let account = spec.as_ref().and_then(|spec| spec.service_account_name.clone());
    let account = account.ok_or(Error::NoPod(part))?;
    if let Some(spec) = &mut spec {
        spec.node_name = Some(node.0.clone());
    }
    let metadata = ObjectMeta {
        name: Some(format!("{account}-{node}")),
        labels: template.and_then(|template| template.metadata?.labels),
        ..ObjectMeta::default()
    };
    Ok(Some((account, Pod { metadata, spec, status: None })))
}

fn request(bound: Option<BoundObjectReference>) -> TokenRequest {
    TokenRequest {
        spec: TokenRequestSpec {
            bound_object_ref: bound,
            expiration_seconds: Some(VALID),
            ..TokenRequestSpec::default()
        },
        ..TokenRequest::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_those_of_the_shipped_workloads() {
        for (part, name) in [(Part::Agent, "tanist-agent"), (Part::Arbiter, "tanist-arbiter")] {
            let (account, pod) = pod(part, &"cloud-1".into()).unwrap().unwrap();
            let spec = pod.spec.unwrap();

            assert_eq!(account, name);
            assert_eq!(pod.metadata.name.unwrap(), format!("{name}-cloud-1"));
            assert_eq!(pod.metadata.labels.unwrap()["app.kubernetes.io/name"], name);
            assert_eq!(spec.node_name.as_deref(), Some("cloud-1"));
            assert_eq!(spec.service_account_name.as_deref(), Some(name));
        }
        assert!(pod(Part::Sidecar, &"cloud-1".into()).unwrap().is_none());
    }
}
