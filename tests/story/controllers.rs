//! Stands in for the controllers: Pods of DaemonSets and Deployments, one replaced after the other
//! when their template changes, and namespaces that are emptied before they go.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use anyhow::{Context as _, ensure};
use http::Method;
use kube::Client;
use serde_json::{Value, json};

use crate::cluster::{MERGE, ask};
use crate::kubelet::{Kubelet, text};
use crate::objects;
use crate::until::awaited;

/// Notes on a Pod which template it was made of.
const TEMPLATE: &str = "pod-template-hash";

/// The controllers of one namespace.
pub(crate) struct Controllers {
    admin: Client,
    namespace: &'static str,
    /// Where Pods of DaemonSets go.
    nodes: Vec<String>,
    /// Where Pods of Deployments go, in this order.
    preferred: Vec<String>,
}

/// A Pod as it should be.
struct Wanted {
    name: String,
    pod: Value,
}

impl Controllers {
    pub(crate) fn new(
        admin: Client,
        namespace: &'static str,
        nodes: Vec<String>,
        preferred: Vec<String>,
    ) -> Self {
        Self { admin, namespace, nodes, preferred }
    }

    /// Makes the Pods what the DaemonSets and Deployments say: those that are missing at once, those
    /// of an old template one at a time. Returns how many had to be made.
    pub(crate) async fn reconcile(&self, kubelet: &mut Kubelet) -> anyhow::Result<usize> {
        let wanted = self.wanted().await?;
        let mut present = BTreeMap::new();
        for pod in self.list("/api/v1", "pods").await? {
            present.insert(text(&pod["metadata"]["name"])?, pod);
        }
        for name in present.keys().filter(|name| wanted.iter().all(|it| it.name != **name)) {
            self.delete(name, kubelet).await?;
        }
        let (old, new): (Vec<_>, Vec<_>) =
            wanted.into_iter().partition(|it| present.contains_key(&it.name));
        let mut made = new.len();
        for Wanted { pod, .. } in &new {
            self.make(pod, kubelet).await?;
        }
        kubelet.all_ready().await?;
        for Wanted { name, pod } in old {
            if present[&name]["metadata"]["labels"][TEMPLATE] != pod["metadata"]["labels"][TEMPLATE]
            {
                self.delete(&name, kubelet).await?;
                self.make(&pod, kubelet).await?;
                kubelet.ready(&name).await?;
                made += 1;
            }
        }
        Ok(made)
    }

    async fn make(&self, pod: &Value, kubelet: &mut Kubelet) -> anyhow::Result<()> {
        let pods = format!("/api/v1/namespaces/{}/pods", self.namespace);
        let stored = self.ask(Method::POST, &pods, pod).await?;
        kubelet.run(&stored).await
    }

    async fn wanted(&self) -> anyhow::Result<Vec<Wanted>> {
        let mut wanted = Vec::new();
        for set in self.list("/apis/apps/v1", "daemonsets").await? {
            for node in &self.nodes {
                wanted.push(self.pod(&set, node)?);
            }
        }
        for set in self.list("/apis/apps/v1", "deployments").await? {
            let replicas = usize::try_from(set["spec"]["replicas"].as_u64().unwrap_or(1))?;
            ensure!(replicas <= self.preferred.len(), "no place for {replicas} replicas");
            for node in self.preferred.iter().take(replicas) {
                wanted.push(self.pod(&set, node)?);
            }
        }
        Ok(wanted)
    }

    fn pod(&self, set: &Value, node: &str) -> anyhow::Result<Wanted> {
        let template = &set["spec"]["template"];
        let mut hasher = DefaultHasher::new();
        template.to_string().hash(&mut hasher);
        let name = format!("{}-{node}", text(&set["metadata"]["name"])?);
        let (mut labels, mut spec) =
            (template["metadata"]["labels"].clone(), template["spec"].clone());
        labels[TEMPLATE] = format!("{:x}", hasher.finish()).into();
        spec["nodeName"] = node.into();
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "spec": spec,
            "metadata": {"name": name, "namespace": self.namespace, "labels": labels},
        });
        Ok(Wanted { name, pod })
    }

    async fn delete(&self, name: &str, kubelet: &mut Kubelet) -> anyhow::Result<()> {
        kubelet.end(name).await?;
        let pod = format!("/api/v1/namespaces/{}/pods/{name}", self.namespace);
        self.ask(Method::DELETE, &pod, &json!({"gracePeriodSeconds": 0})).await?;
        Ok(())
    }

    /// Empties the namespace if it is to go, and lets it.
    pub(crate) async fn finish_namespace(&self) -> anyhow::Result<()> {
        let path = format!("/api/v1/namespaces/{}", self.namespace);
        let mut namespace = self.ask(Method::GET, &path, &Value::Null).await?;
        ensure!(namespace["metadata"]["deletionTimestamp"].is_string(), "it is to stay");
        // Kinds that were just removed are listed a little longer.
        let objects = awaited("the kinds are known", async || objects::all(&self.admin).await);
        for object in objects.await? {
            if object.namespace.as_deref() == Some(self.namespace) {
                self.ask(Method::DELETE, &object.path, &Value::Null).await?;
            }
        }
        namespace["spec"]["finalizers"] = json!([]);
        self.ask(Method::PUT, &format!("{path}/finalize"), &namespace).await?;
        Ok(())
    }

    async fn list(&self, group: &str, kind: &str) -> anyhow::Result<Vec<Value>> {
        let path = format!("{group}/namespaces/{}/{kind}", self.namespace);
        let mut list = self.ask(Method::GET, &path, &Value::Null).await?;
        let items = list["items"].as_array_mut().context("no list")?;
        Ok(std::mem::take(items))
    }

    async fn ask(&self, method: Method, path: &str, body: &Value) -> anyhow::Result<Value> {
        let kind = if method == Method::GET { MERGE } else { "application/json" };
        let answer = ask(&self.admin, (method, path), kind, body).await?;
        answer.granted().with_context(|| path.to_owned())
    }
}
