//! audit.k8s.io/v1 Policy: the first rule that is about a request says how much of it is recorded.

mod read;

pub use read::PolicyError;

use keelson_auth::authz::{Attributes, NonResource, Request, Resource};
use serde::Serialize;

/// How much of a request is recorded. Each level includes the ones before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[expect(missing_docs, reason = "the names are the API's own")]
pub enum Level {
    #[default]
    None,
    Metadata,
    Request,
    RequestResponse,
}

impl Level {
    pub(crate) const ALL: [Self; 4] = [Self::None, Self::Metadata, Self::Request, Self::RequestResponse];

    /// The API's text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Metadata => "Metadata",
            Self::Request => "Request",
            Self::RequestResponse => "RequestResponse",
        }
    }
}

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Stage {
    /// Whose it is is known, nothing else was done yet.
    RequestReceived,
    /// The answer's head goes out; of watches and streams alone.
    ResponseStarted,
    /// Nothing more follows.
    ResponseComplete,
    /// The server failed at it.
    Panic,
}

impl Stage {
    pub(crate) const ALL: [Self; 4] =
        [Self::RequestReceived, Self::ResponseStarted, Self::ResponseComplete, Self::Panic];

    /// The API's text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RequestReceived => "RequestReceived",
            Self::ResponseStarted => "ResponseStarted",
            Self::ResponseComplete => "ResponseComplete",
            Self::Panic => "Panic",
        }
    }
}

/// A set of stages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stages(u8);

impl Stages {
    fn with(self, stage: Stage) -> Self {
        Self(self.0 | 1 << stage as u8)
    }

    fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Is the stage among them?
    pub fn contains(self, stage: Stage) -> bool {
        self.0 & 1 << stage as u8 != 0
    }
}

/// What is recorded of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// How much.
    pub level: Level,
    /// Stages that are left out.
    pub omit_stages: Stages,
    /// Whether bodies lose their managedFields.
    pub omit_managed_fields: bool,
}

/// The rules in their order. Made by [`Policy::parse`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    rules: Vec<Rule>,
}

/// Holds where each of its lists is empty or has what the request has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Rule {
    /// With the policy's own stages and omitManagedFields worked in.
    decision: Decision,
    users: Vec<String>,
    user_groups: Vec<String>,
    verbs: Vec<String>,
    resources: Vec<GroupResources>,
    namespaces: Vec<String>,
    non_resource_urls: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct GroupResources {
    group: String,
    resources: Vec<String>,
    resource_names: Vec<String>,
}

impl Policy {
    /// What is recorded of a request. One that no rule is about is not; a user without a name is nobody.
    pub fn decide(&self, asked: &Attributes<'_>) -> Decision {
        self.rules
            .iter()
            .find(|rule| rule.is_about(asked))
            .map_or_else(Decision::default, |rule| rule.decision)
    }
}

impl Rule {
    fn is_about(&self, asked: &Attributes<'_>) -> bool {
        let any = |list: &[String], value: &str| list.is_empty() || has(list, value);
        let in_group = || asked.user.groups.iter().any(|group| has(&self.user_groups, group));
        if !any(&self.users, &asked.user.name)
            || !any(&self.verbs, asked.verb)
            || !(self.user_groups.is_empty() || in_group())
        {
            return false;
        }
        let of_resources = !self.resources.is_empty() || !self.namespaces.is_empty();
        match &asked.request {
            Request::Resource(resource) if of_resources => {
                any(&self.namespaces, resource.namespace)
                    && (self.resources.is_empty() || self.resources.iter().any(|one| one.has(resource)))
            }
            Request::NonResource(_) if of_resources => false,
            Request::Resource(_) => self.non_resource_urls.is_empty(),
            Request::NonResource(NonResource { path }) => {
                self.non_resource_urls.is_empty()
                    || self.non_resource_urls.iter().any(|url| covers(url, path))
            }
        }
    }
}

impl GroupResources {
    fn has(&self, asked: &Resource<'_>) -> bool {
        if self.group != asked.group {
            return false;
        }
        let named = self.resource_names.is_empty() || has(&self.resource_names, asked.name);
        self.resources.is_empty() || named && self.resources.iter().any(|one| names(one, asked))
    }
}

/// `pods` is the pod alone, `pods/log` its subresource, `pods/*` both the pod and all of its subresources, `*/scale` that of all, `*`
/// everything.
fn names(wanted: &str, asked: &Resource<'_>) -> bool {
    match wanted.split_once('/') {
        None => wanted == "*" || (asked.subresource.is_empty() && wanted == asked.resource),
        Some((resource, "*")) => resource == asked.resource,
        Some(("*", sub)) => !asked.subresource.is_empty() && sub == asked.subresource,
        Some((resource, sub)) => resource == asked.resource && sub == asked.subresource,
    }
}

fn covers(url: &str, path: &str) -> bool {
    url == path || url.strip_suffix('*').is_some_and(|prefix| path.starts_with(prefix))
}

fn has(list: &[String], value: &str) -> bool {
    list.iter().any(|own| own == value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use keelson_auth::UserInfo;

    fn level(rule: &str, user: &UserInfo, verb: &str, what: &str) -> bool {
        let text =
            format!("{{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{{level: Metadata, {rule}}}]}}");
        let policy = Policy::parse(&text).unwrap();
        let attributes = match what.strip_prefix('/') {
            Some(_) => Attributes::path(user, verb, what),
            None => {
                let part: Vec<&str> = what.split(' ').map(|word| word.trim_matches('-')).collect();
                let resource = Resource {
                    group: part[0],
                    resource: part[1],
                    subresource: part[2],
                    namespace: part[3],
                    name: part[4],
                    ..Resource::default()
                };
                Attributes::resource(user, verb, resource)
            }
        };
        policy.decide(&attributes).level == Level::Metadata
    }

    #[test]
    fn a_rule_is_about_what_all_of_its_lists_name() {
        let pod = "- pods - ns p";
        // rule, verb, request, whether it is about it
        let rows = [
            ("", "get", pod, true),
            ("", "get", "/healthz", true),
            ("users: [jane]", "get", pod, true),
            ("users: [bob]", "get", pod, false),
            ("userGroups: [dev]", "get", pod, true),
            ("userGroups: [ops]", "get", pod, false),
            ("verbs: [get, list]", "list", pod, true),
            ("verbs: [get, list]", "watch", pod, false),
            ("namespaces: [ns]", "get", pod, true),
            ("namespaces: [other]", "get", pod, false),
            ("namespaces: ['']", "get", "- nodes - - n", true),
            ("namespaces: ['']", "get", "/healthz", false),
            ("resources: [{group: ''}]", "get", "- pods log ns p", true),
            ("resources: [{group: apps}]", "get", pod, false),
            ("resources: [{resources: [pods]}]", "get", pod, true),
            ("resources: [{resources: [pods]}]", "get", "- pods log ns p", false),
            ("resources: [{resources: [pods/log]}]", "get", "- pods log ns p", true),
            ("resources: [{resources: [pods/*]}]", "get", "- pods log ns p", true),
            ("resources: [{resources: [pods/*]}]", "get", pod, true),
            ("resources: [{resources: ['*/log']}]", "get", "- pods log ns p", true),
            ("resources: [{resources: ['*/log']}]", "get", pod, false),
            ("resources: [{resources: ['*']}]", "get", "- pods log ns p", true),
            ("resources: [{resources: [pods], resourceNames: [p]}]", "get", pod, true),
            ("resources: [{resources: [pods], resourceNames: [q]}]", "get", pod, false),
            ("resources: [{resources: [pods]}]", "get", "/api", false),
            ("nonResourceURLs: ['/healthz*']", "get", "/healthz/ping", true),
            ("nonResourceURLs: ['/healthz']", "get", "/healthz/ping", false),
            ("nonResourceURLs: ['*']", "get", "/version", true),
            ("nonResourceURLs: ['*']", "get", pod, false),
        ];
        let jane = UserInfo { name: "jane".into(), groups: vec!["dev".into()], ..UserInfo::default() };
        for (rule, verb, what, wanted) in rows {
            assert_eq!(level(rule, &jane, verb, what), wanted, "{rule} {verb} {what}");
        }
        let nobody = UserInfo::default();
        assert!(level("", &nobody, "get", pod));
        assert!(!level("userGroups: [system:unauthenticated]", &nobody, "get", pod));
    }

    #[test]
    fn the_first_rule_counts_and_takes_from_the_policy_what_it_does_not_say() {
        let policy = Policy::parse(
            r"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
omitManagedFields: true
rules:
- {level: None, users: [kubelet]}
- {level: Request, verbs: [get], omitStages: [Panic], omitManagedFields: false}
- {level: RequestResponse}
",
        )
        .unwrap();
        let decide = |user: &str, verb| {
            let user = UserInfo { name: user.into(), ..UserInfo::default() };
            policy.decide(&Attributes::path(&user, verb, "/api"))
        };
        assert_eq!(decide("kubelet", "get").level, Level::None);
        let read = decide("jane", "get");
        let stages: Vec<_> = Stage::ALL.iter().filter(|stage| read.omit_stages.contains(**stage)).collect();
        assert_eq!(stages, [&Stage::RequestReceived, &Stage::Panic]);
        assert!(read.level == Level::Request && !read.omit_managed_fields);
        let write = decide("jane", "post");
        assert!(write.level == Level::RequestResponse && write.omit_managed_fields);
        assert!(!write.omit_stages.contains(Stage::Panic));
    }
}
