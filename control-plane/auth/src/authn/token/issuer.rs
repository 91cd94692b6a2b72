//! Issuing tokens.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::discovery::{key_id, public_keys};
use super::{
    Claims, EXPIRATION_SECONDS_MAX, EXPIRATION_SECONDS_MIN, KubernetesClaims, ObjectRef, TokenError,
};
use crate::user::service_account_user;

/// Signs tokens with the cluster's ServiceAccount key.
pub struct Issuer {
    name: String,
    key: EncodingKey,
    key_id: String,
}

/// What a token shall say.
#[derive(Clone, Debug)]
pub struct TokenRequest {
    /// The ServiceAccount's namespace.
    pub namespace: String,
    /// The ServiceAccount.
    pub service_account: ObjectRef,
    /// What the token's life hangs on besides the ServiceAccount's.
    pub binding: Binding,
    /// For whom; empty means the apiserver itself.
    pub audiences: Vec<String>,
    /// How long, see [`validate_expiration_seconds`].
    pub expiration_seconds: i64,
}

/// What a token is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Binding {
    /// Nothing but the ServiceAccount.
    None,
    /// A pod of the same namespace; the node it runs on is recorded beside it.
    Pod {
        /// The pod.
        pod: ObjectRef,
        /// Its node, once it has one. The uid is empty where the Node object is not known.
        node: Option<ObjectRef>,
    },
    /// A secret of the same namespace.
    Secret(ObjectRef),
    /// A node.
    Node(ObjectRef),
}

/// A signed token.
#[derive(Clone)]
pub struct IssuedToken {
    /// What the bearer sends.
    pub token: String,
    /// When it ends.
    pub expires: OffsetDateTime,
    /// The token's own name, for the audit log.
    pub id: String,
}

impl Issuer {
    /// `name` is the issuer's URL; the keys are `sa.key` and `sa.pub`. The first key of `sa.pub` names the signer.
    pub fn new(name: impl Into<String>, key_pem: &str, public_pem: &str) -> Result<Self, TokenError> {
        let key = EncodingKey::from_ec_pem(key_pem.as_bytes())
            .map_err(|source| TokenError::Key { what: "service account signing key", source })?;
        let public = public_keys(public_pem)?;
        let key_id = key_id(public.first().ok_or(TokenError::NoKey)?);
        Ok(Self { name: name.into(), key, key_id })
    }

    /// The issuer's URL, which is also the audience of tokens for the apiserver.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Signs. The caller has checked that ServiceAccount and binding exist and that the lifetime is permitted.
    pub fn issue(&self, request: &TokenRequest, now: OffsetDateTime) -> Result<IssuedToken, TokenError> {
        let expires = now + Duration::seconds(request.expiration_seconds);
        let claims = self.claims(request, now, expires);
        let mut header = Header::new(Algorithm::ES256);
        header.typ = None;
        header.kid = Some(self.key_id.clone());
        let token = jsonwebtoken::encode(&header, &claims, &self.key).map_err(TokenError::Sign)?;
        Ok(IssuedToken { token, expires, id: claims.jti })
    }

    fn claims(&self, request: &TokenRequest, now: OffsetDateTime, expires: OffsetDateTime) -> Claims {
        let mut kubernetes = KubernetesClaims {
            namespace: request.namespace.clone(),
            serviceaccount: request.service_account.clone(),
            ..KubernetesClaims::default()
        };
        match &request.binding {
            Binding::None => {}
            Binding::Pod { pod, node } => {
                kubernetes.pod = Some(pod.clone());
                kubernetes.node = node.clone();
            }
            Binding::Secret(secret) => kubernetes.secret = Some(secret.clone()),
            Binding::Node(node) => kubernetes.node = Some(node.clone()),
        }
        let audiences = match request.audiences.as_slice() {
            [] => vec![self.name.clone()],
            audiences => audiences.to_vec(),
        };
        Claims {
            aud: audiences,
            exp: expires.unix_timestamp(),
            iat: now.unix_timestamp(),
            iss: self.name.clone(),
            jti: Uuid::new_v4().to_string(),
            kubernetes,
            nbf: now.unix_timestamp(),
            sub: service_account_user(&request.namespace, &request.service_account.name),
        }
    }
}

/// Upstream's rule for `spec.expirationSeconds` of a TokenRequest: the detail of the error, if it is broken.
pub fn validate_expiration_seconds(seconds: i64) -> Result<(), &'static str> {
    match seconds {
        ..EXPIRATION_SECONDS_MIN => Err("may not specify a duration less than 10 minutes"),
        EXPIRATION_SECONDS_MIN..=EXPIRATION_SECONDS_MAX => Ok(()),
        _ => Err("may not specify a duration larger than 2^32 seconds"),
    }
}
