//! The other end of a connection, by the certificate that it showed in the handshake, if it showed one.
//! (<https://kubernetes.io/docs/reference/access-authn-authz/authentication/#x509-client-certificates>)

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::authentication::v1::UserInfo;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use sha2::{Digest, Sha256};
use x509_parser::prelude::{AttributeTypeAndValue, FromDer, X509Certificate, X509Name};

use super::with_authenticated;

/// The API server's identity towards kubelets, as kubeadm names it, and the group of administrators.
pub(super) const API_SERVER: &str = "kube-apiserver-kubelet-client";
pub(super) const ADMINISTRATORS: &str = "system:masters";
/// Where a user's `extra` names the credential itself.
const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// The other end of a connection.
#[derive(Debug)]
pub(in crate::api) enum Caller {
    /// It showed no certificate.
    Unnamed,
    /// It showed one that proves nothing, and why. A token may do better.
    Refused(String),
    /// Its certificate is of the client CA.
    Named {
        /// Whose it is.
        who: Who,
        /// When the certificate ends, in seconds since the epoch.
        not_after_s: i64,
    },
}

/// Whom a certificate names.
#[derive(Debug)]
pub(in crate::api) enum Who {
    /// The API server or an administrator, who may do everything: nobody is asked.
    Trusted,
    /// Anybody else.
    User(Arc<UserInfo>),
}

impl Caller {
    /// Judges the chain that was shown; that its key is there the handshake has proven.
    pub(in crate::api) fn judge(
        chain: Option<&[CertificateDer<'_>]>,
        clients: &dyn ClientCertVerifier,
    ) -> Self {
        let Some((leaf, intermediates)) = chain.and_then(<[_]>::split_first) else { return Self::Unnamed };
        match clients.verify_client_cert(leaf, intermediates, UnixTime::now()) {
            Ok(_) => named(leaf).unwrap_or_else(Self::Refused),
            Err(error) => Self::Refused(error.to_string()),
        }
    }

    /// Whom the certificate proves; the error is why it proves nobody. Asked for each request, as connections grow old.
    pub(super) fn proven(&self, now: UnixTime) -> Result<&Who, &str> {
        match self {
            Self::Unnamed => Err("no certificate was shown"),
            Self::Refused(why) => Err(why),
            Self::Named { who, not_after_s } => match i64::try_from(now.as_secs()) {
                Ok(now_s) if now_s <= *not_after_s => Ok(who),
                _ => Err("the certificate has ended"),
            },
        }
    }
}

fn named(der: &[u8]) -> Result<Caller, String> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
    let who = match is_trusted(certificate.subject()) {
        true => Who::Trusted,
        false => Who::User(Arc::new(user(der, certificate.subject())?)),
    };
    Ok(Caller::Named { who, not_after_s: certificate.validity().not_after.timestamp() })
}

fn is_trusted(subject: &X509Name<'_>) -> bool {
    let is = |part: &AttributeTypeAndValue<'_>, wanted: &str| part.as_str().is_ok_and(|text| text == wanted);
    subject.iter_common_name().any(|name| is(name, API_SERVER))
        || subject.iter_organization().any(|group| is(group, ADMINISTRATORS))
}

/// The common name is the user, organisations are groups. What cannot be read is not left out: somebody may have been denied
/// by it.
fn user(der: &[u8], subject: &X509Name<'_>) -> Result<UserInfo, String> {
    let text = |part: &AttributeTypeAndValue<'_>| {
        part.as_str().map(str::to_owned).map_err(|error| error.to_string())
    };
    // Of several the last one counts, as in Go's pkix.Name.
    let name = subject.iter_common_name().last().map(text).transpose()?;
    let name = name.filter(|name| !name.is_empty()).ok_or("it has no common name")?;
    let groups = subject.iter_organization().map(text).collect::<Result<_, _>>()?;
    let fingerprint: String = Sha256::digest(der).iter().map(|byte| format!("{byte:02x}")).collect();
    let credential = (CREDENTIAL_ID.to_owned(), vec![format!("X509SHA256={fingerprint}")]);
    Ok(UserInfo {
        username: Some(name),
        groups: Some(with_authenticated(groups)),
        extra: Some(BTreeMap::from([credential])),
        uid: None,
    })
}
