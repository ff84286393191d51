//! Get, list and the beginning of a watch.

use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::Server;
use super::http::{Call, WATCH, answer_body, answer_bytes, answer_json};
use super::resource::Conversion;
use super::selector::Selector;
use super::status::{Cause, Failure};
use super::store::{Object, State};
use super::view::View;
use super::watch::{self, Start};

/// GET of one object.
pub(super) fn get(server: &Server, call: &Call) -> Result<Response, Failure> {
    let view = call.view()?;
    let key = (call.namespace.clone().unwrap_or_default(), call.name.clone().unwrap_or_default());
    let found = server.store.lock().get(&call.resource, &key);
    let found = found.ok_or_else(|| Failure::not_found(&call.resource, &key.1))?;
    if view == View::Whole && call.resource.rules.conversion == Conversion::None {
        return Ok(answer_bytes(found.json()));
    }
    let object = call.resource.to_wire(Value::clone(&found.value));

    Ok(answer_json(&view.one(&call.resource, object)))
}

/// GET of a collection: a list, or a watch.
pub(super) fn list(server: &Server, call: Call) -> Result<Response, Failure> {
    if call.flag("watch") {
        return watch(server, call);
    }
    let view = call.view()?;
    let state = server.store.lock();
    check_revision(&call, &state)?;
    let selector = selector(&call)?;
    let (found, metadata) = page(&call, &state, &selector)?;
    let wire = |object: &Arc<Object>| call.resource.to_wire(Value::clone(&object.value));
    let items = found.iter().map(wire).collect();
    drop(state);

    Ok(answer_json(&view.list(&call.resource, items, metadata)))
}

/// Returns all objects of a collection that the selectors mean, in their wire form.
pub(super) fn selected(server: &Server, call: &Call) -> Result<Vec<Value>, Failure> {
    let state = server.store.lock();
    let selector = selector(call)?;
    let wire = |object: &Arc<Object>| call.resource.to_wire(Value::clone(&object.value));

    Ok(meant(call, &state, &selector).iter().map(wire).collect())
}

fn selector(call: &Call) -> Result<Selector, Failure> {
    Selector::parse(call.option("labelSelector"), call.option("fieldSelector"), &call.resource)
}

fn meant(call: &Call, state: &State, selector: &Selector) -> Vec<Arc<Object>> {
    let objects = state.shelf(&call.resource).into_iter().flat_map(|shelf| &shelf.objects);
    let here = objects.filter(|((namespace, _), _)| {
        call.namespace.as_ref().is_none_or(|wanted| wanted == namespace)
    });
    let matches = |object: &Object| {
        selector.is_empty() || selector.matches(&call.resource.to_wire(Value::clone(&object.value)))
    };
    here.filter(|(_, object)| matches(object)).map(|(_, object)| Arc::clone(object)).collect()
}

/// Returns one page of a list, and the list's metadata.
fn page(
    call: &Call,
    state: &State,
    selector: &Selector,
) -> Result<(Vec<Arc<Object>>, Value), Failure> {
    let mut found = meant(call, state, selector);
    let from: usize = match call.option("continue") {
        "" => 0,
        token => {
            let read = BASE64_URL_SAFE_NO_PAD.decode(token).ok();
            let read = read.and_then(|bytes| String::from_utf8(bytes).ok()?.parse().ok());
            read.ok_or_else(|| Failure::bad_request("continue key is not valid"))?
        }
    };
    let limit = call.option("limit").parse().ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
    let left = found.len().saturating_sub(from).saturating_sub(limit);
    let end = found.len() - left;
    found = found.drain(from.min(end)..end).collect();

    let mut metadata = json!({"resourceVersion": state.revision.to_string()});
    if left > 0 {
        metadata["continue"] = json!(BASE64_URL_SAFE_NO_PAD.encode(end.to_string()));
        if selector.is_empty() {
            metadata["remainingItemCount"] = json!(left);
        }
    }

    Ok((found, metadata))
}

/// Refuses to list at a revision that is not kept: only the present is.
fn check_revision(call: &Call, state: &State) -> Result<(), Failure> {
    let Some(asked) = revision(call)? else { return Ok(()) };
    if asked > state.revision {
        return Err(Failure::future_revision(asked, state.revision));
    }
    let exact = call.option("resourceVersionMatch") == "Exact";
    if exact && asked != state.revision {
        let message = "The provided resource version is no longer available";
        return Err(Failure::expired(message));
    }

    Ok(())
}

fn revision(call: &Call) -> Result<Option<u64>, Failure> {
    match call.option("resourceVersion") {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| {
            Failure::bad_request(&format!("Invalid value: {text:?}: invalid resource version"))
        }),
    }
}

fn watch(server: &Server, call: Call) -> Result<Response, Failure> {
    let initial = call.flag("sendInitialEvents");
    if initial && call.option("resourceVersionMatch") != "NotOlderThan" {
        let message =
            "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        let cause = Cause {
            reason: "FieldValueForbidden",
            field: "resourceVersionMatch".to_owned(),
            message: message.to_owned(),
        };
        return Err(Failure::option("ListOptions", &cause));
    }
    let start = match revision(&call)? {
        _ if initial => Start::PresentMarked,
        None | Some(0) => Start::Present,
        Some(revision) => Start::After(revision),
    };
    let timeout = call.option("timeoutSeconds").parse().ok().filter(|seconds| *seconds > 0);
    let request = watch::Request {
        selector: selector(&call)?,
        view: call.view()?,
        bookmarks: call.flag("allowWatchBookmarks"),
        timeout: timeout.map_or(WATCH, Duration::from_secs),
        start,
        resource: call.resource,
        namespace: call.namespace,
    };

    Ok(answer_body(watch::begin(&server.store, server.faults(), request)?))
}
