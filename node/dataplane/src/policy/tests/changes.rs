//! What a change touches, and what it leaves alone.

use keelson_ebpf_common::policy::Direction;
use serde_json::json;

use super::{HERE, World, ip, model::Connection, namespace, pod, policy};
use crate::policy::EndpointPolicy;

fn settled() -> World {
    let mut world = World::new();
    for object in [
        namespace("a", "name=a"),
        namespace("b", "name=b"),
        pod("a/web", "app=web", "10.1.0.1", HERE),
        pod("a/api", "app=api", "10.1.0.2", "there"),
        pod("b/api", "app=api", "10.1.0.3", "there"),
        policy(
            "a/p",
            json!({ "podSelector": {}, "ingress": [{ "from": [
            { "podSelector": { "matchLabels": { "app": "api" } } },
            { "namespaceSelector": { "matchLabels": { "name": "b" } } },
        ] }] }),
        ),
    ] {
        world.apply(&object);
    }
    world.settle();
    world
}

fn reaches(world: &World, other: &str) -> bool {
    world.maps.passes(&Connection {
        pod: ("a".into(), "web".into()),
        direction: Direction::Ingress,
        other: ip(other),
        protocol: 6,
        port: 80,
    })
}

#[test]
fn a_pod_like_others_is_one_address() {
    let mut world = settled();
    world.apply(&pod("a/api2", "app=api", "10.1.0.9", "there"));
    let steps = world.settle();
    assert_eq!(steps.len(), 1);
    assert_eq!((steps[0].peers.len(), steps[0].verdicts.len(), steps[0].endpoints.len()), (1, 0, 0));
    assert!(reaches(&world, "10.1.0.9"));
    // One that belongs to no peer is none.
    world.apply(&pod("a/idle", "app=idle", "10.1.0.10", "there"));
    assert_eq!(world.settle(), []);
    assert!(!reaches(&world, "10.1.0.10"));
}

#[test]
fn what_is_seen_again_changes_nothing() {
    let mut world = settled();
    world.apply(&pod("a/api", "app=api", "10.1.0.2", "there"));
    world.apply(&namespace("b", "name=b"));
    assert_eq!(world.settle(), []);
}

#[test]
fn labels_move_pods_to_other_groups_and_classes() {
    let mut world = settled();
    world.apply(&pod("a/api", "app=other", "10.1.0.2", "there"));
    world.settle();
    assert!(!reaches(&world, "10.1.0.2"));
    world.apply(&namespace("b", "name=c"));
    world.settle();
    assert!(!reaches(&world, "10.1.0.3"));
    world.apply(&namespace("b", "name=b"));
    world.settle();
    assert!(reaches(&world, "10.1.0.3"));
    world.apply(&policy("a/p", json!({ "podSelector": { "matchLabels": { "app": "db" } } })));
    world.settle();
    assert!(reaches(&world, "192.0.2.1"));
    assert_eq!(world.maps.endpoints[&("a".into(), "web".into())], EndpointPolicy::Open);
    // Nothing is left of what nobody needs.
    assert_eq!((world.maps.peers.len(), world.maps.verdicts.len()), (0, 0));
    world.apply(&pod("a/web", "app=db", "10.1.0.1", HERE));
    world.settle();
    assert!(!reaches(&world, "192.0.2.1"));
}

#[test]
fn a_pod_that_is_not_known_is_closed() {
    let mut world = settled();
    world.delete(&pod("a/web", "app=web", "10.1.0.1", HERE));
    world.settle();
    assert!(!reaches(&world, "10.1.0.2"));
    assert_eq!((world.maps.peers.len(), world.maps.verdicts.len()), (0, 0));
}

#[test]
fn an_address_is_that_of_who_was_seen_last() {
    let mut world = settled();
    world.apply(&pod("a/idle", "app=idle", "10.1.0.2", "there"));
    world.settle();
    assert!(!reaches(&world, "10.1.0.2"));
    world.delete(&pod("a/idle", "app=idle", "10.1.0.2", "there"));
    world.settle();
    assert!(reaches(&world, "10.1.0.2"));
}

#[test]
fn a_new_daemon_comes_to_the_same_maps() {
    let old = settled();
    let mut new = World::new();
    // In another order.
    for object in [
        policy(
            "a/p",
            json!({ "podSelector": {}, "ingress": [{ "from": [
            { "namespaceSelector": { "matchLabels": { "name": "b" } } },
            { "podSelector": { "matchLabels": { "app": "api" } } },
        ] }] }),
        ),
        pod("b/api", "app=api", "10.1.0.3", "there"),
        pod("a/api", "app=api", "10.1.0.2", "there"),
        pod("a/web", "app=web", "10.1.0.1", HERE),
        namespace("b", "name=b"),
        namespace("a", "name=a"),
    ] {
        new.apply(&object);
        new.settle();
    }
    assert_eq!(new.maps, old.maps);
    let mut whole = super::model::Maps::default();
    whole.apply(&new.planner.whole(), |_| {});
    assert_eq!(whole, old.maps);
}

/// Who waits for a new pod's policies learns that there is none any more, also when it came and went between two plans.
#[test]
fn the_pods_of_this_node_that_go_are_told_once() {
    let mut world = World::new();
    let [here, there] = [pod("ns/here", "", "10.0.0.1", HERE), pod("ns/there", "", "10.0.0.2", "there")];
    world.apply(&here);
    world.apply(&there);
    world.apply(&pod("ns/here", "app=web", "10.0.0.1", HERE));
    assert!(world.index.take_departed().is_empty(), "a change of labels is no end");
    world.delete(&here);
    world.delete(&there);
    assert_eq!(world.index.take_departed(), ["uid-here".into()]);
    assert!(world.index.take_departed().is_empty());
}
