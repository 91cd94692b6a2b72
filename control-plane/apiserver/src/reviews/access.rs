//! `authorization.k8s.io`: may somebody do something, and what may I do.

use super::selectors::{self, Selectors};
use super::{extra, texts};
use crate::resources::Call;
use keelson_auth::{
    UserInfo,
    authz::{Attributes, Decision, Resource},
};
use keelson_registry::{kind::Kind, status::Status};
use keelson_schema::{FieldError, Path};
use serde_json::{Value, json};

fn field<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// SubjectAccessReview.
pub(super) async fn subject(call: &Call<'_>, kind: &Kind, object: &Value) -> Result<Value, Status> {
    let mut errors = asked_about(&object["spec"]);
    errors.extend(needs_user(&object["spec"]));
    errors.extend(bare(&object["metadata"], false));
    decide(call, kind, object, &user_of(&object["spec"]), errors).await
}

/// LocalSubjectAccessReview: the same within one namespace.
pub(super) async fn local(call: &Call<'_>, kind: &Kind, object: &Value) -> Result<Value, Status> {
    let spec = &object["spec"];
    let mut errors = asked_about(spec);
    errors.extend(needs_user(spec));
    errors.extend(bare(&object["metadata"], true));
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let namespace = field(resource, "namespace");
    if !resource.is_null() && namespace != call.info.namespace {
        let at = Path::new("spec.resourceAttributes.namespace");
        errors.push(FieldError::invalid(&at, namespace, "must match metadata.namespace"));
    }
    if !path.is_null() {
        let at = Path::new("spec.nonResourceAttributes");
        errors.push(FieldError::invalid(&at, path.clone(), "disallowed on this kind of request"));
    }
    decide(call, kind, object, &user_of(spec), errors).await
}

/// SelfSubjectAccessReview.
pub(super) async fn own(call: &Call<'_>, kind: &Kind, object: &Value) -> Result<Value, Status> {
    let mut errors = asked_about(&object["spec"]);
    errors.extend(bare(&object["metadata"], false));
    let user = call.user.clone();
    decide(call, kind, object, &user, errors).await
}

/// SelfSubjectRulesReview.
pub(super) fn rules(call: &Call<'_>, object: &Value) -> Result<Value, Status> {
    let namespace = field(&object["spec"], "namespace");
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    Ok(call.inner().authorizer.review_rules(&call.user, namespace))
}

/// A question is about a resource or about a path.
fn asked_about(spec: &Value) -> Vec<FieldError> {
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let (of, at) =
        (Path::new("spec").child("resourceAttributes"), Path::new("spec").child("nonResourceAttributes"));
    match (resource.is_null(), path.is_null()) {
        (false, false) => {
            let why = "cannot be specified in combination with resourceAttributes";
            vec![FieldError::invalid(&at, path.clone(), why)]
        }
        (true, true) => {
            let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            vec![FieldError::invalid(&of, Value::Null, why)]
        }
        _ => Vec::new(),
    }
}

fn needs_user(spec: &Value) -> Option<FieldError> {
    let is_nobody = field(spec, "user").is_empty() && texts(&spec["groups"]).is_empty();
    let at = Path::new("spec").child("user");
    is_nobody.then(|| FieldError::invalid(&at, "", "at least one of user or group must be specified"))
}

/// A question has no metadata, but for the namespace of one that is about a namespace.
fn bare(metadata: &Value, is_local: bool) -> Option<FieldError> {
    let means = |(key, value): (&String, &Value)| {
        let nothing = value.is_null() || value == "" || value == &json!({}) || value == &json!([]);
        !nothing && key != "managedFields" && !(is_local && key == "namespace")
    };
    let why = if is_local { "must be empty except for namespace" } else { "must be empty" };
    metadata
        .as_object()?
        .iter()
        .any(means)
        .then(|| FieldError::invalid(&Path::new("metadata"), metadata.clone(), why))
}

fn user_of(spec: &Value) -> UserInfo {
    UserInfo {
        name: field(spec, "user").to_owned(),
        uid: field(spec, "uid").to_owned(),
        groups: texts(&spec["groups"]),
        extra: extra(&spec["extra"]),
    }
}

async fn decide(
    call: &Call<'_>,
    kind: &Kind,
    object: &Value,
    user: &UserInfo,
    mut errors: Vec<FieldError>,
) -> Result<Value, Status> {
    let (resource, path) = (&object["spec"]["resourceAttributes"], &object["spec"]["nonResourceAttributes"]);
    selectors::validate(resource, &mut errors);
    if !errors.is_empty() {
        return Err(Status::invalid(&kind.group_kind(), "", errors));
    }
    let selectors = Selectors::of(resource);
    let attributes = if path.is_null() {
        Attributes::resource(user, field(resource, "verb"), resource_of(resource, &selectors))
    } else {
        Attributes::path(user, field(path, "verb"), field(path, "path"))
    };
    let verdict = call.inner().authorizer.decide(&attributes).await;
    let mut status = json!({ "allowed": verdict.is_allowed() });
    if verdict.decision == Decision::Deny {
        status["denied"] = json!(true);
    }
    if let Some(reason) = verdict.reason.as_deref().filter(|reason| !reason.is_empty()) {
        status["reason"] = json!(reason);
    }
    if let Some(error) = selectors.with_errors(verdict.error.as_deref()) {
        status["evaluationError"] = json!(error);
    }
    Ok(status)
}

fn resource_of<'a>(value: &'a Value, selectors: &'a Selectors) -> Resource<'a> {
    Resource {
        group: field(value, "group"),
        version: field(value, "version"),
        resource: field(value, "resource"),
        subresource: field(value, "subresource"),
        namespace: field(value, "namespace"),
        name: field(value, "name"),
        fields: selectors.fields.as_ref(),
        labels: selectors.labels.as_ref(),
    }
}
