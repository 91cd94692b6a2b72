//! Who may call: clients with a certificate of the cluster's CA, and of those only the API server. Certificate, key and CA are
//! read again when they change; who has connected goes on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use x509_parser::prelude::{FromDer, X509Certificate};

use keelson_watched::Watched;

/// The API server's identity towards kubelets, as kubeadm names it, and the group of administrators.
const API_SERVER: &str = "kube-apiserver-kubelet-client";
const ADMINISTRATORS: &str = "system:masters";

/// Certificate, key and CA of clients.
pub(super) struct Files {
    paths: [PathBuf; 3],
    watched: Watched,
}

impl Files {
    /// From what they hold now.
    pub(super) fn new(cert: &Path, key: &Path, client_ca: &Path) -> Self {
        let paths = [cert, key, client_ca].map(Path::to_owned);
        Self { watched: Watched::new(paths.clone()), paths }
    }

    /// TLS as they say now.
    pub(super) fn acceptor(&self) -> anyhow::Result<TlsAcceptor> {
        let [cert, key, client_ca] = &self.paths;
        acceptor(cert, key, client_ca)
    }

    /// Offers what they come to say, until `shutdown`. What cannot be used changes nothing: a pair is two files, and one is
    /// written before the other.
    pub(super) async fn follow(mut self, current: watch::Sender<TlsAcceptor>, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.watched.changed() => {}
            }
            match self.acceptor() {
                Ok(acceptor) => {
                    tracing::info!("the certificates of the kubelet's API were read again");
                    current.send_replace(acceptor);
                }
                Err(error) => tracing::warn!(
                    error = format!("{error:#}"),
                    "the certificates of the kubelet's API changed and cannot be used yet"
                ),
            }
        }
    }
}

/// TLS with our certificate; clients must show one of `client_ca`.
fn acceptor(cert: &Path, key: &Path, client_ca: &Path) -> anyhow::Result<TlsAcceptor> {
    let read = |path: &Path| -> anyhow::Result<Vec<CertificateDer<'static>>> {
        let certificates = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
        certificates.with_context(|| format!("reading certificates from {}", path.display()))
    };
    let key_file =
        PrivateKeyDer::from_pem_file(key).with_context(|| format!("reading the key {}", key.display()))?;
    let mut roots = RootCertStore::empty();
    for certificate in read(client_ca)? {
        roots.add(certificate).with_context(|| format!("{} holds no usable CA", client_ca.display()))?;
    }
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build()?;
    let mut config = ServerConfig::builder()
        .with_client_cert_verifier(verifier)
        .with_single_cert(read(cert)?, key_file)
        .with_context(|| format!("{} and {} do not fit together", cert.display(), key.display()))?;
    // Upgraded connections need HTTP/1.1; nothing else is offered.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Lets the API server and administrators in. The error is who it was instead.
pub(super) fn authorize(connection: &ServerConnection) -> Result<(), String> {
    let certificate = connection.peer_certificates().and_then(<[_]>::first).ok_or("nobody")?;
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(|error| error.to_string())?;
    let subject = certificate.subject();
    let is = |text: Result<&str, _>, wanted: &str| text.is_ok_and(|text| text == wanted);
    let known = subject.iter_common_name().any(|name| is(name.as_str(), API_SERVER))
        || subject.iter_organization().any(|group| is(group.as_str(), ADMINISTRATORS));
    if known { Ok(()) } else { Err(subject.to_string()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let cert = rcgen::CertificateParams::new(vec!["node".to_owned()]).unwrap().self_signed(&key).unwrap();
        (cert.pem(), key.serialize_pem())
    }

    #[test]
    fn what_changes_is_taken_over_once_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let [cert, key, ca] = ["cert", "key", "ca"].map(|name| folder.path().join(name));
        let (first, second) = (pair(), pair());
        std::fs::write(&cert, &first.0).unwrap();
        std::fs::write(&key, &first.1).unwrap();
        std::fs::write(&ca, &first.0).unwrap();
        let mut files = Files::new(&cert, &key, &ca);
        files.acceptor().unwrap();
        std::fs::write(&key, &second.1).unwrap();
        assert!(files.watched.look() && files.acceptor().is_err(), "half of a pair");
        std::fs::write(&cert, &second.0).unwrap();
        assert!(files.watched.look() && files.acceptor().is_ok());
        std::fs::write(&ca, format!("{}{}", first.0, second.0)).unwrap();
        assert!(files.watched.look() && files.acceptor().is_ok(), "a bundle");
    }
}
