//! What is done about a request at each time of its life, as tables.

use super::plan::{Access, Step, certificate, lifetime, next, over_in};
use base64::{Engine, prelude::BASE64_STANDARD};
use keelson_harness::views::CertificateSigningRequest;
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime, macros::datetime};

const MADE: OffsetDateTime = datetime!(2026-01-01 00:00:00 UTC);
const NODE: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const SERVING: &str = "kubernetes.io/kubelet-serving";
const CLIENT: &str = "kubernetes.io/kube-apiserver-client";

fn request(
    signer: &str,
    subject: (&str, &[&str]),
    usages: &[&str],
    status: Value,
) -> CertificateSigningRequest {
    let pem = signing_request(subject.0, subject.1, &[]);
    let object = json!({
        "metadata": {"name": "r", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"signerName": signer, "request": BASE64_STANDARD.encode(pem), "usages": usages, "username": "system:node:a"},
        "status": status,
    });
    serde_json::from_value(object).expect("a request")
}

/// A request in PEM, with a key of its own.
fn signing_request(name: &str, groups: &[&str], names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = rcgen::CertificateParams::new(names).expect("names");
    params.distinguished_name = rcgen::DistinguishedName::new();
    for group in groups {
        params.distinguished_name.push(rcgen::DnType::OrganizationName, *group);
    }
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    let key = rcgen::KeyPair::generate().expect("a key");
    params.serialize_request(&key).expect("a request").pem().expect("PEM")
}

fn at(kind: &str) -> Value {
    json!({"type": kind, "status": "True", "lastUpdateTime": "2026-01-01T01:00:00Z"})
}

#[test]
fn each_time_of_its_life_has_its_step() {
    let usages = ["client auth", "digital signature"];
    let node = |name: &str, status: Value| request(NODE, (name, &["system:nodes"]), &usages, status);
    let own = Step::Approve(vec![Access::SelfNodeClient, Access::NodeClient]);
    let approved = json!({"conditions": [at("Approved")]});
    let issued = json!({"conditions": [at("Approved")], "certificate": "eA=="});
    let hours = Duration::hours;
    let rows = [
        (node("system:node:a", json!({})), hours(0), own),
        (node("system:node:b", json!({})), hours(0), Step::Approve(vec![Access::NodeClient])),
        (node("jane", json!({})), hours(0), Step::Wait),
        (node("system:node:a", json!({})), hours(25), Step::Remove),
        (node("system:node:a", approved.clone()), hours(1), Step::Sign),
        (node("system:node:a", issued.clone()), hours(1), Step::Wait),
        (node("system:node:a", issued), hours(2), Step::Remove),
        (node("system:node:a", json!({"conditions": [at("Denied")]})), hours(1), Step::Wait),
        (node("system:node:a", json!({"conditions": [at("Denied")]})), hours(2), Step::Remove),
        (node("system:node:a", json!({"conditions": [at("Approved"), at("Failed")]})), hours(1), Step::Wait),
        (request("example.com/x", ("a", &[]), &["any"], approved), hours(1), Step::Wait),
    ];
    for (request, age, expected) in rows {
        assert_eq!(next(&request, MADE + age), expected, "{:?} {age}", request.status.conditions);
        assert!(over_in(&request, MADE + age).is_some());
    }
}

#[test]
fn a_serving_certificate_is_compared_only_where_the_node_itself_asks() {
    let usages = ["server auth", "digital signature"];
    let rows = [
        ("system:node:a", &["a"][..], true),
        ("system:node:b", &["a"], false),
        ("jane", &["a"], false),
        ("system:node:a", &[], false),
    ];
    for (name, names, expected) in rows {
        let mut request = request(SERVING, (name, &["system:nodes"]), &usages, json!({}));
        request.spec.request = BASE64_STANDARD.encode(signing_request(name, &["system:nodes"], names)).into();
        let found = next(&request, MADE);
        assert_eq!(matches!(found, Step::Compare(_)), expected, "{name} {names:?}");
        assert!(expected || found == Step::Wait, "{name} {names:?}");
    }
}

/// Signer, user, groups, usages, and why it is not signed.
type Signed<'a> = (&'a str, &'a str, &'a [&'a str], &'a [&'a str], Option<&'a str>);

#[test]
fn each_signer_signs_its_own_and_says_why_it_does_not() {
    let nodes: &[&str] = &["system:nodes"];
    let both = ["client auth", "digital signature"];
    let rows: [Signed<'_>; 7] = [
        (CLIENT, "jane", &["dev"], &["client auth"], None),
        (CLIENT, "jane", &["dev"], &["server auth"], Some("usages did not match")),
        (NODE, "system:node:a", nodes, &both, None),
        (NODE, "system:node:a", &["dev"], &both, Some("subject organization is not system:nodes")),
        (NODE, "jane", nodes, &both, Some("subject common name does not begin with system:node:")),
        (NODE, "system:node:a", nodes, &["client auth"], Some("usages did not match")),
        (
            SERVING,
            "system:node:a",
            nodes,
            &["server auth", "digital signature"],
            Some("DNS or IP subjectAltName is required"),
        ),
    ];
    for (signer, name, groups, usages, expected) in rows {
        let outcome = certificate(&request(signer, (name, groups), usages, json!({})));
        match (outcome, expected) {
            (Ok(_), None) => {}
            (Err(why), Some(expected)) => assert!(why.starts_with(expected), "{why}"),
            (outcome, _) => panic!("{signer} {name}: {outcome:?}"),
        }
    }
}

#[test]
fn a_certificate_lives_as_long_as_asked_for_within_bounds() {
    let rows =
        [(None, 365 * 86_400), (Some(3600), 3600), (Some(1), 600), (Some(i64::from(i32::MAX)), 365 * 86_400)];
    for (asked, expected) in rows {
        let mut request = request(CLIENT, ("jane", &[]), &["client auth"], json!({}));
        request.spec.expiration_seconds = asked;
        assert_eq!(lifetime(&request).whole_seconds(), expected, "{asked:?}");
    }
}
