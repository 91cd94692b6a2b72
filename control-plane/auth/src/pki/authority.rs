//! A certificate authority: made once, then signs leaves.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::files::{read_if_there, write_secret};
use super::leaf::new_key;
use super::{AUTHORITY_LIFETIME, BACKDATE, LEAF_LIFETIME, Leaf, PkiError, Signed};

/// An authority whose key is at hand.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    cert_pem: String,
    cert_der: CertificateDer<'static>,
    not_after: OffsetDateTime,
    path: PathBuf,
}

impl Authority {
    /// Loads the authority that `cert` and `key` name, or makes it where neither is there. A key alone is what a crash
    /// between the two writes leaves behind, and nothing was signed with it yet: its certificate is made.
    /// Answers also whether it was made.
    pub(super) fn ensure(
        cert: &Path,
        key: &Path,
        common_name: &str,
        now: OffsetDateTime,
    ) -> Result<(Self, bool), PkiError> {
        match (read_if_there(cert)?, read_if_there(key)?) {
            (Some(cert_pem), Some(key_pem)) => {
                Ok((Self::from_pem(cert, key, cert_pem, &key_pem, now)?, false))
            }
            (Some(_), None) => {
                Err(PkiError::AuthorityWithoutKey { cert: cert.to_owned(), key: key.to_owned() })
            }
            (None, existing) => {
                let key_pem = match existing {
                    Some(pem) => pem,
                    None => {
                        let pem = new_key()?.serialize_pem();
                        write_secret(key, &pem)?;
                        pem
                    }
                };
                let cert_pem = self_signed(&parse_key(key, &key_pem)?, common_name, now)?;
                write_secret(cert, &cert_pem)?;
                Ok((Self::from_pem(cert, key, cert_pem, &key_pem, now)?, true))
            }
        }
    }

    /// Loads the authority of a folder that was initialised.
    pub fn load(cert: &Path, key: &Path, now: OffsetDateTime) -> Result<Self, PkiError> {
        match (read_if_there(cert)?, read_if_there(key)?) {
            (Some(cert_pem), Some(key_pem)) => Self::from_pem(cert, key, cert_pem, &key_pem, now),
            (Some(_), None) => {
                Err(PkiError::AuthorityWithoutKey { cert: cert.to_owned(), key: key.to_owned() })
            }
            (None, _) => {
                Err(PkiError::NotInitialised { path: cert.parent().unwrap_or(Path::new(".")).to_owned() })
            }
        }
    }

    fn from_pem(
        cert: &Path,
        key: &Path,
        cert_pem: String,
        key_pem: &str,
        now: OffsetDateTime,
    ) -> Result<Self, PkiError> {
        let pair = parse_key(key, key_pem)?;
        let cert_der = CertificateDer::from_pem_slice(cert_pem.as_bytes())
            .map_err(|error| PkiError::unreadable(cert, "a PEM certificate", error))?;
        let (_, parsed) = X509Certificate::from_der(&cert_der)
            .map_err(|error| PkiError::unreadable(cert, "an X.509 certificate", error))?;
        if !parsed.is_ca() {
            return Err(PkiError::unreadable(cert, "an authority", "a certificate that may not sign others"));
        }
        if parsed.public_key().subject_public_key.data.as_ref() != pair.public_key_raw() {
            return Err(PkiError::AuthorityMismatch { cert: cert.to_owned(), key: key.to_owned() });
        }
        let not_after = parsed.validity().not_after.to_datetime();
        if not_after <= now {
            let not_after = not_after.format(&Rfc3339).unwrap_or_else(|_| not_after.to_string());
            return Err(PkiError::AuthorityExpired { path: cert.to_owned(), not_after });
        }
        let issuer = Issuer::from_ca_cert_der(&cert_der, pair)
            .map_err(PkiError::certificate("read the authority's certificate"))?;
        let cert_der = cert_der.into_owned();
        Ok(Self { issuer, cert_pem, cert_der, not_after, path: cert.to_owned() })
    }

    /// Signs a new leaf with a new key, valid from now on for a year, or as long as the authority itself.
    pub fn sign(&self, leaf: &Leaf, now: OffsetDateTime) -> Result<Signed, PkiError> {
        self.sign_for(leaf, now, LEAF_LIFETIME)
    }

    /// The same for another lifetime.
    pub fn sign_for(&self, leaf: &Leaf, now: OffsetDateTime, lifetime: Duration) -> Result<Signed, PkiError> {
        let key = new_key()?;
        let not_after = (now + lifetime).min(self.not_after);
        let cert = leaf
            .params(now, not_after)?
            .signed_by(&key, &self.issuer)
            .map_err(PkiError::certificate("sign a certificate"))?;
        Ok(Signed { cert_pem: cert.pem(), key_pem: key.serialize_pem() })
    }

    /// The authority's own certificate, PEM.
    pub fn cert_pem(&self) -> &str {
        &self.cert_pem
    }

    /// The same, DER.
    pub fn cert_der(&self) -> &CertificateDer<'static> {
        &self.cert_der
    }

    pub(super) fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }

    /// When the authority ends.
    pub fn not_after(&self) -> OffsetDateTime {
        self.not_after
    }

    /// The file that its certificate was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn parse_key(path: &Path, pem: &str) -> Result<KeyPair, PkiError> {
    KeyPair::from_pem(pem).map_err(|error| PkiError::unreadable(path, "a PKCS #8 private key in PEM", error))
}

fn self_signed(key: &KeyPair, common_name: &str, now: OffsetDateTime) -> Result<String, PkiError> {
    let mut params = CertificateParams::default();
    params.not_before = now - BACKDATE;
    params.not_after = now + AUTHORITY_LIFETIME;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
        KeyUsagePurpose::KeyCertSign,
    ];
    let cert = params.self_signed(key).map_err(PkiError::certificate("make the authority's certificate"))?;
    Ok(cert.pem())
}
