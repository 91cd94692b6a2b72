//! Tables: silence, conditions, taints, and when eviction is halted.

use super::plan::{
    NOT_READY, Readiness, UNREACHABLE, ZoneCount, eviction_interval, grace, is_silent, readiness, taints,
    unknown,
};
use keelson_harness::views::Node;
use keelson_semantics::Taint;
use serde_json::{Value, json};
use std::time::Duration;

fn node(conditions: &[(&str, &str)], spec: Value) -> Node {
    let conditions: Vec<Value> = conditions.iter().map(|(t, s)| json!({"type": t, "status": s})).collect();
    let object = json!({"metadata": {"name": "w1"}, "spec": spec, "status": {"conditions": conditions}});
    serde_json::from_str(&object.to_string()).unwrap()
}

fn marks(taints: &[Taint]) -> Vec<(&str, &str)> {
    taints.iter().map(|t| (&*t.key, &*t.effect)).collect()
}

#[test]
fn silence_counts_from_the_grace_of_the_node() {
    let s = Duration::from_secs;
    assert_eq!(is_silent(s(49), s(50)), Err(s(1)));
    assert_eq!(is_silent(s(50), s(50)), Ok(()));
    assert_eq!(grace(&node(&[("Ready", "True")], json!({})), s(50), s(60)), s(50));
    assert_eq!(grace(&node(&[], json!({})), s(5), s(60)), s(60), "it has not reported yet");
}

#[test]
fn a_silent_node_is_unknown_in_every_watched_condition() {
    let found = unknown(&node(&[("Ready", "True"), ("DiskPressure", "Unknown")], json!({})));
    let rows: Vec<_> = found.iter().map(|(kind, reason, _)| (*kind, *reason)).collect();
    assert_eq!(
        rows,
        [
            ("Ready", "NodeStatusUnknown"),
            ("MemoryPressure", "NodeStatusNeverUpdated"),
            ("PIDPressure", "NodeStatusNeverUpdated"),
        ]
    );
}

#[test]
fn taints_follow_conditions_and_leave_others_alone() {
    let both = |key| vec![(key, "NoSchedule"), (key, "NoExecute")];
    let unschedulable = "node.kubernetes.io/unschedulable";
    let rows = [
        (node(&[("Ready", "True")], json!({})), None),
        (node(&[("Ready", "False")], json!({})), Some(both(NOT_READY))),
        (node(&[("Ready", "Unknown")], json!({})), Some(both(UNREACHABLE))),
        (node(&[], json!({})), Some(both(NOT_READY))),
        (
            node(&[("Ready", "True"), ("MemoryPressure", "True")], json!({})),
            Some(vec![("node.kubernetes.io/memory-pressure", "NoSchedule")]),
        ),
        (
            node(&[("Ready", "True")], json!({"unschedulable": true})),
            Some(vec![(unschedulable, "NoSchedule")]),
        ),
        (
            node(
                &[("Ready", "True")],
                json!({"taints": [
                {"key": UNREACHABLE, "effect": "NoExecute"}, {"key": UNREACHABLE, "effect": "NoSchedule"},
                {"key": "mine", "effect": "NoExecute"}]}),
            ),
            Some(vec![("mine", "NoExecute")]),
        ),
    ];
    for (node, expected) in rows {
        let found = taints(&node, true, "now");
        assert_eq!(found.as_deref().map(marks), expected, "{node:?}");
    }
}

#[test]
fn without_leave_to_evict_a_node_is_only_closed_but_a_tainted_one_changes_its_reason() {
    let closed = taints(&node(&[("Ready", "Unknown")], json!({})), false, "now").unwrap();
    assert_eq!(marks(&closed), [(UNREACHABLE, "NoSchedule")]);
    let spec = json!({"taints": [{"key": NOT_READY, "effect": "NoExecute"}, {"key": NOT_READY, "effect": "NoSchedule"}]});
    let turned = taints(&node(&[("Ready", "Unknown")], spec), false, "now").unwrap();
    assert_eq!(marks(&turned), [(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")]);
    assert_eq!(turned[1].time_added.as_deref(), Some("now"));
}

#[test]
fn eviction_stops_when_most_of_a_zone_is_down() {
    let s = Duration::from_secs;
    let rows = [
        ((2, 1), false, Some(s(10))),
        ((1, 2), false, Some(s(10))),
        ((2, 3), false, None),
        ((20, 40), false, Some(s(100))),
        ((0, 3), true, None),
        ((0, 3), false, Some(s(10))),
    ];
    for ((ready, not_ready), all_down, expected) in rows {
        let zone = ZoneCount { ready, not_ready };
        assert_eq!(eviction_interval(zone, all_down), expected, "{zone:?} {all_down}");
    }
}

#[test]
fn a_node_that_never_reported_is_not_ready() {
    assert_eq!(readiness(&node(&[], json!({}))), Readiness::NotReady);
    assert_eq!(readiness(&node(&[("Ready", "Unknown")], json!({}))), Readiness::Unknown);
}
