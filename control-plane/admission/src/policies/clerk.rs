//! `authorizer` in expressions: what the request's user, or a ServiceAccount, may do.
//!
//! Expressions are evaluated in one go, and who decides may have to be waited for. So where it is a webhook's turn the clerk
//! notes the question and answers anything; what the evaluation comes to is thrown away, the question asked, and everything
//! evaluated once more, with the answer at hand. Evaluation is pure, and asks the same as long as it hears the same.
//!
//! ```text
//! settle: evaluate ─┬─ no question open ──> what it came to
//!                   └─ one is ──> Authorizer::decide ──> evaluate ..
//! ```

use keelson_auth::authz::{Attributes as Asked, Resource, Verdict};
use keelson_auth::user::{service_account_groups, service_account_user};
use keelson_auth::{Authorizer, UserInfo};
use keelson_cel::{Authorize, Decision, Question};
use keelson_registry::Attributes;
use keelson_semantics::{FieldSelector, LabelSelector};
use parking_lot::Mutex;

/// Questions of one evaluation that are waited for; the budget of expressions allows no more in any case.
const QUESTIONS_MAX: usize = 64;

/// Answers an expression's questions.
pub(super) struct Clerk<'a> {
    authorizer: &'a Authorizer,
    user: &'a UserInfo,
    /// What the request itself is about.
    own: Question,
    heard: Mutex<Heard>,
}

#[derive(Default)]
struct Heard {
    answers: Vec<(Question, Decision)>,
    /// The first question of this evaluation that must be waited for: what comes after it may depend on its answer.
    open: Option<Question>,
}

impl<'a> Clerk<'a> {
    /// For a request about the object `name`.
    pub(super) fn new(authorizer: &'a Authorizer, attributes: &Attributes<'a>, name: &str) -> Self {
        let own = Question {
            group: attributes.kind.group.to_string(),
            resource: attributes.kind.plural.to_string(),
            subresource: attributes.subresource.to_owned(),
            namespace: attributes.namespace.to_owned(),
            name: name.to_owned(),
            ..Question::default()
        };
        Self { authorizer, user: attributes.user, own, heard: Mutex::default() }
    }

    /// The question that `authorizer.requestResource` begins with.
    pub(super) fn own(&self) -> Question {
        self.own.clone()
    }

    /// What `evaluate`, which is pure but for its questions to this clerk, comes to when all of them are answered.
    pub(super) async fn settle<T>(&self, mut evaluate: impl FnMut() -> T) -> T {
        loop {
            let outcome = evaluate();
            let Some(question) = self.heard.lock().open.take() else { return outcome };
            // Dropped before anybody is waited for: it may hold what must not cross threads.
            drop(outcome);
            let decision = self.decide(&question).await;
            self.heard.lock().answers.push((question, decision));
        }
    }

    async fn decide(&self, question: &Question) -> Decision {
        let read = Read::of(question);
        let verdict = self.authorizer.decide(&read.asked(question, self.user)).await;
        decision(&verdict)
    }
}

impl Authorize for Clerk<'_> {
    fn authorize(&self, question: &Question) -> Decision {
        let read = Read::of(question);
        if let Some(verdict) = self.authorizer.settled(&read.asked(question, self.user)) {
            return decision(&verdict);
        }
        let mut heard = self.heard.lock();
        if let Some((_, known)) = heard.answers.iter().find(|(asked, _)| asked == question) {
            return known.clone();
        }
        if heard.answers.len() >= QUESTIONS_MAX {
            let error = format!("more than {QUESTIONS_MAX} questions to the authorizer");
            return Decision { error, ..Decision::default() };
        }
        heard.open.get_or_insert_with(|| question.clone());
        Decision::default()
    }
}

fn decision(verdict: &Verdict) -> Decision {
    let text = |text: &Option<std::sync::Arc<str>>| text.as_deref().unwrap_or_default().to_owned();
    Decision {
        allowed: verdict.is_allowed(),
        reason: text(&verdict.reason),
        error: if verdict.is_allowed() { String::new() } else { text(&verdict.error) },
    }
}

/// What of a question must be read before it can be asked. A selector that cannot be read narrows nothing, as upstream.
struct Read {
    account: Option<UserInfo>,
    fields: Option<FieldSelector>,
    labels: Option<LabelSelector>,
}

impl Read {
    fn of(question: &Question) -> Self {
        let account = question.service_account.as_ref().map(|(namespace, name)| {
            UserInfo::authenticated(service_account_user(namespace, name), service_account_groups(namespace))
        });
        let fields = Some(&question.field_selector).filter(|text| !text.is_empty());
        let labels = Some(&question.label_selector).filter(|text| !text.is_empty());
        Self {
            account,
            fields: fields.and_then(|text| FieldSelector::parse(text).ok()),
            labels: labels.and_then(|text| LabelSelector::parse(text).ok()),
        }
    }

    fn asked<'q>(&'q self, question: &'q Question, user: &'q UserInfo) -> Asked<'q> {
        let user = self.account.as_ref().unwrap_or(user);
        if let Some(path) = &question.path {
            return Asked::path(user, &question.verb, path);
        }
        let resource = Resource {
            group: &question.group,
            version: "*",
            resource: &question.resource,
            subresource: &question.subresource,
            namespace: &question.namespace,
            name: &question.name,
            fields: self.fields.as_ref(),
            labels: self.labels.as_ref(),
        };
        Asked::resource(user, &question.verb, resource)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_trait::async_trait;
    use keelson_auth::authz::{
        Chain, FailurePolicy, MatchConditions, ReviewError, ReviewStatus, Reviewer, Step,
    };
    use serde_json::Value;
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    };

    /// Allows `get`, and has no opinion on anything else.
    #[derive(Default)]
    struct Webhook(AtomicUsize);

    #[async_trait]
    impl Reviewer for Webhook {
        async fn review(&self, spec: &Value) -> Result<ReviewStatus, ReviewError> {
            self.0.fetch_add(1, Relaxed);
            // Whoever is asked takes his time.
            tokio::task::yield_now().await;
            let allowed = spec["resourceAttributes"]["verb"] == "get";
            Ok(ReviewStatus { allowed, ..ReviewStatus::default() })
        }
    }

    #[tokio::test]
    async fn what_must_be_waited_for_is_asked_once_and_then_known() {
        let webhook = Arc::new(Webhook::default());
        let authorizer = Authorizer::new();
        let failure = FailurePolicy::Deny;
        let step = Step::webhook("w", MatchConditions::default(), failure, webhook.clone());
        authorizer.set_chain(Chain::new(vec![step]));
        let jane = UserInfo::authenticated("jane", ["dev"]);
        let clerk =
            Clerk { authorizer: &authorizer, user: &jane, own: Question::default(), heard: Mutex::default() };
        let asks = |verb: &str| clerk.authorize(&Question { verb: verb.to_owned(), ..clerk.own() }).allowed;
        let mut evaluations = 0;
        let outcome = clerk.settle(|| {
            evaluations += 1;
            asks("get") && !asks("delete") && asks("get")
        });
        assert!(outcome.await);
        assert_eq!((webhook.0.load(Relaxed), evaluations), (2, 3));
    }
}
