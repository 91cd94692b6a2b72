//! A TLS server for tests: a webhook, an extension API server. A runtime and a thread of its own, so that tests without
//! a runtime can have one.

use crate::{Body, BoxError};
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, KeyPair};
use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

type Handler = Arc<dyn Fn(Request<Incoming>) -> BoxFuture<'static, Response<Body>> + Send + Sync>;

/// A running server; ends when dropped.
pub struct TestServer {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its certificate, which is its own authority.
    pub ca_pem: String,
    _runtime: Runtime,
}

struct Runtime(Option<tokio::runtime::Runtime>);

impl Drop for Runtime {
    fn drop(&mut self) {
        // Dropping one inside another's task panics; going in the background does not.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl TestServer {
    /// Serves on loopback under `name`. With `client_ca_pem` only clients with a certificate of that authority are let in.
    ///
    /// # Panics
    /// When the machine has no loopback or no thread to give.
    pub fn start<F>(
        name: &str,
        client_ca_pem: Option<&str>,
        handler: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        Self::start_at(IpAddr::from([127, 0, 0, 1]), name, client_ca_pem, handler)
    }

    /// Serves at another address of this machine.
    ///
    /// # Panics
    /// As [`TestServer::start`].
    pub fn start_at<F>(
        ip: IpAddr,
        name: &str,
        client_ca_pem: Option<&str>,
        handler: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let key = KeyPair::generate().expect("a key");
        let names = vec![name.to_owned(), "127.0.0.1".to_owned()];
        let cert = CertificateParams::new(names).expect("a name").self_signed(&key).expect("a certificate");
        let config = config(&cert, &key, client_ca_pem);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let listener = std::net::TcpListener::bind((ip, 0)).expect("a port");
        listener.set_nonblocking(true).expect("a socket of our own");
        let address = listener.local_addr().expect("an address");
        let handler: Handler = Arc::new(move |request| Box::pin(handler(request)));
        runtime.spawn(accept(listener, TlsAcceptor::from(config), handler));
        Self { address, ca_pem: cert.pem(), _runtime: Runtime(Some(runtime)) }
    }
}

fn config(cert: &rcgen::Certificate, key: &KeyPair, client_ca_pem: Option<&str>) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("the library's own versions");
    let builder = match client_ca_pem {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            let ca = CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate in PEM");
            roots.add(ca).expect("an authority");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.expect("a verifier"))
        }
    };
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    Arc::new(builder.with_single_cert(vec![cert.der().clone()], key).expect("a pair"))
}

async fn accept(listener: std::net::TcpListener, acceptor: TlsAcceptor, handler: Handler) {
    let listener = TcpListener::from_std(listener).expect("a listener");
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, handler) = (acceptor.clone(), handler.clone());
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = service_fn(move |request| {
                let answer = handler(request);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            // A client that goes away is no failure of the server.
            let _ =
                http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
        });
    }
}

/// An answer at hand.
///
/// # Panics
/// When `code` is no HTTP code.
pub fn answer(code: u16, body: impl Into<Bytes>) -> Response<Body> {
    let body = Full::new(body.into()).map_err(|never| -> BoxError { match never {} }).boxed_unsync();
    let answer = Response::builder().status(code).header("content-type", "application/json");
    answer.body(body).expect("a code of HTTP")
}

/// The whole body of a request.
///
/// # Panics
/// When the client breaks off.
pub async fn body(request: Request<Incoming>) -> Bytes {
    request.into_body().collect().await.expect("a whole body").to_bytes()
}
