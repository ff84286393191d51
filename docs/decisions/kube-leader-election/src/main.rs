//! Shows `kube-leader-election` telling two candidates that one lease is theirs, in three ways.
//! The server is in memory, merges as Kubernetes does, and would answer 409 to a patch that names
//! an old `resourceVersion`; the crate's patches name none.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::client::{Body, Client};
use kube_leader_election::{LeaseLock, LeaseLockParams, LeaseLockResult};
use serde_json::{Value, json};
use tokio::sync::Barrier;

const TTL: Duration = Duration::from_secs(15);

type Store = Arc<Mutex<Value>>;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let two = [both_at_once().await, a_pause().await, a_slow_clock().await];
    println!("\n{} of 3 cases had two holders at once", two.iter().filter(|two| **two).count());
    assert_eq!(two, [true; 3], "the crate has changed: look again at the decision");
}

/// Two candidates read an expired lease before either writes.
async fn both_at_once() -> bool {
    let store = lease("dead", 60);
    let both_have_read = Arc::new(Barrier::new(2));
    let a = candidate(&store, "a", Some(both_have_read.clone()));
    let b = candidate(&store, "b", Some(both_have_read));
    let (a, b) = tokio::join!(acquires(&a), acquires(&b));
    report("both read before either writes", a, b)
}

/// One candidate pauses between its read and its write; meanwhile another takes the lease.
async fn a_pause() -> bool {
    let store = lease("dead", 60);
    let paused = Arc::new(Barrier::new(2));
    let a = candidate(&store, "a", Some(paused.clone()));
    let b = candidate(&store, "b", None);
    let others = async {
        let took = acquires(&b).await;
        paused.wait().await;
        took
    };
    let (a, b) = tokio::join!(acquires(&a), others);
    report("one pauses between reading and writing", a, b)
}

/// The holder renews in time, by a clock that is 16 s behind.
async fn a_slow_clock() -> bool {
    let store = lease("a", 16);
    let b = candidate(&store, "b", None);
    let b = acquires(&b).await;
    report("the holder's clock is 16 s behind (lease of 15 s)", true, b)
}

fn report(case: &str, a: bool, b: bool) -> bool {
    println!("{case}:\n    a holds it: {a}, b holds it: {b}");
    a && b
}

/// A lease that its holder renewed some seconds ago.
fn lease(holder: &str, age: i64) -> Store {
    let renewed = Timestamp::now() - SignedDuration::from_secs(age);
    Arc::new(Mutex::new(json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": { "name": "l", "namespace": "default", "uid": "u", "resourceVersion": "1" },
        "spec": {
            "holderIdentity": holder,
            "leaseDurationSeconds": TTL.as_secs(),
            "leaseTransitions": 3,
            "renewTime": format!("{renewed:.6}"),
        },
    })))
}

async fn acquires(lock: &LeaseLock) -> bool {
    matches!(
        lock.try_acquire_or_renew().await.expect("the server answers"),
        LeaseLockResult::Acquired(_)
    )
}

/// A candidate whose writes wait at a barrier, if it has one.
fn candidate(store: &Store, name: &str, before_write: Option<Arc<Barrier>>) -> LeaseLock {
    let store = Arc::clone(store);
    let server = tower::service_fn(move |request: Request<Body>| {
        let (store, barrier) = (Arc::clone(&store), before_write.clone());
        async move {
            if request.method() == Method::PATCH
                && let Some(barrier) = barrier
            {
                barrier.wait().await;
            }
            Ok::<_, std::convert::Infallible>(answer(&store, request).await)
        }
    });
    let params =
        LeaseLockParams { lease_name: "l".to_owned(), holder_id: name.to_owned(), lease_ttl: TTL };
    LeaseLock::new(Client::new(server, "default"), "default", params)
}

async fn answer(store: &Store, request: Request<Body>) -> Response<Body> {
    let is_patch = request.method() == Method::PATCH;
    let body = request.into_body().collect().await.expect("a body").to_bytes();
    let mut lease = store.lock().expect("nobody panics");
    if is_patch {
        let patch: Value = serde_json::from_slice(&body).expect("a patch");
        let named = &patch["metadata"]["resourceVersion"];
        if !named.is_null() && *named != lease["metadata"]["resourceVersion"] {
            let conflict = json!({ "kind": "Status", "status": "Failure", "code": 409,
                                   "reason": "Conflict", "message": "somebody else wrote first" });
            return Response::builder().status(409).body(to_body(&conflict)).expect("an answer");
        }
        json_patch::merge(&mut lease, &patch);
        let version = lease["metadata"]["resourceVersion"].as_str().unwrap_or("0").parse::<u64>();
        lease["metadata"]["resourceVersion"] = json!((version.unwrap_or(0) + 1).to_string());
    }
    Response::new(to_body(&lease))
}

fn to_body(value: &Value) -> Body {
    Body::from(serde_json::to_vec(value).expect("JSON"))
}
