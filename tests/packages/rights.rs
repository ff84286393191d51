//! That the shipped rights suffice: the real programs run and move a leader under them, and nothing
//! is forbidden.

use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use http::Method;
use kube::Client;
use serde_json::{Value, json};
use tanist::evidence::UnixTime;

use crate::cluster::{
    Account, Answer, LEARNT, MERGE, apply, ask, ask_until, kustomize, peers_of_kilo,
};
use crate::server::{LOOK, Server, free_ports};

const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/tanist/leases/tanist";
const REPORT: &str = "/apis/tanist.dev/v1alpha1/relayreports/a";
const LOCATIONS: &str = "/apis/tanist.dev/v1alpha1/meshlocations";
const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/default/events";
const NODES: &str = "/api/v1/nodes";

/// Runs an arbiter and an agent with tokens as kubelet mounts them, until each has done what it
/// needs its rights for; then looks through what the server wrote down.
pub(crate) async fn rights_suffice() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let admin = server.admin().await?;
    apply(&admin, &[peers_of_kilo()]).await?;
    apply(&admin, &kustomize("deploy/overlays/k3s-flannel")?).await?;
    for (name, location, last) in [("a", "cloud", 11), ("b", "edge", 12), ("c", "cloud", 13)] {
        let node = node(name, location, last);
        ask(&admin, (Method::POST, NODES), "application/json", &node).await?.granted()?;
    }
    rights_are_known(&admin).await?;
    let _programs = [start_arbiter(&server, &admin).await?, start_agent(&server, &admin).await?];

    awaited(&admin, LEASE, |body| body["spec"]["holderIdentity"].is_string()).await?;
    awaited(&admin, REPORT, |body| {
        let owner = &body["metadata"]["ownerReferences"][0];
        body["spec"]["node"] == "a" && owner["kind"] == "Node" && owner["name"] == "a"
    })
    .await?;
    awaited(&admin, LOCATIONS, |body| {
        let items = body["items"].as_array().map_or(&[][..], Vec::as_slice);
        items.len() == 2 && items.iter().all(|item| item["status"]["leader"].is_string())
    })
    .await?;
    let lead = json!({"metadata": {"annotations": {"kilo.squat.ai/leader": ""}}});
    let other = format!("{NODES}/c");
    ask(&admin, (Method::PATCH, &other), MERGE, &lead).await?.granted()?;
    awaited(&admin, EVENTS, |body| {
        let items = body["items"].as_array().into_iter().flatten();
        items.into_iter().any(|event| event["reportingController"] == "tanist.dev/arbiter")
    })
    .await?;
    // A pin moves the leader in every mode.
    let pin = json!({"metadata": {"annotations": {"tanist.dev/pin": "true"}}});
    let pinned = format!("{NODES}/a");
    ask(&admin, (Method::PATCH, &pinned), MERGE, &pin).await?.granted()?;
    awaited(&admin, &pinned, |body| {
        let annotations = &body["metadata"]["annotations"];
        annotations["kilo.squat.ai/leader"].is_string()
            && annotations["tanist.dev/leader-before"] == "absent"
    })
    .await?;
    nothing_was_forbidden(&server)
}

/// Waits until the server knows of every binding, so that what is refused then is refused for good.
async fn rights_are_known(admin: &Client) -> anyhow::Result<()> {
    let nodes = |verb: &str| json!({"verb": verb, "resource": "nodes"});
    Account::AGENT.until_it_may(admin, nodes("list")).await?;
    Account::ARBITER.until_it_may(admin, nodes("patch")).await?;
    for right in [
        json!({"verb": "update", "group": "coordination.k8s.io", "resource": "leases",
               "namespace": "tanist", "name": "tanist"}),
        json!({"verb": "create", "group": "events.k8s.io", "resource": "events",
               "namespace": "default"}),
    ] {
        Account::ARBITER.until_it_may(admin, right).await?;
    }
    Ok(())
}

/// Where only those may change owners who may delete as well, a report that was made without one
/// stays so, and is written all the same; a new one belongs to its Node.
pub(crate) async fn reports_come_where_owners_are_guarded() -> anyhow::Result<()> {
    let guarded = ["--enable-admission-plugins", "OwnerReferencesPermissionEnforcement"];
    let server = Server::start_with(&guarded).await?;
    let admin = server.admin().await?;
    apply(&admin, &kustomize("deploy/overlays/k3s-flannel")?).await?;
    let node = node("a", "cloud", 11);
    ask(&admin, (Method::POST, NODES), "application/json", &node).await?.granted()?;
    let reports = "/apis/tanist.dev/v1alpha1/relayreports";
    let old = json!({
        "apiVersion": "tanist.dev/v1alpha1", "kind": "RelayReport", "metadata": {"name": "a"},
        "spec": {"node": "a", "location": "cloud", "version": "old", "incarnation": 1,
                 "sequence": 1, "writtenMs": 0},
    });
    awaited(&admin, reports, |_| true).await?;
    ask(&admin, (Method::POST, reports), "application/json", &old).await?.granted()?;

    let _program = start_agent(&server, &admin).await?;
    let is_written = |body: &Value| body["spec"]["version"] == env!("CARGO_PKG_VERSION");
    let owners = |body: &Value| body["metadata"]["ownerReferences"].as_array().map_or(0, Vec::len);
    awaited(&admin, REPORT, |body| is_written(body) && owners(body) == 0).await?;
    let refused = |entry: &Value| {
        entry["objectRef"]["resource"] == "relayreports" && entry["responseStatus"]["code"] == 403
    };
    ensure!(server.audit()?.iter().any(refused), "nothing was guarded");

    ask(&admin, (Method::DELETE, REPORT), MERGE, &Value::Null).await?.granted()?;
    awaited(&admin, REPORT, |body| is_written(body) && owners(body) == 1).await
}

/// `tanist doctor` finds the shipped accounts and policies as they should be, and says what is wrong
/// once they are not.
pub(crate) async fn doctor_sees_the_rights() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let admin = server.admin().await?;
    let objects = kustomize("deploy/overlays/k3s-flannel")?;
    apply(&admin, &objects).await?;
    for list in [LOCATIONS, "/apis/tanist.dev/v1alpha1/relayreports"] {
        awaited(&admin, list, |_| true).await?;
    }
    doctor_until(&server, <[String]>::is_empty).await?;

    for gone in [
        "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings/tanist-nodes",
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/tanist-agent",
    ] {
        ask(&admin, (Method::DELETE, gone), MERGE, &Value::Null).await?.granted()?;
    }
    doctor_until(&server, |broken| {
        let says = |start: &str| broken.iter().any(|line| line.starts_with(start));
        says("tanist:tanist-agent it may not list") && says("mesh tanist-nodes has no binding")
    })
    .await
}

/// Runs `tanist doctor` until what is not fine is as expected: the server learns of roles and
/// policies a little later.
async fn doctor_until(server: &Server, fits: impl Fn(&[String]) -> bool) -> anyhow::Result<()> {
    let until = Instant::now() + LEARNT;
    loop {
        let broken = doctor(server)?;
        if fits(&broken) {
            return Ok(());
        }
        ensure!(Instant::now() < until, "not as expected, still after {LEARNT:?}: {broken:?}");
        tokio::time::sleep(LOOK).await;
    }
}

/// Returns what `tanist doctor` says of accounts and policies that is not fine.
fn doctor(server: &Server) -> anyhow::Result<Vec<String>> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tanist"));
    command.args(["doctor", "--output", "json", "--kubeconfig"]).arg(server.admin_file()?);
    let output = command.output().context("cannot run tanist doctor")?;
    let said: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    let lines = said["lines"].as_array().context("no lines")?;
    let of = |check: &'static str| lines.iter().filter(move |line| line["check"] == check);
    ensure!(of("accounts").count() >= 2, "the accounts are not found: {said}");
    let unwell = of("accounts").chain(of("admission policy")).filter(|it| it["level"] != "fine");
    let words = |line: &Value| {
        ["place", "seen"].map(|part| line[part].as_str().unwrap_or_default().to_owned()).join(" ")
    };
    Ok(unwell.map(words).collect())
}

/// Every answer to the two accounts, and proof that each asked for something.
fn nothing_was_forbidden(server: &Server) -> anyhow::Result<()> {
    let mut accounts = BTreeSet::new();
    for entry in server.audit()? {
        let account = entry["user"]["username"].as_str().unwrap_or_default();
        if !account.starts_with("system:serviceaccount:tanist:") {
            continue;
        }
        accounts.insert(account.to_owned());
        let code = entry["responseStatus"]["code"].as_u64().unwrap_or_default();
        ensure!(code != 403, "forbidden: {entry}");
    }
    ensure!(accounts.len() == 2, "only these asked anything: {accounts:?}");
    Ok(())
}

async fn awaited(
    admin: &Client,
    path: &str,
    is_there: impl Fn(&Value) -> bool,
) -> anyhow::Result<()> {
    let fits = |answer: &Answer| answer.code == 200 && is_there(&answer.body);
    ask_until(admin, (Method::GET, path), MERGE, &Value::Null, fits).await?;
    Ok(())
}

/// A program that ends when this is dropped.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself: then there is nothing to end.
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

async fn start_arbiter(server: &Server, admin: &Client) -> anyhow::Result<Program> {
    let token = Account::ARBITER.token_on(admin, "a").await?;
    let kubeconfig = server.kubeconfig_file("arbiter.kubeconfig", &token)?;
    let [port] = free_ports()?;
    let mut command = tanist("arbiter", port);
    command.args(["--namespace", "tanist", "--quiet", "1s", "--return-quiet", "1s"]);
    command.arg("--kubeconfig").arg(kubeconfig);
    Ok(Program(command.spawn().context("cannot run the arbiter")?))
}

async fn start_agent(server: &Server, admin: &Client) -> anyhow::Result<Program> {
    let token = Account::AGENT.token_on(admin, "a").await?;
    let kubeconfig = server.kubeconfig_file("agent.kubeconfig", &token)?;
    let keys = server.write("keys", "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\n")?;
    let [port, admin] = free_ports()?;
    let mut command = tanist("agent", admin);
    command.args(["--port", &port.to_string(), "--kubeconfig"]).arg(kubeconfig);
    command.arg("--key-file").arg(keys);
    Ok(Program(command.spawn().context("cannot run the agent")?))
}

fn tanist(verb: &str, admin: u16) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tanist"));
    command.args([verb, "--node-name", "a", "--log", "warn"]);
    command.args(["--admin", &format!("127.0.0.1:{admin}")]);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// A Node with all that Kilo's agent writes, its addresses on loopback.
fn node(name: &str, location: &str, last: u8) -> Value {
    let now = UnixTime(jiff::Timestamp::now().as_millisecond()).seconds();
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "annotations": {
            "kilo.squat.ai/location": location,
            "kilo.squat.ai/endpoint": format!("127.0.0.{last}:51820"),
            "kilo.squat.ai/internal-ip": format!("127.0.0.{last}/8"),
            "kilo.squat.ai/key": "GARLLbpcxSdsAVBtBpUlRIUSJbX4PBXreJzPbGxKMj4=",
            "kilo.squat.ai/granularity": "location",
            "kilo.squat.ai/last-seen": now.to_string(),
        }},
        "spec": {"podCIDR": format!("127.42.{last}.0/24")},
    })
}
