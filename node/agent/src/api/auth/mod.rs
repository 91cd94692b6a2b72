//! Who may ask what of the kubelet's API, as upstream's kubelet decides it with webhooks for both and without anonymous requests.
//!
//! ```text
//! certificate of the API server or an administrator ────────────────────────────────────────────▶ served
//! another certificate of the client CA ──────────────────▶ a user ── SubjectAccessReview ── yes ─▶ served
//! else Authorization: Bearer ── TokenReview ── known ────▶ a user ─┘          │ no: 403, no answer: 500
//! else, and where there was no answer ──▶ 401
//! ```
//! Every request of a connection is judged, before it is looked at for anything else.

mod attributes;
mod caller;
mod reviews;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

use http::request::Parts;
use http::{HeaderMap, StatusCode, header};
use k8s_openapi::api::authentication::v1::UserInfo;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReviewSpec};
use rustls::pki_types::UnixTime;

use super::Refusal;
pub(super) use caller::Caller;
use caller::Who;
use reviews::Reviews;

/// The group of everybody who is somebody.
const AUTHENTICATED: &str = "system:authenticated";
/// What is asked for, whatever it is, belongs to one.
const RESOURCE: &str = "nodes";

/// Decides about requests.
pub(super) struct Gate {
    node: String,
    reviews: Reviews,
}

impl Gate {
    /// Of this node, whose identity `client` has: it needs `create` on tokenreviews and subjectaccessreviews.
    pub(super) fn new(node: &str, client: kube::Client) -> Self {
        Self { node: node.to_owned(), reviews: Reviews::new(client) }
    }

    /// Lets a request pass, or says what to answer instead.
    pub(super) async fn admit(&self, caller: &Caller, request: &Parts) -> Result<(), Refusal> {
        let user = match caller.proven(UnixTime::now()) {
            Ok(Who::Trusted) => return Ok(()),
            Ok(Who::User(user)) => Some(Arc::clone(user)),
            Err(why) => {
                let user = self.bearer(&request.headers).await;
                if user.is_none() {
                    tracing::debug!(path = request.uri.path(), certificate = why, "who calls is not known");
                }
                user
            }
        };
        let user = user.ok_or_else(|| Refusal(StatusCode::UNAUTHORIZED, "Unauthorized".to_owned()))?;
        self.authorize(&user, request).await
    }

    /// Who bears the request's token. Nobody, where the API server cannot be asked.
    async fn bearer(&self, headers: &HeaderMap) -> Option<Arc<UserInfo>> {
        let reviewed = self.reviews.user_of(token(headers)?, Instant::now()).await;
        reviewed.unwrap_or_else(|error| {
            let error = format!("{:#}", anyhow::Error::new(error));
            tracing::warn!(error, "a caller's token was not reviewed: it is refused");
            None
        })
    }

    /// Asks for one subresource after the other until one is allowed.
    async fn authorize(&self, user: &UserInfo, request: &Parts) -> Result<(), Refusal> {
        let verb = attributes::verb(&request.method);
        let subresources = attributes::subresources(request.uri.path());
        let who = user.username.as_deref().unwrap_or_default();
        for subresource in subresources {
            match self.reviews.allows(self.question(user, verb, subresource), Instant::now()).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) => {
                    let error = format!("{:#}", anyhow::Error::new(error));
                    tracing::warn!(user = who, verb, subresource, error, "whether a caller may is not known");
                    let asked =
                        format!("user={who}, verb={verb}, resource={RESOURCE}, subresource={subresource}");
                    let text = format!("Authorization error ({asked})");
                    return Err(Refusal(StatusCode::INTERNAL_SERVER_ERROR, text));
                }
            }
        }
        let subresources = subresources.join(" ");
        tracing::info!(user = who, verb, subresources, "refused a caller of the kubelet's API");
        let text = format!(
            "Forbidden (user={who}, verb={verb}, resource={RESOURCE}, subresource(s)=[{subresources}])"
        );
        Err(Refusal(StatusCode::FORBIDDEN, text))
    }

    fn question(&self, user: &UserInfo, verb: &str, subresource: &str) -> SubjectAccessReviewSpec {
        let UserInfo { username, uid, groups, extra } = user.clone();
        SubjectAccessReviewSpec {
            user: username,
            uid,
            groups,
            extra,
            resource_attributes: Some(ResourceAttributes {
                verb: Some(verb.to_owned()),
                version: Some("v1".to_owned()),
                resource: Some(RESOURCE.to_owned()),
                subresource: Some(subresource.to_owned()),
                name: Some(self.node.clone()),
                ..ResourceAttributes::default()
            }),
            non_resource_attributes: None,
        }
    }
}

/// The token of a request.
fn token(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// The groups of somebody who has proven who he is.
fn with_authenticated(mut groups: Vec<String>) -> Vec<String> {
    if !groups.iter().any(|group| group == AUTHENTICATED) {
        groups.push(AUTHENTICATED.to_owned());
    }
    groups
}
