//! The chart: the same objects as `deploy/`, accepted whole, and an upgrade that loses nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use http::Method;
use kube::Client;
use serde_json::{Value, json};

use crate::cluster::{MERGE, apply, ask, documents, kustomize, make_node, run};
use crate::prometheus;
use crate::server::{Server, tool};

/// The Kubernetes that is rendered for where no server is asked.
const KUBERNETES: &str = "1.36.3";
const KEYS: &str = "/api/v1/namespaces/tanist/secrets/tanist-probe-keys";
const LOCATION: &str = "/apis/tanist.dev/v1alpha1/meshlocations/cloud-1";
const NODE: &str = "/api/v1/nodes/a";

/// With its default values the chart renders what the kustomize base holds, object for object.
pub(crate) async fn chart_equals_deploy() -> anyhow::Result<()> {
    run(Command::new(tool("helm")?).arg("lint").arg("--strict").arg(chart()))?;
    let mut rendered = by_name(render(&["--kube-version", KUBERNETES])?);
    rendered.retain(|name, _| name != "Secret/tanist-probe-keys");
    let mut base = by_name(kustomize("deploy/base")?);
    base.retain(|name, _| name != "Namespace/tanist");
    for object in rendered.values_mut().filter(|it| it["kind"] == "CustomResourceDefinition") {
        let metadata = object["metadata"].as_object_mut().context("no metadata")?;
        let kept = metadata.remove("annotations").context("definitions are kept")?;
        ensure!(kept == json!({"helm.sh/resource-policy": "keep"}), "{kept}");
    }
    let names = |objects: &BTreeMap<String, Value>| objects.keys().cloned().collect::<Vec<_>>();
    ensure!(names(&rendered) == names(&base), "{:?}\nis not\n{:?}", names(&rendered), names(&base));
    for (name, object) in &rendered {
        ensure!(
            *object == base[name],
            "{name}: the chart has\n{object}\nbut deploy/\n{}",
            base[name]
        );
    }
    Ok(())
}

/// What values can bring about is accepted too; what is misspelt is refused.
pub(crate) async fn chart_is_accepted() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let admin = server.admin().await?;
    apply(&admin, &[namespace("tanist"), namespace("elsewhere")]).await?;
    apply(&admin, &prometheus::kinds()).await?;
    let cases: [&[&str]; 5] = [
        &[],
        &["--namespace", "elsewhere", "--set", "mode=act,overlay=flannel.1,agent.port=2108"],
        &["--set", "userspaceWireguard=true,apiServer.host=127.0.0.1,apiServer.port=6444"],
        &["--set", "podMonitor.enabled=true,probeKeys.existingSecret=mine,image.pullPolicy=Always"],
        &["--set", "podMonitor.enabled=true,prometheusRule.enabled=true,podMonitor.labels.for=us"],
    ];
    for case in cases {
        let objects = render(&[&["--kube-version", KUBERNETES], case].concat())?;
        apply(&admin, &objects).await.with_context(|| format!("with {case:?}"))?;
    }
    let old = render(&["--kube-version", "1.29.0"])?;
    ensure!(
        old.iter().all(|object| object["kind"] != "ValidatingAdmissionPolicy"),
        "a policy for a cluster that does not know any"
    );
    runbooks_are_where_they_are_said_to_be()?;
    a_misspelt_rule_is_refused(&admin).await?;
    for wrong in [
        "mode=atc",
        "agnt.port=1",
        "agent.port=0",
        "arbiter.replicas=0",
        "prometheusRule.runbookUrl=docs/runbooks",
    ] {
        let refused = render(&["--kube-version", KUBERNETES, "--set", wrong]);
        let said = refused.err().with_context(|| format!("{wrong} is taken"))?.to_string();
        ensure!(said.contains("specifications of the schema"), "{wrong}: {said}");
    }
    Ok(())
}

/// Every alert links to a whole address, under the one that the values name.
fn runbooks_are_where_they_are_said_to_be() -> anyhow::Result<()> {
    let default = "https://tanist.dev/docs/runbooks/";
    for (named, expected) in [
        ("", default),
        ("prometheusRule.runbookUrl=https://wiki.example.org/t", "https://wiki.example.org/t/"),
        ("prometheusRule.runbookUrl=https://wiki.example.org/t/", "https://wiki.example.org/t/"),
    ] {
        let on = format!("prometheusRule.enabled=true,{named}");
        let rendered = render(&["--kube-version", KUBERNETES, "--set", &on])?;
        let rule = by_name(rendered).remove("PrometheusRule/tanist").context("no rules")?;
        let rules = rule["spec"]["groups"].as_array().into_iter().flatten();
        let rules: Vec<_> = rules.filter_map(|group| group["rules"].as_array()).flatten().collect();
        ensure!(rules.len() >= 18, "only {} rules", rules.len());
        for rule in rules {
            let alert = rule["alert"].as_str().context("no name")?;
            let url = format!("{expected}{alert}.md");
            ensure!(rule["annotations"]["runbook_url"] == url, "{url} is not in {rule}");
        }
    }
    Ok(())
}

/// Else nothing would be shown by rules and monitors that are accepted.
async fn a_misspelt_rule_is_refused(admin: &Client) -> anyhow::Result<()> {
    let on = "prometheusRule.enabled=true,podMonitor.enabled=true";
    let rendered = by_name(render(&["--kube-version", KUBERNETES, "--set", on])?);
    for (name, path, wrong) in [
        ("PrometheusRule/tanist", "/spec/groups/0/rules/0/for", json!("a minute")),
        ("PrometheusRule/tanist", "/spec/groups/0/rules/0", json!({"alert": "x", "exp": "1"})),
        ("PodMonitor/tanist", "/spec/podMetricsEndpoints/0/port", json!(1109)),
    ] {
        let mut object = rendered.get(name).context("it is not rendered")?.clone();
        *object.pointer_mut(path).context("it says nothing there")? = wrong;
        ensure!(apply(admin, &[object]).await.is_err(), "{name} is taken with a wrong {path}");
    }
    Ok(())
}

/// Installed, used, upgraded, removed: keys, intent and history stay as they were.
pub(crate) async fn upgrade_loses_nothing() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let admin = server.admin().await?;
    make_node(&admin, "a", "cloud").await?;
    helm(&server, &["install", "tanist", CHART, "--create-namespace"])?;
    let keys = get(&admin, KEYS).await?["data"].clone();
    ensure!(keys["keys"].is_string(), "no key was drawn: {keys}");
    use_it(&admin).await?;
    let before = (get(&admin, LOCATION).await?, get(&admin, NODE).await?);

    let changes = ["--set", "image.tag=0.2.0,mode=act,arbiter.replicas=3"];
    helm(&server, &[&["upgrade", "tanist", CHART], &changes[..]].concat())?;
    let agents = get(&admin, "/apis/apps/v1/namespaces/tanist/daemonsets/tanist-agent").await?;
    let image = &agents["spec"]["template"]["spec"]["containers"][0]["image"];
    ensure!(image == "tanist:0.2.0", "not upgraded: {image}");
    ensure!(get(&admin, KEYS).await?["data"] == keys, "an upgrade drew another key");
    let after = (get(&admin, LOCATION).await?, get(&admin, NODE).await?);
    ensure!(after == before, "an upgrade changed {before:?}\nto {after:?}");

    helm(&server, &["uninstall", "tanist"])?;
    ensure!(get(&admin, KEYS).await?["data"] == keys, "the key went with the release");
    let kept = (get(&admin, LOCATION).await?, get(&admin, NODE).await?);
    ensure!(kept == before, "removal changed {before:?}\nto {kept:?}");
    let gone = "/apis/apps/v1/namespaces/tanist/daemonsets/tanist-agent";
    let answer = ask(&admin, (Method::GET, gone), MERGE, &Value::Null).await?;
    ensure!(answer.code == 404, "left behind: {answer:?}");

    helm(&server, &["install", "tanist", CHART])?;
    ensure!(get(&admin, KEYS).await?["data"] == keys, "another key after a new installation");
    Ok(())
}

/// Leaves what operators and arbiters leave: intent on a Node and in a MeshLocation, a move under
/// way and a past one.
async fn use_it(admin: &Client) -> anyhow::Result<()> {
    let intent = json!({"metadata": {"annotations": {
        "tanist.dev/pin": "true", "tanist.dev/leader-before": "absent", "kilo.squat.ai/leader": "",
    }}});
    ask(admin, (Method::PATCH, NODE), MERGE, &intent).await?.granted()?;
    let location = json!({
        "apiVersion": "tanist.dev/v1alpha1", "kind": "MeshLocation",
        "metadata": {"name": "cloud-1"},
        "spec": {"location": "cloud", "pause": "at work", "acknowledged": "cloud-7"},
    });
    let all = "/apis/tanist.dev/v1alpha1/meshlocations";
    ask(admin, (Method::POST, all), "application/json", &location).await?.granted()?;
    let past = json!({
        "incident": "cloud-7", "from": "b", "to": "a", "why": "dark", "outcome": "verified",
        "started": "2026-01-02T03:04:05Z", "ended": "2026-01-02T03:04:25Z",
    });
    let moving = json!({
        "incident": "cloud-8", "from": "a", "to": "b", "why": "dark", "phase": "recorded",
        "fence": "x/1", "startedMs": 1, "nodes": [{"node": "b"}],
    });
    let status = json!({"status": {"inquest": 3, "moves": [past], "move": moving}});
    let path = format!("{LOCATION}/status");
    ask(admin, (Method::PATCH, &path), MERGE, &status).await?.granted()?;
    Ok(())
}

async fn get(admin: &Client, path: &str) -> anyhow::Result<Value> {
    ask(admin, (Method::GET, path), MERGE, &Value::Null).await?.granted()
}

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/tanist");

fn chart() -> PathBuf {
    Path::new(CHART).to_owned()
}

/// Renders the chart into namespace `tanist`, if no other is named.
fn render(arguments: &[&str]) -> anyhow::Result<Vec<Value>> {
    let mut command = Command::new(tool("helm")?);
    command.args(["template", "tanist"]).arg(chart()).args(["--namespace", "tanist"]);
    documents(&run(command.args(arguments))?)
}

/// Runs helm against a server, with folders of its own.
fn helm(server: &Server, arguments: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new(tool("helm")?);
    for folder in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        command.env(folder, server.folder().join(folder));
    }
    command.args(arguments).args(["--namespace", "tanist", "--kubeconfig"]);
    run(command.arg(server.admin_file()?))
}

fn by_name(objects: Vec<Value>) -> BTreeMap<String, Value> {
    let name = |object: &Value| {
        let part = |part: &Value| part.as_str().unwrap_or_default().to_owned();
        format!("{}/{}", part(&object["kind"]), part(&object["metadata"]["name"]))
    };
    objects.into_iter().map(|object| (name(&object), object)).collect()
}

fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}
