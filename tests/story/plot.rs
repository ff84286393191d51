//! The story, chapter by chapter, as `docs/` tells an operator to go about it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::ensure;
use http::Method;
use serde_json::{Value, json};
use tanist::cluster::objects::MoveOutcome;
use tanist::evidence::Location;

use crate::cluster::{MERGE, ask};
use crate::mesh::Change;
use crate::objects;
use crate::stage::{CLOUD, FIRST, HEIR, REFUSED, Stage};
use crate::until::awaited;

/// What a mesh has on its own account, so that it can be compared with what is left.
pub(crate) struct Before {
    objects: BTreeMap<String, Value>,
    pub(crate) annotations: Vec<(String, Value)>,
}

/// Shorter times than people would have, so that the story need not wait for them.
const VALUES: &str = "
apiServer: {host: 198.51.100.254, port: 6443}
overlay: flannel.1
arbiter:
  extraEnv:
  - {name: TANIST_REST, value: 1s}
  - {name: TANIST_REST_MOST, value: 1s}
  - {name: TANIST_DAILY_MOVES, value: \"1000\"}
  - {name: TANIST_QUIET, value: 3s}
  - {name: TANIST_RETURN_QUIET, value: 3s}
  - {name: TANIST_JOURNAL, value: /var/lib/tanist/journal}
agent:
  extraEnv:
  - {name: TANIST_KILO_SETTLE, value: 3s}
";

/// Looks at the cluster as it is without Tanist.
pub(crate) async fn before(stage: &Stage) -> anyhow::Result<Before> {
    let location = Location::from(CLOUD);
    stage.led_by(FIRST).await?;
    awaited("every Kilo agent has written all its annotations", async || {
        let nodes = stage.get("/api/v1/nodes").await?;
        let mut known = BTreeSet::new();
        for node in nodes["items"].as_array().into_iter().flatten() {
            let (name, annotations) = (&node["metadata"]["name"], &node["metadata"]["annotations"]);
            ensure!(annotations["kilo.squat.ai/key"].is_string(), "{name} has not checked in");
            let leads = stage.vigil.leaders().values().any(|leader| *name == *leader.0);
            let ip = annotations["kilo.squat.ai/wireguard-ip"].as_str().filter(|ip| !ip.is_empty());
            ensure!(leads == ip.is_some(), "{name} does not know yet whether it leads");
            // Whoever saw one location only took the first address, as the first of both does.
            ensure!(
                ip.is_none_or(|ip| known.insert(ip)),
                "{name} does not know both locations yet"
            );
        }
        ensure!(stage.vigil.leaders().len() == 2, "a location has no leader");
        Ok(())
    })
    .await?;
    stage.vigil.look();
    stage.vigil.only(&location, &[])?;
    Ok(Before {
        objects: objects::dump(&stage.admin).await?,
        annotations: stage.annotations().await?,
    })
}

/// Installs the chart.
pub(crate) async fn install(stage: &mut Stage) -> anyhow::Result<()> {
    let values = stage.server.write("values.yaml", VALUES)?;
    let values = values.display().to_string();
    stage.helm("install", &["--create-namespace", "--values", &values]).await?;
    let pods = stage.reconcile().await?;
    stage.say(&format!("installed by helm; {pods} pods are ready"));
    stage.trusted().await?;
    stage.say("both locations are trusted");
    Ok(())
}

/// In the default mode a fault is told and nothing is moved.
pub(crate) async fn observe(stage: &Stage, before: &Before) -> anyhow::Result<()> {
    stage.vigil.look();
    stage.mesh.new_flows(FIRST, Change::Set).await?;
    stage
        .said("what would be done is said", |status| {
            status.because.as_ref().is_some_and(|because| because.contains("would move to"))
        })
        .await?;
    stage.say(&format!("{FIRST} drops new flows, and in mode observe:"));
    show(&stage.person(&["status"]).await?);
    show(&stage.person(&["why", CLOUD]).await?);
    let history = stage.person(&["history"]).await?;
    ensure!(history.contains("mode"), "no rail is named:\n{history}");
    stage.mesh.new_flows(FIRST, Change::Lift).await?;
    stage.fit(HEIR).await?;
    show(&stage.person(&["history"]).await?);
    stage.vigil.only(&Location::from(CLOUD), &[])?;
    ensure!(stage.annotations().await? == before.annotations, "something was written on a Node");
    stage.say("healed; no leader was moved and nothing was written on any Node");
    Ok(())
}

/// In mode `act` the leader is moved and proven.
pub(crate) async fn act(stage: &mut Stage) -> anyhow::Result<()> {
    stage.helm("upgrade", &["--reuse-values", "--set", "mode=act"]).await?;
    let pods = stage.replace().await?;
    ensure!(pods == 2, "the mode is the arbiters' matter, but {pods} pods were replaced");
    stage.said("the mode is act", |status| status.mode.as_deref() == Some("act")).await?;
    stage.fit(HEIR).await?;
    stage.vigil.look();
    stage.mesh.new_flows(FIRST, Change::Set).await?;
    let moved = stage.said("a move is verified", |status| {
        status.moves.first().is_some_and(|past| past.outcome == MoveOutcome::Verified)
    });
    let moved = moved.await?;
    let to = moved.moves[0].to.0.clone();
    stage.led_by(&to).await?;
    stage.vigil.only(&Location::from(CLOUD), &[&to])?;
    stage.say(&format!("{FIRST} drops new flows, and in mode act {to} leads and is proven"));
    stage.mesh.new_flows(FIRST, Change::Lift).await?;
    show(&describe(stage, FIRST).await?);
    show(&describe(stage, &to).await?);
    show(&stage.person(&["history"]).await?);
    stage.say(&format!("the arbiter's journal, replayed: {}", stage.replay().await?));
    let incident = moved.moves[0].incident.clone();
    stage.person(&["ack", CLOUD]).await?;
    stage.fit(FIRST).await?;
    stage.say(&format!("{incident} is acknowledged; {FIRST} is an heir again"));
    Ok(())
}

/// A person moves the leader, pins a node and pauses a location.
pub(crate) async fn by_hand(stage: &Stage) -> anyhow::Result<()> {
    let location = Location::from(CLOUD);
    stage.vigil.look();
    show(&stage.moved("cloud-3").await?);
    stage.fit(FIRST).await?;
    stage.person(&["pin", FIRST, "--yes"]).await?;
    stage.led_by(FIRST).await?;
    stage
        .said("the pin is followed", |status| {
            status.moving.is_none()
                && status.leader.as_ref().is_some_and(|leader| leader.0 == FIRST)
        })
        .await?;
    stage.person(&["unpin", FIRST]).await?;
    stage.say(&format!("{FIRST} was pinned, and leads"));

    stage.person(&["pause", CLOUD, "--why", "work on the racks"]).await?;
    let refused = stage.tanist(&["move", CLOUD, "--to", HEIR, "--yes"]).await?;
    ensure!(refused.code == REFUSED, "moved while paused: {}", refused.text);
    stage.person(&["resume", CLOUD]).await?;
    stage.moved(HEIR).await?;
    stage.led_by(HEIR).await?;
    stage.vigil.only(&location, &[FIRST, HEIR, "cloud-3"])?;
    stage.say(&format!(
        "a move is refused while the location is paused, and made when it is not: {HEIR} leads"
    ));
    Ok(())
}

/// The next version of the chart: moves, intent and history stay.
pub(crate) async fn upgrade(stage: &mut Stage) -> anyhow::Result<()> {
    stage.vigil.look();
    stage.person(&["pin", HEIR, "--yes"]).await?;
    let before = stage.location(CLOUD).await?;
    // The last move's names go from the Nodes a little after its record.
    let annotations = awaited("no Node names a move that is over", async || {
        let annotations = stage.annotations().await?;
        let named = annotations.iter().find(|(_, it)| it["tanist.dev/incident"].is_string());
        ensure!(named.is_none(), "{named:?}");
        Ok(annotations)
    })
    .await?;
    stage.helm("upgrade", &["--reuse-values", "--set", "image.tag=0.2.0"]).await?;
    let pods = stage.replace().await?;
    stage.ready().await?;
    let after = stage.location(CLOUD).await?;
    ensure!(before.moves == after.moves, "{:?}\nis not\n{:?}", after.moves, before.moves);
    ensure!(before.incidents == after.incidents, "other incidents");
    ensure!(stage.annotations().await? == annotations, "other annotations");
    stage.vigil.only(&Location::from(CLOUD), &[])?;
    stage.person(&["unpin", HEIR]).await?;
    stage.say(&format!(
        "upgraded: {pods} pods replaced; history, intent and leaders are as they were"
    ));
    Ok(())
}

/// Puts back what the operator had.
pub(crate) async fn restore(stage: &Stage, before: &Before) -> anyhow::Result<()> {
    stage.vigil.look();
    show(&stage.person(&["restore"]).await?);
    let after = stage.annotations().await?;
    ensure!(after == before.annotations, "{after:?}\nis not\n{:?}", before.annotations);
    stage.led_by(FIRST).await?;
    stage.vigil.only(&Location::from(CLOUD), &[FIRST])?;
    stage.say("restored: every Node's annotations are as before the installation");
    Ok(())
}

/// Removes all of it, as `docs/removal.md` says.
pub(crate) async fn remove(stage: &mut Stage, before: &Before) -> anyhow::Result<()> {
    stage.helm("uninstall", &[]).await?;
    stage.reconcile().await?;
    ensure!(stage.kubelet.names().is_empty(), "still there: {:?}", stage.kubelet.names());
    for kind in ["meshlocations", "relayreports"] {
        let path =
            format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{kind}.tanist.dev");
        ask(&stage.admin, (Method::DELETE, &path), MERGE, &Value::Null).await?.granted()?;
    }
    let namespace = (Method::DELETE, "/api/v1/namespaces/tanist");
    ask(&stage.admin, namespace, MERGE, &Value::Null).await?.granted()?;
    stage.controllers.finish_namespace().await?;
    let mine = json!({"metadata": {"annotations": {
        "tanist.dev/promotion": null, "tanist.dev/pin": null, "tanist.dev/pause": null,
    }}});
    for (node, _) in &before.annotations {
        stage.patch(&format!("/api/v1/nodes/{node}"), &mine).await?;
    }
    nothing_is_left(stage, before).await?;
    stage.say(&format!(
        "removed: the API server holds the same {} objects as before",
        before.objects.len()
    ));
    Ok(())
}

async fn nothing_is_left(stage: &Stage, before: &Before) -> anyhow::Result<()> {
    awaited("all is as it was before the installation", async || {
        let after = objects::dump(&stage.admin).await?;
        for (path, content) in &after {
            let was = before.objects.get(path);
            ensure!(was.is_some(), "left behind: {path}: {content}");
            ensure!(
                was == Some(content),
                "{path} is now {content}\nand was {}",
                was.unwrap_or(&Value::Null)
            );
        }
        let gone: Vec<_> =
            before.objects.keys().filter(|path| !after.contains_key(*path)).collect();
        ensure!(gone.is_empty(), "gone: {gone:?}");
        Ok(())
    })
    .await
}

/// Returns what `kubectl describe node` would show of Tanist's doings.
async fn describe(stage: &Stage, node: &str) -> anyhow::Result<String> {
    let object = stage.get(&format!("/api/v1/nodes/{node}")).await?;
    let mut text = format!("Name: {node}\nAnnotations:\n");
    for (key, value) in object["metadata"]["annotations"].as_object().into_iter().flatten() {
        text += &format!("  {key}: {}\n", value.as_str().unwrap_or_default());
    }
    let events = format!(
        "/api/v1/namespaces/default/events?fieldSelector=involvedObject.kind%3DNode,involvedObject.name%3D{node}"
    );
    text += "Events:\n";
    for event in stage.get(&events).await?["items"].as_array().into_iter().flatten() {
        let part = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
        let from = event["reportingComponent"].as_str().unwrap_or_default();
        text += &format!("  {}  {}  {from}  {}\n", part("type"), part("reason"), part("message"));
    }
    Ok(text)
}

fn show(text: &str) {
    for line in text.lines() {
        eprintln!("              | {line}");
    }
}
