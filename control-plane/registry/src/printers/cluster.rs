//! Webhook configurations, APIService, bindings, CertificateSigningRequest, Lease, PriorityClass, RuntimeClass.

use super::text::{NONE, count, name, or};
use crate::meta;
use keelson_semantics::age as ages;
use serde_json::{Value, json};
use time::Duration;

pub(super) fn binding(object: &Value, age: Value) -> Vec<Value> {
    let role =
        format!("{}/{}", meta::text(object, &["roleRef", "kind"]), meta::text(object, &["roleRef", "name"]));
    let subjects = |kind: &str| {
        let all: Vec<String> = meta::items(object, &["subjects"])
            .iter()
            .filter(|subject| meta::text(subject, &["kind"]) == kind)
            .map(|subject| match (kind, meta::text(subject, &["namespace"])) {
                ("User" | "Group", _) | (_, "") => meta::text(subject, &["name"]).to_owned(),
                (_, namespace) => format!("{namespace}/{}", meta::text(subject, &["name"])),
            })
            .collect();
        json!(all.join(", "))
    };
    vec![name(object), json!(role), age, subjects("User"), subjects("Group"), subjects("ServiceAccount")]
}

pub(super) fn webhook_configuration(object: &Value, age: Value) -> Vec<Value> {
    vec![name(object), json!(meta::items(object, &["webhooks"]).len()), age]
}

pub(super) fn api_service(object: &Value, age: Value) -> Vec<Value> {
    let service = match meta::at(object, &["spec", "service"]) {
        Some(service) => {
            format!("{}/{}", meta::text(service, &["namespace"]), meta::text(service, &["name"]))
        }
        None => "Local".to_owned(),
    };
    let conditions = meta::items(object, &["status", "conditions"]);
    let available = match conditions.iter().find(|condition| condition["type"] == "Available") {
        None => "Unknown".to_owned(),
        Some(own) => match (meta::text(own, &["status"]), meta::text(own, &["reason"])) {
            (status @ "True", _) | (status, "") => status.to_owned(),
            (status, reason) => format!("{status} ({reason})"),
        },
    };
    vec![name(object), json!(service), json!(available), age]
}

pub(super) fn component(object: &Value) -> Vec<Value> {
    let healthy =
        meta::items(object, &["conditions"]).iter().find(|condition| condition["type"] == "Healthy");
    let text = |key: &str| json!(healthy.map_or("", |condition| meta::text(condition, &[key])));
    let state = match healthy.map(|condition| meta::text(condition, &["status"])) {
        Some("True") => "Healthy",
        Some(_) => "Unhealthy",
        None => "Unknown",
    };
    vec![name(object), json!(state), text("message"), text("error")]
}

pub(super) fn signing_request(object: &Value, age: Value) -> Vec<Value> {
    let has = |kind: &str| {
        meta::items(object, &["status", "conditions"]).iter().any(|one| meta::text(one, &["type"]) == kind)
    };
    let mut state = match (has("Denied"), has("Approved")) {
        (true, _) => "Denied",
        (false, true) => "Approved",
        (false, false) => "Pending",
    }
    .to_owned();
    if has("Failed") {
        state.push_str(",Failed");
    }
    if !meta::text(object, &["status", "certificate"]).is_empty() {
        state.push_str(",Issued");
    }
    let lifetime = meta::number(object, &["spec", "expirationSeconds"])
        .map_or_else(|| NONE.to_owned(), |seconds| ages::short_duration(Duration::seconds(seconds)));
    vec![
        name(object),
        age,
        or(meta::text(object, &["spec", "signerName"]), NONE),
        json!(meta::text(object, &["spec", "username"])),
        json!(lifetime),
        json!(state),
    ]
}

pub(super) fn lease(object: &Value, age: Value) -> Vec<Value> {
    vec![name(object), json!(meta::text(object, &["spec", "holderIdentity"])), age]
}

pub(super) fn priority_class(object: &Value, age: Value) -> Vec<Value> {
    vec![
        name(object),
        json!(count(object, &["value"])),
        json!(object.get("globalDefault") == Some(&Value::Bool(true))),
        age,
        json!(meta::text(object, &["preemptionPolicy"])),
    ]
}

pub(super) fn runtime_class(object: &Value, age: Value) -> Vec<Value> {
    vec![name(object), json!(meta::text(object, &["handler"])), age]
}
