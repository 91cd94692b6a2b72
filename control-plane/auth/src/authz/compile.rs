//! From an AuthorizationConfiguration to [`Authorizers`]: everything it says checked, its conditions compiled.
//!
//! Rules and texts: `ValidateAuthorizationConfiguration` of `k8s.io/apiserver/pkg/apis/apiserver/validation`, and what
//! kube-apiserver asks of names beside it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keelson_cel::Program;
use keelson_cel::authorization::environment;
use keelson_semantics::names::dns1123_subdomain;

use super::FailurePolicy;
use super::conditions::{Condition, MatchConditions};
use super::config::{
    API_VERSIONS, AuthorizationConfiguration, AuthorizerConfiguration, MatchCondition, WebhookConfiguration,
};
use crate::faults::{Faults, InvalidConfiguration};

/// Authorizers of one configuration.
pub const AUTHORIZERS_MAX: usize = 64;
/// Conditions of one webhook; upstream's bound.
const CONDITIONS_MAX: usize = 64;
/// The longest that a webhook is waited for; upstream's bound.
const TIMEOUT_MAX: Duration = Duration::from_secs(30);
const AUTHORIZED_TTL: Duration = Duration::from_secs(300);
const UNAUTHORIZED_TTL: Duration = Duration::from_secs(30);

/// A configuration that can be used, in its order.
#[derive(Debug)]
pub struct Authorizers(pub Vec<Configured>);

/// One of it.
#[derive(Debug)]
pub enum Configured {
    /// The node authorizer.
    Node,
    /// RBAC.
    Rbac,
    /// A webhook.
    Webhook(WebhookRules),
}

/// All there is to say about a webhook but for what is in its kubeconfig.
#[derive(Debug)]
pub struct WebhookRules {
    /// By which metrics and logs call it.
    pub name: String,
    /// It is asked only where they hold.
    pub conditions: MatchConditions,
    /// What is said where it cannot be asked.
    pub failure: FailurePolicy,
    /// How long is waited for an answer, attempts that are repeated included.
    pub timeout: Duration,
    /// How long an answer that allows is kept; zero: not at all.
    pub authorized_ttl: Duration,
    /// How long any other is.
    pub unauthorized_ttl: Duration,
    /// The version of SubjectAccessReview that it speaks: v1 or v1beta1.
    pub version: String,
    /// The kubeconfig that says where it is.
    pub kubeconfig: PathBuf,
}

impl Authorizers {
    /// The built-in ones among them, by type, which a running server can neither gain nor lose (upstream's rule: a file that
    /// was cut off must not take anybody's rights away, or give any).
    pub fn built_in(&self) -> Vec<&'static str> {
        let kinds = self.0.iter().filter_map(|configured| match configured {
            Configured::Node => Some("Node"),
            Configured::Rbac => Some("RBAC"),
            Configured::Webhook(_) => None,
        });
        let mut kinds: Vec<_> = kinds.collect();
        kinds.sort_unstable();
        kinds
    }
}

/// Checks and compiles.
///
/// # Errors
/// Everything that is wrong, so that it is mended in one go.
pub fn compile(config: &AuthorizationConfiguration) -> Result<Authorizers, InvalidConfiguration> {
    let mut all = Vec::new();
    let mut faults = Faults::new(&mut all);
    if !API_VERSIONS.contains(&&*config.api_version) || config.kind != "AuthorizationConfiguration" {
        let is = format!("{} {}", config.api_version, config.kind);
        let why = format!("must be AuthorizationConfiguration of {}", API_VERSIONS.join(" or "));
        faults.at("apiVersion").invalid(is, why);
    }
    match config.authorizers.len() {
        0 => faults.at("authorizers").required("at least one authorization mode must be defined"),
        count if count > AUTHORIZERS_MAX => {
            faults.at("authorizers").invalid(count, format!("must have at most {AUTHORIZERS_MAX} items"));
        }
        _ => {}
    }
    let (mut types, mut names) = (HashSet::new(), HashSet::new());
    let mut made = Vec::with_capacity(config.authorizers.len());
    for (at, one) in config.authorizers.iter().enumerate() {
        let mut faults = faults.at(format_args!("authorizers[{at}]"));
        if !types.insert(&*one.authorizer_type) && one.authorizer_type != "Webhook" {
            faults.at("type").duplicate(&one.authorizer_type);
            continue;
        }
        made.extend(authorizer(one, &mut names, &mut faults));
    }
    if all.is_empty() { Ok(Authorizers(made)) } else { Err(InvalidConfiguration(all)) }
}

/// None where something was wrong, which is among the faults then.
fn authorizer<'a>(
    given: &'a AuthorizerConfiguration,
    names: &mut HashSet<&'a str>,
    faults: &mut Faults<'_>,
) -> Option<Configured> {
    let before = faults.count();
    let made = match &*given.authorizer_type {
        "Node" => Some(Configured::Node),
        "RBAC" => Some(Configured::Rbac),
        "Webhook" => None,
        other => {
            refuse(other, &mut faults.at("type"));
            return None;
        }
    };
    check_name(given, names, &mut faults.at("name"));
    match (made, &given.webhook) {
        (Some(made), webhook) => {
            if webhook.is_some() {
                faults.at("webhook").invalid("non-null", "may only be specified when type=Webhook");
            }
            (faults.count() == before).then_some(made)
        }
        (None, None) => {
            faults.at("webhook").required("required when type=Webhook");
            None
        }
        (None, Some(webhook)) => {
            let rules = rules(&given.name, webhook, &mut faults.at("webhook"));
            (faults.count() == before).then_some(Configured::Webhook(rules?))
        }
    }
}

fn refuse(kind: &str, faults: &mut Faults<'_>) {
    match kind {
        "" => faults.required(""),
        "AlwaysAllow" => faults.invalid(kind, "no configuration turns authorization off here"),
        "AlwaysDeny" | "ABAC" => faults.invalid(kind, "is not supported here"),
        other => faults.unsupported(other, &["Node", "RBAC", "Webhook"]),
    }
}

fn check_name<'a>(given: &'a AuthorizerConfiguration, names: &mut HashSet<&'a str>, faults: &mut Faults<'_>) {
    let (kind, name) = (&*given.authorizer_type, &*given.name);
    if name.is_empty() {
        return faults.required("");
    }
    if !names.insert(name) {
        return faults.duplicate(name);
    }
    let wrong = dns1123_subdomain(name);
    if !wrong.is_empty() {
        return faults.invalid(name, format!("authorizer name is invalid: {}", wrong.join(", ")));
    }
    let own = kind.to_ascii_lowercase();
    if kind != "Webhook" && name != own {
        faults.invalid(name, format!("expected name {own} for authorizer {kind}"));
    }
}

fn rules(name: &str, given: &WebhookConfiguration, faults: &mut Faults<'_>) -> Option<WebhookRules> {
    let timeout = given.timeout.as_deref();
    let timeout = timeout.map_or(Some(Duration::ZERO), |text| duration(text, &mut faults.at("timeout")));
    match timeout {
        Some(Duration::ZERO) => faults.at("timeout").required(""),
        Some(timeout) if timeout > TIMEOUT_MAX => {
            faults.at("timeout").invalid(timeout, "must be > 0s and <= 30s");
        }
        _ => {}
    }
    let authorized_ttl =
        ttl(given.authorized_ttl.as_deref(), AUTHORIZED_TTL, &mut faults.at("authorizedTTL"));
    let unauthorized_ttl =
        ttl(given.unauthorized_ttl.as_deref(), UNAUTHORIZED_TTL, &mut faults.at("unauthorizedTTL"));
    check_versions(given, faults);
    let failure = match &*given.failure_policy {
        "NoOpinion" => Some(FailurePolicy::NoOpinion),
        "Deny" => Some(FailurePolicy::Deny),
        other => {
            one_of(other, &["Deny", "NoOpinion"], &mut faults.at("failurePolicy"));
            None
        }
    };
    let kubeconfig = kubeconfig(given, &mut faults.at("connectionInfo"));
    let conditions = conditions(&given.match_conditions, faults);
    let kept = |ttl, is_kept: Option<bool>| if is_kept.unwrap_or(true) { ttl } else { Duration::ZERO };
    Some(WebhookRules {
        name: name.to_owned(),
        conditions,
        failure: failure?,
        timeout: timeout?,
        authorized_ttl: kept(authorized_ttl?, given.cache_authorized_requests),
        unauthorized_ttl: kept(unauthorized_ttl?, given.cache_unauthorized_requests),
        version: given.subject_access_review_version.clone(),
        kubeconfig: kubeconfig?,
    })
}

fn check_versions(given: &WebhookConfiguration, faults: &mut Faults<'_>) {
    let version = &*given.subject_access_review_version;
    if !["v1", "v1beta1"].contains(&version) {
        one_of(version, &["v1", "v1beta1"], &mut faults.at("subjectAccessReviewVersion"));
    }
    let mut faults = faults.at("matchConditionSubjectAccessReviewVersion");
    match &*given.match_condition_subject_access_review_version {
        "v1" => {}
        "" if given.match_conditions.is_empty() => {}
        "" => faults.required("required if match conditions are specified"),
        other => faults.unsupported(other, &["v1"]),
    }
}

fn one_of(given: &str, known: &[&str], faults: &mut Faults<'_>) {
    if given.is_empty() { faults.required("") } else { faults.unsupported(given, known) }
}

fn kubeconfig(given: &WebhookConfiguration, faults: &mut Faults<'_>) -> Option<PathBuf> {
    match &*given.connection_info.connection_type {
        "KubeConfigFile" => {}
        "InClusterConfig" => {
            faults.at("type").invalid("InClusterConfig", "is not supported here");
            return None;
        }
        other => {
            one_of(other, &["InClusterConfig", "KubeConfigFile"], &mut faults.at("type"));
            return None;
        }
    }
    let mut faults = faults.at("kubeConfigFile");
    let Some(path) = given.connection_info.kube_config_file.as_deref().filter(|path| !path.is_empty()) else {
        faults.required("");
        return None;
    };
    let path = Path::new(path);
    if !path.is_absolute() {
        faults.invalid(path, "must be an absolute path");
    }
    Some(path.to_owned())
}

fn conditions(given: &[MatchCondition], faults: &mut Faults<'_>) -> MatchConditions {
    if given.len() > CONDITIONS_MAX {
        let why = format!("must have at most {CONDITIONS_MAX} items");
        faults.at("matchConditions").invalid(given.len(), why);
        return MatchConditions::default();
    }
    let environment = environment();
    let mut seen = HashSet::new();
    let mut made = Vec::with_capacity(given.len());
    for (at, condition) in given.iter().enumerate() {
        let mut faults = faults.at(format_args!("matchConditions[{at}].expression"));
        let text = &*condition.expression;
        if text.trim().is_empty() {
            faults.required("");
            continue;
        }
        if !seen.insert(text) {
            faults.duplicate(text);
            continue;
        }
        match Program::compile_as(text, &environment, &[keelson_cel::Type::Bool]) {
            Ok(program) => made.push(Condition { text: text.to_owned(), program }),
            Err(error) => faults.invalid(text, format!("compilation failed: {error}")),
        }
    }
    MatchConditions::new(made)
}

/// Zero is as if nothing were given.
fn ttl(given: Option<&str>, otherwise: Duration, faults: &mut Faults<'_>) -> Option<Duration> {
    let Some(text) = given else { return Some(otherwise) };
    duration(text, faults).map(|ttl| if ttl.is_zero() { otherwise } else { ttl })
}

fn duration(text: &str, faults: &mut Faults<'_>) -> Option<Duration> {
    let Some(nanos) = keelson_cel::duration_nanos(text) else {
        faults.invalid(text, "is no duration such as 1m30s");
        return None;
    };
    let Ok(nanos) = u64::try_from(nanos) else {
        faults.invalid(text, "must be > 0s");
        return None;
    };
    Some(Duration::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn compiled(authorizers: Value) -> Result<Authorizers, String> {
        let config = json!({
            "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthorizationConfiguration", "authorizers": authorizers,
        });
        let config = serde_json::from_value(config).map_err(|error| error.to_string())?;
        compile(&config).map_err(|error| error.to_string())
    }

    fn webhook(changed: Value) -> Value {
        let mut webhook = json!({
            "timeout": "3s", "subjectAccessReviewVersion": "v1", "matchConditionSubjectAccessReviewVersion": "v1",
            "failurePolicy": "Deny", "connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": "/etc/w"},
        });
        for (key, value) in changed.as_object().unwrap() {
            webhook[key] = value.clone();
        }
        json!([{"type": "Webhook", "name": "w.example", "webhook": webhook}])
    }

    #[test]
    fn a_webhook_is_read_with_upstreams_defaults() {
        let made = compiled(webhook(json!({}))).unwrap();
        let [Configured::Webhook(rules)] = &*made.0 else { panic!("{made:?}") };
        let times = (rules.timeout, rules.authorized_ttl, rules.unauthorized_ttl);
        assert_eq!(times, (Duration::from_secs(3), Duration::from_secs(300), Duration::from_secs(30)));
        let changed = json!({"authorizedTTL": "1m30s", "cacheUnauthorizedRequests": false});
        let made = compiled(webhook(changed)).unwrap();
        let [Configured::Webhook(rules)] = &*made.0 else { panic!("{made:?}") };
        assert_eq!((rules.authorized_ttl, rules.unauthorized_ttl), (Duration::from_secs(90), Duration::ZERO));
        let order = json!([{"type": "RBAC", "name": "rbac"}, {"type": "Node", "name": "node"}]);
        let made = compiled(order).unwrap();
        assert!(
            matches!(*made.0, [Configured::Rbac, Configured::Node]) && made.built_in() == ["Node", "RBAC"]
        );
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_its_field() {
        let node = || json!({"type": "Node", "name": "node"});
        let field = |key: &str, value: Value| webhook(json!({ key: value }));
        let rows = [
            (json!([]), "authorizers: Required value: at least one authorization mode"),
            (json!([node(), node()]), "authorizers[1].type: Duplicate value: \"Node\""),
            (json!([{"type": "Node", "name": "nodes"}]), "expected name node for authorizer Node"),
            (json!([{"type": "RBAC"}]), "authorizers[0].name: Required value"),
            (json!([{"name": "x"}]), "authorizers[0].type: Required value"),
            (
                json!([{"type": "AlwaysAllow", "name": "alwaysallow"}]),
                "no configuration turns authorization off",
            ),
            (json!([{"type": "ABAC", "name": "abac"}]), "\"ABAC\": is not supported here"),
            (json!([{"type": "X", "name": "x"}]), "supported values: \"Node\", \"RBAC\", \"Webhook\""),
            (
                json!([{"type": "Webhook", "name": "w"}]),
                "webhook: Required value: required when type=Webhook",
            ),
            (json!([{"type": "Webhook", "name": "W"}]), "authorizer name is invalid"),
            (
                json!([{"type": "RBAC", "name": "rbac", "webhook": {}}]),
                "may only be specified when type=Webhook",
            ),
            (json!([{"type": "RBAC", "name": "rbac", "webhok": {}}]), "unknown field `webhok`"),
            (field("timeout", json!("31s")), "webhook.timeout: Invalid value: 31s: must be > 0s and <= 30s"),
            (field("timeout", json!("0s")), "webhook.timeout: Required value"),
            (field("timeout", json!("soon")), "is no duration"),
            (
                field("authorizedTTL", json!("-1s")),
                "webhook.authorizedTTL: Invalid value: \"-1s\": must be > 0s",
            ),
            (field("subjectAccessReviewVersion", json!("v2")), "supported values: \"v1\", \"v1beta1\""),
            (field("failurePolicy", json!("Allow")), "supported values: \"Deny\", \"NoOpinion\""),
            (
                field("connectionInfo", json!({"type": "InClusterConfig"})),
                "\"InClusterConfig\": is not supported here",
            ),
            (
                field("connectionInfo", json!({"type": "KubeConfigFile", "kubeConfigFile": "w"})),
                "webhook.connectionInfo.kubeConfigFile: Invalid value: \"w\": must be an absolute path",
            ),
            (
                field("matchConditions", json!([{"expression": "request.user"}])),
                "webhook.matchConditions[0].expression: Invalid value: \"request.user\": compilation failed",
            ),
            (
                webhook(
                    json!({"matchConditions": [{"expression": "true"}], "matchConditionSubjectAccessReviewVersion": ""}),
                ),
                "required if match conditions are specified",
            ),
        ];
        for (authorizers, wanted) in rows {
            let error = compiled(authorizers.clone()).expect_err(wanted);
            assert!(error.contains(wanted), "{wanted}: {error}");
        }
    }
}
