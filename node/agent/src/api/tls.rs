//! TLS of the kubelet's API. A client certificate is asked for and not required: what it proves is judged by `auth`, and one that
//! proves nothing fails no handshake, as with upstream. Certificate, key and CA are read again when they change; who has
//! connected goes on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use keelson_watched::Watched;

use super::auth::Caller;

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
    pub(super) fn read(&self) -> anyhow::Result<Tls> {
        let [cert, key, client_ca] = &self.paths;
        Tls::read(cert, key, client_ca)
    }

    /// Offers what they come to say, until `shutdown`. What cannot be used changes nothing: a pair is two files, and one is
    /// written before the other.
    pub(super) async fn follow(mut self, current: watch::Sender<Tls>, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.watched.changed() => {}
            }
            match self.read() {
                Ok(tls) => {
                    tracing::info!("the certificates of the kubelet's API were read again");
                    current.send_replace(tls);
                }
                Err(error) => tracing::warn!(
                    error = format!("{error:#}"),
                    "the certificates of the kubelet's API changed and cannot be used yet"
                ),
            }
        }
    }
}

/// The server's side.
#[derive(Clone)]
pub(super) struct Tls {
    acceptor: TlsAcceptor,
    /// Judges chains of clients.
    clients: Arc<dyn ClientCertVerifier>,
}

impl Tls {
    /// With our certificate; those of clients are to be of `client_ca`.
    fn read(cert: &Path, key: &Path, client_ca: &Path) -> anyhow::Result<Self> {
        let key_file = PrivateKeyDer::from_pem_file(key)
            .with_context(|| format!("reading the key {}", key.display()))?;
        let mut roots = RootCertStore::empty();
        for certificate in certificates(client_ca)? {
            roots.add(certificate).with_context(|| format!("{} holds no usable CA", client_ca.display()))?;
        }
        let clients = WebPkiClientVerifier::builder(Arc::new(roots)).build()?;
        let mut config = ServerConfig::builder()
            .with_client_cert_verifier(Arc::new(KeyAlone(clients.clone())))
            .with_single_cert(certificates(cert)?, key_file)
            .with_context(|| format!("{} and {} do not fit together", cert.display(), key.display()))?;
        // Upgraded connections need HTTP/1.1; nothing else is offered.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), clients })
    }

    /// The handshake, and who is at the other end.
    pub(super) async fn accept(&self, stream: TcpStream) -> std::io::Result<(TlsStream<TcpStream>, Caller)> {
        let stream = self.acceptor.accept(stream).await?;
        let caller = Caller::judge(stream.get_ref().1.peer_certificates(), self.clients.as_ref());
        Ok((stream, caller))
    }
}

fn certificates(file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    certificates.with_context(|| format!("reading certificates from {}", file.display()))
}

/// The handshake's part of a client certificate: that the client has its key. Who signed it is looked at afterwards.
#[derive(Debug)]
struct KeyAlone(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for KeyAlone {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
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
        files.read().unwrap();
        std::fs::write(&key, &second.1).unwrap();
        assert!(files.watched.look() && files.read().is_err(), "half of a pair");
        std::fs::write(&cert, &second.0).unwrap();
        assert!(files.watched.look() && files.read().is_ok());
        std::fs::write(&ca, format!("{}{}", first.0, second.0)).unwrap();
        assert!(files.watched.look() && files.read().is_ok(), "a bundle");
    }
}
