//! SubjectAccessReview, the words in which a webhook is asked, and what it answers. Pure.
//!
//! <https://kubernetes.io/docs/reference/access-authn-authz/webhook/#request-payloads>

use keelson_semantics::field_selector::Term;
use keelson_semantics::label_selector::Operator;
use keelson_semantics::{FieldSelector, LabelSelector};
use serde_json::{Map, Value, json};

use super::{Attributes, Request, Resource};

/// What a webhook says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReviewStatus {
    /// The request may proceed.
    pub allowed: bool,
    /// It is refused, whatever others say. With neither the webhook has no opinion.
    pub denied: bool,
    /// Why.
    pub reason: String,
}

/// A SubjectAccessReview of this version (`v1` or `v1beta1`) about a question.
pub fn review(spec: &Value, version: &str) -> Value {
    let mut spec = spec.clone();
    // The one difference of the two.
    if let (true, Some(spec)) = (version == "v1beta1", spec.as_object_mut())
        && let Some(groups) = spec.remove("groups")
    {
        spec.insert("group".to_owned(), groups);
    }
    json!({
        "apiVersion": format!("authorization.k8s.io/{version}"),
        "kind": "SubjectAccessReview",
        "metadata": {"creationTimestamp": null},
        "spec": spec,
        "status": {"allowed": false},
    })
}

/// The answer of a webhook.
///
/// # Errors
/// It is no SubjectAccessReview with a status.
pub fn status(answer: &[u8]) -> Result<ReviewStatus, String> {
    let answer: Value = serde_json::from_slice(answer).map_err(|error| error.to_string())?;
    let group = answer["apiVersion"].as_str().unwrap_or_default().split('/').next();
    if answer["kind"] != "SubjectAccessReview" || group != Some("authorization.k8s.io") {
        return Err("it is no SubjectAccessReview".to_owned());
    }
    let flag = |key: &str| match &answer["status"][key] {
        Value::Null => Ok(false),
        Value::Bool(flag) => Ok(*flag),
        _ => Err(format!("status.{key} is no boolean")),
    };
    let reason = answer["status"]["reason"].as_str().unwrap_or_default().to_owned();
    Ok(ReviewStatus { allowed: flag("allowed")?, denied: flag("denied")?, reason })
}

/// Which fields stand in the object.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Empty {
    LeftOut,
    Shown,
}

/// The spec (v1) that is sent.
pub(super) fn spec(attributes: &Attributes<'_>) -> Value {
    written(attributes, Empty::LeftOut)
}

/// The spec as conditions see it: texts, groups and extra are there if empty.
pub(super) fn shown(attributes: &Attributes<'_>) -> Value {
    written(attributes, Empty::Shown)
}

fn written(attributes: &Attributes<'_>, empty: Empty) -> Value {
    let user = attributes.user;
    let mut spec = Map::new();
    let (key, about) = match &attributes.request {
        Request::Resource(resource) => {
            ("resourceAttributes", resource_attributes(resource, attributes.verb, empty))
        }
        Request::NonResource(request) => {
            let mut about = Map::new();
            texts(&mut about, empty, [("path", request.path), ("verb", attributes.verb)]);
            ("nonResourceAttributes", about)
        }
    };
    spec.insert(key.to_owned(), about.into());
    texts(&mut spec, empty, [("user", &*user.name), ("uid", &user.uid)]);
    if empty == Empty::Shown || !user.groups.is_empty() {
        spec.insert("groups".to_owned(), json!(user.groups));
    }
    if empty == Empty::Shown || !user.extra.is_empty() {
        spec.insert("extra".to_owned(), json!(user.extra));
    }
    spec.into()
}

fn resource_attributes(resource: &Resource<'_>, verb: &str, empty: Empty) -> Map<String, Value> {
    let mut about = Map::new();
    let Resource { group, version, resource: plural, subresource, namespace, name, fields, labels } =
        *resource;
    let named = [
        ("namespace", namespace),
        ("verb", verb),
        ("group", group),
        ("version", version),
        ("resource", plural),
        ("subresource", subresource),
        ("name", name),
    ];
    texts(&mut about, empty, named);
    let selectors = [
        ("fieldSelector", fields.map(field_requirements).unwrap_or_default()),
        ("labelSelector", labels.map(label_requirements).unwrap_or_default()),
    ];
    for (key, requirements) in selectors.into_iter().filter(|(_, requirements)| !requirements.is_empty()) {
        about.insert(key.to_owned(), json!({ "requirements": requirements }));
    }
    about
}

fn texts<'a>(
    object: &mut Map<String, Value>,
    empty: Empty,
    texts: impl IntoIterator<Item = (&'a str, &'a str)>,
) {
    for (key, text) in texts {
        if empty == Empty::Shown || !text.is_empty() {
            object.insert(key.to_owned(), text.into());
        }
    }
}

fn field_requirements(selector: &FieldSelector) -> Vec<Value> {
    let requirement = |term: &Term| {
        let operator = if term.equal { "In" } else { "NotIn" };
        json!({ "key": term.field, "operator": operator, "values": [term.value] })
    };
    selector.terms.iter().map(requirement).collect()
}

/// Those that a review has words for: the others narrow, so that to leave them out asks for more, never for less.
fn label_requirements(selector: &LabelSelector) -> Vec<Value> {
    let operator = |operator: Operator| match operator {
        Operator::Equals | Operator::DoubleEquals | Operator::In => Some("In"),
        Operator::NotEquals | Operator::NotIn => Some("NotIn"),
        Operator::Exists => Some("Exists"),
        Operator::DoesNotExist => Some("DoesNotExist"),
        Operator::GreaterThan | Operator::LessThan => None,
    };
    let requirements = selector.requirements().iter().filter_map(|requirement| {
        let mut made = json!({ "key": requirement.key(), "operator": operator(requirement.operator())? });
        if !requirement.values().is_empty() {
            made["values"] = json!(requirement.values());
        }
        Some(made)
    });
    requirements.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UserInfo;

    #[test]
    fn a_question_is_put_in_upstreams_words() {
        let jane = UserInfo {
            uid: "u".to_owned(),
            extra: [("example.com/x".to_owned(), vec!["y".to_owned()])].into(),
            ..UserInfo::authenticated("jane", ["dev"])
        };
        let fields = FieldSelector::parse("spec.nodeName=a,status.phase!=Failed").unwrap();
        let labels = LabelSelector::parse("app=web,tier in (a,b),!old,new,n>3").unwrap();
        let pods = Resource {
            version: "v1",
            resource: "pods",
            namespace: "ns",
            fields: Some(&fields),
            labels: Some(&labels),
            ..Resource::default()
        };
        let asked = spec(&Attributes::resource(&jane, "list", pods));
        let wanted = json!({
            "user": "jane", "uid": "u", "groups": ["dev", "system:authenticated"], "extra": {"example.com/x": ["y"]},
            "resourceAttributes": {
                "namespace": "ns", "verb": "list", "version": "v1", "resource": "pods",
                "fieldSelector": {"requirements": [
                    {"key": "spec.nodeName", "operator": "In", "values": ["a"]},
                    {"key": "status.phase", "operator": "NotIn", "values": ["Failed"]},
                ]},
                "labelSelector": {"requirements": [
                    {"key": "app", "operator": "In", "values": ["web"]},
                    {"key": "new", "operator": "Exists"},
                    {"key": "old", "operator": "DoesNotExist"},
                    {"key": "tier", "operator": "In", "values": ["a", "b"]},
                ]},
            },
        });
        assert_eq!(asked, wanted);
        let old = review(&asked, "v1beta1");
        assert_eq!(old["spec"]["group"], json!(["dev", "system:authenticated"]));
        assert!(old["spec"]["groups"].is_null() && old["apiVersion"] == "authorization.k8s.io/v1beta1");

        let nobody = UserInfo { name: "bob".to_owned(), ..UserInfo::default() };
        let path = Attributes::path(&nobody, "get", "/metrics");
        let about = json!({"path": "/metrics", "verb": "get"});
        assert_eq!(spec(&path), json!({"user": "bob", "nonResourceAttributes": about}));
        let all =
            json!({"user": "bob", "uid": "", "groups": [], "extra": {}, "nonResourceAttributes": about});
        assert_eq!(shown(&path), all);
    }

    #[test]
    fn what_is_no_review_is_no_answer() {
        let answer = |kind: &str, status: Value| {
            let answer = json!({"apiVersion": "authorization.k8s.io/v1", "kind": kind, "status": status});
            super::status(answer.to_string().as_bytes())
        };
        let is =
            |allowed, denied, reason: &str| Ok(ReviewStatus { allowed, denied, reason: reason.to_owned() });
        let rows = [
            ("SubjectAccessReview", json!({"allowed": true}), is(true, false, "")),
            (
                "SubjectAccessReview",
                json!({"allowed": false, "denied": true, "reason": "no"}),
                is(false, true, "no"),
            ),
            ("SubjectAccessReview", json!({}), is(false, false, "")),
            ("SubjectAccessReview", json!({"allowed": "true"}), Err(())),
            ("TokenReview", json!({"allowed": true}), Err(())),
        ];
        for (kind, given, wanted) in rows {
            assert_eq!(answer(kind, given.clone()).map_err(drop), wanted, "{kind} {given}");
        }
        assert!(super::status(b"yes").is_err());
    }
}
