//! AuthenticationConfiguration as it is written: its shape, no more. What it must say besides is in [`super::compile`].
//!
//! <https://kubernetes.io/docs/reference/config-api/apiserver-config.v1/#apiserver-config-k8s-io-v1-AuthenticationConfiguration>

use serde::Deserialize;

/// The versions that are read; their fields are the same.
pub const API_VERSIONS: [&str; 2] = ["apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1beta1"];

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuthenticationConfiguration {
    /// One of [`API_VERSIONS`].
    pub api_version: String,
    /// `AuthenticationConfiguration`.
    pub kind: String,
    /// Issuers whose tokens are believed.
    #[serde(default)]
    pub jwt: Vec<JwtAuthenticator>,
    /// Who may come without credentials.
    pub anonymous: Option<Anonymous>,
}

/// One issuer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JwtAuthenticator {
    /// Who issues, and for whom.
    pub issuer: Issuer,
    /// What must hold of the claims.
    #[serde(default)]
    pub claim_validation_rules: Vec<ClaimValidationRule>,
    /// How the claims make a user.
    pub claim_mappings: ClaimMappings,
    /// What must hold of that user.
    #[serde(default)]
    pub user_validation_rules: Vec<UserValidationRule>,
    /// The algorithms believed; not of the file, where it is all of them, but of `--oidc-signing-algs`.
    #[serde(skip)]
    pub signing_algs: Option<Vec<String>>,
}

/// Who issues.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Issuer {
    /// As in the claim `iss`.
    pub url: String,
    /// Where the discovery document is, if not below the URL.
    #[serde(rename = "discoveryURL")]
    pub discovery_url: Option<String>,
    /// PEM; without it the host's authorities are believed.
    #[serde(default)]
    pub certificate_authority: String,
    /// For whom tokens must be.
    #[serde(default)]
    pub audiences: Vec<String>,
    /// `MatchAny`, or nothing with one audience.
    #[serde(default)]
    pub audience_match_policy: String,
    /// Not supported.
    #[serde(default)]
    pub egress_selector_type: String,
}

/// A claim with its value, or an expression.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ClaimValidationRule {
    /// The claim's name.
    pub claim: String,
    /// What it must be.
    pub required_value: String,
    /// Over `claims`, to be true.
    pub expression: String,
    /// What is said otherwise.
    pub message: String,
}

/// How the claims make a user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClaimMappings {
    /// The name.
    pub username: Prefixed,
    /// The groups.
    #[serde(default)]
    pub groups: Prefixed,
    /// The uid.
    #[serde(default)]
    pub uid: ClaimOrExpression,
    /// What else.
    #[serde(default)]
    pub extra: Vec<ExtraMapping>,
}

/// A claim that gets a prefix, or an expression.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Prefixed {
    /// The claim's name.
    pub claim: String,
    /// Before the claim's value; with a claim it must be said, if only as "".
    pub prefix: Option<String>,
    /// Over `claims`.
    pub expression: String,
}

/// A claim or an expression.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClaimOrExpression {
    /// The claim's name.
    pub claim: String,
    /// Over `claims`.
    pub expression: String,
}

/// One key of the user's extra.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ExtraMapping {
    /// `domain/path`, in lower case.
    pub key: String,
    /// Over `claims`: a text or a list of texts.
    pub value_expression: String,
}

/// What must hold of the user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UserValidationRule {
    /// Over `user`, to be true.
    pub expression: String,
    /// What is said otherwise.
    pub message: String,
}

/// Who may come without credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anonymous {
    /// Whether anybody.
    pub enabled: bool,
    /// If there are any: only to these paths.
    #[serde(default)]
    pub conditions: Vec<AnonymousCondition>,
}

/// One path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnonymousCondition {
    /// The whole path, without query.
    pub path: String,
}
