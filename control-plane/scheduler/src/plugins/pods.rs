//! InterPodAffinity: required affinity and anti-affinity, the anti-affinity of pods that are there, and the incoming
//! pod's preferences. Preferences of pods that are there are not scored.

use super::{Plugin, Refusal};
use crate::cluster::{NodeInfo, PodInfo, Snapshot, Term};
use std::collections::{HashMap, HashSet};

/// Domains by topology key and value, as they matter to one pod.
pub(super) struct Domains<'a> {
    pod: &'a PodInfo,
    /// For each required term: the domains in which a pod matches it.
    affine: Vec<HashSet<String>>,
    /// Domains (key, value) in which an anti-affinity forbids the pod: its own, and that of pods there.
    own_conflicts: HashSet<(String, String)>,
    their_conflicts: HashSet<(String, String)>,
    /// Preference by domain.
    preferred: HashMap<(String, String), f64>,
    /// The first pod of a group that wants to be together: it matches its own terms, and nobody else does.
    is_first: bool,
}

impl<'a> Domains<'a> {
    pub(super) fn new(pod: &'a PodInfo, snapshot: &Snapshot) -> Self {
        let mut domains = Domains {
            pod,
            affine: vec![HashSet::new(); pod.affinity.len()],
            own_conflicts: HashSet::new(),
            their_conflicts: HashSet::new(),
            preferred: HashMap::new(),
            is_first: false,
        };
        let has_terms =
            !pod.affinity.is_empty() || !pod.anti_affinity.is_empty() || !pod.preferred.is_empty();
        if has_terms || snapshot.anti_affine > 0 {
            for node in snapshot.nodes.values() {
                domains.look_at(node, snapshot, has_terms);
            }
        }
        let own_labels = snapshot.namespace_labels(&pod.pod.metadata.namespace);
        domains.is_first = domains.affine.iter().all(HashSet::is_empty)
            && pod.affinity.iter().all(|term| term.matches(&pod.pod, own_labels));
        domains
    }

    fn look_at(&mut self, node: &NodeInfo, snapshot: &Snapshot, has_terms: bool) {
        let domain =
            |term: &Term| Some((term.topology_key.clone(), node.label(&term.topology_key)?.to_owned()));
        for there in node.pods.values().filter(|p| has_terms || !p.anti_affinity.is_empty()) {
            let labels = snapshot.namespace_labels(&there.pod.metadata.namespace);
            for (at, term) in
                self.pod.affinity.iter().enumerate().filter(|(_, t)| t.matches(&there.pod, labels))
            {
                self.affine[at].extend(domain(term).map(|(_, value)| value));
            }
            let conflicts = self.pod.anti_affinity.iter().filter(|t| t.matches(&there.pod, labels));
            self.own_conflicts.extend(conflicts.filter_map(domain));
            for (weight, term) in self.pod.preferred.iter().filter(|(_, t)| t.matches(&there.pod, labels)) {
                if let Some(domain) = domain(term) {
                    *self.preferred.entry(domain).or_default() += *weight as f64;
                }
            }
            let own_labels = snapshot.namespace_labels(&self.pod.pod.metadata.namespace);
            let theirs = there.anti_affinity.iter().filter(|t| t.matches(&self.pod.pod, own_labels));
            self.their_conflicts.extend(theirs.filter_map(domain));
        }
    }

    pub(super) fn filter(&self, node: &NodeInfo) -> Result<(), Refusal> {
        let refuse = |reason: &str| Err(Refusal::new(Plugin::InterPodAffinity, reason));
        for (term, domains) in self.pod.affinity.iter().zip(&self.affine) {
            let value = node.label(&term.topology_key);
            let fits = value.is_some_and(|v| self.is_first || domains.contains(v));
            if !fits {
                return refuse("node(s) didn't match pod affinity rules");
            }
        }
        let hit =
            |set: &HashSet<(String, String)>| set.iter().any(|(key, value)| node.label(key) == Some(value));
        if hit(&self.own_conflicts) {
            return refuse("node(s) didn't match pod anti-affinity rules");
        }
        if hit(&self.their_conflicts) {
            return refuse("node(s) didn't satisfy existing pods anti-affinity rules");
        }
        Ok(())
    }

    pub(super) fn preference(&self, node: &NodeInfo) -> f64 {
        let here = self.preferred.iter().filter(|((key, value), _)| node.label(key) == Some(value));
        here.map(|(_, weight)| weight).sum()
    }
}
