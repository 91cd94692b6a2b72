//! ServiceAccount tokens: ES256 JWTs that name a ServiceAccount and are bound to the life of a pod, secret or node.
//!
//! Issuing and opening a token are pure; whether what it is bound to still lives is asked of the caller ([`Lookup`]).
//! Upstream lengthens tokens of 3607 seconds to a year for clients that never read their file again
//! (`--service-account-extend-token-expiration`); here a token lasts as long as it was asked for, which is the setting
//! that upstream recommends.

mod claims;
mod discovery;
mod issuer;
mod verifier;

pub use claims::{Claims, KubernetesClaims, ObjectRef};
pub use discovery::{jwks, openid_configuration};
pub use issuer::{Binding, IssuedToken, Issuer, TokenRequest, validate_expiration_seconds};
pub use verifier::{Bound, Found, Lookup, LookupError, Opened, Verifier};

/// The issuer of a cluster whose DNS domain is `cluster.local`.
pub const DEFAULT_ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// How long a token lasts when nobody says otherwise.
pub const DEFAULT_EXPIRATION_SECONDS: i64 = 3600;
/// The shortest that may be asked for.
pub const EXPIRATION_SECONDS_MIN: i64 = 600;
/// The longest that may be asked for.
pub const EXPIRATION_SECONDS_MAX: i64 = 1 << 32;
/// Clocks may differ by this much before a token counts as early or expired, or what it is bound to as deleted.
pub const LEEWAY_SECONDS: i64 = 60;
/// A longer token is refused unread; ours have under 2 KiB.
pub const TOKEN_BYTES_MAX: usize = 16 << 10;

/// Keys of [`crate::UserInfo::extra`] for an identity that a token proves.
pub mod extra {
    /// The pod that the token is bound to.
    pub const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
    /// Its uid.
    pub const POD_UID: &str = "authentication.kubernetes.io/pod-uid";
    /// The node of that pod, or that the token is bound to.
    pub const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
    /// Its uid.
    pub const NODE_UID: &str = "authentication.kubernetes.io/node-uid";
}

/// Why a token was not issued or not believed.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// A key file that is none.
    #[error("the {what} is not an ECDSA P-256 key in PEM")]
    Key {
        /// Which key.
        what: &'static str,
        /// Why.
        source: jsonwebtoken::errors::Error,
    },
    /// A file of public keys without a key.
    #[error("there is no public key to verify ServiceAccount tokens with")]
    NoKey,
    /// Signing failed.
    #[error("could not sign the token")]
    Sign(#[source] jsonwebtoken::errors::Error),
    /// Not a token, not ours, or changed on the way.
    #[error("invalid bearer token")]
    Invalid(#[source] jsonwebtoken::errors::Error),
    /// Larger than any token of ours.
    #[error("bearer token of {0} bytes is longer than {TOKEN_BYTES_MAX}")]
    TooLong(usize),
    /// Another issuer's.
    #[error("the token was issued by {0:?}, not by this cluster")]
    ForeignIssuer(String),
    /// Its time is over.
    #[error("service account token has expired")]
    Expired,
    /// Its time has not come.
    #[error("service account token is not valid yet")]
    NotYetValid,
    /// For somebody else.
    #[error("token audiences {has:?} is invalid for the target audiences {wanted:?}")]
    Audience {
        /// What the token says.
        has: Vec<String>,
        /// What was asked for.
        wanted: Vec<String>,
    },
    /// The subject is not the ServiceAccount that the other claims name.
    #[error("the token's subject {0:?} is not the service account that it names")]
    Subject(String),
    /// The ServiceAccount is gone.
    #[error("serviceaccounts {0:?} not found")]
    AccountNotFound(String),
    /// The ServiceAccount is going.
    #[error("service account {0} has been deleted")]
    AccountDeleted(String),
    /// What the token is bound to is gone.
    #[error("service account token has been invalidated")]
    Invalidated,
    /// A namesake of what the token is bound to.
    #[error("{what} UID ({is}) does not match {claim} ({claimed})")]
    UidMismatch {
        /// What it is bound to.
        what: &'static str,
        /// The uid of the object that is there.
        is: String,
        /// How upstream calls the claim.
        claim: &'static str,
        /// The uid in the claim.
        claimed: String,
    },
    /// Not a statement about the token: nobody could tell.
    #[error("could not look up what the token is bound to")]
    Lookup(#[from] LookupError),
}
