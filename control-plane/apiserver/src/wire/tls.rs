//! The TLS configuration of the server: its certificate, and client certificates that are asked for but not required.
//!
//! A client certificate that the CA did not sign does not fail the handshake, as with upstream: the request is answered
//! with 401 unless a token authenticates it. So the handshake checks possession of the key only and
//! [`super::peer::PeerCertificate::judge`] checks the chain.

use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::CryptoProvider,
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject};
use std::sync::Arc;

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A PEM text that holds no usable certificate or key.
    #[error("{what} is not readable as PEM")]
    Pem {
        /// Which text.
        what: &'static str,
        /// Why.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// The library refuses the combination.
    #[error("TLS cannot be configured")]
    Rustls(#[from] Error),
    /// The client CA cannot verify anything.
    #[error("the client CA cannot be used: {0}")]
    ClientCa(String),
}

/// What the server needs to speak TLS.
pub(crate) struct ServerTls {
    /// For the acceptor.
    pub(crate) config: Arc<ServerConfig>,
    /// For judging client certificates.
    pub(crate) clients: Clients,
}

/// Whose certificates clients may have.
pub(crate) struct Clients {
    /// Signed by the client CA: users.
    pub(crate) users: Arc<dyn ClientCertVerifier>,
    /// Signed by the front proxies' CA, where there is one: those whose word on who asks is believed.
    pub(crate) front_proxies: Option<Arc<dyn ClientCertVerifier>>,
}

/// The one crypto provider.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Reads all certificates of a PEM text.
pub(crate) fn certificates(what: &'static str, pem: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| TlsError::Pem { what, source })
}

/// Reads the private key of a PEM text.
pub(crate) fn private_key(what: &'static str, pem: &str) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|source| TlsError::Pem { what, source })
}

/// Builds a root store from a PEM bundle.
pub(crate) fn roots(what: &'static str, pem: &str) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(what, pem)? {
        roots.add(certificate)?;
    }
    Ok(roots)
}

/// The server's side: certificate, key, the CA of client certificates and, if any, that of front proxies, all PEM.
pub(crate) fn server(
    cert_pem: &str,
    key_pem: &str,
    client_ca_pem: &str,
    front_proxy_ca_pem: Option<&str>,
) -> Result<ServerTls, TlsError> {
    let verifier = |what, pem| {
        let roots = Arc::new(roots(what, pem)?);
        let built = WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
        built.map_err(|error| TlsError::ClientCa(error.to_string()))
    };
    let users = verifier("the client CA", client_ca_pem)?;
    let front_proxies = front_proxy_ca_pem.map(|pem| verifier("the front proxies' CA", pem)).transpose()?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(Arc::new(AskOnly(users.clone())))
        .with_single_cert(
            certificates("the serving certificate", cert_pem)?,
            private_key("the serving key", key_pem)?,
        )?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(ServerTls { config: Arc::new(config), clients: Clients { users, front_proxies } })
}

/// Asks for a certificate, accepts any (also none), and leaves judging the chain to the request.
#[derive(Debug)]
struct AskOnly(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for AskOnly {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// None: a client with a certificate of either authority then shows it.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
