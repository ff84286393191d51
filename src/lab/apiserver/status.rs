//! Refusals, as `meta/v1 Status` objects.

use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Value, json};

use super::resource::Resource;

/// A request that was refused.
#[derive(Debug)]
pub(super) struct Failure {
    code: StatusCode,
    status: Value,
    retry_after: Option<Duration>,
}

/// One field that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cause {
    pub(super) reason: &'static str,
    pub(super) field: String,
    pub(super) message: String,
}

impl Cause {
    pub(super) fn required(field: &str) -> Self {
        let message = "Required value".to_owned();
        Self { reason: "FieldValueRequired", field: field.to_owned(), message }
    }

    pub(super) fn invalid(field: &str, value: &Value, why: &str) -> Self {
        let message = format!("Invalid value: {value}: {why}");
        Self { reason: "FieldValueInvalid", field: field.to_owned(), message }
    }

    fn json(&self) -> Value {
        json!({"reason": self.reason, "message": self.message, "field": self.field})
    }

    pub(super) fn too_long(field: &str, unit: &str, max: u64) -> Self {
        let message = format!("Too long: may not be more than {max} {unit}");
        Self { reason: "FieldValueTooLong", field: field.to_owned(), message }
    }

    pub(super) fn wrong_type(field: &str, found: &str, why: &str) -> Self {
        let message = format!("Invalid value: \"{found}\": {why}");
        Self { reason: "FieldValueTypeInvalid", field: field.to_owned(), message }
    }

    pub(super) fn unsupported(field: &str, value: &Value, allowed: &[Value]) -> Self {
        let allowed: Vec<_> = allowed.iter().map(Value::to_string).collect();
        let message =
            format!("Unsupported value: {value}: supported values: {}", allowed.join(", "));
        Self { reason: "FieldValueNotSupported", field: field.to_owned(), message }
    }

    pub(super) fn duplicate(field: &str, value: &Value) -> Self {
        let message = format!("Duplicate value: {value}");
        Self { reason: "FieldValueDuplicate", field: field.to_owned(), message }
    }
}

impl Failure {
    fn new(code: StatusCode, reason: &str, message: &str) -> Self {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "code": code.as_u16(),
        });
        if !reason.is_empty() {
            status["reason"] = json!(reason);
        }
        Self { code, status, retry_after: None }
    }

    fn about(mut self, resource: &Resource, name: &str) -> Self {
        let mut details = json!({"name": name, "kind": resource.plural});
        if !resource.group.is_empty() {
            details["group"] = json!(resource.group);
        }
        self.status["details"] = details;
        self
    }

    pub(super) fn no_such_path() -> Self {
        let message = "the server could not find the requested resource";
        let mut failure = Self::new(StatusCode::NOT_FOUND, "NotFound", message);
        failure.status["details"] = json!({});
        failure
    }

    /// A group or version that is not served: below Kubernetes' own error handling.
    pub(super) fn no_such_group() -> Self {
        let status = Value::from("404 page not found\n");
        Self { code: StatusCode::NOT_FOUND, status, retry_after: None }
    }

    /// An option of the request that is not as it must be; `kind` is such as `PatchOptions`.
    pub(super) fn option(kind: &str, cause: &Cause) -> Self {
        let message =
            format!("{kind}.meta.k8s.io \"\" is invalid: {}: {}", cause.field, cause.message);
        let mut failure = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", &message);
        failure.status["details"] =
            json!({"group": "meta.k8s.io", "kind": kind, "causes": [cause.json()]});
        failure
    }

    /// What a patch made of an object could not be read.
    pub(super) fn in_patch(self, patched: &Value) -> Self {
        let why = super::json::text(&self.status, &["message"]);
        let cause = Cause::invalid("patch", &Value::from(patched.to_string()), why);
        let message = format!(" \"\" is invalid: patch: {}", cause.message);
        let mut failure = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", &message);
        failure.status["details"] = json!({"causes": [cause.json()]});
        failure
    }

    pub(super) fn not_found(resource: &Resource, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", resource.id());
        Self::new(StatusCode::NOT_FOUND, "NotFound", &message).about(resource, name)
    }

    pub(super) fn namespace_not_found(namespace: &str) -> Self {
        let message = format!("namespaces \"{namespace}\" not found");
        let mut failure = Self::new(StatusCode::NOT_FOUND, "NotFound", &message);
        failure.status["details"] = json!({"name": namespace, "kind": "namespaces"});
        failure
    }

    pub(super) fn exists(resource: &Resource, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", resource.id());
        Self::new(StatusCode::CONFLICT, "AlreadyExists", &message).about(resource, name)
    }

    pub(super) fn stale(resource: &Resource, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version \
                   and try again";
        Self::conflict(resource, name, why)
    }

    pub(super) fn conflict(resource: &Resource, name: &str, why: &str) -> Self {
        let message =
            format!("Operation cannot be fulfilled on {} \"{name}\": {why}", resource.id());
        Self::new(StatusCode::CONFLICT, "Conflict", &message).about(resource, name)
    }

    /// Fields that others own, by `(field, message)`.
    pub(super) fn owned_by_others(fields: &[(String, String)]) -> Self {
        let message = match fields {
            [(field, message)] => format!("Apply failed with 1 conflict: {message}: {field}"),
            several => {
                let one = |same: &[(String, String)]| {
                    let fields: Vec<_> = same.iter().map(|(field, _)| field.as_str()).collect();
                    let who = same[0].1.trim_start_matches("conflict ");
                    format!("conflicts {who}:\n- {}", fields.join("\n- "))
                };
                let listed: Vec<_> = several.chunk_by(|a, b| a.1 == b.1).map(one).collect();
                format!("Apply failed with {} conflicts: {}", several.len(), listed.join("\n"))
            }
        };
        let causes: Vec<_> = fields
            .iter()
            .map(|(field, message)| {
                json!({"reason": "FieldManagerConflict", "message": message, "field": field})
            })
            .collect();
        let mut failure = Self::new(StatusCode::CONFLICT, "Conflict", &message);
        failure.status["details"] = json!({"causes": causes});
        failure
    }

    pub(super) fn invalid(resource: &Resource, name: &str, causes: &[Cause]) -> Self {
        let listed: Vec<_> =
            causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
        let listed = match listed.as_slice() {
            [one] => one.clone(),
            several => format!("[{}]", several.join(", ")),
        };
        let kind = resource.qualified_kind();
        let message = format!("{kind} \"{name}\" is invalid: {listed}");
        let mut failure = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", &message);
        let causes: Vec<_> = causes.iter().map(Cause::json).collect();
        let mut details = json!({"name": name, "kind": resource.kind, "causes": causes});
        if !resource.group.is_empty() {
            details["group"] = json!(resource.group);
        }
        failure.status["details"] = details;
        failure
    }

    /// A JSON patch that does not apply, a failed `test` included.
    pub(super) fn patch_does_not_apply() -> Self {
        let message = "the server rejected our request due to an error in our request";
        let mut failure = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message);
        failure.status["details"] = json!({});
        failure
    }

    pub(super) fn bad_request(message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    /// An error that the real server does not explain to machines.
    pub(super) fn unexplained(message: &str) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "", message)
    }

    pub(super) fn internal(message: &str) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message)
    }

    pub(super) fn expired(message: &str) -> Self {
        Self::new(StatusCode::GONE, "Expired", message)
    }

    pub(super) fn future_revision(asked: u64, current: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
        let mut failure = Self::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", &message);
        let cause = json!({"reason": "ResourceVersionTooLarge",
                           "message": "Too large resource version"});
        failure.status["details"] = json!({"retryAfterSeconds": 1, "causes": [cause]});
        failure.retry_after = Some(Duration::from_secs(1));
        failure
    }

    pub(super) fn media_type(message: &str) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", message)
    }

    pub(super) fn not_acceptable() -> Self {
        let message = "only the following media types are accepted: application/json";
        Self::new(StatusCode::NOT_ACCEPTABLE, "NotAcceptable", message)
    }

    pub(super) fn method() -> Self {
        let message = "the server does not allow this method on the requested resource";
        let mut failure = Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message);
        failure.status["details"] = json!({});
        failure
    }

    pub(super) fn too_large() -> Self {
        let message = "the request body is larger than 3 MiB";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", message)
    }

    pub(super) fn throttled(retry_after: Duration) -> Self {
        let message = "the server has received too many requests and has asked us to try again \
                       later";
        let mut failure = Self::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", message);
        failure.status["details"] = json!({"retryAfterSeconds": retry_after.as_secs().max(1)});
        failure.retry_after = Some(retry_after);
        failure
    }

    /// Returns the `Status` object, as an ERROR event of a watch carries it.
    pub(super) const fn status(&self) -> &Value {
        &self.status
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (kind, body) = match self.status.as_str() {
            Some(text) => ("text/plain; charset=utf-8", text.to_owned()),
            None => ("application/json", self.status.to_string()),
        };
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.code;
        let kind = http::HeaderValue::from_static(kind);
        response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
        if let Some(wait) = self.retry_after {
            // Whole seconds are all the header can say; zero would be no wait at all.
            let seconds = http::HeaderValue::from(wait.as_secs().max(1));
            response.headers_mut().insert(http::header::RETRY_AFTER, seconds);
        }

        response
    }
}
