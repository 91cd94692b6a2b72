//! Bearer tokens that are no ServiceAccount's: who they make of the bearer, and what is not believed.

use super::*;
use base64::{Engine, engine::general_purpose::STANDARD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use keelson_auth::authn::jwt::{self, Authenticators};
use keelson_webhook::{
    Remote,
    testing::{TestServer, answer, body},
};
use parking_lot::Mutex;
use serde_json::json;
use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Instant,
};

const WHO: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";

/// The bearer as the server sees him; None is 401.
pub(crate) async fn bearer(bed: &Bed, token: &str) -> Option<Value> {
    let header = format!("Bearer {token}");
    let got = bed.send_as(Bed::nobody(), "POST", WHO, &[("authorization", &header)], "{}").await;
    match got.code.as_u16() {
        401 => None,
        // No role is bound to anybody here: the refusal names who was refused.
        403 => Some(json!(got.message())),
        code => panic!("{code}: {}", got.text()),
    }
}

/// The status of a TokenReview.
async fn review(bed: &Bed, token: &str, audiences: &[&str]) -> Value {
    let spec = json!({"spec": {"token": token, "audiences": audiences}});
    let got = bed.send("POST", REVIEWS, &[], &spec.to_string()).await;
    assert_eq!(got.code, 201, "{}", got.text());
    got.json()["status"].clone()
}

fn bootstrap_secret(id: &str, data: &[(&str, &str)]) -> String {
    let mut object = json!({
        "metadata": {"name": format!("bootstrap-token-{id}"), "namespace": "kube-system"},
        "type": "bootstrap.kubernetes.io/token",
        "data": {"token-id": STANDARD.encode(id), "token-secret": STANDARD.encode("0123456789abcdef"),
                 "usage-bootstrap-authentication": STANDARD.encode("true")},
    });
    for (key, value) in data {
        object["data"][key] = json!(STANDARD.encode(value));
    }
    object.to_string()
}

const SECRETS: &str = "/api/v1/namespaces/kube-system/secrets";

#[tokio::test]
async fn a_bootstrap_token_is_somebody_while_its_secret_says_so() {
    let bed = Bed::new().await;
    let groups = ("auth-extra-groups", "system:bootstrappers:workers");
    let rows = [
        ("aaaaaa", vec![groups], true),
        ("bbbbbb", vec![("expiration", "2001-01-01T00:00:00Z")], false),
        ("cccccc", vec![("usage-bootstrap-authentication", "false")], false),
        ("dddddd", vec![("auth-extra-groups", "system:masters")], false),
    ];
    for (id, data, believed) in rows {
        let got = bed.send("POST", SECRETS, &[], &bootstrap_secret(id, &data)).await;
        assert_eq!(got.code, 201, "{}", got.text());
        let token = format!("{id}.0123456789abcdef");
        assert_eq!(bearer(&bed, &token).await.is_some(), believed, "{id}");
        let status = review(&bed, &token, &[]).await;
        assert_eq!(status["authenticated"] == true, believed, "{status}");
    }
    assert!(bearer(&bed, "eeeeee.0123456789abcdef").await.is_none(), "nobody made it");
    assert!(bearer(&bed, "aaaaaa.0123456789abcdeg").await.is_none(), "another secret");

    let token = "aaaaaa.0123456789abcdef";
    let status = review(&bed, token, &[]).await;
    assert_eq!(status["user"]["username"], "system:bootstrap:aaaaaa");
    let groups = json!(["system:bootstrappers", "system:bootstrappers:workers", "system:authenticated"]);
    assert_eq!(status["user"]["groups"], groups);
    assert_eq!(status["audiences"], json!([DEFAULT_ISSUER]));
    let status = review(&bed, token, &["vault"]).await;
    assert!(status["authenticated"].is_null() && status["error"].is_string(), "{status}");
    assert!(!status.to_string().contains("0123456789abcdef"), "{status}");

    assert_eq!(bed.send("DELETE", &format!("{SECRETS}/bootstrap-token-aaaaaa"), &[], "").await.code, 200);
    let status = review(&bed, token, &[]).await;
    assert!(status["authenticated"].is_null(), "{status}");
}

/// An issuer over real TLS: what it publishes now, and how often it was asked for it.
struct TestIssuer {
    server: TestServer,
    published: Arc<Mutex<Vec<Value>>>,
    fetches: Arc<AtomicU64>,
}

struct Key {
    id: &'static str,
    private: EncodingKey,
    public: Value,
}

fn key(id: &'static str) -> Key {
    let pair = rcgen::KeyPair::generate().unwrap();
    let private = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap();
    let mut public =
        serde_json::to_value(Jwk::from_encoding_key(&private, Algorithm::ES256).unwrap()).unwrap();
    public["kid"] = json!(id);
    Key { id, private, public }
}

impl TestIssuer {
    fn start(first: &Key) -> Self {
        let published = Arc::new(Mutex::new(vec![first.public.clone()]));
        let fetches = Arc::new(AtomicU64::new(0));
        let (keys, count) = (published.clone(), fetches.clone());
        let server = TestServer::start("127.0.0.1", None, move |request| {
            let (keys, count) = (keys.clone(), count.clone());
            async move {
                let own = format!("https://{}", request.headers()["host"].to_str().unwrap());
                match request.uri().path() {
                    "/.well-known/openid-configuration" => {
                        let document = json!({"issuer": own, "jwks_uri": format!("{own}/keys")});
                        answer(200, document.to_string())
                    }
                    "/keys" => {
                        count.fetch_add(1, Relaxed);
                        answer(200, json!({"keys": *keys.lock()}).to_string())
                    }
                    _ => answer(404, ""),
                }
            }
        });
        Self { server, published, fetches }
    }

    fn url(&self) -> String {
        format!("https://{}", self.server.address)
    }

    fn configured(&self) -> Authenticators {
        let jwt = json!({
            "issuer": {"url": self.url(), "audiences": ["cluster"], "certificateAuthority": self.server.ca_pem},
            "claimMappings": {"username": {"claim": "sub", "prefix": "oidc:"}},
        });
        let config = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration", "jwt": [jwt]});
        jwt::compile(&serde_json::from_value(config).unwrap(), &[DEFAULT_ISSUER]).unwrap()
    }

    fn token(&self, key: &Key, changed: Value) -> String {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let mut claims = json!({"iss": self.url(), "aud": "cluster", "sub": "jane", "exp": now + 600});
        for (name, value) in changed.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let header = Header { kid: Some(key.id.to_owned()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, &claims, &key.private).unwrap()
    }
}

#[tokio::test]
async fn tokens_of_an_issuer_are_judged_by_the_keys_that_it_publishes() {
    let bed = Bed::new().await;
    let (first, second, unknown) = (key("first"), key("second"), key("unknown"));
    let issuer = TestIssuer::start(&first);
    bed.server.set_authenticators(issuer.configured());
    let status = review(&bed, &issuer.token(&first, json!({})), &[]).await;
    assert_eq!(status["user"]["username"], "oidc:jane", "{status}");
    assert!(bearer(&bed, &issuer.token(&first, json!({"n": 1}))).await.is_some());
    let rows = [
        (json!({"aud": "other"}), "expected audience"),
        (json!({"exp": 1}), "token is expired"),
        (json!({"iss": "https://else.example"}), "invalid bearer token"),
    ];
    for (changed, wanted) in rows {
        let token = issuer.token(&first, changed);
        assert!(bearer(&bed, &token).await.is_none());
        let status = review(&bed, &token, &[]).await;
        assert!(status["error"].as_str().unwrap().contains(wanted), "{status}");
    }

    // A key that nobody published: refused, and no more than a fetch a second is made for it.
    let (before, began) = (issuer.fetches.load(Relaxed), Instant::now());
    for n in 0..20 {
        assert!(bearer(&bed, &issuer.token(&unknown, json!({ "n": n }))).await.is_none());
    }
    let made = issuer.fetches.load(Relaxed) - before;
    assert!(made <= 1 + began.elapsed().as_secs(), "{made} fetches in {:?}", began.elapsed());

    // Rotation: the new key counts as soon as it is fetched, the old one no longer.
    *issuer.published.lock() = vec![second.public.clone()];
    let deadline = Instant::now() + Duration::from_secs(10);
    while bearer(&bed, &issuer.token(&second, json!({}))).await.is_none() {
        assert!(Instant::now() < deadline, "the new key was never fetched");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(bearer(&bed, &issuer.token(&first, json!({"n": 2}))).await.is_none());

    // Down: what it published counts, what it did not is refused soon.
    let (known, other) = (issuer.token(&second, json!({"n": 3})), issuer.token(&unknown, json!({"n": 99})));
    drop(issuer);
    assert!(bearer(&bed, &known).await.is_some());
    let refused = tokio::time::timeout(Duration::from_secs(8), bearer(&bed, &other)).await;
    assert!(refused.expect("an answer in time").is_none());
}

/// A kubeconfig of the webhook, in the folder.
pub(crate) fn kubeconfig(folder: &std::path::Path, server: &TestServer) -> std::path::PathBuf {
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "w", "cluster": {"server": format!("https://{}/webhook", server.address),
                      "certificate-authority-data": STANDARD.encode(&server.ca_pem)}}],
        "users": [{"name": "u", "user": {"token": "ours"}}],
        "contexts": [{"name": "c", "context": {"cluster": "w", "user": "u"}}],
    });
    let path = folder.join("webhook.conf");
    std::fs::write(&path, config.to_string()).unwrap();
    path
}

pub(crate) struct Nowhere;

impl keelson_webhook::Resolve for Nowhere {
    fn resolve(&self, _: &str, name: &str, _: u16) -> Result<SocketAddr, keelson_webhook::ResolveError> {
        Err(keelson_webhook::ResolveError::NotFound(name.to_owned()))
    }
}

#[tokio::test]
async fn a_webhook_is_asked_about_tokens_that_are_nobody_elses() {
    let asked = Arc::new(AtomicU64::new(0));
    let count = asked.clone();
    let server = TestServer::start("127.0.0.1", None, move |request| {
        let count = count.clone();
        async move {
            assert_eq!(request.uri().path(), "/webhook");
            assert_eq!(request.headers()["authorization"], "Bearer ours");
            let got: Value = serde_json::from_slice(&body(request).await).unwrap();
            assert_eq!(got["apiVersion"], "authentication.k8s.io/v1");
            count.fetch_add(1, Relaxed);
            let user =
                json!({"username": "mary", "uid": "7", "groups": ["dev"], "extra": {"Team": ["blue"]}});
            let status = match got["spec"]["token"].as_str().unwrap() {
                "mary" => json!({"authenticated": true, "user": user}),
                "vault" => json!({"authenticated": true, "user": user, "audiences": ["vault"]}),
                "broken" => return answer(400, "no"),
                _ => json!({"authenticated": false, "error": "never heard of it"}),
            };
            answer(
                200,
                json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status})
                    .to_string(),
            )
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let remote = Remote::load(&kubeconfig(folder.path(), &server), Arc::new(Nowhere)).unwrap();
    let webhook = TokenWebhook { remote, version: "v1".to_owned(), cache_ttl: Duration::from_secs(120) };
    let bed = Bed::configured(More { token_webhook: Some(webhook), ..More::default() }).await;
    let status = review(&bed, "mary", &[]).await;
    let wanted = json!({"username": "mary", "uid": "7", "groups": ["dev", "system:authenticated"], "extra": {"team": ["blue"]}});
    assert_eq!(status["user"], wanted);
    assert_eq!(status["audiences"], json!([DEFAULT_ISSUER]));
    assert!(bearer(&bed, "mary").await.is_some());
    assert_eq!(asked.load(Relaxed), 1, "the answer is remembered");
    assert!(bearer(&bed, "vault").await.is_none(), "for somebody else");
    assert_eq!(review(&bed, "vault", &["vault"]).await["audiences"], json!(["vault"]));
    assert!(bearer(&bed, "stranger").await.is_none());
    let status = review(&bed, "stranger", &[]).await;
    assert!(status["error"].as_str().unwrap().contains("never heard of it"), "{status}");
    let before = asked.load(Relaxed);
    for _ in 0..2 {
        assert!(bearer(&bed, "broken").await.is_none(), "a failure believes nobody");
    }
    assert_eq!(asked.load(Relaxed), before + 2, "and is not remembered");

    // Another takes its place, and what the first one said is forgotten.
    let nobody = json!({"kind": "TokenReview", "status": {"authenticated": false}});
    let other = TestServer::start("127.0.0.1", None, move |_| {
        let nobody = nobody.to_string();
        async move { answer(200, nobody) }
    });
    let remote = Remote::load(&kubeconfig(folder.path(), &other), Arc::new(Nowhere)).unwrap();
    let cache_ttl = Duration::from_secs(120);
    bed.server.set_token_webhook(TokenWebhook { remote, version: "v1".to_owned(), cache_ttl });
    assert!(bearer(&bed, "mary").await.is_none());
    assert_eq!(asked.load(Relaxed), before + 2, "the first one is asked no more");
}
