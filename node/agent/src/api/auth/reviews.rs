//! What the API server says of tokens and rights: TokenReview and SubjectAccessReview, and for how long its answers are believed.
//!
//! Times are the defaults of upstream's KubeletConfiguration (`authentication.webhook.cacheTTL`,
//! `authorization.webhook.cacheAuthorizedTTL` and `cacheUnauthorizedTTL`), but that a token that is not known is asked about
//! again sooner: it may be one that was made a moment ago. What was not answered is never kept.

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{SubjectAccessReview, SubjectAccessReviewSpec};
use kube::Api;
use kube::api::PostParams;
use quick_cache::sync::Cache;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use super::with_authenticated;

const TOKEN_KNOWN: Duration = Duration::from_secs(120);
const TOKEN_UNKNOWN: Duration = Duration::from_secs(10);
const ALLOWED: Duration = Duration::from_secs(300);
const FORBIDDEN: Duration = Duration::from_secs(30);
/// Answers of each kind that are kept.
const ANSWERS_MAX: usize = 4096;
/// Questions of each kind that are under way; anybody who reaches the port can cause those about tokens.
const QUESTIONS_MAX: usize = 32;
/// How long a question may take, waiting for its turn included.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Why the API server's opinion is not known.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReviewError {
    /// It could not be asked, or it refused to be.
    #[error("the API server did not review it")]
    Asking(#[from] kube::Error),
    /// It took too long.
    #[error("the API server did not review it within {} s", ANSWER_MAX.as_secs())]
    Silent,
    /// An answer without one.
    #[error("the API server's review has no status")]
    Empty,
    /// An answer that is none.
    #[error("the API server's review says both that it is allowed and that it is denied")]
    Contradictory,
}

/// SHA-256 of what is asked about, so that memory holds no tokens.
type Key = [u8; 32];

/// Questions of one kind.
struct Questions<V> {
    /// With the time until which they are believed.
    answers: Cache<Key, (V, Instant)>,
    slots: Semaphore,
}

impl<V: Clone> Questions<V> {
    fn new() -> Self {
        Self { answers: Cache::new(ANSWERS_MAX), slots: Semaphore::new(QUESTIONS_MAX) }
    }

    /// The answer that is known, or that of `ask` with how long to believe it. `now`: when it is asked.
    async fn answer(
        &self,
        key: Key,
        now: Instant,
        ask: impl Future<Output = Result<(V, Duration), ReviewError>>,
    ) -> Result<V, ReviewError> {
        if let Some((answer, until)) = self.answers.get(&key)
            && now < until
        {
            return Ok(answer);
        }
        let in_turn = async {
            let _slot = self.slots.acquire().await;
            ask.await
        };
        let asked = tokio::time::timeout(ANSWER_MAX, in_turn).await;
        let (answer, believed) = asked.map_err(|_| ReviewError::Silent)??;
        self.answers.insert(key, (answer.clone(), now + believed));
        Ok(answer)
    }
}

/// The API server's opinions.
pub(super) struct Reviews {
    client: kube::Client,
    tokens: Questions<Option<Arc<UserInfo>>>,
    access: Questions<bool>,
}

impl Reviews {
    pub(super) fn new(client: kube::Client) -> Self {
        Self { client, tokens: Questions::new(), access: Questions::new() }
    }

    /// Whose token it is; `None` where it is nobody's.
    pub(super) async fn user_of(
        &self,
        token: &str,
        now: Instant,
    ) -> Result<Option<Arc<UserInfo>>, ReviewError> {
        let ask = async {
            let user = self.review_token(token).await?;
            let believed = if user.is_some() { TOKEN_KNOWN } else { TOKEN_UNKNOWN };
            Ok((user.map(Arc::new), believed))
        };
        self.tokens.answer(Sha256::digest(token).into(), now, ask).await
    }

    async fn review_token(&self, token: &str) -> Result<Option<UserInfo>, ReviewError> {
        // No audiences: the API server's own.
        let spec = TokenReviewSpec { token: token.to_owned(), audiences: None };
        let review = TokenReview { spec, ..TokenReview::default() };
        let answer = Api::all(self.client.clone()).create(&PostParams::default(), &review).await?;
        let status = answer.status.ok_or(ReviewError::Empty)?;
        if status.authenticated != Some(true) {
            tracing::debug!(why = status.error, "a caller's token is not known");
            return Ok(None);
        }
        let user = status.user.filter(|user| user.username.as_ref().is_some_and(|name| !name.is_empty()));
        Ok(user.map(|mut user| {
            user.groups = Some(with_authenticated(user.groups.unwrap_or_default()));
            user
        }))
    }

    /// Whether it is allowed.
    pub(super) async fn allows(
        &self,
        spec: SubjectAccessReviewSpec,
        now: Instant,
    ) -> Result<bool, ReviewError> {
        let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        // Maps in it are sorted: equal questions are equal texts.
        let text = serde_json::to_vec(&review).map_err(kube::Error::SerdeError)?;
        let ask = async {
            let allowed = self.review_access(&review).await?;
            Ok((allowed, if allowed { ALLOWED } else { FORBIDDEN }))
        };
        self.access.answer(Sha256::digest(text).into(), now, ask).await
    }

    async fn review_access(&self, review: &SubjectAccessReview) -> Result<bool, ReviewError> {
        let answer = Api::all(self.client.clone()).create(&PostParams::default(), review).await?;
        let status = answer.status.ok_or(ReviewError::Empty)?;
        match (status.allowed, status.denied == Some(true)) {
            (true, true) => Err(ReviewError::Contradictory),
            (allowed, _) => Ok(allowed),
        }
    }
}
