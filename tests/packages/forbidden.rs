//! Every write that must not be: tried on the real server, with the shipped roles and policies.

use anyhow::{Context as _, ensure};
use http::Method;
use kube::Client;
use serde_json::{Value, json};

use crate::cluster::{Account, MERGE, apply, ask, ask_until, kustomize, make_node};
use crate::server::Server;

const NODE: &str = "/api/v1/nodes/a";
const DRY_NODE: &str = "/api/v1/nodes/a?dryRun=All";
const STATUS: &str = "/api/v1/nodes/a/status";
const REPORTS: &str = "/apis/tanist.dev/v1alpha1/relayreports";

/// One attempt on Node `a`, and what the refusal must say.
struct Attempt {
    what: &'static str,
    method: Method,
    path: &'static str,
    body: Value,
    because: &'static str,
}

impl Attempt {
    fn patch(what: &'static str, body: Value, because: &'static str) -> Self {
        Self { what, method: Method::PATCH, path: NODE, body, because }
    }

    async fn is_refused(&self, client: &Client) -> anyhow::Result<()> {
        let request = (self.method.clone(), self.path);
        let kind = if self.method == Method::PATCH { MERGE } else { JSON };
        let answer = ask(client, request, kind, &self.body).await?;
        let said = answer.forbidden();
        let said = said.with_context(|| format!("{}: not refused: {answer:?}", self.what))?;
        ensure!(said.contains(self.because), "{}: refused, but with: {said}", self.what);
        Ok(())
    }
}

/// The roles alone: what they do not grant is refused before any policy is asked.
pub(crate) async fn roles_grant_no_more() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let admin = installed(&server).await?;
    let agent = Account::AGENT.client_on(&server, &admin, "a").await?;
    let arbiter = Account::ARBITER.client_on(&server, &admin, "a").await?;
    ask_until(&agent, (Method::GET, "/api/v1/nodes"), MERGE, &Value::Null, |a| a.code == 200)
        .await?;
    ask_until(&arbiter, (Method::GET, "/api/v1/nodes"), MERGE, &Value::Null, |a| a.code == 200)
        .await?;

    let locations = "/apis/tanist.dev/v1alpha1/meshlocations";
    let secrets = "/api/v1/namespaces/tanist/secrets";
    let lease = "/apis/coordination.k8s.io/v1/namespaces/tanist/leases/other";
    let events = "/apis/events.k8s.io/v1/namespaces/default/events";
    let tries = [
        ("an agent patches a Node", &agent, Method::PATCH, NODE),
        ("an agent patches a Node's status", &agent, Method::PATCH, STATUS),
        ("an agent writes a MeshLocation", &agent, Method::POST, locations),
        (
            "an agent deletes a report",
            &agent,
            Method::DELETE,
            "/apis/tanist.dev/v1alpha1/relayreports/a",
        ),
        ("an agent lists reports", &agent, Method::GET, REPORTS),
        ("an agent reads secrets", &agent, Method::GET, secrets),
        ("an agent reads a lease", &agent, Method::GET, lease),
        ("an agent writes Events", &agent, Method::POST, events),
        ("the arbiter patches a Node's status", &arbiter, Method::PATCH, STATUS),
        ("the arbiter deletes a Node", &arbiter, Method::DELETE, NODE),
        ("the arbiter replaces a Node", &arbiter, Method::PUT, NODE),
        (
            "the arbiter changes a MeshLocation's spec",
            &arbiter,
            Method::PATCH,
            "/apis/tanist.dev/v1alpha1/meshlocations/x",
        ),
        ("the arbiter writes a report", &arbiter, Method::POST, REPORTS),
        ("the arbiter reads secrets", &arbiter, Method::GET, secrets),
        ("the arbiter takes another lease", &arbiter, Method::PUT, lease),
        ("the arbiter lists pods", &arbiter, Method::GET, "/api/v1/pods"),
    ];
    for (what, client, method, path) in tries {
        let body = if method == Method::GET { Value::Null } else { json!({}) };
        let kind = if method == Method::PATCH { MERGE } else { "application/json" };
        let answer = ask(client, (method, path), kind, &body).await?;
        let said = answer.forbidden().with_context(|| format!("{what}: {answer:?}"))?;
        ensure!(said.contains("cannot"), "{what}: refused, but not by its role: {said}");
    }
    Ok(())
}

/// The policy alone: an account whose role is far too wide still changes nothing but ours.
pub(crate) async fn policy_keeps_nodes() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let admin = installed(&server).await?;
    apply(&admin, &too_wide()).await?;
    for account in [Account::ARBITER, Account::AGENT] {
        account.until_it_may(&admin, json!({"verb": "delete", "resource": "nodes"})).await?;
    }
    let arbiter = Account::ARBITER.client_on(&server, &admin, "a").await?;
    let agent = Account::AGENT.client_on(&server, &admin, "a").await?;

    let label = json!({"metadata": {"labels": {"zone": "b"}}});
    let by_policy = |answer: &crate::cluster::Answer| {
        answer.forbidden().is_some_and(|said| said.contains("may not change labels of a Node"))
    };
    // Dry, or the first attempt would succeed before the server knows the policy.
    ask_until(&arbiter, (Method::PATCH, DRY_NODE), MERGE, &label, by_policy).await?;
    for attempt in attempts() {
        attempt.is_refused(&arbiter).await?;
    }
    let lead = json!({"metadata": {"annotations": {"kilo.squat.ai/leader": ""}}});
    let agents = Attempt::patch("an agent leads", lead, "only the arbiter moves leaders");
    agents.is_refused(&agent).await?;

    for allowed in [
        json!({"kilo.squat.ai/leader": "", "tanist.dev/leader-before": "absent"}),
        json!({"kilo.squat.ai/leader": null, "tanist.dev/leader-before": "=", "tanist.dev/fence": "x/1"}),
        json!({"tanist.dev/leader-before": null, "tanist.dev/fence": null}),
    ] {
        let body = json!({"metadata": {"annotations": allowed}});
        ask(&arbiter, (Method::PATCH, NODE), MERGE, &body).await?.granted()?;
    }
    let after = ask(&admin, (Method::GET, NODE), MERGE, &Value::Null).await?.granted()?;
    let kept = json!({"kilo.squat.ai/location": "cloud", "example.org/rack": "7"});
    ensure!(after["metadata"]["annotations"] == kept, "left behind: {after}");
    Ok(())
}

fn attempts() -> Vec<Attempt> {
    const ONLY: &str = "only the annotations kilo.squat.ai/leader and tanist.dev/*";
    let annotate = |what, annotations: Value| {
        Attempt::patch(what, json!({"metadata": {"annotations": annotations}}), ONLY)
    };
    let owner = json!([{"apiVersion": "v1", "kind": "Node", "name": "b", "uid": "1"}]);
    let taint = json!([{"key": "example.org/out", "effect": "NoExecute"}]);
    let ready = json!([{"type": "Ready", "status": "False"}]);
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "z"}});
    vec![
        annotate("another annotation is added", json!({"example.org/new": "1"})),
        annotate("another annotation is changed", json!({"example.org/rack": "8"})),
        annotate("another annotation is removed", json!({"example.org/rack": null})),
        annotate("Kilo's location is changed", json!({"kilo.squat.ai/location": "edge"})),
        annotate(
            "one of ours is changed beside another",
            json!({"kilo.squat.ai/leader": "", "x": "1"}),
        ),
        annotate("a name like ours is added", json!({"tanist.dev.example.org/x": "1"})),
        annotate("a name like Kilo's is added", json!({"kilo.squat.ai/leader-x": "1"})),
        Attempt::patch(
            "all annotations are removed",
            json!({"metadata": {"annotations": null}}),
            ONLY,
        ),
        Attempt::patch(
            "a label is removed",
            json!({"metadata": {"labels": {"kubernetes.io/hostname": null}}}),
            "labels",
        ),
        Attempt::patch(
            "a finalizer is added",
            json!({"metadata": {"finalizers": ["example.org/x"]}}),
            "finalizers or owners",
        ),
        Attempt::patch(
            "an owner is added",
            json!({"metadata": {"ownerReferences": owner}}),
            "finalizers or owners",
        ),
        Attempt::patch(
            "the node is cordoned",
            json!({"spec": {"unschedulable": true}}),
            "spec of a Node",
        ),
        Attempt::patch("the node is tainted", json!({"spec": {"taints": taint}}), "spec of a Node"),
        Attempt {
            what: "the status is changed",
            method: Method::PATCH,
            path: STATUS,
            body: json!({"status": {"conditions": ready}}),
            because: "not update nodes/status",
        },
        Attempt {
            what: "a node is deleted",
            method: Method::DELETE,
            path: NODE,
            body: Value::Null,
            because: "not delete nodes",
        },
        Attempt {
            what: "all nodes are deleted",
            method: Method::DELETE,
            path: "/api/v1/nodes",
            body: Value::Null,
            because: "not delete nodes",
        },
        Attempt {
            what: "a node is made",
            method: Method::POST,
            path: "/api/v1/nodes",
            body: node,
            because: "not create nodes",
        },
    ]
}

/// An agent writes the report of its own node, and no other.
pub(crate) async fn policy_keeps_reports() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let admin = installed(&server).await?;
    let agent = Account::AGENT.client_on(&server, &admin, "a").await?;
    let nowhere = server.client(&Account::AGENT.token(&admin).await?).await?;
    let create = (Method::POST, REPORTS);
    let foreign = |answer: &crate::cluster::Answer| {
        answer.forbidden().is_some_and(|said| {
            said.contains("the agent on node a may write only its own RelayReport, not that of b")
        })
    };
    let dry = format!("{REPORTS}?dryRun=All");
    ask_until(&agent, (Method::POST, &dry), JSON, &report("b"), foreign).await?;

    let made = ask(&agent, create.clone(), JSON, &report("a")).await?.granted()?;
    let own = format!("{REPORTS}/a");
    ask(&agent, (Method::PUT, &own), JSON, &made).await?.granted()?;

    let mut posing = report("a");
    posing["spec"]["node"] = "b".into();
    posing["metadata"]["resourceVersion"] = made["metadata"]["resourceVersion"].clone();
    let answer = ask(&agent, (Method::PUT, &own), JSON, &posing).await?;
    let said = answer.forbidden().with_context(|| format!("as another node: {answer:?}"))?;
    ensure!(said.contains("must be the word of that node, not of b"), "but with: {said}");

    let unbound = ask(&nowhere, create.clone(), JSON, &report("c")).await?;
    let said = unbound.forbidden().with_context(|| format!("without a node: {unbound:?}"))?;
    ensure!(said.contains("names no node"), "refused, but with: {said}");

    let others = ask(&admin, create, JSON, &report("b")).await?.granted()?;
    let other = format!("{REPORTS}/b");
    let answer = ask(&agent, (Method::PUT, &other), JSON, &others).await?;
    ensure!(foreign(&answer), "another node's report is replaced: {answer:?}");
    Ok(())
}

const JSON: &str = "application/json";

fn report(name: &str) -> Value {
    json!({
        "apiVersion": "tanist.dev/v1alpha1", "kind": "RelayReport",
        "metadata": {"name": name},
        "spec": {"node": name, "location": "cloud", "version": "0", "incarnation": 1,
                 "sequence": 1, "writtenMs": 0},
    })
}

/// Installs the default shape and two nodes.
async fn installed(server: &Server) -> anyhow::Result<Client> {
    let admin = server.admin().await?;
    apply(&admin, &kustomize("deploy/overlays/k3s-flannel")?).await?;
    make_node(&admin, "a", "cloud").await?;
    make_node(&admin, "b", "cloud").await?;
    Ok(admin)
}

/// A role that somebody made too wide, for both accounts.
fn too_wide() -> Vec<Value> {
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": "too-wide"},
        "rules": [{"apiGroups": [""], "resources": ["nodes", "nodes/status"], "verbs": ["*"]}],
    });
    let subject = |account: Account| json!({"kind": "ServiceAccount", "name": account.name, "namespace": account.namespace});
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "too-wide"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
                    "name": "too-wide"},
        "subjects": [subject(Account::AGENT), subject(Account::ARBITER)],
    });
    vec![role, binding]
}
