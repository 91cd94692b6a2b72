//! Certificate signing requests (PKCS #10): reading one, and signing what it asks for.
//!
//! What a request may ask for is not decided here: that is the signers' (controllers) and admission's.

use std::net::IpAddr;

use rcgen::{
    CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType, SubjectPublicKeyInfo,
};
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject;
use time::{Duration, OffsetDateTime};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

use super::leaf::{ip_from_octets, subject};
use super::{Authority, BACKDATE, PkiError};

/// Why a request cannot be used. The texts are shown to whoever made it.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// No block of that name.
    #[error("PEM block type must be CERTIFICATE REQUEST")]
    Pem,
    /// The block holds something else.
    #[error("malformed certificate request: {0}")]
    Malformed(String),
    /// Whoever made it does not hold the key.
    #[error("the certificate request's signature does not verify: {0}")]
    Signature(String),
}

/// What a request asks for, and the key to certify.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateRequest {
    /// Its common name; empty where there is none.
    pub common_name: String,
    /// Its organisations: the groups of a client.
    pub organizations: Vec<String>,
    /// Parts of the subject beside these two, by identifier.
    pub other_parts: Vec<String>,
    /// DNS names.
    pub dns_names: Vec<String>,
    /// Addresses.
    pub ips: Vec<IpAddr>,
    /// E-mail addresses.
    pub emails: Vec<String>,
    /// URIs.
    pub uris: Vec<String>,
    /// SubjectPublicKeyInfo, DER.
    public_key: Vec<u8>,
}

impl CertificateRequest {
    /// Reads a request in PEM and verifies that it was signed with the key that it names.
    pub fn parse(pem: &[u8]) -> Result<Self, RequestError> {
        let der = CertificateSigningRequestDer::from_pem_slice(pem).map_err(|_| RequestError::Pem)?;
        let (_, request) = X509CertificationRequest::from_der(&der)
            .map_err(|error| RequestError::Malformed(error.to_string()))?;
        request.verify_signature().map_err(|error| RequestError::Signature(error.to_string()))?;
        let info = &request.certification_request_info;
        let mut read = Self {
            common_name: String::new(),
            organizations: Vec::new(),
            other_parts: Vec::new(),
            dns_names: Vec::new(),
            ips: Vec::new(),
            emails: Vec::new(),
            uris: Vec::new(),
            public_key: info.subject_pki.raw.to_vec(),
        };
        for part in info.subject.iter_attributes() {
            let text = part.as_str().map_err(|error| RequestError::Malformed(error.to_string()))?.to_owned();
            match part.attr_type().to_id_string().as_str() {
                COMMON_NAME => read.common_name = text,
                ORGANIZATION => read.organizations.push(text),
                other => read.other_parts.push(other.to_owned()),
            }
        }
        for extension in request.requested_extensions().into_iter().flatten() {
            if let ParsedExtension::SubjectAlternativeName(names) = extension {
                names.general_names.iter().try_for_each(|name| read.take(name))?;
            }
        }
        Ok(read)
    }

    fn take(&mut self, name: &GeneralName<'_>) -> Result<(), RequestError> {
        match name {
            GeneralName::DNSName(name) => self.dns_names.push((*name).to_owned()),
            GeneralName::RFC822Name(name) => self.emails.push((*name).to_owned()),
            GeneralName::URI(name) => self.uris.push((*name).to_owned()),
            GeneralName::IPAddress(octets) => {
                let ip = ip_from_octets(octets);
                self.ips
                    .push(ip.ok_or_else(|| RequestError::Malformed("an address of a wrong length".into()))?);
            }
            other => return Err(RequestError::Malformed(format!("a name of an unknown sort: {other}"))),
        }
        Ok(())
    }
}

const COMMON_NAME: &str = "2.5.4.3";
const ORGANIZATION: &str = "2.5.4.10";

impl Authority {
    /// Signs a request as it is, for these usages (the API's words; unknown ones are left out), for this long or as long
    /// as the authority lives. Subjects hold a common name and at most [`super::GROUPS_MAX`] organisations.
    pub fn sign_request(
        &self,
        request: &CertificateRequest,
        usages: &[&str],
        lifetime: Duration,
        now: OffsetDateTime,
    ) -> Result<String, PkiError> {
        if let Some(other) = request.other_parts.first() {
            let why = "only a common name and organisations are supported";
            return Err(PkiError::Argument { what: "part of a subject", value: other.clone(), why });
        }
        let mut params = CertificateParams::default();
        params.not_before = now - BACKDATE;
        params.not_after = (now + lifetime).min(self.not_after());
        params.distinguished_name = subject(&request.common_name, &request.organizations)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = usages.iter().filter_map(|usage| key_usage(usage)).collect();
        params.extended_key_usages = usages.iter().filter_map(|usage| extended_usage(usage)).collect();
        let names = &mut params.subject_alt_names;
        for name in &request.dns_names {
            names.push(SanType::DnsName(ascii("DNS name", name)?));
        }
        for name in &request.emails {
            names.push(SanType::Rfc822Name(ascii("e-mail address", name)?));
        }
        for name in &request.uris {
            names.push(SanType::URI(ascii("URI", name)?));
        }
        names.extend(request.ips.iter().copied().map(SanType::IpAddress));
        let key = SubjectPublicKeyInfo::from_der(&request.public_key)
            .map_err(PkiError::certificate("read the key of a certificate request"))?;
        let cert = params
            .signed_by(&key, self.issuer())
            .map_err(PkiError::certificate("sign a certificate request"))?;
        Ok(cert.pem())
    }
}

fn ascii(what: &'static str, value: &str) -> Result<rcgen::string::Ia5String, PkiError> {
    value.try_into().map_err(|_| PkiError::Argument {
        what,
        value: value.to_owned(),
        why: "it must be ASCII",
    })
}

fn key_usage(usage: &str) -> Option<KeyUsagePurpose> {
    Some(match usage {
        "signing" | "digital signature" => KeyUsagePurpose::DigitalSignature,
        "content commitment" => KeyUsagePurpose::ContentCommitment,
        "key encipherment" => KeyUsagePurpose::KeyEncipherment,
        "data encipherment" => KeyUsagePurpose::DataEncipherment,
        "key agreement" => KeyUsagePurpose::KeyAgreement,
        "encipher only" => KeyUsagePurpose::EncipherOnly,
        "decipher only" => KeyUsagePurpose::DecipherOnly,
        _ => return None,
    })
}

fn extended_usage(usage: &str) -> Option<ExtendedKeyUsagePurpose> {
    Some(match usage {
        "server auth" => ExtendedKeyUsagePurpose::ServerAuth,
        "client auth" => ExtendedKeyUsagePurpose::ClientAuth,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{DistinguishedName, DnType, KeyPair};
    use x509_parser::prelude::X509Certificate;

    fn request(groups: &[&str], names: &[&str]) -> (Vec<u8>, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = DistinguishedName::new();
        for group in groups {
            params.distinguished_name.push(DnType::OrganizationName, *group);
        }
        params.distinguished_name.push(DnType::CommonName, "jane");
        (params.serialize_request(&key).unwrap().pem().unwrap().into_bytes(), key)
    }

    #[test]
    fn a_request_is_read_and_signed_for_its_own_key() {
        let (pem, key) = request(&["dev"], &["web.example.com", "192.0.2.1"]);
        let read = CertificateRequest::parse(&pem).unwrap();
        assert_eq!(
            (read.common_name.as_str(), read.organizations.as_slice()),
            ("jane", &["dev".to_owned()][..])
        );
        assert_eq!(read.dns_names, ["web.example.com"]);
        assert_eq!(read.ips, ["192.0.2.1".parse::<IpAddr>().unwrap()]);
        let folder = tempfile::tempdir().unwrap();
        let (cert, path) = (folder.path().join("ca.crt"), folder.path().join("ca.key"));
        let now = OffsetDateTime::now_utc();
        let (authority, _) = Authority::ensure(&cert, &path, "test", now).unwrap();
        let pem = authority.sign_request(&read, &["client auth"], Duration::hours(1), now).unwrap();
        let der = rustls_pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let (_, signed) = X509Certificate::from_der(&der).unwrap();
        assert_eq!(signed.public_key().subject_public_key.data.as_ref(), key.public_key_raw());
        assert_eq!(signed.validity().not_after.timestamp(), (now + Duration::hours(1)).unix_timestamp());
        let usage = signed.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.client_auth && !usage.server_auth && !signed.is_ca());
    }

    #[test]
    fn what_is_no_request_is_refused() {
        assert!(matches!(CertificateRequest::parse(b"x"), Err(RequestError::Pem)));
        let (pem, _) = request(&[], &[]);
        let text = String::from_utf8(pem).unwrap();
        let (head, tail) = text.split_at(text.len() - 60);
        let spoilt = format!("{head}{}", tail.replacen(|c: char| c.is_ascii_lowercase(), "Q", 1));
        assert!(CertificateRequest::parse(spoilt.as_bytes()).is_err(), "its signature no longer fits");
    }
}
