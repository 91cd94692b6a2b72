//! AuthorizationConfiguration as it is written: its shape, no more. What it must say besides is in [`super::compile`].
//!
//! <https://kubernetes.io/docs/reference/config-api/apiserver-config.v1/#apiserver-config-k8s-io-v1-AuthorizationConfiguration>

use serde::Deserialize;

/// The versions that are read; their fields are the same.
pub const API_VERSIONS: [&str; 2] = ["apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1beta1"];

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuthorizationConfiguration {
    /// One of [`API_VERSIONS`].
    pub api_version: String,
    /// `AuthorizationConfiguration`.
    pub kind: String,
    /// Whoever decides, in the order in which they are asked.
    #[serde(default)]
    pub authorizers: Vec<AuthorizerConfiguration>,
}

/// One of the chain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthorizerConfiguration {
    /// `Node`, `RBAC` or `Webhook`.
    #[serde(rename = "type")]
    pub authorizer_type: String,
    /// By which metrics and logs call it; `node` and `rbac` for the first two.
    pub name: String,
    /// Of type `Webhook` alone.
    pub webhook: Option<WebhookConfiguration>,
}

/// One webhook.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WebhookConfiguration {
    /// How long an answer that allows is kept, as `5m`, which it is unless given.
    #[serde(rename = "authorizedTTL")]
    pub authorized_ttl: Option<String>,
    /// Whether it is kept; true unless given.
    pub cache_authorized_requests: Option<bool>,
    /// How long any other answer is kept; `30s` unless given.
    #[serde(rename = "unauthorizedTTL")]
    pub unauthorized_ttl: Option<String>,
    /// Whether it is kept; true unless given.
    pub cache_unauthorized_requests: Option<bool>,
    /// How long is waited for an answer, at most `30s`.
    pub timeout: Option<String>,
    /// The version of SubjectAccessReview that is sent and expected: `v1` or `v1beta1`.
    pub subject_access_review_version: String,
    /// The version of SubjectAccessReview that the conditions see: `v1`.
    pub match_condition_subject_access_review_version: String,
    /// What a failure says: `NoOpinion` or `Deny`.
    pub failure_policy: String,
    /// Where it is.
    pub connection_info: ConnectionInfo,
    /// It is asked only where all of them hold.
    pub match_conditions: Vec<MatchCondition>,
}

/// Where a webhook is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ConnectionInfo {
    /// `KubeConfigFile`; `InClusterConfig` is not supported.
    #[serde(rename = "type")]
    pub connection_type: String,
    /// An absolute path.
    pub kube_config_file: Option<String>,
}

/// One condition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MatchCondition {
    /// Over `request`, to be true.
    pub expression: String,
}
