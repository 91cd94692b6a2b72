//! One rule of a role: what it covers.

use serde::{Deserialize, Deserializer, Serialize};

use crate::authz::{NonResource, Request, Resource};

/// A rule: either resources or paths, under verbs. `*` stands for all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyRule {
    /// What may be done.
    #[serde(default, deserialize_with = "nullable")]
    pub verbs: Vec<String>,
    /// In which API groups, the empty text being core.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub api_groups: Vec<String>,
    /// To which resources, as `pods`, `pods/log`, `*/scale` or `*`.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    /// To which objects; empty for all.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<String>,
    /// To which paths; a `*` at the end stands for the rest.
    #[serde(
        default,
        rename = "nonResourceURLs",
        deserialize_with = "nullable",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub non_resource_urls: Vec<String>,
}

fn nullable<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

const ALL: &str = "*";

impl PolicyRule {
    /// Does the rule allow the verb on what is requested?
    pub fn allows(&self, verb: &str, request: &Request<'_>) -> bool {
        has(&self.verbs, verb)
            && match request {
                Request::Resource(resource) => self.covers_resource(resource),
                Request::NonResource(NonResource { path }) => {
                    self.non_resource_urls.iter().any(|url| url_covers(url, path))
                }
            }
    }

    fn covers_resource(&self, request: &Resource<'_>) -> bool {
        has(&self.api_groups, request.group)
            && self.resources.iter().any(|own| resource_covers(own, request.resource, request.subresource))
            && (self.resource_names.is_empty() || self.resource_names.iter().any(|name| name == request.name))
    }

    /// Does the rule give all that `other` gives? `other` names one verb, one group, one resource and at most one name.
    pub(super) fn covers(&self, other: &PolicyRule) -> bool {
        let every = |own: &[String], others: &[String]| others.iter().all(|other| has(own, other));
        let resource = |wanted: &String| {
            self.resources.iter().any(|own| {
                own == wanted
                    || match wanted.split_once('/') {
                        None => own == ALL,
                        Some((resource, subresource)) => resource_covers(own, resource, subresource),
                    }
            })
        };
        let names = self.resource_names.is_empty()
            || (!other.resource_names.is_empty()
                && other.resource_names.iter().all(|name| self.resource_names.contains(name)));
        every(&self.verbs, &other.verbs)
            && every(&self.api_groups, &other.api_groups)
            && other.resources.iter().all(resource)
            && names
            && other
                .non_resource_urls
                .iter()
                .all(|wanted| self.non_resource_urls.iter().any(|own| url_covers(own, wanted)))
    }

    /// Upstream's one-line form, as its errors print it.
    pub fn compact(&self) -> String {
        let parts = [
            ("APIGroups", &self.api_groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.non_resource_urls),
            ("ResourceNames", &self.resource_names),
            ("Verbs", &self.verbs),
        ];
        let parts: Vec<_> = parts
            .into_iter()
            .filter(|(_, values)| !values.is_empty())
            .map(|(name, values)| {
                let values: Vec<_> = values.iter().map(|value| format!("{value:?}")).collect();
                format!("{name}:[{}]", values.join(" "))
            })
            .collect();
        format!("{{{}}}", parts.join(", "))
    }
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|own| own == ALL || own == wanted)
}

/// Compares without building `resource/subresource`: this runs for every rule of every request.
fn resource_covers(own: &str, resource: &str, subresource: &str) -> bool {
    if own == ALL {
        return true;
    }
    match own.split_once('/') {
        None => subresource.is_empty() && own == resource,
        Some((_, "")) => false,
        Some((own_resource, own_subresource)) => {
            own_subresource == subresource && (own_resource == ALL || own_resource == resource)
        }
    }
}

fn url_covers(own: &str, path: &str) -> bool {
    own == path || own.strip_suffix('*').is_some_and(|prefix| path.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(verbs: &[&str], groups: &[&str], resources: &[&str], names: &[&str]) -> PolicyRule {
        let list = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect();
        PolicyRule {
            verbs: list(verbs),
            api_groups: list(groups),
            resources: list(resources),
            resource_names: list(names),
            ..PolicyRule::default()
        }
    }

    #[test]
    fn a_rule_covers_what_upstreams_would() {
        let request = |resource, subresource, name| {
            Request::Resource(Resource { resource, subresource, name, ..Resource::default() })
        };
        let rows = [
            (rule(&["get"], &[""], &["pods"], &[]), request("pods", "", ""), true),
            (rule(&["get"], &[""], &["pods"], &[]), request("pods", "log", "x"), false),
            (rule(&["get"], &[""], &["pods/log"], &[]), request("pods", "log", "x"), true),
            (rule(&["get"], &[""], &["*/scale"], &[]), request("deployments", "scale", "x"), true),
            (rule(&["get"], &[""], &["*/scale"], &[]), request("deployments", "", "x"), false),
            (rule(&["get"], &[""], &["*"], &[]), request("pods", "log", "x"), true),
            (rule(&["get"], &["apps"], &["pods"], &[]), request("pods", "", ""), false),
            (rule(&["*"], &["*"], &["pods"], &["a"]), request("pods", "", "a"), true),
            (rule(&["*"], &["*"], &["pods"], &["a"]), request("pods", "", "b"), false),
            (rule(&["*"], &["*"], &["pods"], &["a"]), request("pods", "", ""), false),
            (rule(&["list"], &["*"], &["pods"], &[]), request("pods", "", ""), false),
        ];
        for (rule, request, allowed) in rows {
            assert_eq!(rule.allows("get", &request), allowed, "{rule:?} {request:?}");
        }
    }

    #[test]
    fn a_path_is_covered_exactly_or_by_its_prefix() {
        let urls = PolicyRule {
            verbs: vec!["get".to_owned()],
            non_resource_urls: vec!["/healthz".to_owned(), "/api/*".to_owned()],
            ..PolicyRule::default()
        };
        for (path, allowed) in
            [("/healthz", true), ("/healthz/x", false), ("/api/v1", true), ("/api", false), ("/", false)]
        {
            assert_eq!(urls.allows("get", &Request::NonResource(NonResource { path })), allowed, "{path}");
        }
    }

    #[test]
    fn a_missing_rule_is_printed_as_upstream_does() {
        assert_eq!(
            rule(&["get", "list"], &[""], &["pods"], &["a"]).compact(),
            r#"{APIGroups:[""], Resources:["pods"], ResourceNames:["a"], Verbs:["get" "list"]}"#
        );
    }
}
