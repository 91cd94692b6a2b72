//! From a request to its flow: the first FlowSchema, by precedence and then by name, that matches.
//!
//! Source of the rules: "FlowSchema" of the flow control page, and the API reference of its fields.

use crate::{
    FlowSchema, PriorityLevel,
    metrics::{Metrics, Series},
    shape::{By, PathRule, ResourceRule, Subject},
};
use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

/// What a request is about.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// An API resource; what the request does not name is empty.
    Resource {
        /// API group.
        group: &'a str,
        /// Plural.
        resource: &'a str,
        /// Subresource.
        subresource: &'a str,
        /// Namespace; empty for all, and for what has none.
        namespace: &'a str,
    },
    /// A path that is no resource.
    Path(&'a str),
}

/// What decides over a request's flow.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// User name.
    pub user: &'a str,
    /// The user's groups.
    pub groups: &'a [String],
    /// The API's verb, or the method in lower case.
    pub verb: &'a str,
    /// What it is about.
    pub target: Target<'a>,
}

/// A flow: requests that wait for each other and not for those of other flows.
#[derive(Clone, Debug)]
pub struct Class {
    /// The schema that matched.
    pub schema: Arc<FlowSchema>,
    /// Its level.
    pub level: Arc<PriorityLevel>,
    /// Tells flows apart, within the process.
    pub flow: u64,
    /// Where its requests are counted.
    pub(crate) series: Arc<Series>,
}

/// All schemas and levels.
pub struct Configuration {
    schemas: Vec<(Arc<FlowSchema>, Arc<PriorityLevel>, Arc<Series>)>,
    hasher: RandomState,
}

impl Configuration {
    /// Puts schemas in the order they are tried in. One whose level does not exist matches nothing, as upstream.
    pub(crate) fn new(schemas: Vec<FlowSchema>, levels: &[Arc<PriorityLevel>], metrics: &Metrics) -> Self {
        let levels: HashMap<&str, &Arc<PriorityLevel>> =
            levels.iter().map(|level| (level.name.as_str(), level)).collect();
        let mut schemas: Vec<_> = schemas
            .into_iter()
            .filter_map(|schema| {
                let level = *levels.get(schema.spec.priority_level_configuration.name.as_str())?;
                let series = metrics.of(&schema.name, &level.name);
                Some((Arc::new(schema), level.clone(), Arc::new(series)))
            })
            .collect();
        schemas.sort_by(|(a, ..), (b, ..)| {
            (a.spec.matching_precedence, &a.name).cmp(&(b.spec.matching_precedence, &b.name))
        });
        Self { schemas, hasher: RandomState::new() }
    }

    /// The request's flow; None where no schema matches, which upstream's catch-all excludes.
    pub fn classify(&self, asked: &Asked<'_>) -> Option<Class> {
        let (schema, level, series) = self.schemas.iter().find(|(schema, ..)| matches(schema, asked))?;
        let distinguisher = distinguisher(schema, asked);
        let flow = self.hasher.hash_one((&schema.name, distinguisher));
        Some(Class { schema: schema.clone(), level: level.clone(), flow, series: series.clone() })
    }
}

/// What tells the request's flow from others of the schema; empty where nothing does.
pub(crate) fn distinguisher<'a>(schema: &FlowSchema, asked: &Asked<'a>) -> &'a str {
    match (schema.spec.distinguisher_method.as_ref().map(|method| method.by), asked.target) {
        (Some(By::User), _) => asked.user,
        (Some(By::Namespace), Target::Resource { namespace, .. }) => namespace,
        (Some(By::Namespace), Target::Path(_)) | (None, _) => "",
    }
}

fn matches(schema: &FlowSchema, asked: &Asked<'_>) -> bool {
    schema.spec.rules.iter().any(|rules| {
        rules.subjects.iter().any(|subject| is(subject, asked))
            && match &asked.target {
                Target::Resource { .. } => rules.resource_rules.iter().any(|rule| covers(rule, asked)),
                Target::Path(path) => rules.path_rules.iter().any(|rule| covers_path(rule, asked.verb, path)),
            }
    })
}

fn is(subject: &Subject, asked: &Asked<'_>) -> bool {
    match subject {
        Subject::User { user } => user.name == "*" || user.name == asked.user,
        Subject::Group { group } => group.name == "*" || asked.groups.contains(&group.name),
        Subject::ServiceAccount { account } => {
            let own = asked.user.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
            own.is_some_and(|(namespace, name)| {
                namespace == account.namespace && (account.name == "*" || account.name == name)
            })
        }
    }
}

fn covers(rule: &ResourceRule, asked: &Asked<'_>) -> bool {
    let Target::Resource { group, resource, subresource, namespace } = asked.target else { return false };
    let names_resource = |known: &String| match known.split_once('/') {
        None => known == "*" || (known == resource && subresource.is_empty()),
        Some((main, sub)) => main == resource && sub == subresource,
    };
    let in_scope = match namespace {
        "" => rule.cluster_scope,
        namespace => one_of(&rule.namespaces, namespace),
    };
    in_scope
        && one_of(&rule.verbs, asked.verb)
        && one_of(&rule.api_groups, group)
        && rule.resources.iter().any(names_resource)
}

fn covers_path(rule: &PathRule, verb: &str, path: &str) -> bool {
    one_of(&rule.verbs, verb)
        && rule.paths.iter().any(|known| match known.strip_suffix('*') {
            Some(prefix) => path.starts_with(prefix),
            None => known == path,
        })
}

fn one_of(list: &[String], value: &str) -> bool {
    list.iter().any(|known| known == "*" || known == value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin;

    fn builtin() -> Configuration {
        let levels: Vec<_> =
            builtin::priority_levels().iter().map(|o| Arc::new(PriorityLevel::read(o).unwrap())).collect();
        Configuration::new(
            builtin::flow_schemas().iter().map(|o| FlowSchema::read(o).unwrap()).collect(),
            &levels,
            &Metrics::default(),
        )
    }

    fn class(user: &str, groups: &[&str], verb: &str, target: Target<'_>) -> Class {
        let mut groups: Vec<String> = groups.iter().map(|g| (*g).to_owned()).collect();
        groups.push("system:authenticated".to_owned());
        builtin().classify(&Asked { user, groups: &groups, verb, target }).expect("catch-all matches")
    }

    fn on(text: &'static str) -> Target<'static> {
        let [group, resource, subresource, namespace] = text.split(' ').collect::<Vec<_>>()[..] else {
            return Target::Path(text);
        };
        let named = |word| if word == "-" { "" } else { word };
        Target::Resource {
            group: named(group),
            resource,
            subresource: named(subresource),
            namespace: named(namespace),
        }
    }

    #[test]
    fn requests_find_the_schemas_that_upstreams_would() {
        let manager = "system:kube-controller-manager";
        let robot = "system:serviceaccount:kube-system:robot";
        let tenant = "system:serviceaccount:ns:robot";
        let (none, nodes, accounts): (&[&str], &[&str], &[&str]) =
            (&[], &["system:nodes"], &["system:serviceaccounts"]);
        let rows = [
            ("root", &["system:masters"][..], "list", "- pods - -", "exempt", "exempt"),
            ("jane", none, "get", "/livez", "probes", "exempt"),
            ("jane", none, "get", "/metrics", "global-default", "global-default"),
            (
                manager,
                none,
                "update",
                "coordination.k8s.io leases - kube-system",
                "system-leader-election",
                "leader-election",
            ),
            (manager, none, "update", "- endpoints - ns", "endpoint-controller", "workload-high"),
            (manager, none, "list", "- pods - -", "kube-controller-manager", "workload-high"),
            ("system:kube-scheduler", none, "create", "- pods binding ns", "kube-scheduler", "workload-high"),
            (
                robot,
                accounts,
                "get",
                "coordination.k8s.io leases - ns",
                "system-leader-election",
                "leader-election",
            ),
            (robot, accounts, "list", "- pods - -", "kube-system-service-accounts", "workload-high"),
            (tenant, accounts, "list", "- pods - ns", "service-accounts", "workload-low"),
            (tenant, accounts, "get", "coordination.k8s.io leases - ns", "service-accounts", "workload-low"),
            ("system:node:a", nodes, "patch", "- nodes status -", "system-node-high", "node-high"),
            (
                "system:node:a",
                nodes,
                "update",
                "coordination.k8s.io leases - kube-node-lease",
                "system-node-high",
                "node-high",
            ),
            ("system:node:a", nodes, "patch", "- pods status ns", "system-nodes", "system"),
            ("jane", none, "create", "apps deployments - ns", "global-default", "global-default"),
        ];
        for (user, groups, verb, target, schema, level) in rows {
            let got = class(user, groups, verb, on(target));
            assert_eq!(
                (got.schema.name.as_str(), got.level.name.as_str()),
                (schema, level),
                "{user} {verb} {target}"
            );
        }
    }

    #[test]
    fn flows_are_told_apart_by_user_or_namespace_as_the_schema_says() {
        let configuration = builtin();
        let groups = ["system:authenticated".to_owned()];
        let flow = |user, namespace| {
            let target = Target::Resource { group: "", resource: "pods", subresource: "", namespace };
            configuration.classify(&Asked { user, groups: &groups, verb: "get", target }).unwrap().flow
        };
        assert_eq!(flow("jane", "a"), flow("jane", "b"));
        assert_ne!(flow("jane", "a"), flow("joe", "a"));
        assert_ne!(flow("system:kube-scheduler", "a"), flow("system:kube-scheduler", "b"));
    }

    #[test]
    fn a_schema_without_its_level_and_one_of_lower_precedence_are_passed_over() {
        let level = Arc::new(PriorityLevel::read(&builtin::priority_levels()[1]).unwrap());
        let mut schemas: Vec<_> =
            builtin::flow_schemas().iter().map(|o| FlowSchema::read(o).unwrap()).collect();
        schemas.retain(|schema| schema.name != "probes");
        let configuration = Configuration::new(schemas, &[level], &Metrics::default());
        let groups = ["system:masters".to_owned(), "system:authenticated".to_owned()];
        let asked = Asked { user: "root", groups: &groups, verb: "get", target: Target::Path("/") };
        assert_eq!(configuration.classify(&asked).unwrap().schema.name, "catch-all");
    }
}
