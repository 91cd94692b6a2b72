//! The queue's transitions; time is a parameter.

use super::*;
use crate::plugins::Plugin;
use serde_json::json;

fn info(name: &str, priority: i32) -> Arc<PodInfo> {
    let pod =
        json!({"metadata": {"name": name, "namespace": "n", "uid": name}, "spec": {"priority": priority}});
    Arc::new(PodInfo::new(Arc::new(serde_json::from_str(&pod.to_string()).unwrap())))
}

fn popped(state: &mut State, now: Instant) -> Option<String> {
    state.pop(now).map(|i| i.pod.metadata.name.to_string())
}

const FIT: Plugins = Plugins::of(&[Plugin::NodeResourcesFit]);
const TAINT: Plugins = Plugins::of(&[Plugin::TaintToleration]);
const SECOND: Duration = Duration::from_secs(1);

#[test]
fn priority_goes_first_then_age() {
    let (mut q, now) = (State::default(), Instant::now());
    for (name, priority) in [("a", 0), ("b", 10), ("c", 0), ("d", 10)] {
        q.add(info(name, priority));
    }
    let order: Vec<_> = std::iter::from_fn(|| popped(&mut q, now)).collect();
    assert_eq!(order, ["b", "d", "a", "c"]);
}

#[test]
fn a_refused_pod_waits_for_an_event_that_may_help_and_for_its_backoff() {
    let (mut q, now) = (State::default(), Instant::now());
    q.add(info("a", 0));
    q.pop(now);
    q.refused(&"a".into(), FIT, now);
    q.event(TAINT, "NodeAdd", now + 5 * SECOND);
    assert_eq!(popped(&mut q, now + 5 * SECOND), None, "that event does not help");
    q.event(FIT, "NodeAdd", now + 5 * SECOND);
    assert_eq!(popped(&mut q, now + 5 * SECOND).as_deref(), Some("a"));

    // Second attempt: 2 s of backoff.
    let now = now + 5 * SECOND;
    q.refused(&"a".into(), FIT, now);
    q.event(FIT, "NodeAdd", now);
    assert_eq!(popped(&mut q, now + SECOND), None);
    assert_eq!(popped(&mut q, now + 2 * SECOND).as_deref(), Some("a"));
}

#[test]
fn an_event_during_the_decision_is_not_lost() {
    let (mut q, now) = (State::default(), Instant::now());
    q.add(info("a", 0));
    q.pop(now);
    q.event(FIT, "NodeAdd", now);
    q.refused(&"a".into(), FIT, now);
    assert_eq!(popped(&mut q, now + SECOND).as_deref(), Some("a"));
}

#[test]
fn without_any_event_a_refused_pod_is_tried_after_five_minutes() {
    let (mut q, now) = (State::default(), Instant::now());
    q.add(info("a", 0));
    q.pop(now);
    q.refused(&"a".into(), FIT, now);
    assert_eq!(popped(&mut q, now + UNSCHEDULABLE_MAX - SECOND), None);
    assert_eq!(popped(&mut q, now + UNSCHEDULABLE_MAX).as_deref(), Some("a"));
}

#[test]
fn without_nodes_the_first_node_brings_all_back() {
    let (mut q, now) = (State::default(), Instant::now());
    q.add(info("a", 0));
    q.pop(now);
    q.refused(&"a".into(), Plugins::default(), now);
    q.event(Plugins::ALL, "NodeAdd", now + 2 * SECOND);
    assert_eq!(popped(&mut q, now + 2 * SECOND).as_deref(), Some("a"));
}

#[test]
fn a_changed_pod_starts_anew_and_in_flight_counts_as_an_event() {
    let (mut q, now) = (State::default(), Instant::now());
    q.add(info("a", 0));
    q.pop(now);
    q.refused(&"a".into(), FIT, now);
    q.add(info("a", 5));
    assert_eq!(popped(&mut q, now).as_deref(), Some("a"));
    q.add(info("a", 6));
    assert_eq!(popped(&mut q, now), None, "in flight it is not decided twice");
    q.refused(&"a".into(), FIT, now);
    assert_eq!(popped(&mut q, now + SECOND).as_deref(), Some("a"));
}

#[test]
fn backoff_doubles_to_its_limit() {
    let mut entry =
        Entry { info: info("a", 0), arrival: 0, since: Instant::now(), attempts: 1, place: Place::Active };
    let mut waits = Vec::new();
    for attempts in 1..7 {
        entry.attempts = attempts;
        waits.push(entry.backoff().as_secs());
    }
    assert_eq!(waits, [1, 2, 4, 8, 10, 10]);
}

#[tokio::test]
async fn what_waits_is_told_by_where_and_by_whom_it_was_refused() {
    let q = PodQueue::default();
    for name in ["a", "b", "c", "d"] {
        q.add(info(name, 0));
    }
    for name in ["a", "b", "c"] {
        assert_eq!(&*q.pop().await.unwrap().pod.metadata.name, name);
    }
    q.refused(&"a".into(), FIT.union(TAINT));
    q.refused(&"b".into(), FIT);
    q.failed(&"c".into());
    let wanted = Levels {
        active: 1,
        backoff: 1,
        unschedulable: 2,
        refused_by: vec![(Plugin::TaintToleration, 1), (Plugin::NodeResourcesFit, 2)],
    };
    assert_eq!(q.levels(), wanted);
}

#[tokio::test]
async fn a_removed_pod_is_not_popped() {
    let q = PodQueue::default();
    q.add(info("a", 0));
    q.add(info("b", 0));
    q.remove(&"a".into());
    assert_eq!(&*q.pop().await.unwrap().pod.metadata.name, "b");
    q.close();
    assert!(q.pop().await.is_none());
}
