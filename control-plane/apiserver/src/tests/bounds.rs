//! The bounds of requests over real TLS: deadlines, warnings, names of requests, long heads, slow and long bodies, GOAWAY.

use super::*;
use crate::{HttpOptions, wire::tls};
use bytes::Bytes;
use futures::{StreamExt, stream};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

/// The bed has no roles: strangers are answered that they may not.
const UNKNOWN: u16 = 403;

/// The bed's server at an address of its own.
async fn served(bed: &Bed) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let read = |name| std::fs::read_to_string(names::pki_file(bed._folder.path(), name)).unwrap();
    let (cert, key, ca) = (read(names::APISERVER_CERT), read(names::APISERVER_KEY), read(names::CA_CERT));
    let server = bed.server.clone();
    tokio::spawn(async move { server.serve(vec![listener], &cert, &key, &ca).await });
    address
}

/// One HTTP/2 connection without credentials, and the task that ends with it.
async fn connect(bed: &Bed, to: SocketAddr) -> (http2::SendRequest<Body>, tokio::task::JoinHandle<bool>) {
    let ca = std::fs::read_to_string(names::pki_file(bed._folder.path(), names::CA_CERT)).unwrap();
    let mut config = ClientConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(tls::roots("the CA", &ca).unwrap())
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(to).await.unwrap();
    let name = ServerName::IpAddress(to.ip().into());
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    (sender, tokio::spawn(async move { connection.await.is_ok() }))
}

fn request(uri: &str) -> Request<Body> {
    Request::builder().uri(format!("https://127.0.0.1{uri}")).body(body::empty()).unwrap()
}

#[tokio::test]
async fn a_request_ends_with_the_time_that_it_asks_for() {
    let bed = Bed::new().await;
    for (timeout, code, message) in [
        ("5", 400, r#"invalid timeout specified in the request URL - time: missing unit in duration "5""#),
        ("30ms", 504, "Timeout: request did not complete within the allotted timeout"),
    ] {
        // A body that never comes to its end.
        let body = body::stream(stream::iter([Ok(Bytes::from_static(b"{"))]).chain(stream::pending()));
        let request = Request::builder().method("POST").uri(format!("{MAPS}?timeout={timeout}"));
        let answer = bed.server.answer(Bed::root(), request.body(body).unwrap()).await;
        assert_eq!(answer.status(), code, "{timeout}");
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        let status: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!((&status["kind"], &status["message"]), (&"Status".into(), &message.into()), "{status}");
    }
    // A watch has a time of its own: what would be refused elsewhere is nothing to it.
    let uri = format!("{MAPS}?watch=1&timeoutSeconds=1&timeout=5");
    assert_eq!(bed.get(&uri).await.code, 200);
    assert_eq!(bed.get(&format!("{MAPS}?timeout=10s")).await.code, 200);
}

#[tokio::test]
async fn a_body_that_says_it_is_too_long_is_not_read() {
    let bed = Bed::new().await;
    let most = crate::BODY_BYTES_MAX;
    let body = body::full(Bytes::from(vec![b' '; most + 1]));
    let request = Request::builder().method("POST").uri(MAPS).body(body).unwrap();
    let answer = bed.server.answer(Bed::root(), request).await;
    assert_eq!(answer.status(), 413);
}

#[tokio::test]
async fn a_request_goes_by_the_name_that_it_brings() {
    let bed = Bed::new().await;
    let long = "a".repeat(300);
    for (given, wanted) in [(Some(&*long), Some(&*long)), (Some("b"), Some("b")), (None, None)] {
        let headers: Vec<(&str, &str)> = given.iter().map(|id| ("audit-id", *id)).collect();
        let got = bed.send("GET", "/version", &headers, "").await;
        let named = got.headers["audit-id"].to_str().unwrap();
        assert_eq!(named, wanted.unwrap_or(named));
        assert!(uuid::Uuid::parse_str(named).is_ok() || wanted.is_some(), "{named}");
    }
}

#[tokio::test]
async fn long_heads_are_read_and_longer_ones_refused() {
    let bed = Bed::new().await;
    let address = served(&bed).await;
    let (mut client, _) = connect(&bed, address).await;
    // As long as a selector of many names makes it, and more than hyper reads unless it is told to.
    let mut long = request("/version");
    long.headers_mut().insert("x-long", "a".repeat(100_000).parse().unwrap());
    assert_eq!(client.send_request(long).await.unwrap().status(), UNKNOWN);
    let long = request(&format!("/version?x={}", "a".repeat(60_000)));
    assert_eq!(client.send_request(long).await.unwrap().status(), UNKNOWN);
    let mut longer = request("/version");
    longer.headers_mut().insert("x-long", "a".repeat(500_000).parse().unwrap());
    assert_eq!(client.send_request(longer).await.unwrap().status(), 431);
    bed.server.inner.shutdown.cancel();
}

#[tokio::test]
async fn a_client_is_told_to_go_elsewhere_and_still_answered() {
    let http = HttpOptions { goaway_chance: 1.0, ..HttpOptions::default() };
    let bed = Bed::made(Arc::new(AdmitAll), |config| config.http = http).await;
    let address = served(&bed).await;
    let (mut client, ended) = connect(&bed, address).await;
    assert_eq!(client.send_request(request("/version")).await.unwrap().status(), UNKNOWN);
    let ended = tokio::time::timeout(Duration::from_secs(10), ended).await;
    assert!(ended.expect("the server ends the connection").unwrap(), "without an error");
    bed.server.inner.shutdown.cancel();
}

#[tokio::test]
async fn connections_stay_where_nobody_is_told_to_go() {
    let bed = Bed::new().await;
    let address = served(&bed).await;
    let (mut client, ended) = connect(&bed, address).await;
    for _ in 0..20 {
        assert_eq!(client.send_request(request("/version")).await.unwrap().status(), UNKNOWN);
    }
    assert!(!ended.is_finished());
    bed.server.inner.shutdown.cancel();
    assert!(tokio::time::timeout(Duration::from_secs(10), ended).await.expect("it drains").unwrap());
}
