//! One scheduling decision: from a snapshot and a pod to a node, or to the reasons why there is none. Pure.

use crate::{
    cluster::{NodeInfo, PodInfo, Snapshot},
    plugins::{self, Plugins, Refusal},
};
use std::{collections::BTreeMap, sync::Arc};

/// Nodes below which every one is looked at.
const FEASIBLE_MIN: usize = 100;

/// Where the pod goes, or why nowhere.
#[derive(Debug)]
pub(crate) enum Decision {
    Node(Arc<str>),
    None(Diagnosis),
}

/// Why a pod cannot be scheduled now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Diagnosis {
    /// For the event and the condition.
    pub(crate) message: String,
    /// Who refused; empty: nobody, there are no nodes.
    pub(crate) refused_by: Plugins,
}

/// How many nodes that fit are enough: all of a hundred, in larger clusters a share that falls from 50 % to 5 %.
fn feasible_enough(nodes: usize) -> usize {
    if nodes <= FEASIBLE_MIN {
        return nodes;
    }
    let percent = 50usize.saturating_sub(nodes / 125).max(5);
    (nodes * percent / 100).max(FEASIBLE_MIN)
}

/// `start`: the node at which to begin, so that in large clusters all get their turn. `pick` chooses among equals: given
/// their number it answers an index below it.
pub(crate) fn decide(
    pod: &PodInfo,
    snapshot: &Snapshot,
    start: usize,
    pick: &mut dyn FnMut(usize) -> usize,
) -> Decision {
    let total = snapshot.nodes.len();
    if total == 0 {
        let message = "no nodes available to schedule pods".to_owned();
        return Decision::None(Diagnosis { message, refused_by: Plugins::default() });
    }
    let prepared = match plugins::prepare(pod, snapshot) {
        Ok(prepared) => prepared,
        Err(refusal) => return Decision::None(everywhere(total, &refusal)),
    };
    let enough = feasible_enough(total);
    let mut fitting: Vec<(&Arc<str>, &NodeInfo)> = Vec::new();
    let mut refusals: Vec<Refusal> = Vec::new();
    let rotated = snapshot.nodes.iter().skip(start % total).chain(snapshot.nodes.iter().take(start % total));
    for (name, node) in rotated {
        match plugins::filter(&prepared, node) {
            Ok(()) => fitting.push((name, node)),
            Err(refusal) => refusals.push(refusal),
        }
        if fitting.len() >= enough {
            break;
        }
    }
    if fitting.is_empty() {
        return Decision::None(diagnose(total, &refusals));
    }
    Decision::Node(best(&prepared, &fitting, pick))
}

fn best(
    prepared: &plugins::Prepared<'_>,
    fitting: &[(&Arc<str>, &NodeInfo)],
    pick: &mut dyn FnMut(usize) -> usize,
) -> Arc<str> {
    if let [(only, _)] = fitting {
        return (*only).clone();
    }
    let nodes: Vec<&NodeInfo> = fitting.iter().map(|(_, n)| *n).collect();
    let scores = plugins::scores(prepared, &nodes);
    let top = scores.iter().copied().fold(f64::MIN, f64::max);
    let equals: Vec<&Arc<str>> =
        fitting.iter().zip(&scores).filter(|(_, s)| top - **s < 1e-9).map(|((name, _), _)| *name).collect();
    equals[pick(equals.len()) % equals.len()].clone()
}

fn everywhere(total: usize, refusal: &Refusal) -> Diagnosis {
    let message = format!("0/{total} nodes are available: {}.", refusal.reasons.join(", "));
    Diagnosis { message, refused_by: Plugins::of(&[refusal.plugin]) }
}

/// Upstream's sentence: each reason with the number of nodes, sorted as text.
fn diagnose(total: usize, refusals: &[Refusal]) -> Diagnosis {
    let mut by_reason: BTreeMap<&str, usize> = BTreeMap::new();
    let mut refused_by = Plugins::default();
    for refusal in refusals {
        refused_by.insert(refusal.plugin);
        for reason in &refusal.reasons {
            *by_reason.entry(reason).or_default() += 1;
        }
    }
    let mut reasons: Vec<String> = by_reason.into_iter().map(|(reason, n)| format!("{n} {reason}")).collect();
    reasons.sort();
    let message = format!("0/{total} nodes are available: {}.", reasons.join(", "));
    Diagnosis { message, refused_by }
}
