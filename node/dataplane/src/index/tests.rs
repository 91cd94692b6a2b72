//! Events against what is planned again.

use serde_json::json;
use watcher::Event;

use super::*;

fn index() -> Index {
    let addresses: Vec<_> = vec!["192.0.2.1".parse().unwrap()];
    Index::new(
        "here",
        Node { addresses: addresses.clone(), port_addresses: addresses, ..Node::default() },
        false,
    )
}

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
    let mut index = index();
    index.see(Seen::Service(Event::Apply(service("a", "10.96.0.1"))));
    index.see(Seen::Service(Event::Apply(service("b", "10.96.0.2"))));
    assert_eq!(index.take_changes().wanted.len(), 2);
    index.see(Seen::Service(Event::Apply(service("a", "10.96.0.1"))));
    assert_eq!(index.take_changes(), Changes::default(), "nothing that we read has changed");
    assert_eq!(index.take_health_checks().map(|all| all.len()), Some(0));
    assert!(index.take_health_checks().is_none(), "nor has anything else");
    index.see(Seen::Slice(Event::Apply(slice("b-1", "b", &[("10.244.0.1", true)]))));
    assert_eq!(summary(&index.take_changes()), (vec![], vec![("10.96.0.2:80/Tcp".into(), 1)]));
}

#[test]
fn a_slice_given_to_another_service_leaves_the_first() {
    let mut index = index();
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
        let mut index = index();
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
    let mut index = index();
    for (event, complete) in [
        (Seen::Service(Event::Init), false),
        (Seen::Service(Event::InitApply(service("a", "10.96.0.1"))), false),
        (Seen::Service(Event::InitDone), false),
        (Seen::Slice(Event::Init), false),
        (Seen::Slice(Event::InitApply(slice("s", "a", &[("10.244.0.1", true)]))), false),
        (Seen::Slice(Event::InitDone), false),
        (Seen::Node(Event::Init), false),
        (Seen::Node(Event::InitDone), true),
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
    let mut index = index();
    let sum = |deltas: Vec<(Box<str>, i32)>| deltas.iter().map(|d| d.1).sum::<i32>();
    index.see(Seen::Slice(Event::Apply(slice("a-1", "a", &[("10.244.0.1", true)]))));
    index.see(Seen::Slice(Event::Apply(slice("b-1", "b", &[("10.244.0.1", true)]))));
    assert_eq!(sum(index.take_ready_deltas()), 2);
    index.see(Seen::Slice(Event::Apply(slice("a-1", "a", &[("10.244.0.1", false)]))));
    index.see(Seen::Slice(Event::Delete(slice("b-1", "b", &[]))));
    assert_eq!(sum(index.take_ready_deltas()), -2);
}

#[test]
fn an_address_asked_for_twice_is_the_clusters_then_the_elders_and_goes_on_when_it_is_free() {
    let mut index = index();
    let external = |name: &str, ip: &str, year: u32, external: &str| {
        let object = json!({
            "metadata": { "namespace": "n", "name": name, "uid": format!("uid-{name}"),
                          "creationTimestamp": format!("{year}-01-01T00:00:00Z") },
            "spec": { "clusterIP": ip, "ports": [{ "port": 80 }], "externalIPs": [external] },
        });
        serde_json::from_value::<ServiceObject>(object).unwrap()
    };
    index.see(Seen::Service(Event::Apply(service("victim", "10.96.0.9"))));
    index.see(Seen::Service(Event::Apply(external("a", "10.96.0.1", 2002, "198.51.100.1"))));
    index.take_changes();
    assert!(index.take_notices().is_empty());
    // An elder takes over what a had; who writes a cluster address gets nothing.
    index.see(Seen::Service(Event::Apply(external("z", "10.96.0.2", 2001, "198.51.100.1"))));
    index.see(Seen::Service(Event::Apply(external("thief", "10.96.0.3", 1999, "10.96.0.9"))));
    let changes = index.take_changes();
    assert_eq!(summary(&changes).0, [""; 0]);
    let about: Vec<_> = index.take_notices().into_iter().map(|n| (n.about.key.1, n.note)).collect();
    assert_eq!(
        about,
        [
            ("thief".into(), "10.96.0.9:80/Tcp belongs to another Service: not programmed".into()),
            ("a".into(), "198.51.100.1:80/Tcp belongs to another Service: not programmed".into())
        ]
    );
    assert_eq!(index.take_unprogrammed().unwrap().len(), 2);
    // The elder goes: it is a's again, without a moment of nobody's.
    index.see(Seen::Service(Event::Delete(external("z", "10.96.0.2", 2001, "198.51.100.1"))));
    let (gone, wanted) = summary(&index.take_changes());
    assert_eq!(gone, ["10.96.0.2:80/Tcp"]);
    assert!(wanted.contains(&("198.51.100.1:80/Tcp".into(), 0)), "{wanted:?}");
    assert_eq!(index.take_unprogrammed().unwrap().len(), 1);
    // The victim goes: even then its address is only what the thief wrote.
    index.see(Seen::Service(Event::Delete(service("victim", "10.96.0.9"))));
    let (gone, wanted) = summary(&index.take_changes());
    assert!(gone.is_empty() && wanted.contains(&("10.96.0.9:80/Tcp".into(), 0)), "{gone:?} {wanted:?}");
}

#[test]
fn the_nodes_zone_and_addresses_plan_everything_again() {
    let mut index = index();
    let node = |zone: &str| {
        let labels = json!({ "topology.kubernetes.io/zone": zone });
        serde_json::from_value::<NodeObject>(json!({ "metadata": { "name": "here", "labels": labels } }))
            .unwrap()
    };
    let object = json!({
        "metadata": { "namespace": "n", "name": "a" },
        "spec": { "clusterIP": "10.96.0.1", "type": "NodePort", "ports": [{ "port": 80, "nodePort": 30080 }] },
    });
    index.see(Seen::Service(Event::Apply(serde_json::from_value(object).unwrap())));
    let mut hinted = json!([{ "addresses": ["10.244.0.1"] }, { "addresses": ["10.244.0.2"] }]);
    for (endpoint, zone) in hinted.as_array_mut().unwrap().iter_mut().zip(["a", "b"]) {
        endpoint["hints"] = json!({ "forZones": [{ "name": zone }] });
    }
    let slice = json!({
        "metadata": { "namespace": "n", "name": "s", "labels": { "kubernetes.io/service-name": "a" } },
        "addressType": "IPv4", "ports": [{ "port": 8080 }], "endpoints": hinted,
    });
    index.see(Seen::Slice(Event::Apply(serde_json::from_value(slice).unwrap())));
    let changes = index.take_changes();
    assert!(changes.wanted.iter().all(|frontend| frontend.backends.len() == 2));
    let ports: Vec<_> = changes.node_ports.unwrap().into_keys().collect();
    assert_eq!(ports, [(30_080, crate::plan::Protocol::Tcp)]);

    index.see(Seen::Node(Event::Apply(node("a"))));
    let changes = index.take_changes();
    assert!(changes.wanted.iter().all(|frontend| frontend.backends.len() == 1));
    assert_eq!((changes.wanted.len(), changes.node_ports), (2, None));
    index.see(Seen::Node(Event::Apply(node("a"))));
    assert_eq!(index.take_changes(), Changes::default());

    index.see(Seen::PortAddresses(vec!["192.0.2.2".parse().unwrap()]));
    let (gone, wanted) = summary(&index.take_changes());
    assert_eq!(gone, ["192.0.2.1:30080/Tcp"]);
    assert!(wanted.contains(&("192.0.2.2:30080/Tcp".into(), 1)));
    index.see(Seen::Node(Event::Delete(node("a"))));
    assert!(index.take_changes().wanted.iter().all(|frontend| frontend.backends.len() == 2));
}

#[test]
fn a_udp_backend_that_stops_serving_is_named_once() {
    let mut index = index();
    let object = json!({
        "metadata": { "namespace": "n", "name": "a" },
        "spec": { "clusterIP": "10.96.0.1", "ports": [{ "port": 53, "protocol": "UDP" }] },
    });
    index.see(Seen::Service(Event::Apply(serde_json::from_value(object).unwrap())));
    let see = |index: &mut Index, endpoints: serde_json::Value| {
        let slice = json!({
            "metadata": { "namespace": "n", "name": "s", "labels": { "kubernetes.io/service-name": "a" } },
            "addressType": "IPv4", "ports": [{ "port": 53, "protocol": "UDP" }], "endpoints": endpoints,
        });
        index.see(Seen::Slice(Event::Apply(serde_json::from_value(slice).unwrap())));
        index.take_changes().serving_udp
    };
    let one = json!({ "addresses": ["10.244.0.1"] });
    let two = json!({ "addresses": ["10.244.0.2"] });
    let draining = json!({ "addresses": ["10.244.0.2"],
        "conditions": { "ready": false, "serving": true, "terminating": true } });
    assert!(see(&mut index, json!([one, two])).is_empty());
    assert!(see(&mut index, json!([one, draining])).is_empty(), "it still answers");
    let lost = see(&mut index, json!([one]));
    let (key, serving) = lost.first_key_value().unwrap();
    assert_eq!((key.to_string(), serving.len(), lost.len()), ("10.96.0.1:53/Udp".into(), 1, 1));
    assert!(see(&mut index, json!([one])).is_empty());
    assert_eq!(index.take_all().serving_udp.len(), 1, "after a start everything is compared");
}

#[test]
fn a_host_port_is_its_pods_while_the_pod_is_there_and_no_service_has_it() {
    let mut index = index();
    index.pods_list = Some(Listing::default());
    let pod = |phase: &str| -> PodObject {
        serde_json::from_value(json!({
            "metadata": { "namespace": "n", "name": "p" },
            "spec": { "containers": [{ "ports": [{ "containerPort": 80, "hostPort": 30080 }] }] },
            "status": { "phase": phase, "podIPs": [{ "ip": "10.244.0.5" }] },
        }))
        .unwrap()
    };
    let key =
        FrontendKey { address: "192.0.2.1".parse().unwrap(), port: 30_080, protocol: plan::Protocol::Tcp };
    index.see(Seen::Pod(Event::Apply(pod("Running"))));
    let changes = index.take_changes();
    assert_eq!(changes.wanted.iter().map(|f| f.key).collect::<Vec<_>>(), [key]);
    assert_eq!(changes.external.unwrap()[0].key, key);
    assert_eq!(&*index.port_name(&key).unwrap().service, "pods/p");
    // A Service with that node port has the better right, and gives it back.
    let service: ServiceObject = serde_json::from_value(json!({
        "metadata": { "namespace": "n", "name": "s" },
        "spec": { "clusterIP": "10.96.0.1", "type": "NodePort", "ports": [{ "port": 80, "nodePort": 30080 }] },
    }))
    .unwrap();
    index.see(Seen::Service(Event::Apply(service.clone())));
    let changes = index.take_changes();
    assert!(changes.external.unwrap().iter().all(|external| external.backends.is_empty()));
    assert_eq!(index.claims.owner(&key).map(|owner| &*owner.1), Some("s"));
    index.see(Seen::Service(Event::Delete(service)));
    assert!(index.take_changes().wanted.iter().any(|f| f.key == key && !f.backends.is_empty()));
    // What has ended is reached no more.
    index.see(Seen::Pod(Event::Apply(pod("Succeeded"))));
    let changes = index.take_changes();
    assert_eq!((changes.gone, changes.external), (vec![key], Some(vec![])));
}

#[test]
fn an_address_is_answered_for_by_one_of_the_nodes_that_are_ready() {
    let mut index = index();
    let node = |name: &str, ready: &str| -> NodeObject {
        let conditions = json!([{ "type": "Ready", "status": ready }]);
        serde_json::from_value(
            json!({ "metadata": { "name": name }, "status": { "conditions": conditions } }),
        )
        .unwrap()
    };
    let balanced = |class: Option<&str>| -> ServiceObject {
        serde_json::from_value(json!({
            "metadata": { "namespace": "n", "name": "a" },
            "spec": { "clusterIP": "10.96.0.1", "type": "LoadBalancer", "ports": [{ "port": 80 }], "loadBalancerClass": class },
            "status": { "loadBalancer": { "ingress": [{ "ip": "203.0.113.7" }] } },
        }))
        .unwrap()
    };
    let ours = BTreeSet::from(["203.0.113.7".parse::<IpAddr>().unwrap()]);
    index.see(Seen::Service(Event::Apply(balanced(None))));
    assert_eq!(index.take_changes().announced, Some(BTreeSet::new()), "no node is ready");
    index.see(Seen::Node(Event::Apply(node("here", "True"))));
    assert_eq!(index.take_changes().announced, Some(ours.clone()));
    // Of many nodes it is another's, until they are gone.
    (0..20).for_each(|n| index.see(Seen::Node(Event::Apply(node(&format!("n{n}"), "True")))));
    assert_eq!(index.take_changes().announced, Some(BTreeSet::new()));
    (0..10).for_each(|n| index.see(Seen::Node(Event::Apply(node(&format!("n{n}"), "Unknown")))));
    (10..20).for_each(|n| index.see(Seen::Node(Event::Delete(node(&format!("n{n}"), "True")))));
    assert_eq!(index.take_changes().announced, Some(ours));
    index.see(Seen::Node(Event::Apply(node("here", "True"))));
    assert_eq!(index.take_changes().announced, None, "nothing changed");
    index.see(Seen::Service(Event::Apply(balanced(Some("example.org/other")))));
    assert_eq!(index.take_changes().announced, Some(BTreeSet::new()), "another's to announce");
}

#[test]
fn a_pod_that_terminated_and_is_gone_is_told_of_but_not_one_that_left_alive() {
    let mut index = index();
    let slice = |endpoints: serde_json::Value| -> SliceObject {
        serde_json::from_value(json!({
            "metadata": { "namespace": "n", "name": "s", "labels": { "kubernetes.io/service-name": "a" } },
            "addressType": "IPv4", "ports": [{ "port": 8080 }], "endpoints": endpoints,
        }))
        .unwrap()
    };
    let one = json!({ "addresses": ["10.244.0.1"] });
    let two = json!({ "addresses": ["10.244.0.2"] });
    let ending =
        json!({ "addresses": ["10.244.0.1"], "conditions": { "ready": false, "terminating": true } });
    let mut departed = |endpoints| {
        index.see(Seen::Slice(Event::Apply(slice(endpoints))));
        index.take_changes().departed
    };
    assert!(departed(json!([one, two])).is_empty());
    assert!(departed(json!([one])).is_empty(), "the second left alive, and there is no Service yet");
    index.see(Seen::Service(Event::Apply(service("a", "10.96.0.1"))));
    let mut departed = |endpoints| {
        index.see(Seen::Slice(Event::Apply(slice(endpoints))));
        index.take_changes().departed
    };
    assert!(departed(json!([one, two])).is_empty());
    assert!(departed(json!([ending, two])).is_empty(), "it may still drain");
    let gone = departed(json!([two]));
    let (frontend, addresses) = gone.first_key_value().unwrap();
    assert_eq!((frontend.to_string(), addresses.len()), ("10.96.0.1:80/Tcp".into(), 1));
    assert!(departed(json!([])).is_empty(), "this one left alive");
}
