//! `authorization.k8s.io`: may somebody do something, and what may I do.

use super::{extra, texts};
use crate::resources::Call;
use keelson_auth::{
    UserInfo,
    authz::{Attributes, Decision, FieldTerm, Resource},
};
use keelson_registry::{kind::Kind, status::Status};
use keelson_schema::{FieldError, Path};
use serde_json::{Value, json};

fn field<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// SubjectAccessReview.
pub(super) fn subject(call: &Call<'_>, kind: &Kind, object: &Value) -> Result<Value, Status> {
    let spec = &object["spec"];
    let mut errors = Vec::new();
    if field(spec, "user").is_empty() && texts(&spec["groups"]).is_empty() {
        let path = Path::new("spec").child("user");
        errors.push(FieldError::invalid(&path, "", "at least one of user or group must be specified"));
    }
    decide(call, kind, object, &user_of(spec), errors)
}

/// LocalSubjectAccessReview: the same within one namespace.
pub(super) fn local(call: &Call<'_>, kind: &Kind, object: &Value) -> Result<Value, Status> {
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
    decide(call, kind, object, &user_of(spec), errors)
}

/// SelfSubjectAccessReview.
pub(super) fn own(call: &Call<'_>, kind: &Kind, object: &Value) -> Result<Value, Status> {
    let user = call.user.clone();
    decide(call, kind, object, &user, Vec::new())
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

fn decide(
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
    if !errors.is_empty() {
        return Err(Status::invalid(&kind.group_kind(), "", errors));
    }
    let terms = field_terms(resource);
    let attributes = if path.is_null() {
        Attributes::resource(user, field(resource, "verb"), resource_of(resource, &terms))
    } else {
        Attributes::path(user, field(path, "verb"), field(path, "path"))
    };
    let verdict = call.inner().authorizer.authorize(&attributes);
    let mut status = json!({ "allowed": verdict.is_allowed() });
    if verdict.decision == Decision::Deny {
        status["denied"] = json!(true);
    }
    if let Some(reason) = verdict.reason.as_deref().filter(|reason| !reason.is_empty()) {
        status["reason"] = json!(reason);
    }
    Ok(status)
}

fn resource_of<'a>(value: &'a Value, field_terms: &'a [FieldTerm<'a>]) -> Resource<'a> {
    Resource {
        group: field(value, "group"),
        resource: field(value, "resource"),
        subresource: field(value, "subresource"),
        namespace: field(value, "namespace"),
        name: field(value, "name"),
        field_terms,
    }
}

/// Those requirements of `fieldSelector` that are equalities; the others narrow nothing that an authorizer looks at.
fn field_terms(resource: &Value) -> Vec<FieldTerm<'_>> {
    let requirements = resource["fieldSelector"]["requirements"].as_array();
    requirements
        .into_iter()
        .flatten()
        .filter(|requirement| requirement["operator"] == "In")
        .filter_map(|requirement| match requirement["values"].as_array().map(Vec::as_slice) {
            Some([value]) => Some(FieldTerm { field: field(requirement, "key"), value: value.as_str()? }),
            _ => None,
        })
        .collect()
}
