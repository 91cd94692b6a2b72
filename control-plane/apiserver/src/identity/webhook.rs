//! Tokens that a webhook knows: asked by TokenReview, its answers remembered for a time of the operator's choice.
//!
//! <https://kubernetes.io/docs/reference/access-authn-authz/authentication/#webhook-token-authentication>. What cannot be
//! asked is not remembered: the next request asks again.

use super::bearer::Proven;
use keelson_auth::UserInfo;
use keelson_webhook::{CallError, Remote};
use quick_cache::sync::Cache;
use rand::Rng;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Answers remembered at a time; of more, those not used longest are forgotten.
const ANSWERS_MAX: usize = 4096;
/// Until an answer is there, with all attempts.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How tokens are asked about.
pub struct TokenWebhook {
    /// Whom.
    pub remote: Remote,
    /// The version of TokenReview that it speaks: v1 or v1beta1.
    pub version: String,
    /// How long its answers are believed; zero: not at all.
    pub cache_ttl: Duration,
}

/// The webhook with what it has answered.
pub(super) struct TokenReviews {
    webhook: TokenWebhook,
    answers: Cache<[u8; 32], Answer>,
    /// So that the hashes of a memory dump fit no table.
    salt: [u8; 32],
}

#[derive(Clone)]
struct Answer {
    at: Instant,
    /// None: it knows no such token.
    outcome: Option<Proven>,
    /// What it said about that.
    error: String,
}

impl TokenReviews {
    pub(super) fn new(webhook: TokenWebhook) -> Self {
        Self { webhook, answers: Cache::new(ANSWERS_MAX), salt: rand::rng().random() }
    }

    /// None where the webhook knows no such token and says no more. `implicit`: for whom a token is of which the webhook
    /// does not say.
    pub(super) async fn prove(
        &self,
        token: &str,
        audiences: &[String],
        implicit: &[String],
    ) -> Option<Result<Proven, String>> {
        match self.answer(token, audiences, implicit).await {
            Ok(Answer { outcome: Some(proven), .. }) => Some(Ok(proven)),
            Ok(Answer { error, .. }) => (!error.is_empty()).then_some(Err(error)),
            Err(error) => {
                tracing::warn!(%error, "the webhook of token authentication could not be asked");
                Some(Err(error.to_string()))
            }
        }
    }

    async fn answer(
        &self,
        token: &str,
        audiences: &[String],
        implicit: &[String],
    ) -> Result<Answer, CallError> {
        let ask = self.ask(token, audiences, implicit);
        if self.webhook.cache_ttl.is_zero() {
            return ask.await;
        }
        let key = self.key(token, audiences);
        if self.answers.peek(&key).is_some_and(|known| known.at.elapsed() >= self.webhook.cache_ttl) {
            self.answers.remove(&key);
        }
        // Of those who ask about one token at a time one asks the webhook.
        self.answers.get_or_insert_async(&key, ask).await
    }

    fn key(&self, token: &str, audiences: &[String]) -> [u8; 32] {
        let mut hash = Sha256::new().chain_update(self.salt).chain_update(Sha256::digest(token));
        for audience in audiences {
            hash.update(Sha256::digest(audience));
        }
        hash.finalize().into()
    }

    async fn ask(&self, token: &str, audiences: &[String], implicit: &[String]) -> Result<Answer, CallError> {
        let review = json!({
            "apiVersion": format!("authentication.k8s.io/{}", self.webhook.version),
            "kind": "TokenReview",
            "metadata": {"creationTimestamp": null},
            "spec": {"token": token, "audiences": audiences},
        });
        let body = self.webhook.remote.review(&review, TIMEOUT).await?;
        let broken = |why: String| CallError::Broken { url: self.webhook.remote.url().to_owned(), why };
        let answer: Value = serde_json::from_slice(&body).map_err(|error| broken(error.to_string()))?;
        let status = &answer["status"];
        let mut outcome = None;
        if status["authenticated"] == true {
            let user = reviewed_user(&status["user"]).ok_or_else(|| broken("it names no user".to_owned()))?;
            let has = texts(&status["audiences"]);
            let has = if has.is_empty() { implicit } else { &has };
            let common: Vec<String> = audiences.iter().filter(|one| has.contains(one)).cloned().collect();
            outcome = (!common.is_empty()).then(|| Proven { user: Arc::new(user), audiences: common });
        }
        let error = status["error"].as_str().unwrap_or_default().to_owned();
        Ok(Answer { at: Instant::now(), outcome, error })
    }
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|one| one.as_str().map(str::to_owned)).collect()
}

/// The user that a TokenReview names.
pub(crate) fn reviewed_user(value: &Value) -> Option<UserInfo> {
    let name = value["username"].as_str().filter(|name| !name.is_empty())?;
    let proven = UserInfo::authenticated(name, texts(&value["groups"]));
    let uid = value["uid"].as_str().unwrap_or_default().to_owned();
    let extra = value["extra"].as_object().into_iter().flatten();
    let extra = extra.map(|(key, values)| (key.to_ascii_lowercase(), texts(values))).collect();
    Some(UserInfo { uid, extra, ..proven })
}
