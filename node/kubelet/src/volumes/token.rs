//! ServiceAccount tokens for projected volumes: asked for by TokenRequest, bound to the pod, and asked
//! for again when four fifths of their life are over (upstream's rule).

use std::collections::HashMap;

use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{ServiceAccount, ServiceAccountTokenProjection};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::PostParams;
use parking_lot::Mutex;

use super::{Setting, VolumeError};

/// Life of a token that asks for none.
const EXPIRATION_SECONDS_DEFAULT: i64 = 3600;
/// Older tokens than this are renewed although they are still valid.
const AGE_SECONDS_MAX: i64 = 24 * 3600;
/// Tokens remembered at most.
const REMEMBERED_MAX: usize = 1024;

/// Tokens that need not be asked for again: by pod uid, audience and expiry.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    known: Mutex<HashMap<(String, String, i64), Known>>,
}

#[derive(Clone, Debug)]
struct Known {
    token: String,
    renew_at: Timestamp,
}

impl Tokens {
    /// Forgets what belongs to a pod that is gone.
    pub(crate) fn forget(&self, uid: &str) {
        self.known.lock().retain(|(owner, ..), _| owner != uid);
    }
}

/// The token for one projection.
pub(super) async fn token(
    setting: &Setting<'_>,
    projection: &ServiceAccountTokenProjection,
) -> Result<String, VolumeError> {
    let audience = projection.audience.clone().unwrap_or_default();
    let seconds = projection.expiration_seconds.unwrap_or(EXPIRATION_SECONDS_DEFAULT);
    let key = (setting.stored.uid.clone(), audience.clone(), seconds);
    let now = Timestamp::now();
    let known = setting.ctx.tokens.known.lock().get(&key).filter(|known| now < known.renew_at).cloned();
    if let Some(known) = known {
        return Ok(known.token);
    }
    let account = &setting.facts.service_account;
    let api: Api<ServiceAccount> = Api::namespaced(setting.ctx.client.clone(), &setting.stored.namespace);
    let request = request(setting, audience, seconds);
    let fail = |why: String| VolumeError::Source(format!("failed to fetch token: {why}"));
    let answer = api
        .create_token_request(account, &PostParams::default(), &request)
        .await
        .map_err(|error| fail(error.to_string()))?;
    let status = answer.status.ok_or_else(|| fail("the API server answered without a status".into()))?;
    let token = status.token.ok_or_else(|| fail("the API server answered without a token".into()))?;
    let life = status.expiration_timestamp.map_or(seconds, |t| t.0.duration_since(now).as_secs());
    let renew_after = (life * 4 / 5).clamp(0, AGE_SECONDS_MAX).unsigned_abs();
    let renew_at = now + std::time::Duration::from_secs(renew_after);
    let mut tokens = setting.ctx.tokens.known.lock();
    if tokens.len() < REMEMBERED_MAX {
        tokens.insert(key, Known { token: token.clone(), renew_at });
    }
    Ok(token)
}

fn request(setting: &Setting<'_>, audience: String, seconds: i64) -> TokenRequest {
    TokenRequest {
        spec: Some(TokenRequestSpec {
            audiences: Some(Some(audience).filter(|a| !a.is_empty()).into_iter().collect()),
            expiration_seconds: Some(seconds),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: Some(setting.stored.name.clone()),
                uid: Some(setting.stored.uid.clone()),
            }),
        }),
        ..TokenRequest::default()
    }
}
