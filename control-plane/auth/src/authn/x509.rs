//! The identity in a client certificate: common name is the user, organisations are the groups.
//! (<https://kubernetes.io/docs/reference/access-authn-authz/authentication/#x509-client-certificates>)

use sha2::{Digest, Sha256};
use x509_parser::prelude::{AttributeTypeAndValue, FromDer, X509Certificate};

use crate::UserInfo;

/// The key of [`UserInfo::extra`] under which the credential itself is named.
pub const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// Why a certificate, although TLS accepted it, names nobody.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum X509Error {
    /// Not a certificate.
    #[error("the client certificate is not valid X.509: {0}")]
    Unreadable(String),
    /// It has no common name.
    #[error("the client certificate has no common name, which is where the user name is read from")]
    NoCommonName,
}

/// The user that a client certificate (DER, already verified by TLS) names.
pub fn user(der: &[u8]) -> Result<UserInfo, X509Error> {
    let (_, cert) =
        X509Certificate::from_der(der).map_err(|error| X509Error::Unreadable(error.to_string()))?;
    // Of several common names the last counts, as everywhere in the ecosystem.
    let text = |part: &AttributeTypeAndValue<'_>| {
        part.as_str().map(str::to_owned).map_err(|error| X509Error::Unreadable(error.to_string()))
    };
    let name = cert.subject().iter_common_name().last().ok_or(X509Error::NoCommonName).and_then(text)?;
    if name.is_empty() {
        return Err(X509Error::NoCommonName);
    }
    // One that cannot be read is not left out: the identity is all of it or none.
    let groups = cert.subject().iter_organization().map(text).collect::<Result<Vec<_>, _>>()?;
    let mut user = UserInfo::authenticated(name, groups);
    let fingerprint: String = Sha256::digest(der).iter().map(|byte| format!("{byte:02x}")).collect();
    user.extra.insert(CREDENTIAL_ID.to_owned(), vec![format!("X509SHA256={fingerprint}")]);
    Ok(user)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

    use super::*;

    fn cert(name: Option<&str>) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "dev");
        if let Some(name) = name {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn the_common_name_is_the_user_and_organizations_are_groups() {
        let user = user(&cert(Some("jane"))).unwrap();
        assert_eq!(
            (user.name.as_str(), user.groups.as_slice()),
            ("jane", &["dev".into(), "system:authenticated".into()][..])
        );
        assert!(user.extra[CREDENTIAL_ID][0].starts_with("X509SHA256="));
    }

    #[test]
    fn a_certificate_without_a_name_is_nobody() {
        assert_eq!(user(&cert(None)), Err(X509Error::NoCommonName));
        assert!(matches!(user(b"junk"), Err(X509Error::Unreadable(_))));
    }
}
