//! Whose certificates are believed, and what we show of ourselves.

use bytes::Bytes;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::CryptoProvider,
    server::ParsedCertificate,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};
use std::sync::{Arc, OnceLock};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

/// Whose certificates are believed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Trust {
    /// These, PEM.
    Bundle(Bytes),
    /// What the host believes.
    System,
    /// Any (`insecureSkipTLSVerify`).
    Anybody,
}

/// A certificate that we show, with its key.
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

/// Why no TLS can be spoken.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// No certificate in it.
    #[error("unable to load root certificates: unable to parse bytes as PEM block")]
    Bundle,
    /// The library refuses.
    #[error("TLS cannot be configured: {0}")]
    Rustls(#[from] Error),
    /// No verifier can be made of the roots.
    #[error("TLS cannot be configured: {0}")]
    Verifier(#[from] rustls::client::VerifierBuilderError),
    /// Our own certificate or key.
    #[error("the client certificate is not readable as PEM: {0}")]
    Identity(#[from] rustls_pki_types::pem::Error),
}

impl Identity {
    /// Reads certificate chain and key, PEM.
    pub fn from_pem(cert_pem: &str, key_pem: &str) -> Result<Self, TlsError> {
        let chain = CertificateDer::pem_slice_iter(cert_pem.as_bytes()).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { chain, key: PrivateKeyDer::from_pem_slice(key_pem.as_bytes())? })
    }
}

/// The client's side of TLS. HTTP/1.1 alone: over HTTP/2 all requests would stay with one endpoint of a Service
/// (<https://github.com/kubernetes/kubernetes/issues/75791>).
///
/// # Errors
/// No certificate in the bundle; certificate and key that do not belong together.
pub fn config(trust: &Trust, identity: Option<&Identity>) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier(trust, provider)?);
    let mut config = match identity {
        Some(own) => builder.with_client_auth_cert(own.chain.clone(), own.key.clone_key())?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn verifier(trust: &Trust, provider: Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    match trust {
        Trust::Anybody => Ok(Arc::new(Anybody(provider))),
        Trust::System => {
            let roots = Arc::new(system_roots().clone());
            Ok(WebPkiServerVerifier::builder_with_provider(roots, provider).build()?)
        }
        Trust::Bundle(pem) => {
            // As Go: what is no certificate is passed over, as long as there is one.
            let given: Vec<_> = CertificateDer::pem_slice_iter(pem).flatten().collect();
            let mut roots = RootCertStore::empty();
            let (added, _) = roots.add_parsable_certificates(given.iter().cloned());
            if added == 0 {
                return Err(TlsError::Bundle);
            }
            let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
            Ok(Arc::new(Bundled { chain, given }))
        }
    }
}

/// Read once: the files of a host hardly change while a process lives.
fn system_roots() -> &'static RootCertStore {
    static ROOTS: OnceLock<RootCertStore> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(%error, "certificates of the host cannot be read");
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(found.certs);
        roots
    })
}

/// A bundle's chains, and its own certificates as they are: a self-signed serving certificate that calls itself an
/// authority, as `openssl req -x509` makes it, is its own chain in Go and refused by webpki.
#[derive(Debug)]
struct Bundled {
    chain: Arc<WebPkiServerVerifier>,
    given: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Bundled {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if !self.given.iter().any(|own| own == leaf) {
            return self.chain.verify_server_cert(leaf, intermediates, name, ocsp, now);
        }
        let bad = |_| Error::InvalidCertificate(CertificateError::BadEncoding);
        let (_, parsed) = X509Certificate::from_der(leaf).map_err(|_| bad(()))?;
        let now = i64::try_from(now.as_secs()).map_err(|_| bad(()))?;
        if now > parsed.validity().not_after.timestamp() {
            return Err(Error::InvalidCertificate(CertificateError::Expired));
        }
        if now < parsed.validity().not_before.timestamp() {
            return Err(Error::InvalidCertificate(CertificateError::NotValidYet));
        }
        verify_server_name(&ParsedCertificate::try_from(leaf)?, name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// Believes any certificate whose key its owner has.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
