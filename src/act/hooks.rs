//! The two webhooks: one is asked before a move and may veto it, one is told after it, so that
//! what Kilo does not know of (a cloud's route table, an on-call channel) can follow.
//!
//! Both get a POST with `content-type: application/json`:
//!
//! ```json
//! {
//!   "event": "before-move",
//!   "location": "eu-west", "incident": "node-a-1795254307",
//!   "from": "node-a", "to": "node-b", "cause": "verdict",
//!   "why": "...", "cost": "..."
//! }
//! ```
//!
//! The first vetoes by an answer other than 2xx, or by `{"veto": "why"}`. Silence is no veto: a
//! hook that lies behind the broken leader must not keep it broken. The second is told `after-move`,
//! without cause and cost but with an `outcome`: `written`, `put-back`, and at the end `verified`,
//! `reverted` or `abandoned`. Its answer does not matter.

use std::time::Duration;

use http::{Request, StatusCode, Uri};
use kube::client::Body;
use kube::{Client, Config};
use serde::{Deserialize, Serialize};

use crate::cluster::objects::MoveRecord;
use crate::decide::{Cause, Move};
use crate::evidence::{Location, NodeName};
use crate::telemetry::Chain;

/// How long a move waits for the hook: it costs as much of the time to recovery.
const ASK: Duration = Duration::from_secs(1);

/// How long a hook that is only told may take.
const TELL: Duration = Duration::from_secs(10);

/// A veto longer than this is cut short in Events and logs.
const LONGEST_VETO: usize = 300;

/// The two webhooks, as far as there are any.
#[derive(Clone, Default)]
pub struct Hooks {
    before: Option<Hook>,
    after: Option<Hook>,
}

/// A webhook that cannot be called at all.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// Not an `http` or `https` URL.
    #[error("read webhook {0:?}: not an http or https URL")]
    Url(String),
    /// No client can be made for it.
    #[error("make a client for webhook {url}")]
    Client {
        /// The URL.
        url: String,
        /// The cause.
        #[source]
        source: kube::Error,
    },
}

/// What a hook is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    /// Before or after.
    pub event: Occasion,
    /// The location.
    pub location: Location,
    /// The incident that the move belongs to.
    pub incident: String,
    /// Who led when it was decided.
    pub from: NodeName,
    /// Who is to lead.
    pub to: NodeName,
    /// What calls for it; not told after a move.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// Why, for people.
    pub why: String,
    /// What it costs, for people; not told after a move.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<String>,
    /// What became of it; not told before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<&'static str>,
}

/// When a hook is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Occasion {
    /// Before anything is written.
    BeforeMove,
    /// After the annotations were written, and again when the move ended.
    AfterMove,
}

impl Notice {
    /// Returns what is asked before a move.
    #[must_use]
    pub fn of(location: &Location, wish: &Move) -> Self {
        Self {
            event: Occasion::BeforeMove,
            location: location.clone(),
            incident: wish.incident.clone(),
            from: wish.from.clone(),
            to: wish.to.clone(),
            cause: Some(wish.cause),
            why: wish.why.clone(),
            cost: Some(wish.cost.clone()),
            outcome: None,
        }
    }

    /// Returns what is told after it.
    #[must_use]
    pub fn after(location: &Location, record: &MoveRecord, outcome: &'static str) -> Self {
        Self {
            event: Occasion::AfterMove,
            location: location.clone(),
            incident: record.incident.clone(),
            from: record.from.clone().unwrap_or_default(),
            to: record.to.clone(),
            cause: None,
            why: record.why.clone(),
            cost: None,
            outcome: Some(outcome),
        }
    }
}

#[derive(Clone)]
struct Hook {
    client: Client,
    path: Uri,
}

#[derive(Deserialize, Default)]
struct Answer {
    veto: Option<String>,
}

impl Hooks {
    /// Takes the URLs of the hooks.
    ///
    /// # Errors
    /// If one is not a URL that can be called.
    pub fn new(before: Option<&str>, after: Option<&str>) -> Result<Self, HookError> {
        Ok(Self {
            before: before.map(Hook::new).transpose()?,
            after: after.map(Hook::new).transpose()?,
        })
    }

    /// Asks whether a move may go ahead; the error is the veto.
    pub(crate) async fn before(&self, notice: &Notice) -> Result<(), String> {
        let Some(hook) = &self.before else { return Ok(()) };
        match tokio::time::timeout(ASK, hook.post(notice)).await {
            Ok(Ok((status, answer))) => verdict(status, &answer),
            Ok(Err(error)) => {
                tracing::warn!(error = %Chain(&error), "Webhook out of reach; going ahead");
                Ok(())
            }
            Err(_elapsed) => {
                tracing::warn!("Webhook did not answer in time; going ahead");
                Ok(())
            }
        }
    }

    /// Tells of a move. Returns at once; the telling goes on by itself.
    pub fn after(&self, notice: Notice) {
        let Some(hook) = self.after.clone() else { return };
        tokio::spawn(async move {
            match tokio::time::timeout(TELL, hook.post(&notice)).await {
                Ok(Ok((status, _))) if status.is_success() => {}
                Ok(Ok((status, _))) => tracing::warn!(%status, "Webhook refused what it was told"),
                Ok(Err(error)) => tracing::warn!(error = %Chain(&error), "Webhook out of reach"),
                Err(_elapsed) => tracing::warn!("Webhook did not answer in time"),
            }
        });
    }
}

/// Reads what a hook says to a move.
fn verdict(status: StatusCode, answer: &[u8]) -> Result<(), String> {
    let answer = serde_json::from_slice::<Answer>(answer).unwrap_or_default();
    match answer.veto {
        Some(why) => Err(why.chars().take(LONGEST_VETO).collect()),
        None if status.is_success() => Ok(()),
        None => Err(format!("the webhook answered {status}")),
    }
}

impl Hook {
    /// Makes a client out of kube's: it brings TLS with the system's roots, and needs no server of
    /// a particular kind.
    fn new(url: &str) -> Result<Self, HookError> {
        let bad = || HookError::Url(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| bad())?;
        let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"));
        let (scheme, authority) = scheme.zip(uri.authority()).ok_or_else(bad)?;
        let server = format!("{scheme}://{authority}").parse().map_err(|_| bad())?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path = path.parse().map_err(|_| bad())?;

        let mut config = Config::new(server);
        config.default_retry = false;
        config.connect_timeout = Some(ASK);
        if scheme == "http" {
            // Plain text needs no roots, and a client that asks for the system's must find some.
            config.root_cert = Some(Vec::new());
        }
        let client = Client::try_from(config)
            .map_err(|source| HookError::Client { url: url.to_owned(), source })?;
        Ok(Self { client, path })
    }

    async fn post(&self, notice: &Notice) -> Result<(StatusCode, Vec<u8>), kube::Error> {
        let body = serde_json::to_vec(notice).map_err(kube::Error::SerdeError)?;
        let request = Request::post(self.path.clone())
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(Body::from(body))
            .map_err(kube::Error::HttpError)?;
        let response = self.client.send(request).await?;
        let status = response.status();
        let body = response.into_body().collect_bytes().await?;
        Ok((status, body.to_vec()))
    }
}

#[cfg(test)]
mod tests;
