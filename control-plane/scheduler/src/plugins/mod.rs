//! What decides where a pod may go (filters) and where it goes best (scores). Pure functions of a snapshot.
//!
//! Filters run in upstream's order and stop at the first that says no; their texts are upstream's, because people and
//! tools read them in events. Scores are 0 to 100 each, summed with upstream's weights.

mod affinity;
mod fit;
mod node;
mod pods;
mod spread;

use crate::cluster::{NodeInfo, PodInfo, Snapshot};
use pods::Domains;

/// Plugins that can say no; a pod that failed is tried again when an event may help one of those that refused it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Plugin {
    NodeUnschedulable,
    NodeName,
    TaintToleration,
    NodeAffinity,
    NodePorts,
    NodeResourcesFit,
    PodTopologySpread,
    InterPodAffinity,
    VolumeBinding,
    DynamicResources,
}

impl Plugin {
    /// All of them.
    pub(crate) const ALL: [Self; 10] = [
        Self::NodeUnschedulable,
        Self::NodeName,
        Self::TaintToleration,
        Self::NodeAffinity,
        Self::NodePorts,
        Self::NodeResourcesFit,
        Self::PodTopologySpread,
        Self::InterPodAffinity,
        Self::VolumeBinding,
        Self::DynamicResources,
    ];
}

/// A set of plugins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plugins(u16);

impl Plugins {
    /// All of them.
    pub(crate) const ALL: Plugins = Plugins(u16::MAX);

    pub(crate) const fn of(plugins: &[Plugin]) -> Self {
        let (mut bits, mut at) = (0, 0);
        while at < plugins.len() {
            bits |= 1 << plugins[at] as u16;
            at += 1;
        }
        Plugins(bits)
    }

    pub(crate) fn insert(&mut self, plugin: Plugin) {
        self.0 |= 1 << plugin as u16;
    }

    pub(crate) fn union(self, other: Plugins) -> Plugins {
        Plugins(self.0 | other.0)
    }

    pub(crate) fn meets(self, other: Plugins) -> bool {
        self.0 & other.0 != 0
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Why a node is not for a pod. One plugin, one or more reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) plugin: Plugin,
    pub(crate) reasons: Vec<String>,
}

impl Refusal {
    fn new(plugin: Plugin, reason: impl Into<String>) -> Self {
        Refusal { plugin, reasons: vec![reason.into()] }
    }
}

/// What is computed once for a pod, before nodes are looked at.
pub(crate) struct Prepared<'a> {
    pub(crate) pod: &'a PodInfo,
    spread: Vec<spread::Counts<'a>>,
    domains: Domains<'a>,
}

/// A reason that holds whatever the node, or what the filters need.
pub(crate) fn prepare<'a>(pod: &'a PodInfo, snapshot: &Snapshot) -> Result<Prepared<'a>, Refusal> {
    if let Some(claim) = pod.pod.spec.claims.first() {
        let reason = format!(
            "persistentvolumeclaim {claim:?} cannot be bound: this cluster has no volume provisioner yet"
        );
        return Err(Refusal::new(Plugin::VolumeBinding, reason));
    }
    if let Some(claim) = pod.pod.spec.resource_claims.first() {
        let reason =
            format!("resource claim {:?}: dynamic resource allocation is not supported yet", claim.name);
        return Err(Refusal::new(Plugin::DynamicResources, reason));
    }
    Ok(Prepared { pod, spread: spread::count(pod, snapshot), domains: Domains::new(pod, snapshot) })
}

/// May the pod go there?
pub(crate) fn filter(prepared: &Prepared<'_>, node: &NodeInfo) -> Result<(), Refusal> {
    let pod = prepared.pod;
    node::unschedulable(pod, node)?;
    node::name(pod, node)?;
    node::taints(pod, node)?;
    affinity::required(pod, node)?;
    fit::ports(pod, node)?;
    fit::resources(pod, node)?;
    spread::filter(&prepared.spread, pod, node)?;
    prepared.domains.filter(node)
}

const WEIGHT_TAINTS: f64 = 3.0;
const WEIGHT_NODE_AFFINITY: f64 = 2.0;
const WEIGHT_SPREAD: f64 = 2.0;
const WEIGHT_POD_AFFINITY: f64 = 2.0;
const WEIGHT_LEAST: f64 = 1.0;
const WEIGHT_BALANCED: f64 = 1.0;

/// The sum of all scores, for each of the nodes that passed the filters.
pub(crate) fn scores(prepared: &Prepared<'_>, nodes: &[&NodeInfo]) -> Vec<f64> {
    let pod = prepared.pod;
    let each = |f: &dyn Fn(&NodeInfo) -> f64| nodes.iter().map(|n| f(n)).collect::<Vec<f64>>();
    let rows = [
        (WEIGHT_TAINTS, fewest_best(each(&|n| node::unpreferred_taints(pod, n)))),
        (WEIGHT_NODE_AFFINITY, most_best(each(&|n| affinity::preferred(pod, n)))),
        (WEIGHT_SPREAD, fewest_best(each(&|n| spread::crowd(&prepared.spread, pod, n)))),
        (WEIGHT_POD_AFFINITY, most_best(each(&|n| prepared.domains.preference(n)))),
        (WEIGHT_LEAST, each(&|n| fit::least_allocated(pod, n))),
        (WEIGHT_BALANCED, each(&|n| fit::balanced(pod, n))),
    ];
    let sum = |at: usize| rows.iter().map(|(weight, row)| weight * row[at]).sum();
    (0..nodes.len()).map(sum).collect()
}

/// The largest gets 100, the smallest (or zero, if none is below) 0.
fn most_best(mut raw: Vec<f64>) -> Vec<f64> {
    let max = raw.iter().copied().fold(0.0, f64::max);
    let min = raw.iter().copied().fold(0.0, f64::min);
    for value in &mut raw {
        *value = if max > min { (*value - min) * 100.0 / (max - min) } else { 0.0 };
    }
    raw
}

/// None gets 100, the largest 0.
fn fewest_best(mut raw: Vec<f64>) -> Vec<f64> {
    let max = raw.iter().copied().fold(0.0, f64::max);
    for value in &mut raw {
        *value = if max > 0.0 { (max - *value) * 100.0 / max } else { 100.0 };
    }
    raw
}
