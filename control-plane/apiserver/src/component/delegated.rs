//! Who asks a component, and whether he may: certificates are judged here, all else is asked of the API server.
//!
//! TokenReview and SubjectAccessReview, as upstream's `DelegatingAuthenticationOptions` and `DelegatingAuthorizationOptions`;
//! answers are believed for ten seconds. What the API server does not answer is not believed: 401 for a token, 500 for access.

use crate::{
    aggregation,
    identity::{FRONT_PROXIES, TokenCache, bearer, reviewed_user},
    wire::peer::Peer,
};
use async_trait::async_trait;
use http::{HeaderMap, header};
use keelson_auth::{
    UserInfo,
    authz::{
        Attributes, Authorizer, Chain, FailurePolicy, MatchConditions, ReviewError, ReviewStatus, Reviewer,
        Step, Verdict, review, review_status,
    },
};
use keelson_registry::status::Status;
use quick_cache::sync::Cache;
use serde_json::{Value, json};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// How long an answer about access is believed (upstream's TTL, of yes and no).
const TTL: Duration = Duration::from_secs(10);
/// Answers kept at a time.
const ANSWERS_MAX: usize = 256;
/// How long the API server may take (upstream's client timeout).
const TIMEOUT: Duration = Duration::from_secs(10);
const TOKEN_REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
const ACCESS_REVIEWS: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";

pub(super) struct Delegated {
    client: kube::Client,
    believed: TokenCache,
    authorizer: Authorizer,
}

impl Delegated {
    pub(super) fn new(client: kube::Client) -> Self {
        let authorizer = Authorizer::new();
        let reviewer = Arc::new(Access { client: client.clone(), answers: Cache::new(ANSWERS_MAX) });
        let conditions = MatchConditions::default();
        let step = Step::webhook("api-server", conditions, FailurePolicy::Deny, reviewer);
        authorizer.set_chain(Chain::new(vec![step]));
        Self { client, believed: TokenCache::default(), authorizer }
    }

    /// Whoever the connection or the request's token proves; nobody in particular without either.
    pub(super) async fn identify(&self, peer: &Peer, headers: &HeaderMap) -> Result<Arc<UserInfo>, Status> {
        if let Some(proxy) = peer.certificate.front_proxy()
            && FRONT_PROXIES.contains(&proxy)
            && let Some(user) = aggregation::remote_user(headers)
        {
            return Ok(Arc::new(user));
        }
        if let Some(Ok(user)) = peer.certificate.user() {
            return Ok(user.clone());
        }
        let refused = match (bearer(headers), peer.certificate.user()) {
            (Some(token), _) => match self.token_user(token).await {
                Ok(user) => return Ok(user),
                Err(why) => why,
            },
            (None, Some(Err(why))) => why,
            (None, _) => return Ok(Arc::new(UserInfo::anonymous())),
        };
        tracing::debug!(address = %peer.address, why = refused, "authentication failed");
        Err(Status::unauthorized("Unauthorized"))
    }

    pub(super) async fn decide(&self, attributes: &Attributes<'_>) -> Verdict {
        self.authorizer.decide(attributes).await
    }

    async fn token_user(&self, token: &str) -> Result<Arc<UserInfo>, String> {
        if let Some(user) = self.believed.get(token) {
            return Ok(user);
        }
        let question = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token},
        });
        let answer = ask(&self.client, TOKEN_REVIEWS, &question).await?;
        let answer: Value = serde_json::from_str(&answer).map_err(|error| error.to_string())?;
        let status = &answer["status"];
        if status["authenticated"] != true {
            return Err(status["error"]
                .as_str()
                .unwrap_or("the API server does not know the token")
                .to_owned());
        }
        let user = reviewed_user(&status["user"]).ok_or("the API server's answer names no user")?;
        let user = Arc::new(user);
        self.believed.put(token, user.clone());
        Ok(user)
    }
}

/// POSTs a review.
async fn ask(client: &kube::Client, path: &str, question: &Value) -> Result<String, String> {
    let request = http::Request::post(path)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json")
        .body(question.to_string().into_bytes())
        .map_err(|error| error.to_string())?;
    let answer = match tokio::time::timeout(TIMEOUT, client.request_text(request)).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} s", TIMEOUT.as_secs())),
    };
    answer.map_err(|why| {
        tracing::warn!(path, why, "the API server could not be asked");
        format!("the API server could not be asked: {why}")
    })
}

/// Access as the API server sees it.
struct Access {
    client: kube::Client,
    answers: Cache<String, (Instant, ReviewStatus)>,
}

#[async_trait]
impl Reviewer for Access {
    async fn review(&self, spec: &Value) -> Result<ReviewStatus, ReviewError> {
        let key = spec.to_string();
        if let Some((at, status)) = self.answers.get(&key)
            && at.elapsed() < TTL
        {
            return Ok(status);
        }
        let answer = ask(&self.client, ACCESS_REVIEWS, &review(spec, "v1")).await.map_err(ReviewError)?;
        let status = review_status(answer.as_bytes()).map_err(ReviewError)?;
        self.answers.insert(key, (Instant::now(), status.clone()));
        Ok(status)
    }
}
