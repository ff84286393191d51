//! What the API says besides the objects of the mesh: versions, rights, policies.

use std::collections::BTreeMap;

use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SubjectAccessReview,
    SubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::{Api, ListParams, PostParams};
use kube::{Client, ResourceExt as _};

use super::super::view::Said;

/// The label of everything that belongs to Tanist.
const OURS: &str = "app.kubernetes.io/part-of=tanist";

/// How Kilo's pods are labelled by its own manifests.
const KILO: &str = "app.kubernetes.io/name=kilo";

/// Whether somebody may do something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// They may.
    Allowed,
    /// They may not.
    Denied,
    /// The server does not say.
    Unknown(String),
}

/// One right that was asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// The verb.
    pub verb: &'static str,
    /// The API group.
    pub group: &'static str,
    /// The resource, with its subresource.
    pub resource: &'static str,
    /// What it is for.
    pub purpose: &'static str,
}

/// What a person at the command line needs.
pub const CALLER: [Right; 5] = [
    right("list", "tanist.dev", "relayreports", "why, doctor"),
    right("patch", "tanist.dev", "meshlocations", "move, pause, resume, ack"),
    right("patch", "", "nodes", "pin, unpin, restore"),
    right("list", "", "pods", "what a move would cost"),
    right("create", "authorization.k8s.io", "subjectaccessreviews", "this check"),
];

/// What tells an account that may move a leader from one that may not.
pub const PATCH_NODES: Right = right("patch", "", "nodes", "moving a leader");

const fn right(
    verb: &'static str,
    group: &'static str,
    resource: &'static str,
    purpose: &'static str,
) -> Right {
    Right { verb, group, resource, purpose }
}

/// Whether the admission policy stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Policy {
    /// It is there, and bound.
    Bound(Vec<String>),
    /// It is there, but nothing binds it.
    Unbound(Vec<String>),
    /// It is not there.
    Absent,
    /// This server does not know such policies.
    Unsupported,
    /// We may not look.
    Unknown(String),
}

/// What the API says besides the objects of the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The server's version; none if it does not say.
    pub kubernetes: Option<String>,
    /// The images of Kilo's pods, with how many pods run each; none if we may not look.
    pub kilo: Option<BTreeMap<String, usize>>,
    /// What the caller may do.
    pub caller: Vec<(Right, Answer)>,
    /// Whether each account of Tanist may patch Nodes, by `namespace:name`.
    pub accounts: Vec<(String, Answer)>,
    /// Whether the admission policy stands.
    pub policy: Policy,
    /// The port that answers probes.
    pub port: u16,
}

/// Asks the server.
pub async fn gather(client: &Client, port: u16) -> Facts {
    let (kubernetes, kilo, caller, accounts, policy) = futures::join!(
        client.apiserver_version(),
        kilo(client),
        caller(client),
        accounts(client),
        policy(client),
    );
    let kubernetes = kubernetes.ok().map(|version| version.git_version);
    Facts { kubernetes, kilo, caller, accounts, policy, port }
}

async fn kilo(client: &Client) -> Option<BTreeMap<String, usize>> {
    let params = ListParams::default().labels(KILO);
    let pods = Api::<Pod>::all(client.clone()).list(&params).await.ok()?;
    let mut images = BTreeMap::new();
    for pod in pods {
        let containers = pod.spec.map(|spec| spec.containers).unwrap_or_default();
        let image = containers.into_iter().find_map(|container| container.image);
        *images.entry(image.unwrap_or_default()).or_default() += 1;
    }
    Some(images)
}

async fn caller(client: &Client) -> Vec<(Right, Answer)> {
    let api = Api::<SelfSubjectAccessReview>::all(client.clone());
    let ask = async |right: Right| {
        let spec = SelfSubjectAccessReviewSpec {
            resource_attributes: Some(attributes(right)),
            ..SelfSubjectAccessReviewSpec::default()
        };
        let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
        let asked = api.create(&PostParams::default(), &review).await;
        (right, answer(asked.map(|review| review.status.map(|status| status.allowed))))
    };
    futures::future::join_all(CALLER.map(ask)).await
}

async fn accounts(client: &Client) -> Vec<(String, Answer)> {
    let params = ListParams::default().labels(OURS);
    let accounts = Api::<ServiceAccount>::all(client.clone()).list(&params).await;
    let api = Api::<SubjectAccessReview>::all(client.clone());
    let ask = async |account: &ServiceAccount| {
        let namespace = account.namespace().unwrap_or_default();
        let name = format!("{namespace}:{}", account.name_any());
        let spec = SubjectAccessReviewSpec {
            user: Some(format!("system:serviceaccount:{name}")),
            groups: Some(vec![
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{namespace}"),
                "system:authenticated".to_owned(),
            ]),
            resource_attributes: Some(attributes(PATCH_NODES)),
            ..SubjectAccessReviewSpec::default()
        };
        let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        let asked = api.create(&PostParams::default(), &review).await;
        (name, answer(asked.map(|review| review.status.map(|status| status.allowed))))
    };
    let accounts = accounts.map(|list| list.items).unwrap_or_default();
    futures::future::join_all(accounts.iter().map(ask)).await
}

fn attributes(right: Right) -> ResourceAttributes {
    let (resource, subresource) = match right.resource.split_once('/') {
        Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
        None => (right.resource, None),
    };
    ResourceAttributes {
        verb: Some(right.verb.to_owned()),
        group: Some(right.group.to_owned()),
        resource: Some(resource.to_owned()),
        subresource,
        ..ResourceAttributes::default()
    }
}

fn answer(asked: Result<Option<bool>, kube::Error>) -> Answer {
    match asked {
        Ok(Some(true)) => Answer::Allowed,
        Ok(Some(false)) => Answer::Denied,
        Ok(None) => Answer::Unknown("the server gave no answer".to_owned()),
        Err(kube::Error::Api(status)) if status.code == 404 => {
            Answer::Unknown("this server does not answer such questions".to_owned())
        }
        Err(error) => Answer::Unknown(Said::from(error).to_string()),
    }
}

async fn policy(client: &Client) -> Policy {
    let params = ListParams::default().labels(OURS);
    let policies = Api::<ValidatingAdmissionPolicy>::all(client.clone()).list(&params).await;
    let bindings = Api::<ValidatingAdmissionPolicyBinding>::all(client.clone()).list(&params).await;
    let policies: Vec<String> = match policies {
        Ok(list) => list.iter().map(kube::ResourceExt::name_any).collect(),
        Err(kube::Error::Api(status)) if status.code == 404 => return Policy::Unsupported,
        Err(error) => return Policy::Unknown(Said::from(error).to_string()),
    };
    let bound: Vec<_> = bindings
        .map(|list| list.items)
        .unwrap_or_default()
        .into_iter()
        .filter_map(|binding| binding.spec?.policy_name)
        .collect();
    let unbound: Vec<_> = policies.iter().filter(|name| !bound.contains(name)).cloned().collect();
    match (policies.is_empty(), unbound.is_empty()) {
        (true, _) => Policy::Absent,
        (false, true) => Policy::Bound(policies),
        (false, false) => Policy::Unbound(unbound),
    }
}
