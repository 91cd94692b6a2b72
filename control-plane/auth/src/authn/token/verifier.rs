//! Believing a token: signature, times, audience, and then whether what it is bound to still lives.

use std::collections::HashMap;

use async_trait::async_trait;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use time::{Duration, OffsetDateTime};

use super::discovery::{decoding_key, key_id, public_keys};
use super::{Claims, LEEWAY_SECONDS, ObjectRef, TOKEN_BYTES_MAX, TokenError, extra};
use crate::UserInfo;
use crate::authn::x509::CREDENTIAL_ID;
use crate::user::{service_account_groups, service_account_user};

/// What kind of object a token's life hangs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bound {
    /// Every token's.
    ServiceAccount,
    /// A pod.
    Pod,
    /// A secret.
    Secret,
    /// A node; its namespace is empty.
    Node,
}

/// An object that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its uid.
    pub uid: String,
    /// `metadata.deletionTimestamp`.
    pub deletion: Option<OffsetDateTime>,
}

/// A read that failed, which says nothing about whether the object exists.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct LookupError(pub String);

/// How the verifier sees the cluster.
#[async_trait]
pub trait Lookup: Send + Sync {
    /// The object, or nothing where it does not exist.
    async fn find(&self, kind: Bound, namespace: &str, name: &str) -> Result<Option<Found>, LookupError>;
}

/// A token with a good signature, whose time is now and whose audience is right. Not yet believed, see [`Opened::confirm`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// What it says.
    pub claims: Claims,
    /// Those of its audiences that were asked for.
    pub audiences: Vec<String>,
}

/// Verifies tokens of one issuer.
pub struct Verifier {
    issuer: String,
    keys: HashMap<String, DecodingKey>,
}

impl Verifier {
    /// `public_pem` is `sa.pub`; a token may be signed by any of its keys.
    pub fn new(issuer: impl Into<String>, public_pem: &str) -> Result<Self, TokenError> {
        let keys: Result<HashMap<_, _>, TokenError> =
            public_keys(public_pem)?.iter().map(|key| Ok((key_id(key), decoding_key(key)?))).collect();
        Ok(Self { issuer: issuer.into(), keys: keys? })
    }

    /// The audience that tokens for the apiserver carry.
    pub fn default_audience(&self) -> &str {
        &self.issuer
    }

    /// Checks all that the token alone can tell. `audiences`: who asks; empty means the apiserver.
    pub fn open(&self, token: &str, audiences: &[String], now: OffsetDateTime) -> Result<Opened, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLong(token.len()));
        }
        let claims = self.signed_claims(token)?;
        if claims.iss != self.issuer {
            return Err(TokenError::ForeignIssuer(claims.iss));
        }
        let now = now.unix_timestamp();
        if now > claims.exp.saturating_add(LEEWAY_SECONDS) {
            return Err(TokenError::Expired);
        }
        if now < claims.nbf.saturating_sub(LEEWAY_SECONDS) {
            return Err(TokenError::NotYetValid);
        }
        let account = &claims.kubernetes.serviceaccount;
        if claims.sub != service_account_user(&claims.kubernetes.namespace, &account.name) {
            return Err(TokenError::Subject(claims.sub));
        }
        let audiences = self.common_audiences(&claims, audiences)?;
        Ok(Opened { claims, audiences })
    }

    /// Times are checked by the caller against its own clock, so the library checks the signature alone.
    fn signed_claims(&self, token: &str) -> Result<Claims, TokenError> {
        let header = jsonwebtoken::decode_header(token).map_err(TokenError::Invalid)?;
        let key = header.kid.as_ref().and_then(|id| self.keys.get(id));
        let key = key.ok_or_else(|| TokenError::Invalid(ErrorKind::InvalidSignature.into()))?;
        let mut validation = Validation::new(Algorithm::ES256);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        Ok(jsonwebtoken::decode::<Claims>(token, key, &validation).map_err(TokenError::Invalid)?.claims)
    }

    fn common_audiences(&self, claims: &Claims, wanted: &[String]) -> Result<Vec<String>, TokenError> {
        let default = [self.issuer.clone()];
        let wanted = if wanted.is_empty() { &default[..] } else { wanted };
        let common: Vec<_> =
            wanted.iter().filter(|audience| claims.aud.contains(audience)).cloned().collect();
        if common.is_empty() {
            return Err(TokenError::Audience { has: claims.aud.clone(), wanted: wanted.to_vec() });
        }
        Ok(common)
    }
}

impl Opened {
    /// Asks whether ServiceAccount and binding still live, and if so, who the bearer is.
    pub async fn confirm(&self, now: OffsetDateTime, lookup: &dyn Lookup) -> Result<UserInfo, TokenError> {
        let claims = &self.claims.kubernetes;
        let namespace = &claims.namespace;
        let dead_before = now - Duration::seconds(LEEWAY_SECONDS);
        let is_dead = |found: &Found| found.deletion.is_some_and(|at| at < dead_before);

        let account = &claims.serviceaccount;
        match lookup.find(Bound::ServiceAccount, namespace, &account.name).await? {
            None => return Err(TokenError::AccountNotFound(account.name.clone())),
            Some(found) if is_dead(&found) => {
                return Err(TokenError::AccountDeleted(format!("{namespace}/{}", account.name)));
            }
            Some(found) => same_uid("service account", "claim", &found, account)?,
        }
        let bindings = [
            (Bound::Secret, "secret", "service account secret ref claim", &claims.secret),
            (Bound::Pod, "pod", "service account pod ref claim", &claims.pod),
            // A pod's token names its node for information; the pod alone decides over its life.
            (Bound::Node, "node", "service account node ref claim", bound_node(&self.claims)),
        ];
        for (kind, what, claim, wanted) in bindings {
            let Some(wanted) = wanted else { continue };
            let namespace = if kind == Bound::Node { "" } else { namespace.as_str() };
            match lookup.find(kind, namespace, &wanted.name).await? {
                Some(found) if !is_dead(&found) => same_uid(what, claim, &found, wanted)?,
                _ => return Err(TokenError::Invalidated),
            }
        }
        Ok(self.user())
    }

    fn user(&self) -> UserInfo {
        let claims = &self.claims.kubernetes;
        let mut user =
            UserInfo::authenticated(self.claims.sub.as_str(), service_account_groups(&claims.namespace));
        user.uid.clone_from(&claims.serviceaccount.uid);
        let mut put = |key: &str, value: &str| {
            if !value.is_empty() {
                user.extra.insert(key.to_owned(), vec![value.to_owned()]);
            }
        };
        if let Some(pod) = &claims.pod {
            put(extra::POD_NAME, &pod.name);
            put(extra::POD_UID, &pod.uid);
        }
        if let Some(node) = &claims.node {
            put(extra::NODE_NAME, &node.name);
            put(extra::NODE_UID, &node.uid);
        }
        if !self.claims.jti.is_empty() {
            put(CREDENTIAL_ID, &format!("JTI={}", self.claims.jti));
        }
        user
    }
}

fn bound_node(claims: &Claims) -> &Option<ObjectRef> {
    if claims.kubernetes.pod.is_some() { &None } else { &claims.kubernetes.node }
}

fn same_uid(
    what: &'static str,
    claim: &'static str,
    found: &Found,
    wanted: &ObjectRef,
) -> Result<(), TokenError> {
    if found.uid == wanted.uid {
        return Ok(());
    }
    Err(TokenError::UidMismatch { what, is: found.uid.clone(), claim, claimed: wanted.uid.clone() })
}
