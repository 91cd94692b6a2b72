//! NodeResourcesFit, NodePorts, and the scores of what is left on a node.

use super::{Plugin, Refusal};
use crate::cluster::{NodeInfo, PodInfo};

pub(super) fn ports(pod: &PodInfo, node: &NodeInfo) -> Result<(), Refusal> {
    let taken = |port| node.host_ports.iter().any(|used| used.conflicts(port));
    if pod.host_ports.iter().any(taken) {
        let reason = "node(s) didn't have free ports for the requested pod ports";
        return Err(Refusal::new(Plugin::NodePorts, reason));
    }
    Ok(())
}

/// What is not asked for does not have to be there: a pod without requests fits a node that is full.
pub(super) fn resources(pod: &PodInfo, node: &NodeInfo) -> Result<(), Refusal> {
    let (wanted, used, all) = (&pod.requests, &node.requested, &node.allocatable);
    let mut reasons = Vec::new();
    if used.pods + 1 > all.pods {
        reasons.push("Too many pods".to_owned());
    }
    let mut check = |name: &str, wanted: i64, used: i64, all: i64| {
        if wanted > 0 && wanted > all - used {
            reasons.push(format!("Insufficient {name}"));
        }
    };
    check("cpu", wanted.milli_cpu, used.milli_cpu, all.milli_cpu);
    check("memory", wanted.memory_bytes, used.memory_bytes, all.memory_bytes);
    check("ephemeral-storage", wanted.ephemeral_bytes, used.ephemeral_bytes, all.ephemeral_bytes);
    for (name, amount) in &wanted.others {
        check(name, *amount, used.other(name), all.other(name));
    }
    if reasons.is_empty() { Ok(()) } else { Err(Refusal { plugin: Plugin::NodeResourcesFit, reasons }) }
}

/// The free share of cpu and memory after the pod, 0 to 100.
pub(super) fn least_allocated(pod: &PodInfo, node: &NodeInfo) -> f64 {
    let (all, used, own) = (&node.allocatable, node.non_zero, pod.pod.spec.non_zero);
    let free = |all: i64, used: i64| match all {
        all if all <= 0 => None,
        all if used > all => Some(0.0),
        all => Some((all - used) as f64 * 100.0 / all as f64),
    };
    let rows = [
        free(all.milli_cpu, used.milli_cpu + own.milli_cpu),
        free(all.memory_bytes, used.memory_bytes + own.memory_bytes),
    ];
    let known: Vec<f64> = rows.into_iter().flatten().collect();
    if known.is_empty() { 0.0 } else { known.iter().sum::<f64>() / known.len() as f64 }
}

/// 100 if cpu and memory would be used in equal shares, less the more they differ.
pub(super) fn balanced(pod: &PodInfo, node: &NodeInfo) -> f64 {
    let (all, used, own) = (&node.allocatable, &node.requested, &pod.requests);
    let share = |all: i64, used: i64| if all > 0 { (used as f64 / all as f64).min(1.0) } else { 0.0 };
    let cpu = share(all.milli_cpu, used.milli_cpu + own.milli_cpu);
    let memory = share(all.memory_bytes, used.memory_bytes + own.memory_bytes);
    (1.0 - (cpu - memory).abs() / 2.0) * 100.0
}
