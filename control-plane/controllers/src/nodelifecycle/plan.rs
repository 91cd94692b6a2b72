//! What a node's silence and conditions mean: the conditions to write, the taints to carry. Pure.
//!
//! Rules: "Nodes" (heartbeats, node controller) and "Taint based Evictions" in the documentation.

use keelson_harness::views::Node;
use keelson_semantics::{
    Taint,
    taints::effect::{NO_EXECUTE, NO_SCHEDULE},
};
use std::time::Duration;

pub(super) const NOT_READY: &str = "node.kubernetes.io/not-ready";
pub(super) const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// Conditions that become Unknown with Ready.
pub(super) const WATCHED: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// Condition, the status in which it taints, and the taint.
const PRESSURES: [(&str, &str, &str); 4] = [
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
];

/// What condition Ready says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    Ready,
    NotReady,
    Unknown,
}

/// A node that never wrote its condition is not ready.
pub(super) fn readiness(node: &Node) -> Readiness {
    match node.condition("Ready") {
        Some("True") => Readiness::Ready,
        Some("Unknown") => Readiness::Unknown,
        _ => Readiness::NotReady,
    }
}

/// The silence that is allowed: longer for a node that has not reported at all yet.
pub(super) fn grace(node: &Node, monitor: Duration, startup: Duration) -> Duration {
    if node.condition("Ready").is_some() { monitor } else { startup.max(monitor) }
}

/// Is the node to be declared unknown? `Err` holds how long to wait before asking again.
pub(super) fn is_silent(silence: Duration, grace: Duration) -> Result<(), Duration> {
    if silence >= grace { Ok(()) } else { Err(grace - silence) }
}

/// Conditions that are to become Unknown, with reason and message.
pub(super) fn unknown(node: &Node) -> Vec<(&'static str, &'static str, &'static str)> {
    let missing = ("NodeStatusNeverUpdated", "Kubelet never posted node status.");
    let stopped = ("NodeStatusUnknown", "Kubelet stopped posting node status.");
    let due = WATCHED.into_iter().filter(|kind| node.condition(kind) != Some("Unknown"));
    due.map(|kind| {
        let (reason, message) = if node.condition(kind).is_some() { stopped } else { missing };
        (kind, reason, message)
    })
    .collect()
}

/// The taints the node should carry, or `None` if it carries them. Only taints that are ours change; `may_evict` says
/// whether a NoExecute taint may be added now. `now` is the text for `timeAdded`.
pub(super) fn taints(node: &Node, may_evict: bool, now: &str) -> Option<Vec<Taint>> {
    let has = |key: &str, effect: &str| node.spec.taints.iter().any(|t| t.key == key && t.effect == effect);
    let readiness = readiness(node);
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    match readiness {
        Readiness::Ready => {}
        Readiness::NotReady => wanted.push((NOT_READY, NO_SCHEDULE)),
        Readiness::Unknown => wanted.push((UNREACHABLE, NO_SCHEDULE)),
    }
    let pressed = PRESSURES.iter().filter(|(kind, status, _)| node.condition(kind) == Some(status));
    wanted.extend(pressed.map(|(_, _, key)| (*key, NO_SCHEDULE)));
    if node.spec.unschedulable {
        wanted.push((UNSCHEDULABLE, NO_SCHEDULE));
    }
    let evicting = match readiness {
        Readiness::Ready => None,
        Readiness::NotReady => Some(NOT_READY),
        Readiness::Unknown => Some(UNREACHABLE),
    };
    if let Some(key) = evicting {
        // A node that is tainted already only changes the reason.
        let tainted = has(NOT_READY, NO_EXECUTE) || has(UNREACHABLE, NO_EXECUTE);
        if may_evict || tainted {
            wanted.push((key, NO_EXECUTE));
        }
    }
    let ours = |t: &Taint| match t.effect.as_str() {
        NO_EXECUTE => t.key == NOT_READY || t.key == UNREACHABLE,
        NO_SCHEDULE => {
            [NOT_READY, UNREACHABLE, UNSCHEDULABLE].contains(&&*t.key)
                || PRESSURES.iter().any(|(_, _, k)| *k == t.key)
        }
        _ => false,
    };
    let mut taints: Vec<Taint> = node.spec.taints.clone();
    taints.retain(|t| !ours(t) || wanted.contains(&(&t.key, &t.effect)));
    for (key, effect) in wanted {
        if !has(key, effect) {
            let (key, effect) = (key.to_owned(), effect.to_owned());
            taints.push(Taint { key, effect, value: String::new(), time_added: Some(now.to_owned()) });
        }
    }
    (taints != node.spec.taints).then_some(taints)
}

/// How many nodes of a zone are well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ZoneCount {
    pub(super) ready: usize,
    pub(super) not_ready: usize,
}

/// A zone with more nodes than this goes on evicting slowly when most of it is down.
const LARGE_ZONE_NODES: usize = 50;
const UNHEALTHY_SHARE: f64 = 0.55;
const UNHEALTHY_NODES_MIN: usize = 3;

/// Time between two nodes of a zone that are tainted for eviction, or `None`: no node is, because so many are down that
/// the fault is more likely with us or the network. One zone that is wholly down among others that are not is evicted
/// at the normal pace.
pub(super) fn eviction_interval(zone: ZoneCount, all_zones_down: bool) -> Option<Duration> {
    const NORMAL: Duration = Duration::from_secs(10);
    const SLOW: Duration = Duration::from_secs(100);
    let total = zone.ready + zone.not_ready;
    if zone.ready == 0 && zone.not_ready > 0 {
        return (!all_zones_down).then_some(NORMAL);
    }
    let share = zone.not_ready as f64 / total.max(1) as f64;
    match zone.not_ready >= UNHEALTHY_NODES_MIN && share >= UNHEALTHY_SHARE {
        true if total > LARGE_ZONE_NODES => Some(SLOW),
        true => None,
        false => Some(NORMAL),
    }
}

/// Does the node carry a NoExecute taint of ours?
pub(super) fn is_tainted(node: &Node) -> bool {
    let ours = |t: &Taint| t.effect == NO_EXECUTE && (t.key == NOT_READY || t.key == UNREACHABLE);
    node.spec.taints.iter().any(ours)
}
