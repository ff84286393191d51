use axum::body::{Body, to_bytes};
use axum::http::Request;
use tower::ServiceExt as _;

use super::*;

/// What Prometheus asks for.
const OPEN_METRICS: &str = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;q=0.4";

async fn page(admin: &Admin, path: &str) -> (u16, String) {
    page_as(admin, path, OPEN_METRICS).await
}

async fn page_as(admin: &Admin, path: &str, accepted: &str) -> (u16, String) {
    let request = Request::get(path).header(header::ACCEPT, accepted).body(Body::empty()).unwrap();
    let answer = admin.clone().pages().oneshot(request).await.unwrap();
    let status = answer.status().as_u16();
    let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn readiness_names_what_it_waits_for() {
    let admin = Admin::default();
    let (keys, plan) = (admin.wait_for("keys"), admin.wait_for("plan"));
    assert_eq!(page(&admin, "/readyz").await, (503, "waits for: keys, plan\n".to_owned()));
    keys.done();
    assert_eq!(page(&admin, "/readyz").await, (503, "waits for: plan\n".to_owned()));
    drop(plan);
    assert_eq!(page(&admin, "/readyz").await, (200, "ready\n".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn health_names_the_loop_that_stopped() {
    let admin = Admin::default();
    admin.beat("sidecar");
    admin.beat("arbiter");
    tokio::time::advance(SILENT).await;
    admin.beat("arbiter");
    assert_eq!(page(&admin, "/healthz").await.0, 200, "not yet");

    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(page(&admin, "/healthz").await, (503, "stopped: sidecar\n".to_owned()));
    admin.rest("sidecar");
    assert_eq!(page(&admin, "/healthz").await, (200, "ok\n".to_owned()));
}

#[tokio::test]
async fn metrics_are_served_with_their_prefix() {
    let admin = Admin::default();
    let observe = admin.metrics.register(crate::metrics::ObserveMetrics::register);
    observe.burst(None);
    let (status, text) = page(&admin, "/metrics").await;
    assert_eq!(status, 200);
    assert!(text.contains("tanist_sidecar_bursts_total{kind=\"first-loss\"} 1\n"), "{text}");
    assert!(text.ends_with("# EOF\n"));
}

#[tokio::test]
async fn whoever_does_not_ask_for_open_metrics_gets_the_older_format() {
    let admin = Admin::default();
    let observe = admin.metrics.register(crate::metrics::ObserveMetrics::register);
    observe.burst(None);
    let (_, text) = page_as(&admin, "/metrics", "*/*").await;
    assert!(text.contains("# TYPE tanist_sidecar_bursts_total counter\n"), "{text}");
    assert!(!text.contains("# EOF"));
}
