use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::routing::post;

use super::*;

fn notice() -> Notice {
    Notice {
        event: Occasion::BeforeMove,
        location: "eu".into(),
        incident: "i".to_owned(),
        from: "a".into(),
        to: "b".into(),
        cause: Some(Cause::Verdict),
        why: "dark".to_owned(),
        cost: Some("none".to_owned()),
        outcome: None,
    }
}

type Heard = Arc<Mutex<Vec<serde_json::Value>>>;

/// A hook that answers always the same.
async fn hook(status: StatusCode, answer: &'static str) -> (String, Heard) {
    let heard = Heard::default();
    let app = Router::new()
        .route(
            "/move",
            post(async move |State(heard): State<Heard>, body: axum::Json<serde_json::Value>| {
                heard.lock().unwrap().push(body.0);
                (status, answer)
            }),
        )
        .with_state(Arc::clone(&heard));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/move?key=1", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, app).await });
    (url, heard)
}

#[tokio::test]
async fn a_hook_is_asked_and_may_veto() {
    #[rustfmt::skip]
    let table = [
        (StatusCode::OK,                  "",                       Ok(())),
        (StatusCode::NO_CONTENT,          "",                       Ok(())),
        (StatusCode::OK,                  "fine",                   Ok(())),
        (StatusCode::OK,                  r#"{"veto": "freeze"}"#,  Err("freeze".to_owned())),
        (StatusCode::SERVICE_UNAVAILABLE, "",
         Err("the webhook answered 503 Service Unavailable".to_owned())),
        (StatusCode::FORBIDDEN,           r#"{"veto": "no"}"#,      Err("no".to_owned())),
    ];
    for (status, answer, outcome) in table {
        let (url, heard) = hook(status, answer).await;
        let hooks = Hooks::new(Some(&url), None).unwrap();

        assert_eq!(hooks.before(&notice()).await, outcome, "{status} {answer}");
        let heard = heard.lock().unwrap();
        assert_eq!(heard[0]["event"], "before-move");
        assert_eq!(heard[0]["cause"], "verdict");
        assert_eq!(heard[0]["to"], "b");
    }
}

#[tokio::test]
async fn a_hook_is_told_after_a_move() {
    let (url, heard) = hook(StatusCode::OK, "").await;
    let hooks = Hooks::new(None, Some(&url)).unwrap();
    let told = Notice { event: Occasion::AfterMove, outcome: Some("verified"), ..notice() };

    assert_eq!(hooks.before(&notice()).await, Ok(()));
    hooks.after(told);

    let heard = async {
        loop {
            if let Some(first) = heard.lock().unwrap().first() {
                return first.clone();
            }
            tokio::task::yield_now().await;
        }
    };
    let heard = tokio::time::timeout(TELL, heard).await.expect("the hook is told");
    assert_eq!((&heard["event"], &heard["outcome"]), (&"after-move".into(), &"verified".into()));
}

#[tokio::test]
async fn a_hook_out_of_reach_is_no_veto() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);

    let hooks = Hooks::new(Some(&url), None).unwrap();
    assert_eq!(hooks.before(&notice()).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_silent_hook_is_no_veto() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());

    let hooks = Hooks::new(Some(&url), None).unwrap();
    assert_eq!(hooks.before(&notice()).await, Ok(()));
    drop(listener);
}

#[tokio::test]
async fn what_is_not_a_url_is_said_at_once() {
    for url in ["", "ftp://host/", "host:80", "/path"] {
        assert!(matches!(Hooks::new(Some(url), None), Err(HookError::Url(_))), "{url}");
    }
}

/// A hook that is called in plain text needs nobody's certificate, and some images have none.
#[test]
fn a_plain_hook_is_asked_where_there_are_no_certificates() {
    let mut again = std::process::Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "act::hooks::tests::a_hook_is_asked_and_may_veto"]);
    again.envs([("SSL_CERT_FILE", "/nowhere"), ("SSL_CERT_DIR", "/nowhere")]);

    let said = String::from_utf8(again.output().unwrap().stdout).unwrap();
    assert!(said.contains("1 passed; 0 failed"), "{said}");
}
