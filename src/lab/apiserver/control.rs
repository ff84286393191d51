//! The paths by which a test in another process sets faults, `/lab/…`; no list names them.
//!
//! `slow?delay=500ms`, `throttle?delay=2s`, `hang`, `refuse`, `none`, each with `for=3s` to end by
//! itself; `cut-watches`; `drop-connections`; `compact`.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::Server;
use super::faults::Fault;
use super::http::Options;

/// Obeys one command.
pub(super) fn answer(server: &Server, command: &str, options: &Options) -> Response {
    let delay = options.get("delay").map_or(Some(Duration::from_secs(1)), |text| duration(text));
    let Some(delay) = delay else { return StatusCode::BAD_REQUEST.into_response() };
    let faults = server.faults().clone();
    let fault = match command {
        "slow" => Fault::Slow(delay),
        "throttle" => Fault::Throttle(delay),
        "hang" => Fault::Hang,
        "refuse" => Fault::Refuse,
        "none" => Fault::None,
        "cut-watches" => {
            faults.cut_watches();
            return "ok\n".into_response();
        }
        "drop-connections" => {
            faults.drop_connections();
            return "ok\n".into_response();
        }
        "compact" => {
            server.compact();
            return "ok\n".into_response();
        }
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    faults.set(fault);
    if let Some(time) = options.get("for").and_then(|text| duration(text)) {
        tokio::spawn(async move {
            tokio::time::sleep(time).await;
            faults.lift();
        });
    }

    "ok\n".into_response()
}

fn duration(text: &str) -> Option<Duration> {
    let (number, unit): (_, fn(u64) -> Duration) = match text.strip_suffix("ms") {
        Some(number) => (number, Duration::from_millis),
        None => (text.strip_suffix('s')?, Duration::from_secs),
    };
    number.parse().ok().map(unit)
}
