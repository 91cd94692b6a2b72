//! Callers over a real connection, and a scripted API server that knows some tokens and rights.

use super::*;
use crate::api::tls::{Files, Tls};
use crate::api::{Server, accept};
use crate::certificates::tests::{Ca, Pair};
use axum::Router;
use axum::routing::{any, get};
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use kube::client::Body;
use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

const TOKENS: [(&str, &str); 2] = [("token-of-scraper", "scraper"), ("token-of-viewer", "viewer")];
const RIGHTS: [(&str, &str, &str); 4] = [
    ("scraper", "get", "metrics"),
    ("viewer", "get", "pods"),
    ("jane", "get", "proxy"),
    ("jane", "delete", "metrics"),
];
const DAY: (time::Duration, time::Duration) = (time::Duration::HOUR, time::Duration::DAY);

/// An API server that reviews, and remembers of what.
#[derive(Default)]
struct ApiServer {
    asked: Mutex<Vec<Value>>,
    is_down: AtomicBool,
}

impl ApiServer {
    fn client(self: &Arc<Self>) -> kube::Client {
        let server = Arc::clone(self);
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = Arc::clone(&server);
            async move {
                let (head, body) = request.into_parts();
                let mut review: Value = serde_json::from_slice(&body.collect_bytes().await?).unwrap();
                server.asked.lock().push(review["spec"].clone());
                if server.is_down.load(Ordering::Relaxed) {
                    return Err(kube::Error::Service("connection refused".into()));
                }
                review["status"] = answer(&head, &review);
                Ok(Response::builder().status(201).body(Body::from(review.to_string().into_bytes())).unwrap())
            }
        });
        kube::Client::new(service, "default")
    }

    fn asked(&self) -> usize {
        self.asked.lock().len()
    }
}

fn answer(head: &Parts, review: &Value) -> Value {
    assert_eq!(head.method, Method::POST);
    let spec = &review["spec"];
    match (head.uri.path(), review["kind"].as_str().unwrap()) {
        ("/apis/authentication.k8s.io/v1/tokenreviews", "TokenReview") => {
            assert!(spec["audiences"].is_null(), "the API server's own");
            match TOKENS.iter().find(|(token, _)| spec["token"] == *token) {
                Some((_, name)) => json!({ "authenticated": true, "user": { "username": name, "uid": "u" } }),
                None => json!({ "error": "invalid bearer token" }),
            }
        }
        ("/apis/authorization.k8s.io/v1/subjectaccessreviews", "SubjectAccessReview") => {
            let groups = spec["groups"].as_array().unwrap();
            assert!(groups.contains(&json!("system:authenticated")), "{spec}");
            let what = &spec["resourceAttributes"];
            assert_eq!((&what["resource"], &what["name"]), (&json!("nodes"), &json!("n1")));
            let allowed = RIGHTS.iter().any(|(user, verb, subresource)| {
                spec["user"] == *user && what["verb"] == *verb && what["subresource"] == *subresource
            });
            json!({ "allowed": allowed })
        }
        other => panic!("{other:?}"),
    }
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

fn roots(ca: &Ca) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(der(&ca.pem)).unwrap();
    Arc::new(roots)
}

/// A node's API with routes of the real one's names.
struct Bed {
    ca: Ca,
    api: Arc<ApiServer>,
    address: SocketAddr,
    _current: watch::Sender<Tls>,
    _folder: tempfile::TempDir,
}

impl Bed {
    async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (ca, api, folder) = (Ca::new(), Arc::<ApiServer>::default(), tempfile::tempdir().unwrap());
        let serving = ca.pair("n1", &["127.0.0.1"], DAY);
        let files = [("cert", &serving.cert_pem), ("key", &serving.key_pem), ("ca", &ca.pem)];
        let [cert, key, client_ca] = files.map(|(name, text)| {
            let file = folder.path().join(name);
            std::fs::write(&file, text).unwrap();
            file
        });
        let (current, tls) = watch::channel(Files::new(&cert, &key, &client_ca).read().unwrap());
        let router = Router::new()
            .route("/metrics", any(|| async { "served" }))
            .route("/pods", get(|| async { "served" }))
            .route("/exec/{namespace}/{pod}/{container}", any(upgraded))
            .nest("/keelson", Router::new().route("/flows", get(|| async { "served" })));
        let server = Server { gate: Gate::new("n1", api.client()), router };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(accept(listener, tls, Arc::new(server), CancellationToken::new()));
        Self { ca, api, address, _current: current, _folder: folder }
    }

    /// One request by a connection of its own: the code, and the text.
    async fn ask(&self, by: By<'_>, method: &str, path: &str) -> (u16, String) {
        let config = ClientConfig::builder().with_root_certificates(roots(&self.ca));
        let config = match by.certificate {
            None => config.with_no_client_auth(),
            Some(pair) => {
                let key = PrivateKeyDer::from_pem_slice(pair.key_pem.as_bytes()).unwrap();
                config.with_client_auth_cert(vec![der(&pair.cert_pem)], key).unwrap()
            }
        };
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = "127.0.0.1".try_into().unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, "n1");
        if let Some(token) = by.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if path.starts_with("/exec") {
            request = request.header(header::CONNECTION, "upgrade").header(header::UPGRADE, "websocket");
        }
        let request = request.body(Full::<Bytes>::default()).unwrap();
        let (head, body) = sender.send_request(request).await.unwrap().into_parts();
        let text = body.collect().await.unwrap().to_bytes();
        (head.status.as_u16(), String::from_utf8(text.to_vec()).unwrap())
    }
}

/// Agrees to a stream, as the runtime does.
async fn upgraded(request: axum::extract::Request) -> Response<axum::body::Body> {
    let can = request.extensions().get::<hyper::upgrade::OnUpgrade>().is_some();
    let answer =
        Response::builder().status(if can { StatusCode::SWITCHING_PROTOCOLS } else { StatusCode::OK });
    let answer = answer.header(header::CONNECTION, "upgrade").header(header::UPGRADE, "websocket");
    answer.body(axum::body::Body::empty()).unwrap()
}

/// What a caller has to show.
#[derive(Clone, Copy, Default)]
struct By<'a> {
    certificate: Option<&'a Pair>,
    token: Option<&'a str>,
}

fn token(token: &str) -> By<'_> {
    By { token: Some(token), ..By::default() }
}

fn certificate(pair: &Pair) -> By<'_> {
    By { certificate: Some(pair), ..By::default() }
}

#[tokio::test]
async fn every_request_is_judged_before_it_is_routed() {
    let bed = Bed::start().await;
    let jane = bed.ca.pair_of("team", "jane", &[], DAY);
    let foreign = Ca::new().pair_of(caller::ADMINISTRATORS, "jane", &[], DAY);
    let (jane, foreign) = (certificate(&jane), certificate(&foreign));
    let forbidden = |user: &str, verb: &str, subresources: &str| {
        format!("Forbidden (user={user}, verb={verb}, resource=nodes, subresource(s)=[{subresources}])")
    };
    let (unauthorized, served) = ("Unauthorized".to_owned(), "served".to_owned());
    let scraper = token("token-of-scraper");
    let rows = [
        (By::default(), "GET", "/metrics", 401, unauthorized.clone()),
        (By::default(), "GET", "/nowhere", 401, unauthorized.clone()),
        (By::default(), "GET", "/exec/a/b/c", 401, unauthorized.clone()),
        (token("another"), "GET", "/metrics", 401, unauthorized.clone()),
        (foreign, "GET", "/metrics", 401, unauthorized),
        (By { token: scraper.token, ..foreign }, "GET", "/metrics", 200, served.clone()),
        (scraper, "GET", "/metrics", 200, served.clone()),
        (scraper, "HEAD", "/metrics", 200, String::new()),
        (scraper, "POST", "/metrics", 403, forbidden("scraper", "create", "metrics")),
        (scraper, "GET", "/pods", 403, forbidden("scraper", "get", "pods proxy")),
        (scraper, "GET", "/exec/a/b/c", 403, forbidden("scraper", "get", "proxy")),
        (scraper, "GET", "/keelson/flows", 403, forbidden("scraper", "get", "proxy")),
        (scraper, "GET", "/nowhere", 403, forbidden("scraper", "get", "proxy")),
        (token("token-of-viewer"), "GET", "/pods", 200, served.clone()),
        (jane, "GET", "/pods", 200, served.clone()),
        (jane, "GET", "/metrics", 403, forbidden("jane", "get", "metrics")),
        (jane, "DELETE", "/metrics", 200, served.clone()),
        (jane, "GET", "/exec/a/b/c", 101, String::new()),
        (jane, "POST", "/exec/a/b/c", 403, forbidden("jane", "create", "proxy")),
        (jane, "GET", "/keelson/flows", 200, served),
        (jane, "GET", "/nowhere", 404, String::new()),
    ];
    for (by, method, path, code, text) in rows {
        assert_eq!(bed.ask(by, method, path).await, (code, text), "{method} {path} {:?}", by.token);
    }
}

#[tokio::test]
async fn the_api_server_and_administrators_are_served_unasked_and_others_not_without_an_answer() {
    let bed = Bed::start().await;
    bed.api.is_down.store(true, Ordering::Relaxed);
    let trusted = [
        bed.ca.pair_of("any", caller::API_SERVER, &[], DAY),
        bed.ca.pair_of(caller::ADMINISTRATORS, "admin", &[], DAY),
    ];
    for pair in &trusted {
        assert_eq!(bed.ask(certificate(pair), "GET", "/pods").await.0, 200);
        assert_eq!(bed.ask(certificate(pair), "POST", "/exec/a/b/c").await.0, 101);
    }
    assert_eq!(bed.api.asked(), 0);
    assert_eq!(bed.ask(token("token-of-scraper"), "GET", "/metrics").await, (401, "Unauthorized".to_owned()));
    let jane = bed.ca.pair_of("team", "jane", &[], DAY);
    let text = "Authorization error (user=jane, verb=get, resource=nodes, subresource=pods)";
    assert_eq!(bed.ask(certificate(&jane), "GET", "/pods").await, (500, text.to_owned()));
    bed.api.is_down.store(false, Ordering::Relaxed);
    assert_eq!(bed.ask(certificate(&jane), "GET", "/pods").await.0, 200, "a missing answer is not kept");
    assert_eq!(bed.ask(token("token-of-scraper"), "GET", "/metrics").await.0, 200);
}

#[tokio::test]
async fn answers_are_believed_for_a_while() {
    let (api, start) = (Arc::<ApiServer>::default(), Instant::now());
    let gate = Gate::new("n1", api.client());
    let at = |after_s| start + Duration::from_secs(after_s);
    // The token, seconds since the first question about it, whether the API server is asked.
    for (token, after_s, is_asked) in [
        ("token-of-scraper", 0, true),
        ("token-of-scraper", 119, false),
        ("token-of-viewer", 119, true),
        ("token-of-scraper", 120, true),
        ("another", 0, true),
        ("another", 9, false),
        ("another", 10, true),
    ] {
        let before = api.asked();
        let user = gate.reviews.user_of(token, at(after_s)).await.unwrap();
        assert_eq!(user.is_some(), token != "another", "{token}");
        assert_eq!(api.asked() - before, usize::from(is_asked), "{token} after {after_s} s");
    }
    let scraper = gate.reviews.user_of("token-of-scraper", at(0)).await.unwrap().unwrap();
    for (subresource, after_s, is_asked) in [
        ("metrics", 0, true),
        ("metrics", 299, false),
        ("metrics", 300, true),
        ("stats", 0, true),
        ("stats", 29, false),
        ("stats", 30, true),
    ] {
        let before = api.asked();
        let question = gate.question(&scraper, "get", subresource);
        let allowed = gate.reviews.allows(question, at(after_s)).await.unwrap();
        assert_eq!(allowed, subresource == "metrics");
        assert_eq!(api.asked() - before, usize::from(is_asked), "{subresource} after {after_s} s");
    }
}

#[test]
fn a_certificate_is_its_users_until_it_ends() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ca = Ca::new();
    let clients = WebPkiClientVerifier::builder(roots(&ca)).build().unwrap();
    let leaf = der(&ca.pair_of("team", "jane", &[], DAY).cert_pem);
    let caller = Caller::judge(Some(&[leaf]), clients.as_ref());
    let now = UnixTime::now();
    let Ok(Who::User(jane)) = caller.proven(now) else { panic!("{caller:?}") };
    assert_eq!(jane.username.as_deref(), Some("jane"));
    assert_eq!(jane.groups.as_deref().unwrap(), ["team", "system:authenticated"]);
    let credential = &jane.extra.as_ref().unwrap()["authentication.kubernetes.io/credential-id"][0];
    assert_eq!(credential.len(), "X509SHA256=".len() + 64, "{credential}");
    let later = UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs() + 24 * 3600));
    assert_eq!(caller.proven(later).unwrap_err(), "the certificate has ended");
}
