//! Who is at the other end of a connection: the address, and what its client certificate proves.

use super::tls::Clients;
use keelson_auth::{UserInfo, authn::x509};
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::{CertificateDer, UnixTime};
use std::{net::SocketAddr, sync::Arc};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

/// The other end of a TLS connection.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Its address.
    pub(crate) address: SocketAddr,
    /// Its certificate, when it showed one.
    pub(crate) certificate: PeerCertificate,
}

/// What became of the client certificate.
#[derive(Clone, Debug)]
pub(crate) enum PeerCertificate {
    /// None was shown.
    Absent,
    /// Signed by the client CA, for client authentication.
    Verified {
        /// Whom it names.
        user: Arc<UserInfo>,
        /// Expiry, in seconds since the epoch; looked at again for each request, as connections may be old.
        not_after_s: i64,
    },
    /// Of a front proxy, by its common name. By itself it is nobody.
    FrontProxy {
        /// The common name.
        name: String,
        /// Expiry, as above.
        not_after_s: i64,
    },
    /// Shown but not acceptable; the request may still authenticate by token.
    Refused(String),
}

impl PeerCertificate {
    /// Judges the chain that a client showed. The handshake has already proven possession of the key.
    pub(crate) fn judge(chain: Option<&[CertificateDer<'_>]>, clients: &Clients) -> Self {
        let Some((leaf, intermediates)) = chain.and_then(<[_]>::split_first) else { return Self::Absent };
        let signed_for = |verifier: &dyn ClientCertVerifier| {
            verifier.verify_client_cert(leaf, intermediates, UnixTime::now())
        };
        let is_proxy = clients.front_proxies.as_deref().is_some_and(|proxies| signed_for(proxies).is_ok());
        if !is_proxy && let Err(error) = signed_for(&*clients.users) {
            return Self::Refused(error.to_string());
        }
        let not_after_s = match X509Certificate::from_der(leaf) {
            Ok((_, parsed)) => parsed.validity().not_after.timestamp(),
            Err(error) => return Self::Refused(error.to_string()),
        };
        match x509::user(leaf) {
            Ok(user) if is_proxy => Self::FrontProxy { name: user.name, not_after_s },
            Ok(user) => Self::Verified { user: Arc::new(user), not_after_s },
            Err(error) => Self::Refused(error.to_string()),
        }
    }

    /// Whom the certificate names, unless it has expired since; None without a certificate.
    pub(crate) fn user(&self) -> Option<Result<&Arc<UserInfo>, String>> {
        match self {
            Self::Absent | Self::FrontProxy { .. } => None,
            Self::Refused(why) => Some(Err(why.clone())),
            Self::Verified { user, not_after_s } => Some(if expired(*not_after_s) {
                Err("the client certificate has expired".to_owned())
            } else {
                Ok(user)
            }),
        }
    }

    /// Seconds until the certificate of a user ends.
    pub(crate) fn left_s(&self) -> Option<i64> {
        let Self::Verified { not_after_s, .. } = self else { return None };
        Some(not_after_s - i64::try_from(UnixTime::now().as_secs()).ok()?)
    }

    /// The common name of a front proxy whose certificate has not expired.
    pub(crate) fn front_proxy(&self) -> Option<&str> {
        match self {
            Self::FrontProxy { name, not_after_s } if !expired(*not_after_s) => Some(name),
            _ => None,
        }
    }
}

fn expired(not_after_s: i64) -> bool {
    i64::try_from(UnixTime::now().as_secs()).is_ok_and(|now| now > not_after_s)
}
