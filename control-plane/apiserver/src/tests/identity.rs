//! Who gets in, as whom, and what they hear when they may not.

use super::*;

fn user(name: &str) -> Caller {
    Caller::InProcess(Arc::new(UserInfo::authenticated(name, ["dev"])))
}

fn peer(certificate: PeerCertificate) -> Caller {
    let address: SocketAddr = "127.0.0.1:1".parse().unwrap();
    Caller::Peer(Arc::new(Peer { address, certificate }))
}

#[tokio::test]
async fn without_credentials_only_health_and_version_get_as_far_as_rbac() {
    let bed = Bed::new().await;
    for uri in ["/healthz", "/livez/ping", "/version"] {
        let got = bed.send_as(Bed::nobody(), "GET", uri, &[], "").await;
        assert!(got.code == 403 && got.message().contains("system:anonymous"), "{uri}: {}", got.text());
    }
    let status = serde_json::json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure", "message": "Unauthorized",
        "reason": "Unauthorized", "code": 401,
    });
    for uri in [MAPS, "/metrics", "/api", "/versions"] {
        let got = bed.send_as(Bed::nobody(), "GET", uri, &[], "").await;
        assert_eq!((got.code.as_u16(), got.json()), (401, status.clone()), "{uri}");
    }
}

#[tokio::test]
async fn a_bad_credential_is_refused_everywhere() {
    let bed = Bed::new().await;
    let refused = peer(PeerCertificate::Refused("unknown issuer".into()));
    assert_eq!(bed.send_as(refused, "GET", "/healthz", &[], "").await.code, 401);
    let user = Arc::new(UserInfo::authenticated("old", ["system:masters"]));
    let expired = peer(PeerCertificate::Verified { user, not_after_s: 1 });
    assert_eq!(bed.send_as(expired, "GET", MAPS, &[], "").await.code, 401);
    let token = [("authorization", "Bearer x.y.z")];
    assert_eq!(bed.send_as(Bed::nobody(), "GET", "/healthz", &token, "").await.code, 401);
}

#[tokio::test]
async fn a_refusal_reads_as_upstreams() {
    let bed = Bed::new().await;
    let got = bed.send_as(user("bob"), "GET", MAPS, &[], "").await;
    assert_eq!(got.code, 403);
    assert_eq!(
        got.message(),
        r#"configmaps is forbidden: User "bob" cannot list resource "configmaps" in API group "" in the namespace "default""#
    );
    let got = bed.send_as(user("bob"), "DELETE", &format!("{MAPS}/a"), &[], "").await;
    assert!(
        got.message().starts_with(r#"configmaps "a" is forbidden: User "bob" cannot delete"#),
        "{}",
        got.text()
    );
    let got = bed.send_as(user("bob"), "GET", "/metrics", &[], "").await;
    assert_eq!(got.message(), r#"forbidden: User "bob" cannot get path "/metrics""#);
}

#[tokio::test]
async fn service_account_tokens_are_issued_verified_and_reviewed() {
    let bed = Bed::new().await;
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    assert_eq!(bed.send("POST", accounts, &[], r#"{"metadata":{"name":"robot"}}"#).await.code, 201);
    let got = bed.send("POST", &format!("{accounts}/robot/token"), &[], r#"{"spec":{}}"#).await;
    assert_eq!(got.code, 201, "{}", got.text());
    let token = got.json()["status"]["token"].as_str().unwrap().to_owned();
    let bearer = format!("Bearer {token}");
    let got = bed.send_as(Bed::nobody(), "GET", MAPS, &[("authorization", &bearer)], "").await;
    assert!(
        got.code == 403 && got.message().contains("system:serviceaccount:default:robot"),
        "{}",
        got.text()
    );
    let review = format!(r#"{{"spec":{{"token":"{token}"}}}}"#);
    let got = bed.send("POST", "/apis/authentication.k8s.io/v1/tokenreviews", &[], &review).await.json();
    assert_eq!(got["status"]["user"]["username"], "system:serviceaccount:default:robot", "{got}");
    bed.send("DELETE", &format!("{accounts}/robot"), &[], "").await;
    let got = bed.send("POST", "/apis/authentication.k8s.io/v1/tokenreviews", &[], &review).await.json();
    assert!(got["status"]["authenticated"].is_null() && got["status"]["error"].is_string(), "{got}");
    let short = bed.send("POST", &format!("{accounts}/none/token"), &[], r#"{"spec":{}}"#).await;
    assert_eq!(short.code, 404);
}

#[tokio::test]
async fn access_reviews_answer_for_others_and_oneself() {
    let bed = Bed::new().await;
    let uri = |kind: &str| format!("/apis/authorization.k8s.io/v1/{kind}");
    let ask = r#"{"spec":{"user":"bob","resourceAttributes":{"verb":"get","resource":"pods","namespace":"default"}}}"#;
    let got = bed.send("POST", &uri("subjectaccessreviews"), &[], ask).await;
    assert!(got.code == 201 && got.json()["status"]["allowed"] == false, "{}", got.text());
    let own = r#"{"spec":{"resourceAttributes":{"verb":"get","resource":"pods"}}}"#;
    let got = bed.send("POST", &uri("selfsubjectaccessreviews"), &[], own).await;
    assert_eq!(got.json()["status"]["allowed"], true, "{}", got.text());
    let none = bed.send("POST", &uri("selfsubjectaccessreviews"), &[], r#"{"spec":{}}"#).await;
    assert!(none.code == 422 && none.message().contains("exactly one of"), "{}", none.text());
    let rules =
        bed.send("POST", &uri("selfsubjectrulesreviews"), &[], r#"{"spec":{"namespace":"default"}}"#).await;
    assert_eq!(rules.code, 201, "{}", rules.text());
    let whoami = bed.send("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", &[], "{}").await;
    assert_eq!(whoami.json()["status"]["userInfo"]["username"], "root");
}
