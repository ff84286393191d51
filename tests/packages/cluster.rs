//! What is put into the server and asked of it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use http::{Method, Request};
use kube::Client;
use kube::api::{Api, DynamicObject, GroupVersionKind, Patch, PatchParams, ValidationDirective};
use kube::core::TypeMeta;
use kube::discovery::{ApiCapabilities, Scope, pinned_kind};
use serde_json::{Value, json};

use crate::server::{LOOK, Server, tool};

/// How long the server may take to know what it was just told.
pub(crate) const LEARNT: Duration = Duration::from_secs(60);

pub(crate) const MERGE: &str = "application/merge-patch+json";

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) body: Value,
}

impl Answer {
    /// Returns the body if the request was granted.
    pub(crate) fn granted(self) -> anyhow::Result<Value> {
        ensure!((200..300).contains(&self.code), "{}: {}", self.code, self.body);
        Ok(self.body)
    }

    /// Returns the message if the request was forbidden.
    pub(crate) fn forbidden(&self) -> Option<&str> {
        (self.code == 403).then(|| self.body["message"].as_str()).flatten()
    }
}

/// Makes one request and returns the answer as it is.
pub(crate) async fn ask(
    client: &Client,
    (method, path): (Method, &str),
    kind: &str,
    body: &Value,
) -> anyhow::Result<Answer> {
    let request = Request::builder().method(method).uri(path).header("content-type", kind);
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let response = client.send(request.body(kube::client::Body::from(body))?).await?;
    let code = response.status().as_u16();
    let bytes = response.into_body().collect_bytes().await?;
    let body = serde_json::from_slice(&bytes)
        .unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into_owned().into());
    Ok(Answer { code, body })
}

/// Asks until an answer fits, since a server learns of roles and policies some time after they are
/// stored.
pub(crate) async fn ask_until(
    client: &Client,
    (method, path): (Method, &str),
    kind: &str,
    body: &Value,
    fits: impl Fn(&Answer) -> bool,
) -> anyhow::Result<Answer> {
    let mut last = None;
    let waited = tokio::time::timeout(LEARNT, async {
        loop {
            let answer = ask(client, (method.clone(), path), kind, body).await?;
            if fits(&answer) {
                return anyhow::Ok(answer);
            }
            last = Some(answer);
            tokio::time::sleep(LOOK).await;
        }
    });
    match waited.await {
        Ok(answer) => answer,
        Err(_) => bail!("{method} {path}: still {last:?} after {LEARNT:?}"),
    }
}

/// Reads a stream of YAML documents; empty ones are left out.
pub(crate) fn documents(text: &str) -> anyhow::Result<Vec<Value>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text)?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

/// Runs kustomize on a folder of this repository.
pub(crate) fn kustomize(folder: &str) -> anyhow::Result<Vec<Value>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut command = Command::new(tool("kustomize")?);
    documents(&run(command.arg("build").arg(folder))?)
}

/// Runs a program to its end and returns what it printed.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    let printed = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    ensure!(
        output.status.success(),
        "{command:?} failed:\n{}{}",
        printed(&output.stdout),
        printed(&output.stderr)
    );
    Ok(printed(&output.stdout))
}

/// Applies objects in their order; the server refuses unknown fields.
pub(crate) async fn apply(client: &Client, objects: &[Value]) -> anyhow::Result<()> {
    for object in objects {
        apply_one(client, object).await.with_context(|| {
            format!("cannot apply {} {}", object["kind"], object["metadata"]["name"])
        })?;
    }
    Ok(())
}

async fn apply_one(client: &Client, object: &Value) -> anyhow::Result<()> {
    let object: DynamicObject = serde_json::from_value(object.clone())?;
    let api = api(client, &object).await?;
    let name = object.metadata.name.clone().context("an object without a name")?;
    let params = PatchParams {
        field_validation: Some(ValidationDirective::Strict),
        ..PatchParams::apply("tests").force()
    };
    api.patch(&name, &params, &Patch::Apply(&object)).await?;
    if object.types.as_ref().is_some_and(|types| types.kind == "CustomResourceDefinition") {
        established(client, &name).await?;
    }
    Ok(())
}

async fn api(client: &Client, object: &DynamicObject) -> anyhow::Result<Api<DynamicObject>> {
    let TypeMeta { api_version, kind } = object.types.as_ref().context("an object of no kind")?;
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let (resource, ApiCapabilities { scope, .. }) =
        pinned_kind(client, &GroupVersionKind::gvk(group, version, kind)).await?;
    Ok(match (scope, &object.metadata.namespace) {
        (Scope::Cluster, None) => Api::all_with(client.clone(), &resource),
        (Scope::Cluster, Some(_)) => bail!("a {kind} is in no namespace, but this one names one"),
        (Scope::Namespaced, Some(namespace)) => {
            Api::namespaced_with(client.clone(), namespace, &resource)
        }
        (Scope::Namespaced, None) => bail!("this {kind} names no namespace"),
    })
}

async fn established(client: &Client, name: &str) -> anyhow::Result<()> {
    let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}");
    let is_served = |answer: &Answer| {
        let conditions = answer.body["status"]["conditions"].as_array();
        conditions
            .into_iter()
            .flatten()
            .any(|condition| condition["type"] == "Established" && condition["status"] == "True")
    };
    ask_until(client, (Method::GET, &path), MERGE, &Value::Null, is_served).await?;
    Ok(())
}

/// Makes a Node as Kilo leaves it.
pub(crate) async fn make_node(client: &Client, name: &str, location: &str) -> anyhow::Result<()> {
    let node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {"kubernetes.io/hostname": name},
            "annotations": {"kilo.squat.ai/location": location, "example.org/rack": "7"},
        },
        "spec": {"podCIDR": "10.42.0.0/24"},
    });
    ask(client, (Method::POST, "/api/v1/nodes"), "application/json", &node).await?.granted()?;
    Ok(())
}

/// Kilo's own kind, of which the arbiter counts the objects.
pub(crate) fn peers_of_kilo() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "peers.kilo.squat.ai"},
        "spec": {
            "group": "kilo.squat.ai", "scope": "Cluster",
            "names": {"plural": "peers", "singular": "peer", "kind": "Peer"},
            "versions": [{
                "name": "v1alpha1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {
                    "type": "object", "x-kubernetes-preserve-unknown-fields": true,
                }},
            }],
        },
    })
}

/// An account, and where it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Account {
    pub(crate) namespace: &'static str,
    pub(crate) name: &'static str,
}

impl Account {
    pub(crate) const AGENT: Self = Self { namespace: "tanist", name: "tanist-agent" };
    pub(crate) const ARBITER: Self = Self { namespace: "tanist", name: "tanist-arbiter" };

    /// Returns a token as kubelet mounts it: bound to a pod on a node.
    pub(crate) async fn token_on(self, admin: &Client, node: &str) -> anyhow::Result<String> {
        let name = format!("{}-{node}", self.name);
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {
                "nodeName": node,
                "serviceAccountName": self.name,
                "containers": [{"name": "it", "image": "none"}],
            },
        });
        let pods = format!("/api/v1/namespaces/{}/pods", self.namespace);
        let made = ask(admin, (Method::POST, &pods), "application/json", &pod).await?.granted()?;
        let reference = json!({
            "apiVersion": "v1", "kind": "Pod", "name": name, "uid": made["metadata"]["uid"],
        });
        self.request(admin, &json!({"boundObjectRef": reference})).await
    }

    /// Returns a token that names no node.
    pub(crate) async fn token(self, admin: &Client) -> anyhow::Result<String> {
        self.request(admin, &json!({})).await
    }

    async fn request(self, admin: &Client, spec: &Value) -> anyhow::Result<String> {
        let Self { namespace, name } = self;
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token");
        let body = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec,
        });
        let answer = ask(admin, (Method::POST, &path), "application/json", &body).await?;
        let answer = answer.granted()?;
        Ok(answer["status"]["token"].as_str().context("no token")?.to_owned())
    }

    /// Waits until the server knows that the account may do this; whoever asks in its name before is
    /// refused.
    pub(crate) async fn until_it_may(self, admin: &Client, right: Value) -> anyhow::Result<()> {
        let Self { namespace, name } = self;
        let reviews = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": {
                "user": format!("system:serviceaccount:{namespace}:{name}"),
                "resourceAttributes": right,
            },
        });
        let may = |answer: &Answer| answer.body["status"]["allowed"] == true;
        ask_until(admin, (Method::POST, reviews), "application/json", &review, may).await?;
        Ok(())
    }

    /// Returns a client with such a token.
    pub(crate) async fn client_on(
        self,
        server: &Server,
        admin: &Client,
        node: &str,
    ) -> anyhow::Result<Client> {
        server.client(&self.token_on(admin, node).await?).await
    }
}
