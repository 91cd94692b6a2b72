//! Who may call: clients with a certificate of the cluster's CA, and of those only the API server.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection};
use tokio_rustls::TlsAcceptor;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The API server's identity towards kubelets, as kubeadm names it, and the group of administrators.
const API_SERVER: &str = "kube-apiserver-kubelet-client";
const ADMINISTRATORS: &str = "system:masters";

/// TLS with our certificate; clients must show one of `client_ca`.
pub(super) fn acceptor(cert: &Path, key: &Path, client_ca: &Path) -> anyhow::Result<TlsAcceptor> {
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
