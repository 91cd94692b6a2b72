//! A policy's file: read strictly, every mistake told by its field.

use super::{Decision, GroupResources, Level, Policy, Rule, Stage, Stages};
use keelson_schema::{FieldError, Path};
use serde::Deserialize;

/// Why a text is no policy.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// Not YAML of this shape; fields that nobody knows are refused.
    #[error("it cannot be read: {0}")]
    Syntax(String),
    /// Another kind or version.
    #[error("it is a {api_version} {kind}, not an audit.k8s.io/v1 Policy")]
    Kind {
        /// apiVersion.
        api_version: String,
        /// kind.
        kind: String,
    },
    /// Values that are not allowed.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Fields(Vec<FieldError>),
    /// Nothing would ever be recorded.
    #[error("it has no rules")]
    NoRules,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PolicyFile {
    api_version: String,
    kind: String,
    #[serde(default, rename = "metadata")]
    _metadata: serde_json::Value,
    #[serde(default)]
    rules: Vec<RuleFile>,
    #[serde(default)]
    omit_stages: Vec<String>,
    #[serde(default)]
    omit_managed_fields: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
#[derive(Default)]
struct RuleFile {
    level: String,
    users: Vec<String>,
    user_groups: Vec<String>,
    verbs: Vec<String>,
    resources: Vec<ResourcesFile>,
    namespaces: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    non_resource_urls: Vec<String>,
    omit_stages: Vec<String>,
    omit_managed_fields: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct ResourcesFile {
    group: String,
    resources: Vec<String>,
    resource_names: Vec<String>,
}

impl Policy {
    /// Reads a policy in YAML or JSON.
    ///
    /// # Errors
    /// What is wrong with it; all fields at once.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let file: PolicyFile =
            serde_saphyr::from_str(text).map_err(|error| PolicyError::Syntax(error.to_string()))?;
        if (&*file.api_version, &*file.kind) != ("audit.k8s.io/v1", "Policy") {
            return Err(PolicyError::Kind { api_version: file.api_version, kind: file.kind });
        }
        let mut errors = Vec::new();
        let omitted = stages(&Path::new("omitStages"), &file.omit_stages, &mut errors);
        let whole = Decision {
            level: Level::None,
            omit_stages: omitted,
            omit_managed_fields: file.omit_managed_fields,
        };
        let rules: Vec<Rule> = file
            .rules
            .into_iter()
            .enumerate()
            .map(|(at, rule)| rule.read(&Path::new("rules").index(at), whole, &mut errors))
            .collect();
        match errors.is_empty() {
            false => Err(PolicyError::Fields(errors)),
            true if rules.is_empty() => Err(PolicyError::NoRules),
            true => Ok(Self { rules }),
        }
    }
}

impl RuleFile {
    fn read(self, path: &Path, whole: Decision, errors: &mut Vec<FieldError>) -> Rule {
        let level = level(&path.child("level"), &self.level, errors);
        let urls = path.child("nonResourceURLs");
        check_urls(&urls, &self.non_resource_urls, errors);
        let resources: Vec<GroupResources> = self
            .resources
            .into_iter()
            .enumerate()
            .map(|(at, one)| one.read(&path.child("resources").index(at), errors))
            .collect();
        let own = stages(&path.child("omitStages"), &self.omit_stages, errors);
        let of_resources = !resources.is_empty() || !self.namespaces.is_empty();
        if of_resources && !self.non_resource_urls.is_empty() {
            let detail = "rules cannot apply to both regular resources and non-resource URLs";
            errors.push(FieldError::invalid(&urls, self.non_resource_urls.clone(), detail));
        }
        Rule {
            decision: Decision {
                level,
                omit_stages: whole.omit_stages.union(own),
                omit_managed_fields: self.omit_managed_fields.unwrap_or(whole.omit_managed_fields),
            },
            users: self.users,
            user_groups: self.user_groups,
            verbs: self.verbs,
            resources,
            namespaces: self.namespaces,
            non_resource_urls: self.non_resource_urls,
        }
    }
}

impl ResourcesFile {
    fn read(self, path: &Path, errors: &mut Vec<FieldError>) -> GroupResources {
        if !self.group.is_empty() && !is_subdomain(&self.group) {
            let detail = "must be the name of an API group, without a version";
            errors.push(FieldError::invalid(&path.child("group"), self.group.clone(), detail));
        }
        if !self.resource_names.is_empty() && self.resources.is_empty() {
            let detail = "using resourceNames requires at least one resource";
            errors.push(FieldError::invalid(
                &path.child("resourceNames"),
                self.resource_names.clone(),
                detail,
            ));
        }
        GroupResources { group: self.group, resources: self.resources, resource_names: self.resource_names }
    }
}

fn level(path: &Path, text: &str, errors: &mut Vec<FieldError>) -> Level {
    if text.is_empty() {
        errors.push(FieldError::required(path, ""));
        return Level::None;
    }
    Level::ALL.into_iter().find(|level| level.as_str() == text).unwrap_or_else(|| {
        errors.push(FieldError::not_supported(path, text, &Level::ALL.map(Level::as_str)));
        Level::None
    })
}

fn stages(path: &Path, texts: &[String], errors: &mut Vec<FieldError>) -> Stages {
    let mut all = Stages::default();
    for (at, text) in texts.iter().enumerate() {
        match Stage::ALL.into_iter().find(|stage| stage.as_str() == text) {
            Some(stage) => all = all.with(stage),
            None => {
                let known = Stage::ALL.map(Stage::as_str);
                errors.push(FieldError::not_supported(&path.index(at), text.as_str(), &known));
            }
        }
    }
    all
}

fn check_urls(path: &Path, urls: &[String], errors: &mut Vec<FieldError>) {
    for (at, url) in urls.iter().enumerate().filter(|(_, url)| *url != "*") {
        if !url.starts_with('/') {
            let detail = "non-resource URL rules must begin with a '/' character";
            errors.push(FieldError::invalid(&path.index(at), url.as_str(), detail));
        }
        if url.strip_suffix('*').unwrap_or(url).contains('*') {
            let detail = "non-resource URL wildcards '*' must be the final character of the rule";
            errors.push(FieldError::invalid(&path.index(at), url.as_str(), detail));
        }
    }
}

/// A DNS subdomain (RFC 1123).
fn is_subdomain(text: &str) -> bool {
    let label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !label.is_empty() && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_told_by_its_field() {
        let rows = [
            ("rules: []", "it has no rules"),
            ("rules: [{level: All}]", "rules[0].level: Unsupported value: \"All\""),
            ("rules: [{users: [a]}]", "rules[0].level: Required value"),
            ("omitStages: [Never], rules: [{level: None}]", "omitStages[0]: Unsupported value: \"Never\""),
            ("rules: [{level: None, omitStages: [x]}]", "rules[0].omitStages[0]: Unsupported value"),
            (
                "rules: [{level: None, nonResourceURLs: [healthz]}]",
                "rules[0].nonResourceURLs[0]: Invalid value: \"healthz\": non-resource URL rules must begin",
            ),
            (
                "rules: [{level: None, nonResourceURLs: ['/a*b']}]",
                "wildcards '*' must be the final character",
            ),
            (
                "rules: [{level: None, nonResourceURLs: ['/a'], namespaces: [x]}]",
                "rules cannot apply to both regular resources and non-resource URLs",
            ),
            (
                "rules: [{level: None}, {level: None, resources: [{group: apps/v1}]}]",
                "rules[1].resources[0].group: Invalid value: \"apps/v1\"",
            ),
            (
                "rules: [{level: None, resources: [{resourceNames: [x]}]}]",
                "rules[0].resources[0].resourceNames: Invalid value",
            ),
            ("rules: [{level: None, colour: red}]", "colour"),
        ];
        for (text, wanted) in rows {
            let text = format!("{{apiVersion: audit.k8s.io/v1, kind: Policy, {text}}}");
            let error = Policy::parse(&text).unwrap_err().to_string();
            assert!(error.contains(wanted), "{text}: {error}");
        }
        let other = Policy::parse("{apiVersion: v1, kind: Pod}").unwrap_err().to_string();
        assert_eq!(other, "it is a v1 Pod, not an audit.k8s.io/v1 Policy");
    }
}
