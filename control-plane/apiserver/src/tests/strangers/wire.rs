//! The same through the whole server: certificates and tokens that were really signed, over TLS, for a sample of routes, with a
//! custom kind and reviews among them.

use super::*;
use crate::tests::certificates::Served;
use keelson_auth::pki::{Authority, Leaf, Signed};
use time::Duration as Lifetime;

const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";

/// A certificate, a token, or both.
struct Credentials {
    certificate: Option<Signed>,
    token: Option<String>,
}

impl Credentials {
    fn certificate(signed: Signed) -> Self {
        Self { certificate: Some(signed), token: None }
    }

    fn token(token: String) -> Self {
        Self { certificate: None, token: Some(token) }
    }
}

/// What can be asked about one object, METHOD, path and body; `NAME` stands for it.
const ABOUT: [(&str, &str, &str); 14] = [
    ("GET", "/api/v1/namespaces/default/secrets/NAME", ""),
    ("GET", "/api/v1/namespaces/default/secrets", ""),
    ("GET", "/api/v1/namespaces/default/secrets?watch=1&fieldSelector=metadata.name%3DNAME", ""),
    ("PUT", "/api/v1/namespaces/default/secrets/NAME", "{}"),
    ("DELETE", "/api/v1/namespaces/default/secrets/NAME", ""),
    ("DELETE", "/api/v1/namespaces/default/secrets", ""),
    ("GET", "/api/v1/namespaces/default/pods/NAME/exec?command=id", ""),
    ("POST", "/api/v1/namespaces/default/serviceaccounts/NAME/token", "{}"),
    ("GET", "/apis/example.com/v1/namespaces/default/widgets/NAME", ""),
    ("GET", "/apis/example.com/v1/namespaces/default/widgets", ""),
    ("POST", "/apis/example.com/v1/namespaces/default/widgets", "{}"),
    ("GET", "/apis/example.com/v1/namespaces/default/widgets/NAME/status", ""),
    ("GET", "/apis/no.such.group/v1/things/NAME", ""),
    ("GET", "/api/v1/nodes/NAME/proxy/metrics", ""),
];

/// Questions that are no objects: with what code somebody without rights is answered, and with what nobody is.
const QUESTIONS: [(&str, &str, &str, u16); 7] = [
    ("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", r#"{"spec":{"user":"x"}}"#, 403),
    ("POST", "/apis/authentication.k8s.io/v1/tokenreviews", r#"{"spec":{"token":"x"}}"#, 403),
    (
        "POST",
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        r#"{"spec":{"nonResourceAttributes":{"path":"/metrics","verb":"get"}}}"#,
        201,
    ),
    ("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", "{}", 201),
    ("GET", "/api", "", 200),
    ("GET", "/metrics", "", 403),
    ("GET", "/openapi/v3/apis/example.com/v1", "", 200),
];

/// Secret, pod, account and widget of the name `there`.
async fn furnish(bed: &Bed) {
    let definition = json!({
        "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]},
    });
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let made = bed.send("POST", definitions, &[], &definition.to_string()).await;
    assert_eq!(made.code, 201, "{}", made.text());
    until(bed, Bed::root(), WIDGETS, 200).await;
    let there = json!({"metadata": {"name": "there"}});
    let mut pod = there.clone();
    pod["spec"] = json!({"containers": [{"name": "c", "image": "i"}]});
    let mut widget = there.clone();
    widget["apiVersion"] = json!("example.com/v1");
    widget["kind"] = json!("Widget");
    for (uri, object) in [
        ("/api/v1/namespaces/default/secrets", &there),
        ("/api/v1/namespaces/default/serviceaccounts", &there),
        ("/api/v1/namespaces/default/pods", &pod),
        (WIDGETS, &widget),
    ] {
        let made = bed.send("POST", uri, &[], &object.to_string()).await;
        assert_eq!(made.code, 201, "{uri}: {}", made.text());
    }
}

/// A token of a ServiceAccount that nobody gave anything, signed by the server.
async fn account_token(bed: &Bed) -> String {
    let accounts = "/api/v1/namespaces/tenant/serviceaccounts";
    assert_eq!(bed.send("POST", accounts, &[], r#"{"metadata":{"name":"bare"}}"#).await.code, 201);
    let got = bed.send("POST", &format!("{accounts}/bare/token"), &[], r#"{"spec":{}}"#).await;
    got.json()["status"]["token"].as_str().unwrap().to_owned()
}

async fn ask(served: &Served, who: &Credentials, (method, uri, body): (&str, &str, &str)) -> (u16, Value) {
    served.ask(who.certificate.as_ref(), who.token.as_deref(), method, uri, body).await
}

/// Answered alike whether the object is there or not, with this code.
async fn learns_nothing(served: &Served, who: &Credentials, code: u16) {
    for (method, uri, body) in ABOUT {
        let with = |name: &str| uri.replace("NAME", name);
        let (is, there) = ask(served, who, (method, &with("there"), body)).await;
        let (_, absent) = ask(served, who, (method, &with("absent"), body)).await;
        assert_eq!(is, code, "{method} {uri}: {there}");
        assert_eq!(there.to_string(), absent.to_string().replace("absent", "there"), "{method} {uri}");
    }
}

#[tokio::test]
async fn who_proves_himself_without_rights_hears_that_alone() {
    let served = Served::around(cluster().await).await;
    furnish(&served.bed).await;
    let token = account_token(&served.bed).await;
    let users = [
        Credentials::certificate(served.signed("jane", &["dev"])),
        Credentials::token(token),
        Credentials::certificate(served.signed("tenant", &[])),
    ];
    for who in &users {
        learns_nothing(&served, who, 403).await;
        for (method, uri, body, code) in QUESTIONS {
            let (is, got) = ask(&served, who, (method, uri, body)).await;
            assert_eq!(is, code, "{method} {uri}: {got}");
        }
    }
    // What the certificate says is who it is.
    let who = ("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", "{}");
    let names = ["jane", "system:serviceaccount:tenant:bare", "tenant"];
    for (user, name) in users.iter().zip(names) {
        assert_eq!(ask(&served, user, who).await.1["status"]["userInfo"]["username"], name);
    }
    let root = Credentials::certificate(served.signed("root", &["system:masters"]));
    let (code, got) = ask(&served, &root, ("GET", &format!("{WIDGETS}/there"), "")).await;
    assert_eq!((code, &got["metadata"]["name"]), (200, &json!("there")));
}

#[tokio::test]
async fn who_proves_nothing_is_nobody_on_every_route() {
    let served = Served::around(cluster().await).await;
    furnish(&served.bed).await;
    let token = account_token(&served.bed).await;
    let other = Bed::new().await;
    let (ca, now) = (authority(&served.bed), OffsetDateTime::now_utc());
    let masters = Leaf::client("root", ["system:masters"]);
    let expired = ca.sign_for(&masters, now - Lifetime::hours(2), Lifetime::hours(1)).unwrap();
    let foreign = authority(&other).sign(&masters, now).unwrap();
    let foreign_token = {
        let accounts = "/api/v1/namespaces/tenant/serviceaccounts";
        assert_eq!(other.send("POST", accounts, &[], r#"{"metadata":{"name":"bare"}}"#).await.code, 201);
        let got = other.send("POST", &format!("{accounts}/bare/token"), &[], r#"{"spec":{}}"#).await;
        got.json()["status"]["token"].as_str().unwrap().to_owned()
    };
    // A letter of the signature is another.
    let at = token.len() - 10;
    let letter = if &token[at..=at] == "A" { "B" } else { "A" };
    let forged = format!("{}{letter}{}", &token[..at], &token[at + 1..]);
    for who in [
        Credentials { certificate: None, token: None },
        Credentials::certificate(expired),
        Credentials::certificate(foreign),
        Credentials::token(foreign_token),
        Credentials::token(forged),
        Credentials::token("abcdef.0123456789abcdef".to_owned()),
    ] {
        learns_nothing(&served, &who, 401).await;
        for (method, uri, body, _) in QUESTIONS {
            let (is, got) = ask(&served, &who, (method, uri, body)).await;
            assert_eq!(is, 401, "{method} {uri}: {got}");
        }
        // A credential that is not believed is not the same as none: no path is open to it.
        let (is, _) = ask(&served, &who, ("GET", "/version", "")).await;
        assert_eq!(is, 401);
    }
    // A good token behind a certificate that nobody knows is believed.
    assert_eq!(ask(&served, &Credentials::token(token), ("GET", "/version", "")).await.0, 200);
}

fn authority(bed: &Bed) -> Authority {
    let file = |name| pki::names::pki_file(bed._folder.path(), name);
    let (cert, key) = (file(pki::names::CA_CERT), file(pki::names::CA_KEY));
    Authority::load(&cert, &key, OffsetDateTime::now_utc()).unwrap()
}
