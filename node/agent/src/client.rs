//! Clients of the API server, as a kubeconfig says at the time: it and the files that it names are followed, so that a
//! certificate that was renewed (`certificates`, or somebody else) is used without a restart.
//!
//! ```text
//! kubeconfig ──Watched──▶ a kube::Client of its own connections ─┐
//!                                       the client that callers hold ┴─▶ each request goes by the latest
//! ```
//! Requests and watches under way end on the connections that they began on; those connections go with the last of them.

use std::path::{Path, PathBuf};

use anyhow::Context;
use http::{HeaderValue, Request, header::USER_AGENT};
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::sync::watch;

use keelson_watched::Watched;

/// A client from a kubeconfig, as its current context. What it writes is `agent`'s, a program's name as upstream has it.
pub(crate) async fn client(kubeconfig: &Path, agent: &'static str) -> anyhow::Result<kube::Client> {
    // Before they are read, so that no change is missed.
    let watched = Watched::new(files(kubeconfig));
    let first = connect(kubeconfig, agent).await?;
    let namespace = first.default_namespace().to_owned();
    let (current, latest) = watch::channel(first);
    tokio::spawn(follow(kubeconfig.to_owned(), agent, watched, current));
    let service = tower::service_fn(move |request: Request<Body>| {
        let client = latest.borrow().clone();
        async move { client.send(request).await }
    });
    Ok(kube::Client::new(service, namespace))
}

/// Offers a new client whenever the files change, until nobody holds the outer one. What cannot be used changes nothing: a
/// pair may be two files, and one is written before the other.
async fn follow(
    kubeconfig: PathBuf,
    agent: &'static str,
    mut watched: Watched,
    current: watch::Sender<kube::Client>,
) {
    loop {
        tokio::select! {
            () = current.closed() => return,
            () = watched.changed() => {}
        }
        watched = Watched::new(files(&kubeconfig));
        match connect(&kubeconfig, agent).await {
            Ok(client) => {
                current.send_replace(client);
                tracing::info!(kubeconfig = %kubeconfig.display(), "the kubeconfig was read again");
            }
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(error, "the kubeconfig changed and cannot be used yet; the old one goes on");
            }
        }
    }
}

async fn connect(kubeconfig: &Path, agent: &'static str) -> anyhow::Result<kube::Client> {
    let file = read(kubeconfig)?;
    let mut config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .with_context(|| format!("the kubeconfig {} cannot be used", kubeconfig.display()))?;
    config.headers.push((USER_AGENT, HeaderValue::from_static(agent)));
    Ok(kube::Client::try_from(config)?)
}

pub(crate) fn read(kubeconfig: &Path) -> anyhow::Result<Kubeconfig> {
    Kubeconfig::read_from(kubeconfig)
        .with_context(|| format!("reading the kubeconfig {}", kubeconfig.display()))
}

/// The kubeconfig, and the certificates and keys that it names. Files of tokens are read anew by the client itself.
fn files(kubeconfig: &Path) -> Vec<PathBuf> {
    let mut files = vec![kubeconfig.to_owned()];
    let Ok(config) = read(kubeconfig) else { return files };
    let users = config.auth_infos.into_iter().filter_map(|named| named.auth_info);
    files.extend(users.flat_map(|user| [user.client_certificate, user.client_key]).flatten().map(Into::into));
    let clusters = config.clusters.into_iter().filter_map(|named| named.cluster);
    files.extend(clusters.filter_map(|cluster| cluster.certificate_authority).map(Into::into));
    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificates::tests::{Ca, kubeconfig};
    use http_body_util::Full;
    use hyper_util::rt::TokioIo;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use std::sync::Arc;
    use std::time::Duration;

    /// Answers each request with the common name of its connection's certificate.
    async fn serve(ca: &Ca) -> String {
        let pair = ca.pair("server", &["127.0.0.1"], (time::Duration::HOUR, time::Duration::DAY));
        let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(der(&ca.pem)).unwrap();
        let verifier = rustls::server::WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
        let key = PrivateKeyDer::from_pem_slice(pair.key_pem.as_bytes()).unwrap();
        let config = rustls::ServerConfig::builder().with_client_cert_verifier(verifier);
        let config = config.with_single_cert(vec![der(&pair.cert_pem)], key).unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("https://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let stream = acceptor.accept(stream).await.unwrap();
                    let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
                    let (_, cert) = x509_parser::parse_x509_certificate(&shown).unwrap();
                    let name = cert.subject().iter_common_name().next().unwrap().as_str().unwrap().to_owned();
                    let answer = hyper::service::service_fn(move |_| {
                        let body = Full::new(bytes::Bytes::from(name.clone()));
                        async { Ok::<_, std::convert::Infallible>(http::Response::new(body)) }
                    });
                    let http = hyper::server::conn::http1::Builder::new();
                    let _ = http.serve_connection(TokioIo::new(stream), answer).await;
                });
            }
        });
        address
    }

    #[tokio::test]
    async fn a_client_that_is_there_shows_the_new_certificate_once_the_kubeconfig_has_it() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (folder, ca) = (tempfile::tempdir().unwrap(), Ca::new());
        let (server, file) = (serve(&ca).await, folder.path().join("kubeconfig"));
        let life = (time::Duration::HOUR, time::Duration::DAY);
        let write = |name: &str| {
            std::fs::write(&file, kubeconfig(&ca.pair(name, &[], life), &ca.pem, &server)).unwrap();
        };
        write("first");
        let client = client(&file, "kubelet").await.unwrap();
        let asked = async || client.request_text(Request::get("/").body(Vec::new()).unwrap()).await.unwrap();
        assert_eq!(asked().await, "first");
        std::fs::write(&file, "no kubeconfig").unwrap();
        assert_eq!(asked().await, "first", "what cannot be used changes nothing");
        write("second");
        let changed = async {
            while asked().await != "second" {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), changed).await.expect("the new certificate is shown");
    }
}
