//! What is to be done about a request, and what each built-in signer signs. Pure.

use base64::{Engine, prelude::BASE64_STANDARD};
use keelson_auth::{
    pki::{CertificateRequest, LEAF_LIFETIME},
    user::names::{NODE_USER_PREFIX, NODES_GROUP},
};
use keelson_harness::views::CertificateSigningRequest;
use keelson_semantics::timestamp;
use serde_json::Value;
use std::time::Duration as Wait;
use time::{Duration, OffsetDateTime};

const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
const NODE_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const NODE_SERVING: &str = "kubernetes.io/kubelet-serving";

/// How long what is decided, or failed, is kept; upstream's hour.
const DECIDED: Duration = Duration::hours(1);
/// How long what nobody decides on is kept; upstream's day.
const PENDING: Duration = Duration::hours(24);

/// As whom a node asks: for itself, or (at first) somebody for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    SelfNodeClient,
    NodeClient,
}

impl Access {
    pub(super) fn subresource(self) -> &'static str {
        match self {
            Self::SelfNodeClient => "selfnodeclient",
            Self::NodeClient => "nodeclient",
        }
    }

    pub(super) fn message(self) -> &'static str {
        match self {
            Self::SelfNodeClient => {
                "Auto approving self kubelet client certificate after SubjectAccessReview."
            }
            Self::NodeClient => "Auto approving kubelet client certificate after SubjectAccessReview.",
        }
    }
}

/// The next step.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Ask for these rights, in this order; the first that is granted approves.
    Approve(Vec<Access>),
    /// See whether it renews what the node serves; if so, approve.
    Compare(CertificateRequest),
    Sign,
    Remove,
    Wait,
}

pub(super) fn next(request: &CertificateSigningRequest, now: OffsetDateTime) -> Step {
    if over_at(request).is_some_and(|over| over <= now) {
        return Step::Remove;
    }
    let is_ours = matches!(&*request.spec.signer_name, CLIENT | NODE_CLIENT | NODE_SERVING);
    let is = |kind| has(request, kind).is_some();
    match (is("Approved"), is("Denied") || is("Failed") || !request.status.certificate.is_empty()) {
        (true, false) if is_ours => Step::Sign,
        (false, false) => undecided(request),
        _ => Step::Wait,
    }
}

/// How long until the request is over.
pub(super) fn over_in(request: &CertificateSigningRequest, now: OffsetDateTime) -> Option<Wait> {
    let left = over_at(request)? - now;
    Some(Wait::from_secs(left.whole_seconds().max(0).unsigned_abs() + 1))
}

fn over_at(request: &CertificateSigningRequest) -> Option<OffsetDateTime> {
    let since = |condition: &Value| {
        let time = |key: &str| condition[key].as_str().and_then(|text| timestamp::parse(text).ok());
        time("lastUpdateTime").or_else(|| time("lastTransitionTime"))
    };
    let decided = |kind| has(request, kind).and_then(since).map(|at| at + DECIDED);
    let made = request.metadata.creation_timestamp?.0;
    let (denied, failed) = (decided("Denied"), decided("Failed"));
    match has(request, "Approved") {
        // Approved and never signed: another's signer may be slow, its request waits as one that is pending.
        Some(_) if request.status.certificate.is_empty() => failed.or(Some(made + PENDING)),
        Some(_) => decided("Approved"),
        None => denied.or(failed).or(Some(made + PENDING)),
    }
}

fn has<'a>(request: &'a CertificateSigningRequest, kind: &str) -> Option<&'a Value> {
    request.status.conditions.iter().find(|condition| condition["type"] == kind)
}

/// What may be approved without a person is a node's, and one that would be signed.
fn undecided(request: &CertificateSigningRequest) -> Step {
    let Ok(wanted) = parse(request) else { return Step::Wait };
    match &*request.spec.signer_name {
        NODE_CLIENT if node_client(request, &wanted).is_ok() => {
            let is_own = *request.spec.username == *wanted.common_name;
            let own = is_own.then_some(Access::SelfNodeClient);
            Step::Approve(own.into_iter().chain([Access::NodeClient]).collect())
        }
        NODE_SERVING if node_serving(request, &wanted).is_ok() => Step::Compare(wanted),
        _ => Step::Wait,
    }
}

fn parse(request: &CertificateSigningRequest) -> Result<CertificateRequest, String> {
    let pem = BASE64_STANDARD.decode(&*request.spec.request).map_err(|error| error.to_string())?;
    CertificateRequest::parse(&pem).map_err(|error| format!("unable to parse csr: {error}"))
}

/// What is to be signed, or why its signer does not.
pub(super) fn certificate(request: &CertificateSigningRequest) -> Result<CertificateRequest, String> {
    let wanted = parse(request)?;
    match &*request.spec.signer_name {
        CLIENT => client(request)?,
        NODE_CLIENT => node_client(request, &wanted)?,
        NODE_SERVING => node_serving(request, &wanted)?,
        other => return Err(format!("{other} is no signer of this cluster's")),
    }
    Ok(wanted)
}

/// As long as was asked for, no longer than upstream's year.
pub(super) fn lifetime(request: &CertificateSigningRequest) -> Duration {
    let asked = request.spec.expiration_seconds.map(|seconds| Duration::seconds(seconds.max(600)));
    asked.map_or(LEAF_LIFETIME, |asked| asked.min(LEAF_LIFETIME))
}

fn usages(request: &CertificateSigningRequest, must: &[&str], may: &[&str]) -> Result<(), String> {
    let all: Vec<&str> = request.spec.usages.iter().map(|usage| &**usage).collect();
    let missing = must.iter().any(|usage| !all.contains(usage));
    if missing || all.iter().any(|usage| !must.contains(usage) && !may.contains(usage)) {
        return Err(format!(
            "usages did not match: needed [{}], allowed [{}]",
            must.join(", "),
            may.join(", ")
        ));
    }
    Ok(())
}

fn client(request: &CertificateSigningRequest) -> Result<(), String> {
    usages(request, &["client auth"], &["digital signature", "key encipherment"])
}

fn is_node(wanted: &CertificateRequest) -> Result<(), String> {
    if wanted.organizations != [NODES_GROUP] {
        return Err(format!("subject organization is not {NODES_GROUP}"));
    }
    if !wanted.common_name.starts_with(NODE_USER_PREFIX) {
        return Err(format!("subject common name does not begin with {NODE_USER_PREFIX}"));
    }
    if !wanted.emails.is_empty() {
        return Err("email subjectAltNames are not allowed".to_owned());
    }
    if !wanted.uris.is_empty() {
        return Err("URI subjectAltNames are not allowed".to_owned());
    }
    Ok(())
}

fn node_client(request: &CertificateSigningRequest, wanted: &CertificateRequest) -> Result<(), String> {
    is_node(wanted)?;
    if !wanted.dns_names.is_empty() {
        return Err("DNS subjectAltNames are not allowed".to_owned());
    }
    if !wanted.ips.is_empty() {
        return Err("IP subjectAltNames are not allowed".to_owned());
    }
    usages(request, &["digital signature", "client auth"], &["key encipherment"])
}

fn node_serving(request: &CertificateSigningRequest, wanted: &CertificateRequest) -> Result<(), String> {
    is_node(wanted)?;
    if wanted.dns_names.is_empty() && wanted.ips.is_empty() {
        return Err("DNS or IP subjectAltName is required".to_owned());
    }
    if *request.spec.username != *wanted.common_name {
        return Err("the requestor is not the node that the certificate names".to_owned());
    }
    usages(request, &["digital signature", "server auth"], &["key encipherment"])
}
