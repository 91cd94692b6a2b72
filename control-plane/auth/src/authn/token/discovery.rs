//! The public half of the keys, and the two documents by which others verify our tokens
//! (<https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/#service-account-issuer-discovery>).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::TokenError;

/// More keys than this in `sa.pub` are a mistake; each is published and tried.
const KEYS_MAX: usize = 16;

/// The header of a DER SubjectPublicKeyInfo for an uncompressed P-256 point (RFC 5480); the 65-byte point follows.
const P256_SPKI_HEADER: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// The public keys in a PEM file, in its order.
pub(super) fn public_keys(pem: &str) -> Result<Vec<SubjectPublicKeyInfoDer<'static>>, TokenError> {
    let not_a_key = || TokenError::Key {
        what: "service account public key",
        source: jsonwebtoken::errors::ErrorKind::InvalidEcdsaKey.into(),
    };
    let keys: Result<Vec<_>, _> = SubjectPublicKeyInfoDer::pem_slice_iter(pem.as_bytes()).collect();
    let keys = keys.map_err(|_| not_a_key())?;
    match keys.len() {
        0 => return Err(TokenError::NoKey),
        1..=KEYS_MAX => {}
        _ => return Err(not_a_key()),
    }
    if keys.iter().any(|key| point(key).is_none()) {
        return Err(not_a_key());
    }
    Ok(keys)
}

/// X and Y of the key, 32 bytes each.
fn point<'a>(key: &'a SubjectPublicKeyInfoDer<'_>) -> Option<(&'a [u8], &'a [u8])> {
    let point = key.as_ref().strip_prefix(&P256_SPKI_HEADER)?;
    match point {
        [0x04, xy @ ..] if xy.len() == 64 => Some(xy.split_at(32)),
        _ => None,
    }
}

/// Upstream's name for a key: the hash of its public half.
pub(super) fn key_id(key: &SubjectPublicKeyInfoDer<'_>) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(key.as_ref()))
}

/// The key as the token library wants it.
pub(super) fn decoding_key(key: &SubjectPublicKeyInfoDer<'_>) -> Result<DecodingKey, TokenError> {
    let (x, y) = point(key).ok_or(TokenError::NoKey)?;
    DecodingKey::from_ec_components(&URL_SAFE_NO_PAD.encode(x), &URL_SAFE_NO_PAD.encode(y))
        .map_err(|source| TokenError::Key { what: "service account public key", source })
}

/// The document of `/openid/v1/jwks`: every key of `sa.pub`.
pub fn jwks(public_pem: &str) -> Result<Value, TokenError> {
    let keys = public_keys(public_pem)?;
    let keys: Result<Vec<Value>, TokenError> = keys
        .iter()
        .map(|key| {
            let unusable = |source| TokenError::Key { what: "service account public key", source };
            let mut jwk =
                Jwk::from_decoding_key(&decoding_key(key)?, Some(Algorithm::ES256)).map_err(unusable)?;
            jwk.common.public_key_use = Some(PublicKeyUse::Signature);
            jwk.common.key_id = Some(key_id(key));
            serde_json::to_value(jwk).map_err(|error| unusable(error.into()))
        })
        .collect();
    Ok(json!({ "keys": keys? }))
}

/// The document of `/.well-known/openid-configuration`. `apiserver` is the URL that clients reach the server at.
pub fn openid_configuration(issuer: &str, apiserver: &str) -> Value {
    json!({
        "issuer": issuer,
        "jwks_uri": format!("{}/openid/v1/jwks", apiserver.trim_end_matches('/')),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    })
}
