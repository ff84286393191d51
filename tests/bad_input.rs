//! Bad input of every kind: what is said of it, and that nothing is lost and nothing moved.
//!
//! | input | what comes of it | shown by |
//! |---|---|---|
//! | a packet signed with another key | counted `forged`, no answer | `observe/echo/tests.rs` (keys in three steps; flood) |
//! | a packet seen before, or of an earlier process | counted `repeated` or `stale`, no answer | `observe/echo/tests.rs`: answers each request once |
//! | garbage by UDP | dropped in the kernel, counted `dropped` | `observe/echo/tests.rs`: a flood does not hide honest probes |
//! | garbage by TCP, too many connections | hung up on, counted `malformed`, `hung-up` | `observe/echo/tests.rs`: hangs up on garbage |
//! | any bytes at all | no panic | `observe/wire/tests.rs`, `fuzz/` |
//! | an unknown configuration key, a wrong value | the process does not start; the file and line are named | here |
//! | a Kilo annotation that does not parse | read as absent, as Kilo does; condition `SpecAccepted`, an Event | here, `cluster/objects/unreadable.rs`, `evidence/kilo/tests.rs` |
//! | an unknown value of `tanist.dev/…` on a Node | the cautious reading; the same condition, an Event | here, `decide/tests.rs` |
//! | an unknown `spec.mode` and the like | refused by the API server, the field named | here |
//! | the same past an older definition | read as `observe`; the same condition | here |
//! | a `status.memory` that means nothing | forgotten, with a warning; written anew | here |
//! | a `status.move` of nodes that are not there | put into the history as abandoned, nothing written | here |
//! | a status of the wrong shape | refused by the API server; past an older definition that object alone is left alone, and its location with it; named in the log, by an Event and by `doctor` | here, `cluster/watch/tests.rs` |

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::Command;
use std::time::{Duration, SystemTime};

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::ApiResource;
use kube::{Api, Client, Config, ResourceExt as _};
use serde_json::{Value, json};
use tanist::admin::Admin;
use tanist::arbiter;
use tanist::cluster::objects::{MeshLocation, MoveOutcome, crds, mesh_location_name};
use tanist::config::Settings;
use tanist::decide::Mode;
use tanist::evidence::kilo::key;
use tanist::lab::apiserver::Server;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Nothing here takes long; no test waits for this to pass.
const LIMIT: Duration = Duration::from_secs(60);

/// An API server with two locations of three nodes, the first of each annotated, and our kinds.
struct Cluster {
    client: Client,
    kubeconfig: tempfile::NamedTempFile,
    _end: DropGuard,
}

impl Cluster {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let text = Server::kubeconfig(&format!("http://{}", listener.local_addr().unwrap()));
        let end = CancellationToken::new();
        let until = end.clone();
        tokio::spawn(async move { Server::new().serve(listener, until).await });
        let mut kubeconfig = tempfile::NamedTempFile::new().unwrap();
        kubeconfig.write_all(text.as_bytes()).unwrap();

        let options = KubeConfigOptions::default();
        let config = Kubeconfig::from_yaml(&text).unwrap();
        let config = Config::from_custom_kubeconfig(config, &options).await.unwrap();
        let client = Client::try_from(config).unwrap();
        let definitions = Api::<CustomResourceDefinition>::all(client.clone());
        for definition in crds() {
            definitions.create(&PostParams::default(), &definition).await.unwrap();
        }
        let cluster = Self { client, kubeconfig, _end: end.drop_guard() };
        for location in ["here", "there"] {
            for number in 1..=3 {
                cluster.add(location, number).await;
            }
        }
        cluster
    }

    async fn add(&self, location: &str, number: u8) {
        let seen = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let mut annotations = BTreeMap::from([
            (key::ENDPOINT, format!("198.51.100.{number}:51820")),
            (key::INTERNAL_IP, format!("10.1.0.{number}/24")),
            (key::KEY, "GARLLbpcxSdsAVBtBpUlRIUSJbX4PBXreJzPbGxKMj4=".to_owned()),
            (key::LAST_SEEN, seen.to_string()),
            (key::LOCATION, location.to_owned()),
            (key::GRANULARITY, "location".to_owned()),
        ]);
        if number == 1 {
            annotations.insert(key::LEADER, "yes".to_owned());
        }
        let node = serde_json::from_value::<Node>(json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": { "name": format!("{location}-{number}"), "annotations": annotations },
            "spec": { "podCIDR": format!("10.42.{number}.0/24") },
        }));
        let nodes = Api::<Node>::all(self.client.clone());
        nodes.create(&PostParams::default(), &node.unwrap()).await.unwrap();
    }

    /// Writes an annotation as a person would.
    async fn annotate(&self, node: &str, key: &str, value: &str) {
        let patch = json!({ "metadata": { "annotations": { key: value } } });
        let nodes = Api::<Node>::all(self.client.clone());
        nodes.patch(node, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    /// Makes the object of a location, with this status if there is one.
    async fn locate(&self, location: &str, spec: &Value, status: Option<Value>) {
        let name = mesh_location_name(&location.into());
        let object = json!({
            "apiVersion": "tanist.dev/v1alpha1", "kind": "MeshLocation",
            "metadata": { "name": name }, "spec": spec,
        });
        let objects = self.objects();
        let object = serde_json::from_value(object).unwrap();
        objects.create(&PostParams::default(), &object).await.unwrap();
        if let Some(status) = status {
            let status = Patch::Merge(json!({ "status": status }));
            objects.patch_status(&name, &PatchParams::default(), &status).await.unwrap();
        }
    }

    /// Returns the MeshLocations without their types.
    fn objects(&self) -> Api<DynamicObject> {
        Api::all_with(self.client.clone(), &ApiResource::erase::<MeshLocation>(&()))
    }

    /// Takes the schema of MeshLocations away, as a definition of another version might differ.
    async fn loosen(&self) {
        let definitions = Api::<CustomResourceDefinition>::all(self.client.clone());
        let mut definition = definitions.get("meshlocations.tanist.dev").await.unwrap();
        let anything = JSONSchemaProps {
            type_: Some("object".to_owned()),
            x_kubernetes_preserve_unknown_fields: Some(true),
            ..JSONSchemaProps::default()
        };
        let schema = definition.spec.versions[0].schema.as_mut().unwrap();
        schema.open_api_v3_schema = Some(anything);
        definitions
            .replace("meshlocations.tanist.dev", &PostParams::default(), &definition)
            .await
            .unwrap();
    }

    /// Runs an arbiter in mode act until it is dropped.
    fn arbitrate(&self) -> DropGuard {
        let settings = Settings {
            kubeconfig: Some(self.kubeconfig.path().to_owned()),
            mode: Some(Mode::Act),
            ..Settings::default()
        };
        let (config, end) = (settings.validate().unwrap(), CancellationToken::new());
        let until = end.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let run = arbiter::run(&config, Admin::default(), until);
            runtime.unwrap().block_on(run).unwrap();
        });
        end.drop_guard()
    }

    /// Waits until a location's object is as wanted, and returns it.
    async fn until(&self, location: &str, so: impl Fn(&MeshLocation) -> bool) -> MeshLocation {
        let locations = Api::<MeshLocation>::all(self.client.clone());
        let name = mesh_location_name(&location.into());
        let waited = tokio::time::timeout(LIMIT, async {
            loop {
                match locations.get_opt(&name).await {
                    Ok(Some(object)) if so(&object) => return object,
                    Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        });
        let last = || async { format!("{:?}", self.objects().get_opt(&name).await) };
        match waited.await {
            Ok(object) => object,
            Err(_elapsed) => panic!("{location} is not as wanted: {}", last().await),
        }
    }

    /// Waits for an Event whose note begins so, and returns it.
    async fn told(&self, beginning: &str) -> String {
        let events = Api::<Event>::namespaced(self.client.clone(), "default");
        let waited = tokio::time::timeout(LIMIT, async {
            loop {
                let found = events.list(&Default::default()).await.unwrap();
                let mut notes = found.into_iter().filter_map(|event| event.note);
                if let Some(note) = notes.find(|note| note.starts_with(beginning)) {
                    return note;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        waited.await.expect("an Event")
    }

    /// Returns who carries Kilo's leader annotation, or any of ours.
    async fn marks(&self) -> Vec<String> {
        let nodes = Api::<Node>::all(self.client.clone()).list(&Default::default()).await.unwrap();
        let ours = |key: &str| {
            let tanists =
                ["leader-before", "incident", "fence"].map(|key| format!("tanist.dev/{key}"));
            key == key::LEADER || tanists.iter().any(|ours| ours == key)
        };
        let of = |node: &Node| {
            let marks = node.annotations().iter().filter(|(key, _)| ours(key));
            marks
                .map(|(key, value)| format!("{} {key}={value}", node.name_any()))
                .collect::<Vec<_>>()
        };
        nodes.items.iter().flat_map(of).collect()
    }
}

/// Who is annotated before and after, if nothing is moved.
const UNMOVED: [&str; 2] = ["here-1 kilo.squat.ai/leader=yes", "there-1 kilo.squat.ai/leader=yes"];

fn condition<'a>(object: &'a MeshLocation, about: &str) -> Option<&'a Condition> {
    let status = object.status.as_ref()?;
    status.conditions.iter().find(|condition| condition.type_ == about)
}

fn refused(object: &MeshLocation, said: &str) -> bool {
    condition(object, "SpecAccepted")
        .is_some_and(|found| found.status == "False" && found.message.contains(said))
}

#[test]
fn an_unknown_key_or_value_is_named_with_its_file_and_line() {
    for (text, named) in [
        ("port: 1108\nmoed: act\n", "moed"),
        ("port: 1108\nmode: akt\n", "akt"),
        ("port: 1108\nrest: soon\n", "soon"),
    ] {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_tanist"))
            .args(["arbiter", "--config"])
            .arg(file.path())
            .env_clear()
            .output()
            .unwrap();

        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{said}");
        assert!(said.contains(&*file.path().to_string_lossy()), "{said}");
        assert!(said.contains(named), "{said}");
        assert!(said.contains("line 2") || said.contains("2:"), "{said}");
    }
}

#[tokio::test]
async fn annotations_that_mean_nothing_are_told_and_move_nobody() {
    let cluster = Cluster::start().await;
    for (node, key, value) in [
        ("here-2", "tanist.dev/promotion", "perfer"),
        ("here-2", "tanist.dev/pin", "yes"),
        ("here-3", key::KEY, "garbage"),
        ("there-2", key::ENDPOINT, "nowhere"),
    ] {
        cluster.annotate(node, key, value).await;
    }
    let _arbiter = cluster.arbitrate();

    for said in ["promotion \"perfer\" of here-2", "pin \"yes\"", "kilo.squat.ai/key \"garbage\""] {
        cluster.until("here", |object| refused(object, said)).await;
    }
    cluster.until("there", |object| refused(object, "kilo.squat.ai/endpoint \"nowhere\"")).await;

    // Once they are mended, nothing is left to complain of, and the time says since when.
    for (key, value) in [("tanist.dev/promotion", "prefer"), ("tanist.dev/pin", "false")] {
        cluster.annotate("here-2", key, value).await;
    }
    let good = "GARLLbpcxSdsAVBtBpUlRIUSJbX4PBXreJzPbGxKMj4=";
    cluster.annotate("here-3", key::KEY, good).await;
    let accepted = |object: &MeshLocation| {
        condition(object, "SpecAccepted").is_some_and(|found| found.status == "True")
    };
    let object = cluster.until("here", accepted).await;
    assert_eq!(object.status.unwrap().leader, Some("here-1".into()));
    assert_eq!(cluster.marks().await, UNMOVED);
}

#[tokio::test]
async fn an_object_that_makes_no_sense_is_refused_and_the_field_named() {
    let cluster = Cluster::start().await;
    cluster.locate("here", &json!({ "location": "here" }), None).await;
    let name = mesh_location_name(&"here".into());

    for (change, field) in [
        (json!({ "spec": { "mode": "akt" } }), "spec.mode"),
        (json!({ "spec": { "acceptUnproven": "perhaps" } }), "spec.acceptUnproven"),
        (json!({ "spec": { "request": { "to": "here-2" } } }), "spec.request.id"),
        (json!({ "status": { "move": "yes" } }), "status.move"),
        (json!({ "status": { "move": { "to": "x" } } }), "status.move"),
        (json!({ "status": { "inquest": "many" } }), "status.inquest"),
        (json!({ "status": { "memory": 7 } }), "status.memory"),
    ] {
        let (params, objects) = (PatchParams::default(), cluster.objects());
        let patch = Patch::Merge(&change);
        let patched = if change.get("spec").is_some() {
            objects.patch(&name, &params, &patch).await
        } else {
            objects.patch_status(&name, &params, &patch).await
        };
        let error = patched.expect_err("it makes no sense").to_string();
        assert!(error.contains(field), "{change}: {error}");
    }
}

#[tokio::test]
async fn what_gets_past_an_older_definition_is_read_with_caution() {
    let cluster = Cluster::start().await;
    cluster.loosen().await;
    let record = json!({
        "incident": "made-up", "from": "nobody", "to": "nowhere", "phase": "recorded",
        "fence": "?", "startedMs": -1,
        "nodes": [{ "node": "nowhere", "value": "x" }],
    });
    let nonsense = json!({
        "memory": { "trust": 7, "moves": "none" }, "move": record,
        "plan": { "witnesses": ["nobody"] }, "leader": "nobody", "verdict": "dark",
    });
    let spec = json!({ "location": "here", "mode": "akt", "acknowledged": "never" });
    cluster.locate("here", &spec, Some(nonsense)).await;
    let _arbiter = cluster.arbitrate();

    let object = cluster
        .until("here", |object| {
            let status = object.status.as_ref();
            let settled = status.is_some_and(|status| status.moving.is_none());
            settled && refused(object, "mode \"akt\" is not observe")
        })
        .await;
    let status = object.status.unwrap();
    assert_eq!(status.mode.as_deref(), Some("observe"));
    assert_eq!(status.leader, Some("here-1".into()), "by Kilo's rules, whatever stood there");
    assert!(status.remembered().is_some(), "written anew: {:?}", status.memory);
    assert_eq!(status.moves[0].outcome, MoveOutcome::Abandoned, "{:?}", status.moves);
    assert_eq!(status.moves[0].incident, "made-up");
    let marks = cluster.marks().await;
    let leaders = marks.into_iter().filter(|mark| mark.contains(key::LEADER)).collect::<Vec<_>>();
    assert_eq!(leaders, UNMOVED);
}

#[tokio::test]
async fn an_unreadable_object_hides_no_other() {
    let cluster = Cluster::start().await;
    cluster.loosen().await;
    let status = json!({ "move": "yes", "inquest": "many" });
    cluster.locate("here", &json!({ "location": "here" }), Some(status.clone())).await;
    let _arbiter = cluster.arbitrate();

    let there = |object: &MeshLocation| {
        object.status.as_ref().is_some_and(|status| status.leader == Some("there-1".into()))
    };
    cluster.until("there", there).await;
    let name = mesh_location_name(&"here".into());
    let left = cluster.objects().get(&name).await.unwrap();
    assert_eq!(left.data["status"], status, "it is left as it was");
    assert_eq!(cluster.marks().await, UNMOVED);
}

#[tokio::test]
async fn an_unreadable_object_stops_its_own_location_only_and_loudly() {
    let cluster = Cluster::start().await;
    cluster.loosen().await;
    let status = json!({ "inquest": "many" });
    cluster.locate("here", &json!({ "location": "here" }), Some(status)).await;
    for pinned in ["here-2", "there-2"] {
        cluster.annotate(pinned, "tanist.dev/pin", "true").await;
    }
    let _arbiter = cluster.arbitrate();

    // A term begins with taking all locations over; one that cannot be read must not end it.
    let moved = |object: &MeshLocation| {
        object.status.as_ref().is_some_and(|status| status.leader == Some("there-2".into()))
    };
    cluster.until("there", moved).await;
    assert!(cluster.told("MeshLocation here-").await.contains("cannot be read"));
    let kept = |mark: &String| mark.starts_with("here-");
    let marks: Vec<_> = cluster.marks().await.into_iter().filter(kept).collect();
    assert_eq!(marks, UNMOVED[..1]);

    // Once it is mended, its location goes on.
    let mended = Patch::Merge(json!({ "status": { "inquest": 1 } }));
    let name = mesh_location_name(&"here".into());
    cluster.objects().patch_status(&name, &PatchParams::default(), &mended).await.unwrap();
    let moved = |object: &MeshLocation| {
        object.status.as_ref().is_some_and(|status| status.leader == Some("here-2".into()))
    };
    cluster.until("here", moved).await;
}
