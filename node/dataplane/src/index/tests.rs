//! Events against what is planned again.

use serde_json::json;
use watcher::Event;

use super::*;

fn service(name: &str, ip: &str) -> ServiceObject {
    serde_json::from_value(json!({
        "metadata": { "namespace": "n", "name": name },
        "spec": { "clusterIP": ip, "ports": [{ "port": 80 }] },
    }))
    .unwrap()
}

fn slice(name: &str, service: &str, ready: &[(&str, bool)]) -> SliceObject {
    let endpoint = |(ip, ready): &(&str, bool)| {
        json!({ "addresses": [ip], "conditions": { "ready": ready }, "nodeName": "here",
                "targetRef": { "kind": "Pod", "uid": format!("uid-{ip}") } })
    };
    serde_json::from_value(json!({
        "metadata": { "namespace": "n", "name": name, "labels": { "kubernetes.io/service-name": service } },
        "addressType": "IPv4", "ports": [{ "port": 8080 }],
        "endpoints": ready.iter().map(endpoint).collect::<Vec<_>>(),
    }))
    .unwrap()
}

fn summary(changes: &Changes) -> (Vec<String>, Vec<(String, usize)>) {
    let gone = changes.gone.iter().map(ToString::to_string).collect();
    (gone, changes.wanted.iter().map(|f| (f.key.to_string(), f.backends.len())).collect())
}

#[test]
fn only_what_changed_is_planned() {
    let mut index = Index::new("here");
    index.see(Seen::Service(Event::Apply(service("a", "10.96.0.1"))));
    index.see(Seen::Service(Event::Apply(service("b", "10.96.0.2"))));
    assert_eq!(index.take_changes().wanted.len(), 2);
    index.see(Seen::Service(Event::Apply(service("a", "10.96.0.1"))));
    assert_eq!(index.take_changes(), Changes::default(), "nothing that we read has changed");
    index.see(Seen::Slice(Event::Apply(slice("b-1", "b", &[("10.244.0.1", true)]))));
    assert_eq!(summary(&index.take_changes()), (vec![], vec![("10.96.0.2:80/Tcp".into(), 1)]));
}

#[test]
fn a_slice_given_to_another_service_leaves_the_first() {
    let mut index = Index::new("here");
    index.see(Seen::Service(Event::Apply(service("a", "10.96.0.1"))));
    index.see(Seen::Service(Event::Apply(service("b", "10.96.0.2"))));
    index.see(Seen::Slice(Event::Apply(slice("s", "a", &[("10.244.0.1", true)]))));
    index.take_changes();
    index.see(Seen::Slice(Event::Apply(slice("s", "b", &[("10.244.0.1", true)]))));
    let (_, wanted) = summary(&index.take_changes());
    assert_eq!(wanted, [("10.96.0.1:80/Tcp".into(), 0), ("10.96.0.2:80/Tcp".into(), 1)]);
}

#[test]
fn an_address_that_passes_on_is_not_removed_whichever_event_comes_first() {
    for delete_first in [true, false] {
        let mut index = Index::new("here");
        index.see(Seen::Service(Event::Apply(service("a", "10.96.0.1"))));
        index.take_changes();
        let mut events = vec![
            Seen::Service(Event::Delete(service("a", "10.96.0.1"))),
            Seen::Service(Event::Apply(service("b", "10.96.0.1"))),
        ];
        if !delete_first {
            events.reverse();
        }
        let mut last = Changes::default();
        for event in events {
            index.see(event);
            if !delete_first {
                last = index.take_changes();
            }
        }
        if delete_first {
            last = index.take_changes();
            assert_eq!(last.wanted.len(), 1);
        }
        assert!(last.gone.is_empty(), "{last:?}");
    }
}

#[test]
fn a_new_list_removes_what_it_does_not_hold() {
    let mut index = Index::new("here");
    for (event, complete) in [
        (Seen::Service(Event::Init), false),
        (Seen::Service(Event::InitApply(service("a", "10.96.0.1"))), false),
        (Seen::Service(Event::InitDone), false),
        (Seen::Slice(Event::Init), false),
        (Seen::Slice(Event::InitApply(slice("s", "a", &[("10.244.0.1", true)]))), false),
        (Seen::Slice(Event::InitDone), true),
    ] {
        index.see(event);
        assert_eq!(index.complete(), complete);
    }
    index.take_changes();
    for event in [Seen::Slice(Event::Init), Seen::Slice(Event::InitDone)] {
        index.see(event);
    }
    assert_eq!(summary(&index.take_changes()).1, [("10.96.0.1:80/Tcp".into(), 0)]);
    for event in [Seen::Service(Event::Init), Seen::Service(Event::InitDone)] {
        index.see(event);
    }
    assert_eq!(summary(&index.take_changes()).0, ["10.96.0.1:80/Tcp"]);
}

#[test]
fn readiness_of_local_pods_is_counted_over_slices() {
    let mut index = Index::new("here");
    let sum = |deltas: Vec<(Box<str>, i32)>| deltas.iter().map(|d| d.1).sum::<i32>();
    index.see(Seen::Slice(Event::Apply(slice("a-1", "a", &[("10.244.0.1", true)]))));
    index.see(Seen::Slice(Event::Apply(slice("b-1", "b", &[("10.244.0.1", true)]))));
    assert_eq!(sum(index.take_ready_deltas()), 2);
    index.see(Seen::Slice(Event::Apply(slice("a-1", "a", &[("10.244.0.1", false)]))));
    index.see(Seen::Slice(Event::Delete(slice("b-1", "b", &[]))));
    assert_eq!(sum(index.take_ready_deltas()), -2);
}
