//! Create, update, patch, apply, delete: from a request's body to a committed object.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::admit;
use super::apply::{self, Ownership};
use super::json::{identity, list, members, text};
use super::managed::{Delta, Managed, Manager};
use super::patch::Patch;
use super::resource::{Form, Resource};
use super::status::{Cause, Failure};
use super::store::{Key, Object, State, Store};
use super::{Verb, Write};

/// Who asks for a write and how.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) resource: Arc<Resource>,
    pub(super) namespace: String,
    /// Empty where the body has the name.
    pub(super) name: String,
    pub(super) part: Part,
    pub(super) dry_run: bool,
    pub(super) field_manager: Option<String>,
    pub(super) ownership: Ownership,
    pub(super) unknown: Unknown,
    pub(super) user_agent: String,
    pub(super) user: String,
}

/// Which part of an object is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// All but the status, where that has a path of its own.
    Main,
    /// The status.
    Status,
}

/// What is to be done about fields that are unknown (`fieldValidation`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unknown {
    Ignore,
    Warn,
    Refuse,
    /// As an apply must.
    Undeclared,
}

/// What came of a write.
#[derive(Debug)]
pub(super) struct Outcome {
    /// The object in its wire form.
    pub(super) object: Value,
    pub(super) created: bool,
    pub(super) warnings: Vec<String>,
}

/// What a DELETE insists on.
#[derive(Debug, Clone, Default)]
pub(super) struct Preconditions {
    pub(super) uid: Option<String>,
    pub(super) resource_version: Option<String>,
}

impl Request {
    fn key(&self) -> Key {
        (self.namespace.clone(), self.name.clone())
    }

    /// Returns the writer as `managedFields` names it.
    fn manager(&self, operation: &'static str) -> Manager {
        let agent = self.user_agent.split('/').next().unwrap_or_default();
        let name = self.field_manager.clone().filter(|name| !name.is_empty());
        let subresource = match self.part {
            Part::Main => "",
            Part::Status => "status",
        };
        Manager {
            name: match name.unwrap_or_else(|| agent.chars().take(128).collect()) {
                name if name.is_empty() => "unknown".to_owned(),
                name => name,
            },
            operation,
            api_version: self.resource.api_version(),
            subresource,
        }
    }

    /// Returns the members that this write does not change, so that nobody comes to own them by it.
    fn reset(&self) -> &'static [&'static str] {
        match self.part {
            Part::Main if self.resource.status => &["f:status"],
            Part::Main => &[],
            Part::Status if self.resource.rules.status_alone => &["f:metadata", "f:spec"],
            Part::Status => &["f:spec"],
        }
    }

    /// Compares two states as far as this write may have made the difference.
    fn delta(&self, old: &Value, new: &Value) -> Delta {
        let mut delta = Delta::between(old, new, &self.resource.shape);
        delta.set.remove_members(self.reset());
        if let Form::Typed(_) = self.resource.form {
            delta.set.remove_frames();
        }
        delta
    }
}

impl Store {
    /// POST.
    pub(super) fn create(&self, mut request: Request, body: Value) -> Result<Outcome, Failure> {
        let mut state = self.lock();
        let resource = Arc::clone(&request.resource);
        let mut warnings = Vec::new();
        let mut new = admit::read(&request, body, &mut warnings)?;

        request.name = admit::name(&mut new);
        admit::check_place(&request, &mut new)?;
        if !text(&new, &["metadata", "resourceVersion"]).is_empty() {
            let message = "resourceVersion should not be set on objects to be created";
            return Err(Failure::unexplained(message));
        }
        if resource.namespaced && !state.has_namespace(&request.namespace) {
            return Err(Failure::namespace_not_found(&request.namespace));
        }
        if state.get(&resource, &request.key()).is_some() {
            return Err(Failure::exists(&resource, &request.name));
        }
        let object = self.make(&mut state, &request, new)?;

        Ok(Outcome { object, created: true, warnings })
    }

    /// Completes, checks and commits an object that was not there.
    fn make(&self, state: &mut State, request: &Request, mut new: Value) -> Result<Value, Failure> {
        let now = Timestamp::now();
        admit::begin(&request.resource, &mut new, now);
        let manager = request.manager("Update");
        let delta = request.delta(&Value::Null, &new);
        let mut managed = Managed::default();
        managed.record(&manager, &delta, &admit::seconds(now));
        managed.write(&mut new);

        self.finish(state, request, (Verb::Create, None), new)
    }

    /// PUT.
    pub(super) fn update(&self, request: &Request, body: Value) -> Result<Outcome, Failure> {
        let mut state = self.lock();
        let resource = &request.resource;
        let mut warnings = Vec::new();
        let mut new = admit::read(request, body, &mut warnings)?;
        admit::check_place(request, &mut new)?;

        let Some(old) = state.get(resource, &request.key()) else {
            if !resource.rules.create_on_update || request.part == Part::Status {
                return Err(Failure::not_found(resource, &request.name));
            }
            if !state.has_namespace(&request.namespace) {
                return Err(Failure::namespace_not_found(&request.namespace));
            }
            let object = self.make(&mut state, request, new)?;
            return Ok(Outcome { object, created: true, warnings });
        };
        let object = self.replace(&mut state, request, (Verb::Update, &old), new)?;

        Ok(Outcome { object, created: false, warnings })
    }

    /// PATCH.
    pub(super) fn patch(&self, request: &Request, patch: &Patch) -> Result<Outcome, Failure> {
        if let Patch::Apply(wanted) = patch {
            return self.apply(request, wanted);
        }
        let mut state = self.lock();
        let resource = &request.resource;
        let Some(old) = state.get(resource, &request.key()) else {
            return Err(Failure::not_found(resource, &request.name));
        };
        let wire = resource.to_wire(Value::clone(&old.value));
        let patched = patch.patched(&wire, &resource.shape)?;

        let mut warnings = Vec::new();
        let read = admit::read(request, patched.clone(), &mut warnings);
        let mut new = read.map_err(|failure| failure.in_patch(&patched))?;
        admit::check_place(request, &mut new)?;
        let object = self.replace(&mut state, request, (Verb::Patch, &old), new)?;

        Ok(Outcome { object, created: false, warnings })
    }

    /// Replaces an object, keeping what the writer may not change.
    fn replace(
        &self,
        state: &mut State,
        request: &Request,
        (verb, old): (Verb, &Object),
        mut new: Value,
    ) -> Result<Value, Failure> {
        check_revision(request, old, &new)?;
        let clears = list(&new, &["metadata", "managedFields"]) == [json!({})]
            || new.pointer("/metadata/managedFields") == Some(&json!([]));
        admit::keep(request, &old.value, &mut new);

        let now = Timestamp::now();
        let mut managed = if clears { Managed::default() } else { Managed::of(&old.value) };
        let delta = request.delta(&old.value, &new);
        managed.record(&request.manager("Update"), &delta, &admit::seconds(now));
        managed.write(&mut new);

        self.finish(state, request, (verb, Some(old)), new)
    }

    fn apply(&self, request: &Request, wanted: &Value) -> Result<Outcome, Failure> {
        let mut state = self.lock();
        let resource = &request.resource;
        if request.field_manager.is_none() {
            let mut cause = Cause::required("fieldManager");
            cause.message.push_str(": is required for apply patch");
            return Err(Failure::option("PatchOptions", &cause));
        }
        if wanted.get("kind").is_none() || wanted.get("apiVersion").is_none() {
            return Err(Failure::bad_request("an apply must say its apiVersion and kind"));
        }
        if wanted.pointer("/metadata/managedFields").is_some() {
            return Err(Failure::bad_request("metadata.managedFields must be nil"));
        }
        let mut warnings = Vec::new();
        let strict = Request { unknown: Unknown::Undeclared, ..request.clone() };
        let mut wanted = admit::read_partial(&strict, wanted.clone(), &mut warnings)?;
        admit::check_place(request, &mut wanted)?;

        let old = state.get(resource, &request.key());
        if old.is_none() && request.part == Part::Status {
            return Err(Failure::not_found(resource, &request.name));
        }
        if let Some(old) = &old
            && wanted.pointer("/metadata/resourceVersion").is_some()
        {
            check_revision(request, old, &wanted)?;
        }
        members(&mut wanted["metadata"]).remove("resourceVersion");
        let live = old.as_ref().map_or(Value::Null, |old| Value::clone(&old.value));
        let (now, manager) = (Timestamp::now(), request.manager("Apply"));
        let writer = (&**resource, &manager, request.reset());
        let mut new =
            apply::apply(&live, &wanted, writer, request.ownership, &admit::seconds(now))?;
        let managed = new["metadata"].get("managedFields").cloned();
        new = admit::read_applied(request, new)?;

        match &old {
            Some(old) => admit::keep(request, &old.value, &mut new),
            None if resource.namespaced && !state.has_namespace(&request.namespace) => {
                return Err(Failure::namespace_not_found(&request.namespace));
            }
            None => admit::begin(resource, &mut new, now),
        }
        new["metadata"]["managedFields"] = managed.unwrap_or_default();
        let verb = if old.is_some() { Verb::Patch } else { Verb::Create };
        let object = self.finish(&mut state, request, (verb, old.as_deref()), new)?;

        Ok(Outcome { object, created: old.is_none(), warnings })
    }

    /// DELETE.
    pub(super) fn delete(
        &self,
        request: &Request,
        wanted: &Preconditions,
    ) -> Result<Outcome, Failure> {
        let mut state = self.lock();
        let resource = &request.resource;
        let Some(old) = state.get(resource, &request.key()) else {
            return Err(Failure::not_found(resource, &request.name));
        };
        for (wanted, key) in [(&wanted.uid, "uid"), (&wanted.resource_version, "resourceVersion")] {
            let found = text(&old.value, &["metadata", key]);
            if let Some(wanted) = wanted.as_ref().filter(|wanted| *wanted != found) {
                let why = format!(
                    "Precondition failed: {key} in precondition: {wanted}, {key} in object meta: {found}"
                );
                return Err(Failure::conflict(resource, &request.name, &why));
            }
        }

        let mut last = Value::clone(&old.value);
        if !list(&last, &["metadata", "finalizers"]).is_empty() {
            let metadata = members(&mut last["metadata"]);
            metadata
                .entry("deletionTimestamp")
                .or_insert_with(|| json!(admit::seconds(Timestamp::now())));
            metadata.entry("deletionGracePeriodSeconds").or_insert_with(|| json!(0));
            if let Some(generation) = metadata.get("generation").and_then(Value::as_i64) {
                metadata.insert("generation".to_owned(), json!(generation + 1));
            }
            let object = self.finish(&mut state, request, (Verb::Update, Some(&old)), last)?;
            return Ok(Outcome { object, created: false, warnings: Vec::new() });
        }
        let object = resource.to_wire(Value::clone(&self.remove(&mut state, request, &old)));

        Ok(Outcome { object, created: false, warnings: Vec::new() })
    }

    fn remove(&self, state: &mut State, request: &Request, old: &Object) -> Arc<Value> {
        if request.dry_run {
            return Arc::clone(&old.value);
        }
        let gone = state.commit(&request.resource, &request.key(), None);
        self.tell(request, Verb::Delete, (Some(old), None), gone.revision);

        Arc::clone(&gone.value)
    }

    /// Validates and commits. Returns the wire form of what is there then. What changes nothing is
    /// not written, so it makes no revision.
    fn finish(
        &self,
        state: &mut State,
        request: &Request,
        (verb, old): (Verb, Option<&Object>),
        mut new: Value,
    ) -> Result<Value, Failure> {
        let resource = &request.resource;
        admit::tidy(&mut new);
        admit::validate(request, old.map(|old| &*old.value), &new)?;
        admit::settle(resource, &mut new);

        let unchanged = old.filter(|old| admit::same_but_times(&old.value, &new));
        if let Some(old) = unchanged {
            return Ok(resource.to_wire(Value::clone(&old.value)));
        }
        if request.dry_run {
            return Ok(resource.to_wire(new));
        }
        let deleting = !text(&new, &["metadata", "deletionTimestamp"]).is_empty();
        if let Some(old) = old
            && deleting
            && list(&new, &["metadata", "finalizers"]).is_empty()
        {
            return Ok(resource.to_wire(Value::clone(&self.remove(state, request, old))));
        }
        let written = state.commit(resource, &request.key(), Some(new));
        self.tell(request, verb, (old, Some(&written)), written.revision);

        Ok(resource.to_wire(Value::clone(&written.value)))
    }

    fn tell(
        &self,
        request: &Request,
        verb: Verb,
        (old, new): (Option<&Object>, Option<&Object>),
        revision: u64,
    ) {
        // Nobody may be listening.
        let _ = self.writes.send(Write {
            at: Instant::now(),
            revision,
            verb,
            resource: request.resource.id(),
            namespace: request.namespace.clone(),
            name: request.name.clone(),
            user_agent: request.user_agent.clone(),
            user: request.user.clone(),
            old: old.map(|object| Arc::clone(&object.value)),
            new: new.map(|object| Arc::clone(&object.value)),
        });
    }
}

/// Refuses a write that was made of an older state.
fn check_revision(request: &Request, old: &Object, new: &Value) -> Result<(), Failure> {
    let resource = &request.resource;
    let (_, name) = identity(&old.value);
    match text(new, &["metadata", "resourceVersion"]) {
        "" | "0" if resource.rules.blind_update => {}
        "" | "0" => {
            let why = "must be specified for an update";
            let cause = Cause::invalid("metadata.resourceVersion", &json!(0), why);
            return Err(Failure::invalid(resource, name, &[cause]));
        }
        revision if revision == old.revision.to_string() => {}
        _ => return Err(Failure::stale(resource, name)),
    }
    let uid = text(new, &["metadata", "uid"]);
    let found = text(&old.value, &["metadata", "uid"]);
    if !uid.is_empty() && uid != found {
        let why =
            format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {found}");
        return Err(Failure::conflict(resource, name, &why));
    }

    Ok(())
}
