//! PodTopologySpread: the pod's own constraints, and for pods without any the even spreading of a controller's pods.

use super::{Plugin, Refusal, affinity, node};
use crate::cluster::{NodeInfo, PodInfo, Snapshot, Spread};
use std::collections::HashMap;

/// Matching pods by domain, for one constraint.
pub(super) struct Counts<'a> {
    constraint: &'a Spread,
    by_domain: HashMap<String, i64>,
}

impl Counts<'_> {
    /// The count that all others are compared with: zero if there are fewer domains than the constraint asks for.
    fn fewest(&self) -> i64 {
        let wanted = self.constraint.rule.min_domains.unwrap_or(1);
        match (self.by_domain.len() as i64) < wanted {
            true => 0,
            false => self.by_domain.values().copied().min().unwrap_or(0),
        }
    }
}

/// Counts pods in the domains that the pod could use.
pub(super) fn count<'a>(pod: &'a PodInfo, snapshot: &Snapshot) -> Vec<Counts<'a>> {
    let usable = |info: &NodeInfo, constraint: &Spread| {
        let rule = &constraint.rule;
        let labelled = info.label(&rule.topology_key).is_some();
        let affine = rule.node_affinity_policy == "Ignore"
            || info.node.as_ref().is_some_and(|n| affinity::is_required(pod, n));
        let untainted = rule.node_taints_policy != "Honor" || node::taints(pod, info).is_ok();
        labelled && affine && untainted
    };
    let one = |constraint: &'a Spread| {
        let mut by_domain: HashMap<String, i64> = HashMap::new();
        for info in snapshot.nodes.values().filter(|info| usable(info, constraint)) {
            let Some(domain) = info.label(&constraint.rule.topology_key) else { continue };
            let matching = info.pods.values().filter(|p| constraint.counts(&p.pod)).count();
            *by_domain.entry(domain.to_owned()).or_default() += matching as i64;
        }
        Counts { constraint, by_domain }
    };
    pod.spread.iter().map(one).collect()
}

pub(super) fn filter(counts: &[Counts<'_>], pod: &PodInfo, node: &NodeInfo) -> Result<(), Refusal> {
    for count in counts.iter().filter(|c| c.constraint.is_hard()) {
        let rule = &count.constraint.rule;
        let Some(domain) = node.label(&rule.topology_key) else {
            let reason = "node(s) didn't match pod topology spread constraints (missing required label)";
            return Err(Refusal::new(Plugin::PodTopologySpread, reason));
        };
        let itself = i64::from(count.constraint.counts(&pod.pod));
        let there = count.by_domain.get(domain).copied().unwrap_or(0);
        if there + itself - count.fewest() > rule.max_skew {
            let reason = "node(s) didn't match pod topology spread constraints";
            return Err(Refusal::new(Plugin::PodTopologySpread, reason));
        }
    }
    Ok(())
}

/// How crowded a node is: by the soft constraints, or if the pod has no constraint by its siblings there.
pub(super) fn crowd(counts: &[Counts<'_>], pod: &PodInfo, node: &NodeInfo) -> f64 {
    if pod.spread.is_empty() {
        let siblings = pod.controller().and_then(|c| node.siblings.get(c)).copied();
        return f64::from(siblings.unwrap_or(0));
    }
    let soft = counts.iter().filter(|c| !c.constraint.is_hard());
    soft.map(|count| {
        let domain = node.label(&count.constraint.rule.topology_key);
        let worst = count.by_domain.values().copied().max().unwrap_or(0) + 1;
        domain.and_then(|d| count.by_domain.get(d)).copied().unwrap_or(worst) as f64
    })
    .sum()
}
