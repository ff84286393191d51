//! From an HTTP request to an answer: what is asked of which resource, by which options.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Query;
use axum::response::{IntoResponse, Response};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT, WARNING};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, request};
use serde_json::{Value, json};

use super::Server;
use super::apply::Ownership;
use super::discovery;
use super::faults::Fault;
use super::openapi;
use super::patch::Patch;
use super::resource::Resource;
use super::status::{Cause, Failure};
use super::view::View;
use super::write::{Outcome, Part, Preconditions, Request, Unknown};
use super::{control, read};

/// The largest body that is read, as the real server has it.
const BODY: usize = 3 << 20;

/// The query of a request.
pub(super) type Options = BTreeMap<String, String>;

/// A request for objects, taken apart.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) resource: Arc<Resource>,
    /// The namespace on the path.
    pub(super) namespace: Option<String>,
    /// The name on the path.
    pub(super) name: Option<String>,
    pub(super) part: Part,
    pub(super) options: Options,
    pub(super) headers: HeaderMap,
}

/// Answers one request.
pub(super) async fn answer(server: Server, request: axum::extract::Request) -> Response {
    let (head, body) = request.into_parts();
    if let Some(command) = head.uri.path().strip_prefix("/lab/") {
        return control::answer(&server, command, &options(&head.uri));
    }
    match server.faults().current() {
        Fault::Slow(wait) => tokio::time::sleep(wait).await,
        Fault::SlowMoves(wait) if writes_of_a_move(&head) => tokio::time::sleep(wait).await,
        Fault::Throttle(wait) => return Failure::throttled(wait).into_response(),
        Fault::Hang => server.faults().unhung().await,
        Fault::None | Fault::Refuse | Fault::SlowMoves(_) => {}
    }

    route(&server, head, body).await.unwrap_or_else(IntoResponse::into_response)
}

fn writes_of_a_move(head: &request::Parts) -> bool {
    let path = head.uri.path();
    head.method != Method::GET && (path.contains("/nodes/") || path.contains("/meshlocations/"))
}

async fn route(server: &Server, head: request::Parts, body: Body) -> Result<Response, Failure> {
    let path = head.uri.path().to_owned();
    let segments: Vec<_> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let accept = header(&head.headers, ACCEPT.as_str());
    match segments.as_slice() {
        ["healthz" | "readyz" | "livez", ..] => Ok("ok".into_response()),
        ["version"] => Ok(answer_json(&discovery::version())),
        ["openapi", "v2"] => Err(Failure::no_such_path()),
        ["openapi", "v3"] => Ok(answer_json(&openapi::index(&server.store))),
        ["openapi", "v3", rest @ ..] => {
            Ok(answer_json(&openapi::document(&server.store, &rest.join("/"))?))
        }
        [] | ["api" | "apis"] | ["api", _] | ["apis", _] | ["apis", _, _] => {
            discovery::answer(&server.store, &segments, accept)
        }
        ["api", version, rest @ ..] => objects(server, ("", version), rest, (head, body)).await,
        ["apis", group, version, rest @ ..] => {
            objects(server, (group, version), rest, (head, body)).await
        }
        _ => Err(Failure::no_such_path()),
    }
}

async fn objects(
    server: &Server,
    (group, version): (&str, &str),
    rest: &[&str],
    (head, body): (request::Parts, Body),
) -> Result<Response, Failure> {
    let (namespace, rest) = match rest {
        // A namespace and its status are objects themselves.
        ["namespaces", _] | ["namespaces", _, "status" | "finalize"] => (None, rest),
        ["namespaces", namespace, rest @ ..] => (Some((*namespace).to_owned()), rest),
        _ => (None, rest),
    };
    let (plural, name, part) = match rest {
        [plural] => (plural, None, Part::Main),
        [plural, name] => (plural, Some((*name).to_owned()), Part::Main),
        [plural, name, "status"] => (plural, Some((*name).to_owned()), Part::Status),
        _ => return Err(Failure::no_such_path()),
    };
    let resource = server.store.lock().find(group, version, plural)?;
    let misplaced = namespace.is_some() && !resource.namespaced
        || name.is_some() && namespace.is_none() && resource.namespaced;
    if misplaced || part == Part::Status && !resource.status {
        return Err(Failure::no_such_path());
    }
    let options = options(&head.uri);
    let call = Call {
        method: head.method,
        resource,
        namespace,
        name,
        part,
        options,
        headers: head.headers,
    };
    let body = to_bytes(body, BODY).await.map_err(|_| Failure::too_large())?;

    dispatch(server, call, &body)
}

fn dispatch(server: &Server, call: Call, body: &Bytes) -> Result<Response, Failure> {
    let named = call.name.is_some();
    match (call.method.as_str(), named) {
        ("GET", true) => read::get(server, &call),
        ("GET", false) => read::list(server, call),
        ("POST", false) => {
            let object = parse(&call, body)?;
            written(&call, server.store.create(call.request()?, object)?)
        }
        ("PUT", true) => {
            let object = parse(&call, body)?;
            written(&call, server.store.update(&call.request()?, object)?)
        }
        ("PATCH", true) => {
            let patch = patch(&call, body)?;
            written(&call, server.store.patch(&call.request()?, &patch)?)
        }
        ("DELETE", true) => delete(server, &call, body),
        ("DELETE", false) => delete_all(server, &call, body),
        _ => Err(Failure::method()),
    }
}

impl Call {
    pub(super) fn option(&self, key: &str) -> &str {
        self.options.get(key).map_or("", String::as_str)
    }

    pub(super) fn flag(&self, key: &str) -> bool {
        matches!(self.option(key), "true" | "1")
    }

    pub(super) fn view(&self) -> Result<View, Failure> {
        View::accepted(header(&self.headers, ACCEPT.as_str()), self.option("includeObject"))
    }

    /// Returns the write that this call asks for.
    pub(super) fn request(&self) -> Result<Request, Failure> {
        let dry_run = match self.option("dryRun") {
            "" => false,
            "All" => true,
            other => {
                let all = [Value::from("All")];
                let cause = Cause::unsupported("dryRun", &json!([other]), &all);
                let kind = match self.method.as_str() {
                    "POST" => "CreateOptions",
                    "PUT" => "UpdateOptions",
                    "PATCH" => "PatchOptions",
                    _ => "DeleteOptions",
                };
                return Err(Failure::option(kind, &cause));
            }
        };
        if self.resource.namespaced && self.namespace.is_none() {
            return Err(Failure::method());
        }
        let token = header(&self.headers, AUTHORIZATION.as_str());

        Ok(Request {
            resource: Arc::clone(&self.resource),
            namespace: self.namespace.clone().unwrap_or_default(),
            name: self.name.clone().unwrap_or_default(),
            part: self.part,
            dry_run,
            field_manager: self.options.get("fieldManager").cloned(),
            ownership: if self.flag("force") { Ownership::Take } else { Ownership::Respect },
            unknown: match self.option("fieldValidation") {
                "Ignore" => Unknown::Ignore,
                "Strict" => Unknown::Refuse,
                _ => Unknown::Warn,
            },
            user_agent: header(&self.headers, USER_AGENT.as_str()).to_owned(),
            user: token.strip_prefix("Bearer ").unwrap_or("system:anonymous").to_owned(),
        })
    }
}

fn written(call: &Call, outcome: Outcome) -> Result<Response, Failure> {
    let shown = call.view()?.one(&call.resource, outcome.object);
    let mut response = answer_json(&shown);
    if outcome.created {
        *response.status_mut() = StatusCode::CREATED;
    }
    for warning in outcome.warnings {
        let text = format!("299 - {warning:?}");
        if let Ok(value) = HeaderValue::from_str(&text) {
            response.headers_mut().append(WARNING, value);
        }
    }

    Ok(response)
}

fn preconditions(call: &Call, body: &Bytes) -> Result<(Preconditions, bool), Failure> {
    let options = if body.is_empty() { Value::Null } else { parse(call, body)? };
    let text = |key| {
        let found = options.pointer(&format!("/preconditions/{key}"));
        found.and_then(Value::as_str).map(str::to_owned)
    };
    let dry = options.get("dryRun").is_some_and(|dry| *dry == json!(["All"]));

    Ok((Preconditions { uid: text("uid"), resource_version: text("resourceVersion") }, dry))
}

fn delete(server: &Server, call: &Call, body: &Bytes) -> Result<Response, Failure> {
    let (wanted, dry) = preconditions(call, body)?;
    let mut request = call.request()?;
    request.dry_run |= dry;
    let outcome = server.store.delete(&request, &wanted)?;
    if outcome.object.pointer("/metadata/deletionTimestamp").is_some() {
        return Ok(answer_json(&outcome.object));
    }
    let resource = &call.resource;
    let mut details = json!({"name": request.name, "kind": resource.plural,
                             "uid": outcome.object["metadata"]["uid"]});
    if !resource.group.is_empty() {
        details["group"] = json!(resource.group);
    }

    Ok(answer_json(&json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": details,
    })))
}

fn delete_all(server: &Server, call: &Call, body: &Bytes) -> Result<Response, Failure> {
    let (wanted, dry) = preconditions(call, body)?;
    let mut request = call.request()?;
    request.dry_run |= dry;
    let objects = read::selected(server, call)?;
    for object in &objects {
        let (_, name) = super::json::identity(object);
        let one = Request { name: name.to_owned(), ..request.clone() };
        server.store.delete(&one, &wanted)?;
    }
    let metadata = json!({"resourceVersion": server.store.lock().revision.to_string()});

    Ok(answer_json(&View::Whole.list(&call.resource, objects, metadata)))
}

/// Reads a body as JSON, or as YAML where it says that it is.
fn parse(call: &Call, body: &Bytes) -> Result<Value, Failure> {
    let kind = header(&call.headers, CONTENT_TYPE.as_str());
    if !kind.is_empty() && !kind.contains("json") && !kind.contains("yaml") {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: \
             application/json, application/yaml; not {kind}"
        );
        return Err(Failure::media_type(&message));
    }
    if kind.contains("yaml") {
        return yaml(body);
    }
    serde_json::from_slice(body).map_err(|error| Failure::bad_request(&error.to_string()))
}

fn yaml(body: &Bytes) -> Result<Value, Failure> {
    let text = std::str::from_utf8(body).map_err(|e| Failure::bad_request(&e.to_string()))?;
    serde_saphyr::from_str(text).map_err(|error| Failure::bad_request(&error.to_string()))
}

fn patch(call: &Call, body: &Bytes) -> Result<Patch, Failure> {
    let kind = header(&call.headers, CONTENT_TYPE.as_str());
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let json =
        || serde_json::from_slice(body).map_err(|error| Failure::bad_request(&error.to_string()));
    let custom = matches!(call.resource.form, super::resource::Form::Custom(_));
    match kind {
        "application/json-patch+json" => operations(json()?).map(Patch::Json),
        "application/merge-patch+json" => json().map(Patch::Merge),
        "application/strategic-merge-patch+json" if !custom => json().map(Patch::Strategic),
        "application/apply-patch+yaml" => yaml(body).map(Patch::Apply),
        _ => {
            let strategic = if custom { "" } else { "application/strategic-merge-patch+json, " };
            let message = format!(
                "the body of the request was in an unknown format - accepted media types include: \
                 application/json-patch+json, application/merge-patch+json, \
                 {strategic}application/apply-patch+yaml"
            );
            Err(Failure::media_type(&message))
        }
    }
}

/// Reads the operations of a JSON patch. A list with one that is none is a patch that does not
/// apply, anything else is no patch.
fn operations(patch: Value) -> Result<json_patch::Patch, Failure> {
    let listed = patch.is_array();
    serde_json::from_value(patch).map_err(|error| {
        if listed {
            Failure::patch_does_not_apply()
        } else {
            Failure::bad_request(&format!("error decoding patch: {error}"))
        }
    })
}

pub(super) fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn options(uri: &Uri) -> Options {
    Query::try_from_uri(uri).map(|Query(options)| options).unwrap_or_default()
}

pub(super) fn answer_json(value: &Value) -> Response {
    answer_bytes(value.to_string().into())
}

pub(super) fn answer_bytes(json: Bytes) -> Response {
    answer_body(Body::from(json))
}

pub(super) fn answer_body(body: Body) -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
}

/// How long a watch runs whose client does not say.
pub(super) const WATCH: Duration = Duration::from_secs(45 * 60);
