//! The reads and writes, against an API server.

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{ListParams, Patch, PatchParams, PostParams};

use crate::act::tests::bed::{Bed, HERE};
use crate::decide::MoveRequest;
use crate::evidence::{Location, NodeName, UnixTime};
use crate::operator::doctor::{Scope, examine, gather};
use crate::operator::steer::Steering;
use crate::operator::view::{Arbiter, View, arbiter};

fn here() -> Location {
    Location::from(HERE)
}

async fn read(bed: &Bed) -> View {
    let now = UnixTime(jiff::Timestamp::now().as_millisecond());
    View::read(&bed.client, "region", now).await.unwrap()
}

#[tokio::test]
async fn what_is_written_is_read_again() {
    let bed = Bed::with(&["a*", "b", "c"]).await;
    let view = read(&bed).await;
    assert_eq!(view.leader(&here()).unwrap().name, "a".into());
    assert_eq!((view.arbiter, view.missing), (Arbiter::Nobody, vec![]));

    let steering = Steering::new(bed.client.clone());
    steering.pause(&here(), Some("work")).await.unwrap();
    steering.acknowledge(&here(), "a-1").await.unwrap();
    steering.pin(&"b".into()).await.unwrap();
    let view = read(&bed).await;
    assert_eq!(view.pauses(&here()), ["work"]);
    assert_eq!(view.locations[&here()].spec.acknowledged.as_deref(), Some("a-1"));
    assert_eq!(view.pins(&here()), [&NodeName::from("b")]);

    steering.pause(&here(), None).await.unwrap();
    steering.unpin(&"b".into()).await.unwrap();
    let view = read(&bed).await;
    assert!(view.pauses(&here()).is_empty() && view.pins(&here()).is_empty());
}

#[tokio::test]
async fn a_request_is_taken_back_but_never_that_of_another() {
    let bed = Bed::with(&["a*", "b"]).await;
    let steering = Steering::new(bed.client.clone());
    let request = |id: &str| MoveRequest { id: id.to_owned(), ..MoveRequest::default() };
    let standing = async || {
        let request = read(&bed).await.locations[&here()].spec.request.clone();
        request.map(|request| request.id)
    };

    steering.request(&here(), &request("r1")).await.unwrap();
    assert_eq!(standing().await.as_deref(), Some("r1"));
    steering.withdraw(&here(), "r1").await.unwrap();
    assert_eq!(standing().await, None);
    steering.withdraw(&here(), "r1").await.unwrap();

    steering.request(&here(), &request("r2")).await.unwrap();
    steering.withdraw(&here(), "r1").await.unwrap();
    assert_eq!(standing().await.as_deref(), Some("r2"), "another asked meanwhile");
}

#[tokio::test]
async fn a_request_inherits_nothing_from_the_last_one() {
    let bed = Bed::with(&["a*", "b"]).await;
    let steering = Steering::new(bed.client.clone());
    let last = MoveRequest { id: "r1".into(), to: Some("b".into()), by: "ann".into(), force: true };
    let next = MoveRequest { id: "r2".into(), by: "bob".into(), ..MoveRequest::default() };
    for request in [last, next] {
        steering.request(&here(), &request).await.unwrap();
        let standing = read(&bed).await.locations[&here()].spec.request.clone();
        assert_eq!(standing, Some(request));
    }
}

#[tokio::test]
async fn a_lease_that_is_renewed_has_not_lapsed_whatever_the_clocks_say() {
    let bed = Bed::with(&["a*"]).await;
    let leases = kube::Api::<Lease>::namespaced(bed.client.clone(), "kube-system");
    let renewed = |second: i64| {
        serde_json::json!({ "metadata": { "name": "tanist" }, "spec": {
            "holderIdentity": "a_1", "leaseDurationSeconds": 10,
            "renewTime": jiff::Timestamp::from_second(second).unwrap().to_string(),
        }})
    };
    let lease = serde_json::from_value(renewed(1_000)).unwrap();
    leases.create(&PostParams::default(), &lease).await.unwrap();
    let holds = Arbiter::Holds { holder: "a_1".to_owned() };
    let lapsed = Arbiter::Lapsed { holder: "a_1".to_owned(), renewed_ms: 1_000_000 };

    let unneeded = std::future::pending();
    assert_eq!(arbiter(&bed.client, UnixTime(1_010_000), unneeded).await.unwrap(), holds);
    let ahead = UnixTime(2_000_000);
    assert_eq!(arbiter(&bed.client, ahead, async {}).await.unwrap(), lapsed);
    let renewal = async {
        let patch = Patch::Merge(renewed(1_002));
        leases.patch("tanist", &PatchParams::default(), &patch).await.unwrap();
    };
    assert_eq!(arbiter(&bed.client, ahead, renewal).await.unwrap(), holds);
}

#[tokio::test]
async fn what_is_not_there_is_said_and_not_guessed() {
    let bed = Bed::with(&["a*", "b"]).await;
    let steering = Steering::new(bed.client.clone());
    let error = steering.pin(&"nobody".into()).await.expect_err("there is no such node");
    assert_eq!(error.to_string(), "cannot pin the Node nobody");
    let said = std::error::Error::source(&error).map(ToString::to_string);
    assert_eq!(said.as_deref(), Some("nodes \"nobody\" not found"));

    // This server knows neither accounts nor policies nor reviews.
    let view = read(&bed).await;
    let facts = gather(&bed.client, 1108).await;
    let examination = examine(&view, &facts, &Scope::Mesh);
    let seen = |check: &str| {
        let line = examination.lines.iter().find(|line| line.check == check);
        line.map(|line| line.seen.as_str()).unwrap_or_default()
    };
    assert!(seen("admission policy").starts_with("this server knows no such policies"));
    assert!(seen("your rights").starts_with("not known (list relayreports, patch meshlocations, "));
    assert!(seen("your rights").ends_with("this server does not answer such questions"));
    assert_eq!(seen("arbiter"), "nobody holds the lease");
}

#[tokio::test]
async fn a_cluster_without_our_kinds_is_told_how_to_get_them() {
    let bed = Bed::empty().await;
    let kinds = kube::Api::<
        k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    >::all(bed.client.clone());
    for kind in kinds.list(&ListParams::default()).await.unwrap() {
        kinds.delete(&kind.metadata.name.unwrap(), &Default::default()).await.unwrap();
    }
    let error = View::read(&bed.client, "region", UnixTime(0)).await.expect_err("no kinds");
    assert!(error.to_string().contains("tanist crds | kubectl apply"), "{error}");
}

#[tokio::test]
async fn whoever_put_an_annotation_back_is_named() {
    let bed = Bed::with(&["a", "b"]).await;
    bed.annotate("a", "kilo.squat.ai/leader", Some("")).await;
    bed.annotate("a", "tanist.dev/leader-before", Some("=")).await;
    let view = read(&bed).await;
    let facts = gather(&bed.client, 1108).await;
    let examination = examine(&view, &facts, &Scope::Mesh);
    let line = examination.lines.iter().find(|line| line.check == "re-added annotation").unwrap();
    assert!(line.seen.starts_with("gitops put the leader annotation of a back"), "{line:?}");
}
