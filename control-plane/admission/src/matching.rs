//! Which requests a webhook or a policy is about: rules, selectors and matchPolicy, as
//! admissionregistration.k8s.io/v1 has them. Pure; namespaces' labels are the caller's to find, and only where
//! [`Criteria::needs_namespace`] says so.
//!
//! <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#matching-requests-rules>

use keelson_registry::{Attributes, KindTable, Operation};
use keelson_semantics::label_selector::{LabelSelector, LabelSelectorSpec, SelectorError};
use serde_json::{Map, Value};

/// The group of webhook configurations and policies. They are never put before themselves: nobody could mend a bad one.
pub const GROUP: &str = "admissionregistration.k8s.io";

/// Reviews that policies are never asked about: authentication and authorization would wait for themselves.
/// (kube-apiserver's `pkg/kubeapiserver/admission/exclusion`.)
const REVIEWS: [(&str, &str); 6] = [
    ("authentication.k8s.io", "selfsubjectreviews"),
    ("authentication.k8s.io", "tokenreviews"),
    ("authorization.k8s.io", "localsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectrulesreviews"),
    ("authorization.k8s.io", "subjectaccessreviews"),
];

/// One resource in one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Resource<'a> {
    /// API group, "" for the core group.
    pub group: &'a str,
    /// Version.
    pub version: &'a str,
    /// Plural name.
    pub plural: &'a str,
}

/// What matching looks at of a request.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// What is done.
    pub operation: Operation,
    /// The resource that the request names.
    pub resource: Resource<'a>,
    /// The subresource, "" for the object itself.
    pub subresource: &'a str,
    /// The object's namespace, "" for a cluster-scoped one; of a Namespace, its own name or "".
    pub namespace: &'a str,
    /// The object's name; "" where it is yet to be generated.
    pub name: &'a str,
    /// The object as it shall be; absent on delete and connect.
    pub object: Option<&'a Value>,
    /// The object as stored; absent on create and connect.
    pub old: Option<&'a Value>,
    /// The same objects' other forms, for matchPolicy Equivalent; see [`equivalents`].
    pub equivalents: &'a [Resource<'a>],
}

impl<'a> Subject<'a> {
    /// Of a request in the chain.
    pub fn new(
        attributes: &Attributes<'a>,
        object: Option<&'a Value>,
        equivalents: &'a [Resource<'a>],
    ) -> Self {
        let kind = attributes.kind;
        Self {
            operation: attributes.operation,
            resource: Resource { group: &kind.group, version: &kind.version, plural: &kind.plural },
            subresource: attributes.subresource,
            namespace: attributes.namespace,
            name: attributes.name,
            object,
            old: attributes.old,
            equivalents,
        }
    }

    /// Whether it concerns the admission configuration itself, which no webhook and no policy is asked about.
    pub fn is_exempt(&self) -> bool {
        self.resource.group == GROUP
    }

    /// Whether it is one of the reviews that no policy is asked about.
    pub fn is_review(&self) -> bool {
        REVIEWS.contains(&(self.resource.group, self.resource.plural))
    }

    fn is_namespace(&self) -> bool {
        self.resource.group.is_empty() && self.resource.plural == "namespaces"
    }

    fn is_cluster_scoped(&self) -> bool {
        self.is_namespace() || self.namespace.is_empty()
    }

    /// The labels of the Namespace that is being written: it is not in any cache yet as it shall be.
    fn written_namespace(&self) -> Option<&'a Value> {
        let written = self.is_namespace()
            && self.subresource.is_empty()
            && matches!(self.operation, Operation::Create | Operation::Update);
        self.object.filter(|_| written)
    }

    /// The namespace whose labels a namespaceSelector is about; none for other cluster-scoped objects.
    pub fn namespace_name(&self) -> Option<&'a str> {
        let name = if self.is_namespace() { self.name } else { self.namespace };
        Some(name).filter(|name| !name.is_empty())
    }
}

/// The forms other than `kind` in which the objects of `kind` are served, with the same subresource.
pub fn equivalents<'a>(
    table: &'a KindTable,
    kind: &'a keelson_registry::Kind,
    subresource: &str,
) -> Vec<Resource<'a>> {
    let others = table
        .forms(kind)
        .filter(|other| (other.resource(), &other.version) != (kind.resource(), &kind.version));
    let others = others.filter(|other| subresource.is_empty() || other.subresource(subresource).is_some());
    others
        .map(|other| Resource { group: &other.group, version: &other.version, plural: &other.plural })
        .collect()
}

/// How rules see resources that are served in several versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MatchPolicy {
    /// Only in the version that the request names.
    Exact,
    /// In any version of the same objects.
    Equivalent,
}

/// Which objects by where they live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    All,
    Namespaced,
    Cluster,
}

/// One rule with its operations and, for policies, names.
#[derive(Clone, Debug)]
struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    /// Pairs of resource and subresource.
    resources: Vec<(String, String)>,
    scope: Scope,
    names: Vec<String>,
}

/// What a webhook, a policy or a binding says of the requests that it is about, read once.
#[derive(Clone, Debug)]
pub struct Criteria {
    /// Absent: every resource.
    rules: Option<Vec<Rule>>,
    excluded: Vec<Rule>,
    policy: MatchPolicy,
    namespaces: LabelSelector,
    objects: LabelSelector,
}

/// Why criteria cannot be read. What validation admitted can.
#[derive(Debug, thiserror::Error)]
pub enum CriteriaError {
    /// A selector is not one.
    #[error("cannot read {field}: {source}")]
    Selector {
        /// `namespaceSelector` or `objectSelector`.
        field: &'static str,
        /// What is wrong.
        source: SelectorError,
    },
    /// A selector has another shape.
    #[error("cannot read {field}: {source}")]
    Shape {
        /// `namespaceSelector` or `objectSelector`.
        field: &'static str,
        /// What is wrong.
        source: serde_json::Error,
    },
}

impl Criteria {
    /// Of an entry of a webhook configuration (`rules`). Without rules it is about nothing.
    ///
    /// # Errors
    /// When a selector cannot be read.
    pub fn of_webhook(webhook: &Value) -> Result<Self, CriteriaError> {
        let rules = rules(webhook, "rules");
        Self::read(webhook, Some(rules), Vec::new())
    }

    /// Of a policy's `matchConstraints` or a binding's `matchResources`; without `resourceRules` it is about everything.
    ///
    /// # Errors
    /// When a selector cannot be read.
    pub fn of_policy(match_resources: &Value) -> Result<Self, CriteriaError> {
        let only = rules(match_resources, "resourceRules");
        let excluded = rules(match_resources, "excludeResourceRules");
        Self::read(match_resources, (!only.is_empty()).then_some(only), excluded)
    }

    fn read(given: &Value, rules: Option<Vec<Rule>>, excluded: Vec<Rule>) -> Result<Self, CriteriaError> {
        Ok(Self {
            rules,
            excluded,
            policy: match given["matchPolicy"].as_str() {
                Some("Equivalent") => MatchPolicy::Equivalent,
                _ => MatchPolicy::Exact,
            },
            namespaces: selector(given, "namespaceSelector")?,
            objects: selector(given, "objectSelector")?,
        })
    }

    /// The resource in whose form the request is looked at, when rules and objectSelector select it. With matchPolicy
    /// Equivalent it may be another than the request's own: the object is then converted before it is shown.
    pub fn matches<'a>(&self, subject: &Subject<'a>) -> Option<Resource<'a>> {
        if self.select(&self.excluded, subject).is_some() {
            return None;
        }
        let resource = match &self.rules {
            None => subject.resource,
            Some(rules) => self.select(rules, subject)?,
        };
        self.matches_object(subject).then_some(resource)
    }

    /// Whether [`Criteria::matches_namespace`] has to be told the labels of [`Subject::namespace_name`].
    pub fn needs_namespace(&self, subject: &Subject<'_>) -> bool {
        self.selects_namespaces(subject) && subject.written_namespace().is_none()
    }

    fn selects_namespaces(&self, subject: &Subject<'_>) -> bool {
        !self.namespaces.is_empty() && (subject.is_namespace() || !subject.namespace.is_empty())
    }

    /// Whether the namespaceSelector selects the request: a Namespace that is written by its own new labels, anything
    /// else by those of its namespace as stored. Whatever lives in no namespace is selected.
    pub fn matches_namespace(&self, subject: &Subject<'_>, stored: Option<&Map<String, Value>>) -> bool {
        if !self.selects_namespaces(subject) {
            return true;
        }
        match subject.written_namespace() {
            Some(namespace) => self.namespaces.matches(&labels(namespace)),
            None => self.namespaces.matches(&stored),
        }
    }

    fn matches_object(&self, subject: &Subject<'_>) -> bool {
        let selected = |object: &Value| object.is_object() && self.objects.matches(&labels(object));
        self.objects.is_empty() || subject.object.is_some_and(selected) || subject.old.is_some_and(selected)
    }

    fn select<'a>(&self, rules: &[Rule], subject: &Subject<'a>) -> Option<Resource<'a>> {
        let selected = |resource: &Resource<'a>| rules.iter().any(|rule| rule.matches(subject, *resource));
        let others = match self.policy {
            MatchPolicy::Exact => &[],
            MatchPolicy::Equivalent => subject.equivalents,
        };
        std::iter::once(&subject.resource).chain(others).find(|resource| selected(resource)).copied()
    }
}

impl Rule {
    fn matches(&self, subject: &Subject<'_>, resource: Resource<'_>) -> bool {
        self.scope.matches(subject)
            && has(&self.operations, subject.operation.as_str())
            && has(&self.groups, resource.group)
            && has(&self.versions, resource.version)
            && self
                .resources
                .iter()
                .any(|(plural, sub)| is(plural, resource.plural) && is(sub, subject.subresource))
            && (self.names.is_empty() || self.names.iter().any(|name| name == subject.name))
    }
}

impl Scope {
    fn matches(self, subject: &Subject<'_>) -> bool {
        match self {
            Self::All => true,
            Self::Namespaced => !subject.is_cluster_scoped(),
            Self::Cluster => subject.is_cluster_scoped(),
        }
    }
}

/// `*` stands for anything.
fn is(pattern: &str, text: &str) -> bool {
    pattern == "*" || pattern == text
}

fn has(patterns: &[String], text: &str) -> bool {
    patterns.iter().any(|pattern| is(pattern, text))
}

fn labels(object: &Value) -> Option<&Map<String, Value>> {
    object.get("metadata")?.get("labels")?.as_object()
}

fn rules(given: &Value, field: &str) -> Vec<Rule> {
    given[field].as_array().into_iter().flatten().map(Rule::read).collect()
}

impl Rule {
    fn read(given: &Value) -> Self {
        let texts = |field: &str| -> Vec<String> {
            let all = given[field].as_array().into_iter().flatten();
            all.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let resource = |text: String| match text.split_once('/') {
            Some((plural, sub)) => (plural.to_owned(), sub.to_owned()),
            None => (text, String::new()),
        };
        Self {
            operations: texts("operations"),
            groups: texts("apiGroups"),
            versions: texts("apiVersions"),
            resources: texts("resources").into_iter().map(resource).collect(),
            scope: match given["scope"].as_str() {
                Some("Namespaced") => Scope::Namespaced,
                Some("Cluster") => Scope::Cluster,
                _ => Scope::All,
            },
            names: texts("resourceNames"),
        }
    }
}

/// An absent selector selects everything, as the API's default (`{}`) does.
fn selector(given: &Value, field: &'static str) -> Result<LabelSelector, CriteriaError> {
    let Some(given) = given.get(field).filter(|given| !given.is_null()) else {
        return Ok(LabelSelector::everything());
    };
    let spec: LabelSelectorSpec =
        serde_json::from_value(given.clone()).map_err(|source| CriteriaError::Shape { field, source })?;
    LabelSelector::from_spec(&spec).map_err(|source| CriteriaError::Selector { field, source })
}

#[cfg(test)]
mod tests;
