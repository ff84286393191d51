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
use super::rights::{Account, Answer, CALLER, PATCH_NODES, Right, Within};

/// The label of everything that belongs to Tanist.
const OURS: &str = "app.kubernetes.io/part-of=tanist";

/// How Kilo's pods are labelled by its own manifests.
const KILO: &str = "app.kubernetes.io/name=kilo";

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
    /// Tanist's accounts, and what they may do.
    pub accounts: Vec<Account>,
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

async fn accounts(client: &Client) -> Vec<Account> {
    let params = ListParams::default().labels(OURS);
    let accounts = Api::<ServiceAccount>::all(client.clone()).list(&params).await;
    let accounts = accounts.map(|list| list.items).unwrap_or_default();
    let ask = async |found: &ServiceAccount| {
        let namespace = found.namespace().unwrap_or_default();
        let name = format!("{namespace}:{}", found.name_any());
        let patch_nodes = may(client, &name, &namespace, PATCH_NODES).await;
        let mut account = Account { name, patch_nodes, needs: Vec::new() };
        for right in account.rights() {
            account.needs.push((right, may(client, &account.name, &namespace, right).await));
        }
        account
    };
    futures::future::join_all(accounts.iter().map(ask)).await
}

/// Asks whether an account may do something.
async fn may(client: &Client, account: &str, namespace: &str, right: Right) -> Answer {
    let within = match right.within {
        Within::Cluster => None,
        Within::Own => Some(namespace.to_owned()),
        Within::Default => Some("default".to_owned()),
    };
    let spec = SubjectAccessReviewSpec {
        user: Some(format!("system:serviceaccount:{account}")),
        groups: Some(vec![
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{namespace}"),
            "system:authenticated".to_owned(),
        ]),
        resource_attributes: Some(ResourceAttributes { namespace: within, ..attributes(right) }),
        ..SubjectAccessReviewSpec::default()
    };
    let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
    let api = Api::<SubjectAccessReview>::all(client.clone());
    let asked = api.create(&PostParams::default(), &review).await;
    answer(asked.map(|review| review.status.map(|status| status.allowed)))
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
    let mut policies: Vec<String> = match policies {
        Ok(list) => list.iter().map(kube::ResourceExt::name_any).collect(),
        Err(kube::Error::Api(status)) if status.code == 404 => return Policy::Unsupported,
        Err(error) => return Policy::Unknown(Said::from(error).to_string()),
    };
    policies.sort();
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
