//! AdmissionReview: the question that a webhook is asked, and what its answer must be like.
//!
//! <https://kubernetes.io/docs/reference/config-api/apiserver-admission.v1/>

use super::{configuration::ReviewVersion, error::Unanswered};
use base64::{Engine, engine::general_purpose::STANDARD};
use keelson_auth::UserInfo;
use keelson_registry::{Attributes, Kind};
use serde_json::{Value, json};

/// What is asked about, in the form that the webhook wants to see.
pub(super) struct Question<'a> {
    /// Names the answer.
    pub(super) uid: &'a str,
    /// The request.
    pub(super) attributes: &'a Attributes<'a>,
    /// The kind of that form.
    pub(super) kind: &'a Kind,
    /// The object as it shall be; Null on delete.
    pub(super) object: &'a Value,
    /// The object as it is; Null on create and connect.
    pub(super) old: &'a Value,
}

/// What a webhook says.
#[derive(Debug, PartialEq)]
pub(super) struct Verdict {
    pub(super) allowed: bool,
    /// metav1 Status of a refusal; Null where there is none.
    pub(super) result: Value,
    /// A JSON patch, empty where there is none.
    pub(super) patch: Vec<u8>,
    pub(super) warnings: Vec<String>,
    pub(super) annotations: Vec<(String, String)>,
}

impl ReviewVersion {
    fn api_version(self) -> &'static str {
        match self {
            Self::V1 => "admission.k8s.io/v1",
            Self::V1beta1 => "admission.k8s.io/v1beta1",
        }
    }
}

impl Question<'_> {
    /// The AdmissionReview.
    pub(super) fn encode(&self, version: ReviewVersion) -> Value {
        let Self { uid, attributes, kind, object, old } = self;
        let sub = attributes.subresource;
        let mut request = json!({
            "uid": uid,
            "kind": kind_of(kind, sub),
            "resource": resource_of(kind),
            "requestKind": kind_of(attributes.kind, sub),
            "requestResource": resource_of(attributes.kind),
            "operation": attributes.operation.as_str(),
            "userInfo": user(attributes.user),
            "object": object,
            "oldObject": old,
            "dryRun": attributes.dry_run,
            "options": attributes.options_object(),
        });
        let optional = [
            ("name", attributes.name),
            ("namespace", attributes.namespace),
            ("subResource", sub),
            ("requestSubResource", sub),
        ];
        for (key, text) in optional.into_iter().filter(|(_, text)| !text.is_empty()) {
            request[key] = json!(text);
        }
        json!({"apiVersion": version.api_version(), "kind": "AdmissionReview", "request": request})
    }
}

/// The kind of the body: a subresource may have one of its own.
fn kind_of(kind: &Kind, sub: &str) -> Value {
    let body = kind.subresource(sub).and_then(|sub| sub.body);
    let (group, version, kind) = body.unwrap_or(kind.gvk());
    json!({"group": group, "version": version, "kind": kind})
}

fn resource_of(kind: &Kind) -> Value {
    json!({"group": kind.group, "version": kind.version, "resource": kind.plural})
}

fn user(user: &UserInfo) -> Value {
    let mut out = json!({"username": user.name, "groups": user.groups});
    if !user.uid.is_empty() {
        out["uid"] = json!(user.uid);
    }
    if !user.extra.is_empty() {
        out["extra"] = json!(user.extra);
    }
    out
}

/// Reads the answer to the question `uid`, as strictly as upstream's `VerifyAdmissionResponse`.
pub(super) fn verdict(
    version: ReviewVersion,
    uid: &str,
    mutating: bool,
    answer: &[u8],
) -> Result<Verdict, Unanswered> {
    let invalid = |why: String| Unanswered::Invalid(why);
    let review: Value = serde_json::from_slice(answer).map_err(|error| invalid(error.to_string()))?;
    let text = |key: &str| review[key].as_str().unwrap_or_default();
    let wanted = version.api_version();
    if (text("apiVersion"), text("kind")) != (wanted, "AdmissionReview") {
        let (group, given) = text("apiVersion").rsplit_once('/').unwrap_or(("", text("apiVersion")));
        return Err(invalid(format!(
            "expected webhook response of {wanted}, Kind=AdmissionReview, got {group}/{given}, Kind={}",
            text("kind")
        )));
    }
    let response = &review["response"];
    if !response.is_object() {
        return Err(invalid("webhook response was absent".to_owned()));
    }
    let answered = response["uid"].as_str().unwrap_or_default();
    // The older version never asked for it.
    if version == ReviewVersion::V1 && answered != uid {
        return Err(invalid(format!("expected response.uid={uid:?}, got {answered:?}")));
    }
    let Some(allowed) = response["allowed"].as_bool().or(response["allowed"].is_null().then_some(false))
    else {
        return Err(invalid("response.allowed is not a boolean".to_owned()));
    };
    let texts = response["warnings"].as_array().into_iter().flatten();
    let annotations = response["auditAnnotations"].as_object().into_iter().flatten();
    Ok(Verdict {
        allowed,
        result: response["status"].clone(),
        patch: patch(version, mutating, response)?,
        warnings: texts.filter_map(|text| text.as_str().map(str::to_owned)).collect(),
        annotations: annotations
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect(),
    })
}

fn patch(version: ReviewVersion, mutating: bool, response: &Value) -> Result<Vec<u8>, Unanswered> {
    let invalid = |why: &str| Err(Unanswered::Invalid(why.to_owned()));
    let given = response["patch"].as_str().unwrap_or_default();
    let form = &response["patchType"];
    if !mutating {
        return match (given, form) {
            ("", Value::Null) => Ok(Vec::new()),
            ("", _) => invalid("validating webhook may not return response.patchType"),
            _ => invalid("validating webhook may not return response.patch"),
        };
    }
    match (given, form.as_str(), version) {
        ("", None, _) => return Ok(Vec::new()),
        ("", Some(_), ReviewVersion::V1) => {
            return invalid("webhook returned response.patchType but not response.patch");
        }
        ("", Some(_), ReviewVersion::V1beta1) => return Ok(Vec::new()),
        (_, None, ReviewVersion::V1) => {
            return invalid("webhook returned response.patch but not response.patchType");
        }
        (_, Some("JSONPatch"), _) | (_, None, ReviewVersion::V1beta1) => {}
        (_, Some(other), _) => return Err(Unanswered::PatchType(other.to_owned())),
    }
    STANDARD.decode(given).map_err(|error| Unanswered::Invalid(format!("response.patch: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(response: Value, mutating: bool) -> Result<Verdict, String> {
        let review =
            json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
        verdict(ReviewVersion::V1, "u", mutating, review.to_string().as_bytes())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn an_answer_that_breaks_the_rules_is_none() {
        let rows = [
            (json!(null), true, "webhook response was absent"),
            (json!({"uid": "x", "allowed": true}), true, r#"expected response.uid="u", got "x""#),
            (json!({"uid": "u", "allowed": "yes"}), true, "response.allowed is not a boolean"),
            (
                json!({"uid": "u", "allowed": true, "patch": "W10="}),
                true,
                "webhook returned response.patch but not response.patchType",
            ),
            (
                json!({"uid": "u", "allowed": true, "patchType": "JSONPatch"}),
                true,
                "webhook returned response.patchType but not response.patch",
            ),
            (
                json!({"uid": "u", "allowed": true, "patch": "W10=", "patchType": "JSONPatch"}),
                false,
                "validating webhook may not return response.patch",
            ),
        ];
        for (response, mutating, wanted) in rows {
            let refused = said(response, mutating).unwrap_err();
            assert_eq!(refused, format!("received invalid webhook response: {wanted}"));
        }
        let odd = json!({"uid": "u", "allowed": true, "patch": "W10=", "patchType": "Merge"});
        assert_eq!(said(odd, true).unwrap_err(), r#"unsupported patch type "Merge""#);
        let other =
            verdict(ReviewVersion::V1, "u", true, br#"{"kind":"Pod","apiVersion":"v1"}"#).unwrap_err();
        let wanted =
            "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got /v1, Kind=Pod";
        assert_eq!(other.to_string(), format!("received invalid webhook response: {wanted}"));
        assert!(verdict(ReviewVersion::V1, "u", true, b"garbage").is_err());
    }

    #[test]
    fn an_answer_is_read_whole() {
        let verdict = said(
            json!({"uid": "u", "allowed": true, "patch": "W10=", "patchType": "JSONPatch",
                   "warnings": ["w"], "auditAnnotations": {"a": "b"}}),
            true,
        );
        let wanted = Verdict {
            allowed: true,
            result: Value::Null,
            patch: b"[]".to_vec(),
            warnings: vec!["w".into()],
            annotations: vec![("a".into(), "b".into())],
        };
        assert_eq!(verdict, Ok(wanted));
    }
}
