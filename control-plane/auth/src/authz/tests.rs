//! Chains: who is asked, and what becomes of what they say.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use async_trait::async_trait;
use serde_json::json;

use super::*;

/// Says the same to everything, and counts how often it was asked.
struct Says(Result<ReviewStatus, ReviewError>, AtomicUsize);

#[async_trait]
impl Reviewer for Says {
    async fn review(&self, _: &Value) -> Result<ReviewStatus, ReviewError> {
        self.1.fetch_add(1, Relaxed);
        self.0.clone()
    }
}

fn says(outcome: Result<(bool, bool, &str), &str>) -> Arc<Says> {
    let status = |(allowed, denied, reason): (bool, bool, &str)| ReviewStatus {
        allowed,
        denied,
        reason: reason.to_owned(),
    };
    Arc::new(Says(outcome.map(status).map_err(|why| ReviewError(why.to_owned())), AtomicUsize::new(0)))
}

fn step(name: &str, reviewer: &Arc<Says>, failure: FailurePolicy) -> Step {
    Step::webhook(name, MatchConditions::default(), failure, reviewer.clone())
}

/// jane may get pods by RBAC, and nothing else.
fn authorizer(steps: Vec<Step>) -> Authorizer {
    let rule = json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]});
    let objects = [
        json!({"kind": "ClusterRole", "apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "r"}, "rules": [rule]}),
        json!({"kind": "ClusterRoleBinding", "apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "b"},
               "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"},
               "subjects": [{"kind": "User", "name": "jane"}]}),
    ];
    let mut index = RbacIndex::default();
    assert!(index.reset(objects.iter()).is_empty());
    let authorizer = Authorizer::new();
    authorizer.set_rbac(index.snapshot());
    authorizer.set_chain(Chain::new(steps));
    authorizer
}

fn pods(user: &UserInfo) -> Attributes<'_> {
    Attributes::resource(user, "get", Resource { resource: "pods", ..Resource::default() })
}

#[tokio::test]
async fn masters_may_do_everything_and_nobody_is_asked() {
    let deny = says(Ok((false, true, "")));
    let authorizer = authorizer(vec![step("w", &deny, FailurePolicy::Deny)]);
    let root = UserInfo::authenticated("root", ["system:masters"]);
    let metrics = Attributes::path(&root, "get", "/metrics");
    assert!(authorizer.decide(&metrics).await.is_allowed());
    assert_eq!(authorizer.settled(&metrics).map(|verdict| verdict.is_allowed()), Some(true));
    assert_eq!(deny.1.load(Relaxed), 0);
}

#[tokio::test]
async fn the_first_who_decides_is_heard() {
    use Decision::{Allow, Deny, NoOpinion};
    let jane = UserInfo::authenticated("jane", ["dev"]);
    let rbac = "RBAC: allowed by ClusterRoleBinding \"b\" of ClusterRole \"r\" to User \"jane\"";
    let both = "webhook subject access review returned both allow and deny response";
    let (open, closed) = (FailurePolicy::NoOpinion, FailurePolicy::Deny);
    // What the webhook says, its failure policy; then, with the webhook first: decision, reason, error.
    let rows = [
        (Ok((true, false, "yes")), closed, Allow, "yes", ""),
        (Ok((false, true, "no")), open, Deny, "no", ""),
        (Ok((true, true, "")), open, Deny, "", both),
        (Ok((false, false, "dunno")), closed, Allow, rbac, ""),
        (Err("broken"), closed, Deny, "", "broken"),
        (Err("broken"), open, Allow, rbac, ""),
    ];
    for (said, failure, decision, reason, error) in rows {
        let webhook = says(said);
        let authorizer = authorizer(vec![step("w", &webhook, failure), Step::node(), Step::rbac()]);
        let verdict = authorizer.decide(&pods(&jane)).await;
        let text = |text: &Option<Arc<str>>| text.as_deref().unwrap_or_default().to_owned();
        let got = (verdict.decision, text(&verdict.reason), text(&verdict.error));
        assert_eq!(got, (decision, reason.to_owned(), error.to_owned()), "{said:?}");
        assert_eq!(webhook.1.load(Relaxed), 1);
        assert_eq!(authorizer.settled(&pods(&jane)), None, "who cannot wait is told so");
    }

    // After RBAC the webhook is asked only for what RBAC does not allow.
    let webhook = says(Err("broken"));
    let authorizer = authorizer(vec![Step::rbac(), step("w", &webhook, open)]);
    assert!(authorizer.decide(&pods(&jane)).await.is_allowed());
    assert_eq!(authorizer.settled(&pods(&jane)).map(|verdict| verdict.decision), Some(Allow));
    assert_eq!(webhook.1.load(Relaxed), 0);
    let verdict = authorizer.decide(&Attributes::path(&jane, "get", "/metrics")).await;
    assert_eq!((verdict.decision, verdict.error.as_deref()), (NoOpinion, Some("broken")));
    let counts = authorizer.chain().steps()[0].counts();
    assert_eq!((counts.allowed, counts.denied), (2, 0));
}

#[tokio::test]
async fn reasons_of_those_who_do_not_decide_are_told_together() {
    let jane = UserInfo::authenticated("jane", ["dev"]);
    let (first, second) = (says(Ok((false, false, "a"))), says(Ok((false, false, "b"))));
    let open = FailurePolicy::NoOpinion;
    let chain = vec![step("x", &first, open), Step::rbac(), step("y", &second, open)];
    let verdict = authorizer(chain).decide(&Attributes::path(&jane, "get", "/metrics")).await;
    assert_eq!((verdict.decision, verdict.reason.as_deref()), (Decision::NoOpinion, Some("a\nb")));
}

#[tokio::test]
async fn conditions_say_what_a_webhook_is_asked_about() {
    let expression = |text: &str| json!({ "expression": text });
    let config = json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthorizationConfiguration",
        "authorizers": [{"type": "Webhook", "name": "w", "webhook": {
            "timeout": "3s", "subjectAccessReviewVersion": "v1", "matchConditionSubjectAccessReviewVersion": "v1",
            "failurePolicy": "Deny", "connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": "/etc/w"},
            "matchConditions": [
                expression("has(request.resourceAttributes)"),
                expression("request.resourceAttributes.namespace == 'secret'"),
                expression("request.extra['tier'] == ['gold']"),
            ],
        }}],
    });
    let Authorizers(mut made) = compile(&serde_json::from_value(config).unwrap()).unwrap();
    let Some(Configured::Webhook(rules)) = made.pop() else { panic!("{made:?}") };
    let webhook = says(Ok((false, true, "")));
    let authorizer = authorizer(vec![Step::webhook("w", rules.conditions, rules.failure, webhook.clone())]);
    let user = |tier: Option<&str>| UserInfo {
        extra: tier.into_iter().map(|tier| ("tier".to_owned(), vec![tier.to_owned()])).collect(),
        ..UserInfo::authenticated("jane", ["dev"])
    };
    let (gold, lead, none) = (user(Some("gold")), user(Some("lead")), user(None));
    let about = |user, namespace| {
        Attributes::resource(user, "get", Resource { resource: "pods", namespace, ..Resource::default() })
    };
    let rows = [
        (about(&gold, "secret"), 1, Decision::Deny, false),
        (about(&gold, "open"), 0, Decision::NoOpinion, false),
        (about(&lead, "secret"), 0, Decision::NoOpinion, false),
        // The third cannot be evaluated: as the failure policy says, unless another is false.
        (about(&none, "secret"), 0, Decision::Deny, true),
        (about(&none, "open"), 0, Decision::NoOpinion, false),
        (Attributes::path(&none, "get", "/metrics"), 0, Decision::NoOpinion, false),
    ];
    for (attributes, asked, decision, fails) in rows {
        let before = webhook.1.load(Relaxed);
        let verdict = authorizer.decide(&attributes).await;
        assert_eq!(webhook.1.load(Relaxed) - before, asked, "{attributes:?}");
        assert_eq!(
            (verdict.decision, verdict.error.is_some()),
            (decision, fails),
            "{attributes:?}: {verdict:?}"
        );
    }
    let counts = authorizer.chain().steps()[0].counts();
    assert_eq!((counts.denied, counts.conditions_excluded, counts.conditions_failed), (2, 4, 1));
}

#[tokio::test]
async fn rules_are_incomplete_where_a_webhook_may_know_more() {
    let jane = UserInfo::authenticated("jane", ["dev"]);
    let webhook = says(Ok((true, false, "")));
    let with = authorizer(vec![Step::rbac(), step("w", &webhook, FailurePolicy::Deny)]);
    let status = with.review_rules(&jane, "ns");
    assert_eq!((&status["incomplete"], status["resourceRules"].as_array().unwrap().len()), (&json!(true), 1));
    assert_eq!(status["evaluationError"], "webhook authorizer does not support user rule resolution");
    let without = authorizer(vec![step("w", &webhook, FailurePolicy::Deny)]).review_rules(&jane, "ns");
    assert_eq!(without["resourceRules"], json!([]));
}

#[tokio::test]
async fn an_authorizer_that_stays_goes_on_counting() {
    let jane = UserInfo::authenticated("jane", ["dev"]);
    let webhook = says(Ok((true, false, "")));
    let authorizer = authorizer(vec![Step::rbac()]);
    assert!(authorizer.decide(&pods(&jane)).await.is_allowed());
    authorizer.set_chain(Chain::new(vec![step("w", &webhook, FailurePolicy::Deny), Step::rbac()]));
    let counts: Vec<u64> = authorizer.chain().steps().iter().map(|step| step.counts().allowed).collect();
    assert_eq!(counts, [0, 1]);
}
