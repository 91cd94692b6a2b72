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
    let spec = &object["spec"];
    let mut errors = Vec::new();
    if field(spec, "user").is_empty() && texts(&spec["groups"]).is_empty() {
        let path = Path::new("spec").child("user");
        errors.push(FieldError::invalid(&path, "", "at least one of user or group must be specified"));
    }
    decide(call, kind, object, &user_of(spec), errors).await
}

/// LocalSubjectAccessReview: the same within one namespace.
pub(super) async fn local(call: &Call<'_>, kind: &Kind, object: &Value) -> Result<Value, Status> {
    let spec = &object["spec"];
    let mut errors = Vec::new();
    if field(spec, "user").is_empty() && texts(&spec["groups"]).is_empty() {
        let path = Path::new("spec").child("user");
        errors.push(FieldError::invalid(&path, "", "at least one of user or group must be specified"));
    }
    let namespace = field(&spec["resourceAttributes"], "namespace");
    if namespace != call.info.namespace {
        let path = Path::new("spec").child("resourceAttributes").child("namespace");
        errors.push(FieldError::invalid(&path, namespace, "must match metadata.namespace"));
    }
    if !spec["nonResourceAttributes"].is_null() {
        let path = Path::new("spec").child("nonResourceAttributes");
        errors.push(FieldError::invalid(&path, "", "disallowed on this kind of request"));
    }
    decide(call, kind, object, &user_of(spec), errors).await
}

/// SelfSubjectAccessReview.
pub(super) async fn own(call: &Call<'_>, kind: &Kind, object: &Value) -> Result<Value, Status> {
    let user = call.user.clone();
    decide(call, kind, object, &user, Vec::new()).await
}

/// SelfSubjectRulesReview.
pub(super) fn rules(call: &Call<'_>, object: &Value) -> Result<Value, Status> {
    let namespace = field(&object["spec"], "namespace");
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    Ok(call.inner().authorizer.review_rules(&call.user, namespace))
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
    match (resource.is_null(), path.is_null()) {
        (false, false) => errors.push(FieldError::invalid(
            &Path::new("spec").child("nonResourceAttributes"),
            "",
            "cannot be specified in combination with resourceAttributes",
        )),
        (true, true) => errors.push(FieldError::invalid(
            &Path::new("spec").child("resourceAttributes"),
            "",
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        )),
        _ => {}
    }
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
