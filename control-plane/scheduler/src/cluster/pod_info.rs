//! A pod as the plugins see it, computed once when it enters the cache or the queue.

use super::Amounts;
use keelson_harness::views::{Pod, PodAffinityTerm, TopologySpread};
use keelson_semantics::LabelSelector;
use std::{collections::BTreeMap, sync::Arc};

/// A pod with what scheduling needs precomputed.
#[derive(Debug)]
pub(crate) struct PodInfo {
    pub(crate) pod: Arc<Pod>,
    pub(crate) requests: Amounts,
    pub(crate) host_ports: Vec<HostPort>,
    pub(crate) affinity: Vec<Term>,
    pub(crate) anti_affinity: Vec<Term>,
    /// Weight and term; anti-affinity has negative weights.
    pub(crate) preferred: Vec<(i64, Term)>,
    pub(crate) spread: Vec<Spread>,
}

/// A port on the node that a pod takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostPort {
    pub(crate) ip: String,
    pub(crate) protocol: String,
    pub(crate) port: u16,
}

impl HostPort {
    /// The same port of the same protocol, on the same address or on all.
    pub(crate) fn conflicts(&self, other: &HostPort) -> bool {
        const ALL: &str = "0.0.0.0";
        let shared = self.ip == other.ip || self.ip == ALL || other.ip == ALL;
        shared && self.port == other.port && self.protocol == other.protocol
    }
}

/// Which pods of which namespaces are meant, and in which domain.
#[derive(Debug)]
pub(crate) struct Term {
    selector: Option<LabelSelector>,
    namespaces: Vec<String>,
    namespace_selector: Option<LabelSelector>,
    pub(crate) topology_key: String,
    /// Labels that others must share (true) or must not share (false).
    keys: Vec<(String, String, bool)>,
}

impl Term {
    fn new(pod: &Pod, term: &PodAffinityTerm) -> Self {
        let own = || vec![pod.metadata.namespace.to_string()];
        let none = term.namespaces.is_empty() && term.namespace_selector.is_none();
        let value = |key: &String| pod.metadata.labels.get(key).map(|v| (key.clone(), v.clone()));
        let shared = term.match_label_keys.iter().filter_map(value).map(|(k, v)| (k, v, true));
        let unshared = term.mismatch_label_keys.iter().filter_map(value).map(|(k, v)| (k, v, false));
        Term {
            selector: term.label_selector.clone(),
            namespaces: if none { own() } else { term.namespaces.clone() },
            namespace_selector: term.namespace_selector.clone(),
            topology_key: term.topology_key.clone(),
            keys: shared.chain(unshared).collect(),
        }
    }

    /// Is this pod meant? `namespace_labels` are those of its namespace.
    pub(crate) fn matches(&self, pod: &Pod, namespace_labels: Option<&BTreeMap<String, String>>) -> bool {
        let labels = &*pod.metadata.labels;
        let listed = self.namespaces.iter().any(|n| **n == *pod.metadata.namespace);
        let empty = BTreeMap::new();
        let in_namespace = listed
            || self
                .namespace_selector
                .as_ref()
                .is_some_and(|s| s.matches(namespace_labels.unwrap_or(&empty)));
        in_namespace
            && self.selector.as_ref().is_some_and(|s| s.matches(labels))
            && self.keys.iter().all(|(key, value, shared)| (labels.get(key) == Some(value)) == *shared)
    }
}

/// A spread constraint of the pod.
#[derive(Debug)]
pub(crate) struct Spread {
    pub(crate) rule: TopologySpread,
    keys: Vec<(String, String)>,
    namespace: Arc<str>,
}

impl Spread {
    /// Must it hold?
    pub(crate) fn is_hard(&self) -> bool {
        self.rule.when_unsatisfiable != "ScheduleAnyway"
    }

    /// Does this pod count? Those that are going away do not.
    pub(crate) fn counts(&self, pod: &Pod) -> bool {
        let labels = &*pod.metadata.labels;
        pod.metadata.namespace == self.namespace
            && !pod.metadata.is_deleting()
            && self.rule.label_selector.as_ref().is_some_and(|s| s.matches(labels))
            && self.keys.iter().all(|(key, value)| labels.get(key) == Some(value))
    }
}

impl PodInfo {
    pub(crate) fn new(pod: Arc<Pod>) -> Self {
        let spec = &pod.spec;
        let mut requests = Amounts::new(&spec.requests);
        requests.pods = 1;
        let terms = |all: &[PodAffinityTerm]| all.iter().map(|t| Term::new(&pod, t)).collect();
        let affinity = &spec.affinity;
        let toward = affinity.pod_affinity.preferred.iter().map(|w| (w.weight, &w.pod_affinity_term));
        let away = affinity.pod_anti_affinity.preferred.iter().map(|w| (-w.weight, &w.pod_affinity_term));
        PodInfo {
            requests,
            host_ports: host_ports(&pod),
            affinity: terms(&affinity.pod_affinity.required),
            anti_affinity: terms(&affinity.pod_anti_affinity.required),
            preferred: toward.chain(away).map(|(weight, term)| (weight, Term::new(&pod, term))).collect(),
            spread: spec.topology_spread.iter().map(|rule| spread(&pod, rule)).collect(),
            pod,
        }
    }

    pub(crate) fn uid(&self) -> &Arc<str> {
        &self.pod.metadata.uid
    }

    /// The uid of its controller.
    pub(crate) fn controller(&self) -> Option<&Arc<str>> {
        self.pod.metadata.controller().map(|o| &o.uid)
    }
}

fn spread(pod: &Pod, rule: &TopologySpread) -> Spread {
    let value = |key: &String| pod.metadata.labels.get(key).map(|v| (key.clone(), v.clone()));
    let keys = rule.match_label_keys.iter().filter_map(value).collect();
    Spread { rule: rule.clone(), keys, namespace: pod.metadata.namespace.clone() }
}

fn host_ports(pod: &Pod) -> Vec<HostPort> {
    let or = |text: &str, default: &str| if text.is_empty() { default.to_owned() } else { text.to_owned() };
    let taken = pod.spec.ports.iter().filter(|p| p.host_port != 0);
    taken
        .map(|p| HostPort {
            ip: or(&p.host_ip, "0.0.0.0"),
            protocol: or(&p.protocol, "TCP"),
            port: p.host_port,
        })
        .collect()
}
