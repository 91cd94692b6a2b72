//! What is written into a certificate, and reading it back to see whether it still serves.

use std::net::IpAddr;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use time::OffsetDateTime;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{BACKDATE, LEAF_LIFETIME, PkiError};

/// Which side of a TLS connection shows the certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A server.
    Server,
    /// A client.
    Client,
}

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The common name: for a client, the user's name.
    pub common_name: String,
    /// The organisations: for a client, the user's groups.
    pub organizations: Vec<String>,
    /// Client or server.
    pub purpose: Purpose,
    /// Names that a server answers to.
    pub dns_names: Vec<String>,
    /// Addresses that a server answers at.
    pub ips: Vec<IpAddr>,
}

impl Leaf {
    /// A client certificate: user and groups.
    pub fn client(user: impl Into<String>, groups: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            common_name: user.into(),
            organizations: groups.into_iter().map(Into::into).collect(),
            purpose: Purpose::Client,
            dns_names: Vec::new(),
            ips: Vec::new(),
        }
    }

    /// A serving certificate that vouches for itself alone, with a new key, valid from now on for a year.
    ///
    /// # Errors
    /// A name that no certificate can have.
    pub fn self_signed(&self, now: OffsetDateTime) -> Result<Signed, PkiError> {
        let key = new_key()?;
        let params = self.params(now, now + LEAF_LIFETIME)?;
        let cert =
            params.self_signed(&key).map_err(PkiError::certificate("sign a certificate with its own key"))?;
        Ok(Signed { cert_pem: cert.pem(), key_pem: key.serialize_pem() })
    }

    /// What a certificate (DER) says; None where it is neither a client's nor a server's alone.
    pub fn from_der(der: &[u8]) -> Option<Self> {
        Self::of(&X509Certificate::from_der(der).ok()?.1)
    }

    /// What a certificate says; None where it is neither a client's nor a server's of ours.
    pub(super) fn of(cert: &X509Certificate<'_>) -> Option<Self> {
        let usage = cert.extended_key_usage().ok()??.value;
        let purpose = match (usage.server_auth, usage.client_auth) {
            (true, false) => Purpose::Server,
            (false, true) => Purpose::Client,
            _ => return None,
        };
        let texts = |names: &mut dyn Iterator<Item = Option<String>>| names.collect::<Option<Vec<String>>>();
        let text =
            |name: &x509_parser::x509::AttributeTypeAndValue<'_>| name.as_str().ok().map(str::to_owned);
        let [common_name] =
            <[String; 1]>::try_from(texts(&mut cert.subject().iter_common_name().map(text))?).ok()?;
        let organizations = texts(&mut cert.subject().iter_organization().map(text))?;
        let (dns_names, ips) = alternative_names(cert);
        let dns_names = dns_names.into_iter().map(str::to_owned).collect();
        Some(Self { common_name, organizations, purpose, dns_names, ips })
    }

    pub(super) fn params(
        &self,
        not_before: OffsetDateTime,
        not_after: OffsetDateTime,
    ) -> Result<CertificateParams, PkiError> {
        let mut params = CertificateParams::default();
        params.not_before = not_before - BACKDATE;
        params.not_after = not_after;
        params.distinguished_name = subject(&self.common_name, &self.organizations)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![match self.purpose {
            Purpose::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Purpose::Client => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        for name in &self.dns_names {
            params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into().map_err(|_| {
                PkiError::Argument { what: "DNS name", value: name.clone(), why: "it must be ASCII" }
            })?));
        }
        params.subject_alt_names.extend(self.ips.iter().copied().map(SanType::IpAddress));
        Ok(params)
    }
}

/// The most groups that a certificate of ours names. rcgen keeps one value for each kind of attribute; the second group is
/// written under the same identifier given by number. More would take an encoder of our own, and a user that needs more
/// groups gets them by a RoleBinding to its name.
pub const GROUPS_MAX: usize = 2;

/// The longest user or group name. RFC 5280 says 64, peers accept more, and node names go up to 253.
pub const NAME_BYTES_MAX: usize = 512;

pub(super) fn subject(common_name: &str, organizations: &[String]) -> Result<DistinguishedName, PkiError> {
    let check = |what, value: &str| match value.len() {
        1..=NAME_BYTES_MAX => Ok(()),
        _ => Err(PkiError::Argument { what, value: value.to_owned(), why: "it must have 1 to 512 bytes" }),
    };
    check("user name", common_name)?;
    let kinds = [DnType::OrganizationName, DnType::CustomDnType(ORGANIZATION_OID.to_vec())];
    if let Some(surplus) = organizations.get(GROUPS_MAX) {
        return Err(PkiError::Argument {
            what: "group",
            value: surplus.clone(),
            why: "a certificate names at most 2 groups; bind a role to the user's name instead",
        });
    }
    let mut name = DistinguishedName::new();
    for (kind, organization) in kinds.into_iter().zip(organizations) {
        check("group", organization)?;
        name.push(kind, organization.as_str());
    }
    name.push(DnType::CommonName, common_name);
    Ok(name)
}

/// id-at-organizationName (RFC 5280, appendix A.1).
const ORGANIZATION_OID: [u64; 4] = [2, 5, 4, 10];

/// A certificate with its key, both PEM.
#[derive(Clone)]
pub struct Signed {
    /// The certificate.
    pub cert_pem: String,
    /// Its private key, PKCS #8.
    pub key_pem: String,
}

/// A new ECDSA P-256 key.
pub(super) fn new_key() -> Result<KeyPair, PkiError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(PkiError::certificate("make a key"))
}

/// Does this pair still say what `wanted` says, signed by `authority`, until after `until`?
/// Anything else, also what cannot be read, is answered with the reason to make it anew.
pub(super) fn reason_to_renew(
    pair: &Signed,
    wanted: &Leaf,
    authority: &CertificateDer<'_>,
    until: OffsetDateTime,
) -> Option<&'static str> {
    let Ok(der) = CertificateDer::from_pem_slice(pair.cert_pem.as_bytes()) else {
        return Some("the certificate is unreadable");
    };
    let (Ok((_, cert)), Ok((_, issuer))) =
        (X509Certificate::from_der(&der), X509Certificate::from_der(authority))
    else {
        return Some("the certificate is unreadable");
    };
    match KeyPair::from_pem(&pair.key_pem) {
        Err(_) => return Some("the key is unreadable"),
        Ok(key) if key.public_key_raw() != cert.public_key().subject_public_key.data.as_ref() => {
            return Some("key and certificate do not belong together");
        }
        Ok(_) => {}
    }
    if cert.verify_signature(Some(issuer.public_key())).is_err() {
        return Some("another authority signed it");
    }
    if cert.validity().not_after.timestamp() <= until.unix_timestamp() {
        return Some("it is about to expire");
    }
    (!says(&cert, wanted)).then_some("its names changed")
}

fn says(cert: &X509Certificate<'_>, wanted: &Leaf) -> bool {
    let common_names: Vec<_> =
        cert.subject().iter_common_name().filter_map(|name| name.as_str().ok()).collect();
    let groups: Vec<_> = cert.subject().iter_organization().filter_map(|name| name.as_str().ok()).collect();
    let (dns_names, ips) = alternative_names(cert);
    common_names == [wanted.common_name.as_str()]
        && groups == wanted.organizations
        && wanted.dns_names.iter().all(|name| dns_names.contains(&name.as_str()))
        && wanted.ips.iter().all(|ip| ips.contains(ip))
}

fn alternative_names<'a>(cert: &'a X509Certificate<'_>) -> (Vec<&'a str>, Vec<IpAddr>) {
    let (mut dns_names, mut ips) = (Vec::new(), Vec::new());
    if let Ok(Some(names)) = cert.subject_alternative_name() {
        for name in &names.value.general_names {
            match name {
                GeneralName::DNSName(name) => dns_names.push(*name),
                GeneralName::IPAddress(octets) => ips.extend(ip_from_octets(octets)),
                _ => {}
            }
        }
    }
    (dns_names, ips)
}

pub(super) fn ip_from_octets(octets: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(octets) {
        return Some(octets.into());
    }
    <[u8; 16]>::try_from(octets).ok().map(Into::into)
}
