//! The client against a TLS server of the test: who is believed, what is reused, and what a hostile answer costs.

use bytes::Bytes;
use keelson_webhook::{
    Client, ClientConfig, Limits, Resolve, ResolveError, ServiceReference, Target, Transport, Trust,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

/// A self-signed certificate that calls itself an authority or not.
struct Certified {
    pem: String,
    config: Arc<rustls::ServerConfig>,
}

fn certified(name: &str, authority: bool) -> Certified {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    if authority {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    let cert = params.self_signed(&key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = rustls_pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    Certified { pem: cert.pem(), config: Arc::new(config) }
}

/// What the server says to every request.
#[derive(Clone)]
enum Says {
    Ok(&'static str),
    Raw(&'static str),
    Endless,
    Nothing,
}

struct Hook {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    pem: String,
}

async fn hook(certified: Certified, says: Says) -> Hook {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    let acceptor = TlsAcceptor::from(certified.config);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, says, count) = (acceptor.clone(), says.clone(), count.clone());
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                count.fetch_add(1, SeqCst);
                while request(&mut stream).await.is_some() {
                    if answer(&mut stream, &says).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    Hook { address, connections, pem: certified.pem }
}

/// Reads a request with a Content-Length.
async fn request(stream: &mut (impl AsyncReadExt + Unpin)) -> Option<String> {
    let mut text = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let read = stream.read(&mut chunk).await.ok().filter(|read| *read > 0)?;
        text.extend_from_slice(&chunk[..read]);
        let seen = String::from_utf8_lossy(&text).into_owned();
        let Some((head, body)) = seen.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
            return Some(seen);
        }
    }
}

async fn answer(stream: &mut (impl AsyncWriteExt + Unpin), says: &Says) -> std::io::Result<()> {
    match says {
        Says::Ok(text) => {
            let length = text.len();
            stream
                .write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{text}").as_bytes())
                .await
        }
        Says::Raw(text) => stream.write_all(text.as_bytes()).await,
        Says::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n").await?;
            loop {
                stream.write_all(&[b'x'; 16384]).await?;
            }
        }
        Says::Nothing => std::future::pending().await,
    }
}

struct Fixed(Result<SocketAddr, ResolveError>);

impl Resolve for Fixed {
    fn resolve(&self, _: &str, _: &str, _: u16) -> Result<SocketAddr, ResolveError> {
        self.0.clone()
    }
}

fn client(resolved: Result<SocketAddr, ResolveError>) -> Client {
    Client::new(Arc::new(Transport::new(Arc::new(Fixed(resolved)), None)))
}

fn service(pem: &str) -> ClientConfig {
    ClientConfig {
        target: Target::Service(ServiceReference {
            namespace: "ns".into(),
            name: "hook".into(),
            path: "/check".into(),
            port: 443,
        }),
        trust: Trust::Bundle(Bytes::from(pem.to_owned())),
    }
}

const LIMITS: Limits = Limits { timeout: Duration::from_secs(2), answer_bytes_max: 1 << 20 };

async fn post(client: &Client, config: &ClientConfig) -> Result<String, String> {
    let answer = client.post(config, Bytes::from_static(b"{}"), LIMITS).await;
    answer.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()).map_err(|error| error.to_string())
}

const ASKED: &str = r#"Post "https://hook.ns.svc:443/check?timeout=2s": "#;

#[tokio::test]
async fn a_connection_serves_many_reviews() {
    for authority in [false, true] {
        let hook = hook(certified("hook.ns.svc", authority), Says::Ok("fine")).await;
        let client = client(Ok(hook.address));
        for _ in 0..3 {
            assert_eq!(post(&client, &service(&hook.pem)).await.as_deref(), Ok("fine"), "{authority}");
        }
        assert_eq!(hook.connections.load(SeqCst), 1);
    }
}

#[tokio::test]
async fn only_the_configured_authority_and_name_are_believed() {
    let other = hook(certified("other.ns.svc", false), Says::Ok("fine")).await;
    let refused = post(&client(Ok(other.address)), &service(&other.pem)).await.unwrap_err();
    assert!(refused.starts_with(ASKED) && refused.contains("x509: certificate is valid for"), "{refused}");
    let refused =
        post(&client(Ok(other.address)), &service(&certified("hook.ns.svc", true).pem)).await.unwrap_err();
    let why = "tls: failed to verify certificate: x509: certificate signed by unknown authority";
    assert_eq!(refused, format!("{ASKED}{why}"));
    let refused = post(&client(Ok(other.address)), &service("nothing")).await.unwrap_err();
    assert!(refused.contains("unable to parse bytes as PEM block"), "{refused}");
}

#[tokio::test]
async fn a_service_that_is_not_there_is_named() {
    let missing = client(Err(ResolveError::NoEndpoints("hook".into())));
    let refused = post(&missing, &service(&certified("hook.ns.svc", false).pem)).await.unwrap_err();
    assert_eq!(refused, format!(r#"{ASKED}no endpoints available for service "hook""#));
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let refused =
        post(&client(Ok(closed)), &service(&certified("hook.ns.svc", false).pem)).await.unwrap_err();
    assert_eq!(refused, format!("{ASKED}dial tcp {closed}: connect: connection refused"));
}

#[tokio::test]
async fn a_hostile_answer_is_bounded_and_named() {
    let rows = [
        (Says::Endless, "the answer has more than 1048576 bytes"),
        (Says::Nothing, "context deadline exceeded"),
        (Says::Raw("SSH-2.0-OpenSSH\r\n\r\n"), "invalid HTTP version parsed"),
        (
            Says::Raw("HTTP/1.1 302 Found\r\nlocation: https://elsewhere/\r\ncontent-length: 0\r\n\r\n"),
            "the server rejected our request for an unknown reason",
        ),
        (
            Says::Raw("HTTP/1.1 500 Oops\r\ncontent-length: 3\r\n\r\nbad"),
            r#"an error on the server ("bad") has prevented the request from succeeding"#,
        ),
        (
            Says::Raw("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"),
            "the server could not find the requested resource",
        ),
    ];
    for (says, wanted) in rows {
        let hook = hook(certified("hook.ns.svc", false), says).await;
        let refused = post(&client(Ok(hook.address)), &service(&hook.pem)).await.unwrap_err();
        assert!(refused.ends_with(wanted), "{refused}");
    }
}
