//! A client that shows status codes as they are, and the objects that the tests need.

use std::time::Duration;

use http::{Method, Request};
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use tanist::lab::apiserver::Server;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

pub(crate) const JSON: &str = "application/json";
pub(crate) const JSON_PATCH: &str = "application/json-patch+json";
pub(crate) const MERGE: &str = "application/merge-patch+json";
pub(crate) const STRATEGIC: &str = "application/strategic-merge-patch+json";
pub(crate) const APPLY: &str = "application/apply-patch+yaml";

pub(crate) const NODES: &str = "/api/v1/nodes";
pub(crate) const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
pub(crate) const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// How long a server may take to serve what it was told to.
const LIMIT: Duration = Duration::from_secs(60);

/// A server under test: our own, or the one that the environment names.
pub(crate) struct Cluster {
    pub(crate) client: Client,
    _server: DropGuard,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) body: Value,
}

impl Answer {
    #[track_caller]
    pub(crate) fn expect(self, code: u16) -> Value {
        assert_eq!(self.code, code, "{}", self.body);
        self.body
    }

    /// Expects a failure of this code and reason; returns its message.
    #[track_caller]
    pub(crate) fn refused(self, code: u16, reason: &str) -> String {
        assert_eq!(
            (self.code, self.body["reason"].as_str()),
            (code, Some(reason)),
            "{}",
            self.body
        );
        assert_eq!(self.body["status"], "Failure");
        assert_eq!(self.body["code"], code);
        self.body["message"].as_str().unwrap().to_owned()
    }

    /// Expects a 422 and returns the fields that are wrong.
    #[track_caller]
    pub(crate) fn invalid(self) -> Vec<String> {
        assert_eq!(
            (self.code, self.body["reason"].as_str()),
            (422, Some("Invalid")),
            "{}",
            self.body
        );
        let causes = self.body["details"]["causes"].as_array().unwrap().iter();
        causes.map(|cause| cause["field"].as_str().unwrap().to_owned()).collect()
    }
}

pub(crate) async fn cluster() -> Cluster {
    let cancel = CancellationToken::new();
    let kubeconfig = match std::env::var("TANIST_CONFORMANCE_KUBECONFIG") {
        Ok(path) => Kubeconfig::read_from(path).unwrap(),
        Err(_) => {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            let cancel = cancel.clone();
            tokio::spawn(async move { Server::new().serve(listener, cancel).await });
            Kubeconfig::from_yaml(&Server::kubeconfig(&url)).unwrap()
        }
    };
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();

    Cluster { client: Client::try_from(config).unwrap(), _server: cancel.drop_guard() }
}

impl Cluster {
    pub(crate) async fn send(&self, method: Method, path: &str, kind: &str, body: &str) -> Answer {
        let request = Request::builder().method(method).uri(path).header("content-type", kind);
        let request = request.body(Body::from(body.as_bytes().to_vec())).unwrap();
        self.ask(request).await
    }

    pub(crate) async fn ask(&self, request: Request<Body>) -> Answer {
        let response = self.client.send(request).await.unwrap();
        let code = response.status().as_u16();
        let bytes = response.into_body().collect_bytes().await.unwrap();
        let text = || Value::from(String::from_utf8_lossy(&bytes).into_owned());
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| text());

        Answer { code, body }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, JSON, "").await
    }

    /// Asks until the answer has this code: a definition is served, or no longer, some time after it
    /// is written.
    pub(crate) async fn get_until(&self, path: &str, code: u16) {
        let asked = tokio::time::timeout(LIMIT, async {
            loop {
                match self.get(path).await.code {
                    answered if answered == code => break,
                    200 | 404 | 503 => tokio::task::yield_now().await,
                    other => panic!("{other} from {path}"),
                }
            }
        });
        assert!(asked.await.is_ok(), "no {code} from {path} in {LIMIT:?}");
    }

    pub(crate) async fn get_as(&self, path: &str, accept: &str) -> Value {
        let request = Request::get(path).header("accept", accept).body(Body::empty()).unwrap();
        self.ask(request).await.expect(200)
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, JSON, &body.to_string()).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::PUT, path, JSON, &body.to_string()).await
    }

    pub(crate) async fn patch(&self, path: &str, kind: &str, body: &Value) -> Answer {
        self.send(Method::PATCH, path, kind, &body.to_string()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, JSON, "").await
    }

    /// Makes a node afresh; an earlier run may have left one.
    pub(crate) async fn node(&self, name: &str) -> Value {
        self.delete(&format!("{NODES}/{name}")).await;
        self.post(NODES, &node(name)).await.expect(201)
    }

    /// Registers the definition of [`definition`] and waits until it is served.
    pub(crate) async fn define(&self, plural: &str) -> String {
        let made = self.post(DEFINITIONS, &definition(plural)).await;
        assert!(matches!(made.code, 201 | 409), "{}", made.body);
        let path = format!("/apis/conformance.tanist.dev/v1/{plural}");
        self.get_until(&path, 200).await;
        self.delete(&path).await;

        path
    }
}

pub(crate) fn node(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {"place": "edge"},
            "annotations": {"kilo.squat.ai/location": "edge"},
        },
        "spec": {"podCIDR": "10.42.7.0/24"},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    })
}

pub(crate) fn lease(name: &str, holder: &str) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 10, "leaseTransitions": 0,
                 "renewTime": "2026-01-02T03:04:05.678901Z"},
    })
}

/// A definition with a bit of everything.
pub(crate) fn definition(plural: &str) -> Value {
    let singular = plural.trim_end_matches('s');
    let condition = json!({
        "type": "object",
        "required": ["type", "status"],
        "properties": {"type": {"type": "string"}, "status": {"type": "string"},
                       "message": {"type": "string"}},
    });
    let spec = json!({
        "type": "object",
        "required": ["place"],
        "properties": {
            "place": {"type": "string", "maxLength": 8, "pattern": "^[a-z]+$"},
            "mode": {"type": "string", "enum": ["observe", "act"], "default": "observe"},
            "budget": {"type": "integer", "minimum": 0, "maximum": 9},
            "peers": {"type": "array", "maxItems": 3, "items": {"type": "string"}},
            "nested": {"type": "object", "properties": {
                "depth": {"type": "integer", "default": 2}}},
            "note": {"type": "string", "nullable": true},
        },
    });
    let status = json!({
        "type": "object",
        "properties": {
            "leader": {"type": "string"},
            "conditions": {"type": "array", "items": condition, "x-kubernetes-list-type": "map",
                           "x-kubernetes-list-map-keys": ["type"]},
        },
    });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.conformance.tanist.dev")},
        "spec": {
            "group": "conformance.tanist.dev",
            "scope": "Cluster",
            "names": {"plural": plural, "singular": singular, "kind": kind(plural)},
            "versions": [{
                "name": "v1",
                "served": true,
                "storage": true,
                "subresources": {"status": {}},
                "additionalPrinterColumns": [
                    {"name": "Place", "type": "string", "jsonPath": ".spec.place"},
                    {"name": "Well", "type": "string", "priority": 1,
                     "jsonPath": ".status.conditions[?(@.type==\"Well\")].status"},
                    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
                ],
                "schema": {"openAPIV3Schema": {
                    "type": "object",
                    "required": ["spec"],
                    "properties": {"spec": spec, "status": status},
                }},
            }],
        },
    })
}

pub(crate) fn kind(plural: &str) -> String {
    let singular = plural.trim_end_matches('s');
    singular[..1].to_uppercase() + &singular[1..]
}

pub(crate) fn custom(plural: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "conformance.tanist.dev/v1", "kind": kind(plural),
           "metadata": {"name": name}, "spec": spec})
}

/// Returns the entry of `managedFields` of one manager.
pub(crate) fn entry<'a>(object: &'a Value, manager: &str, operation: &str) -> Option<&'a Value> {
    let entries = object["metadata"]["managedFields"].as_array()?;
    entries.iter().find(|e| e["manager"] == manager && e["operation"] == operation)
}
