//! What does not fit.

use keelson_ebpf_common::policy::Direction;
use serde_json::{Value, json};

use super::{HERE, World, ip, model::Connection, namespace, pod, policy};
use crate::policy::{Planner, Shortage, planner::Room};

fn reaches(world: &World, other: &str, port: u16) -> bool {
    let pod = ("a".into(), "web".into());
    world.maps.passes(&Connection { pod, direction: Direction::Ingress, other: ip(other), protocol: 6, port })
}

fn world(room: Room, peers: Value, ports: Value) -> World {
    let mut world = World::with(Planner::of_room(room));
    world.apply(&namespace("a", ""));
    world.apply(&pod("a/web", "app=web", "10.1.0.1", HERE));
    world.apply(&pod("a/one", "app=api", "10.1.0.2", "there"));
    world.apply(&pod("a/two", "app=api", "10.1.0.3", "there"));
    world.apply(&policy("a/p", json!({ "podSelector": {}, "ingress": [{ "from": peers, "ports": ports }] })));
    world.settle();
    world
}

const ROOM: Room = Room { verdicts: 100, prefixes: 100, block_prefixes: 100 };

#[test]
fn entries_without_room_stop_packets_until_there_is_room() {
    let range = json!([{ "port": 1, "endPort": 65534 }]);
    let peers = json!([{ "podSelector": { "matchLabels": { "app": "api" } } }]);
    let mut world = world(Room { verdicts: 29, ..ROOM }, peers.clone(), range);
    assert!(!reaches(&world, "10.1.0.2", 80));
    let short = Shortage::Verdicts(("a".into(), "web".into()), "uid-web".into());
    assert_eq!(world.planner.shortages(&world.index), [short]);
    world.apply(&policy(
        "a/p",
        json!({ "podSelector": {}, "ingress": [{ "from": peers, "ports": [{ "port": 80 }] }] }),
    ));
    world.settle();
    assert!(reaches(&world, "10.1.0.2", 80));
    assert_eq!(world.planner.shortages(&world.index), []);
}

#[test]
fn addresses_without_room_belong_to_nobody_until_there_is_room() {
    let peers = json!([{ "podSelector": { "matchLabels": { "app": "api" } } }]);
    let mut world = world(Room { prefixes: 1, ..ROOM }, peers, json!([]));
    assert_eq!(world.planner.shortages(&world.index), [Shortage::Addresses(1)]);
    let reached = ["10.1.0.2", "10.1.0.3"].map(|other| reaches(&world, other, 80));
    assert!(reached[0] != reached[1], "one of them has room");
    let (gone, stays) = if reached[0] { ("a/one", "10.1.0.3") } else { ("a/two", "10.1.0.2") };
    world.delete(&pod(gone, "", "10.1.0.9", "there"));
    world.settle();
    assert!(reaches(&world, stays, 80));
    assert_eq!(world.planner.shortages(&world.index), []);
}

#[test]
fn a_block_without_room_is_left_out_whole() {
    let block = json!([
        { "ipBlock": { "cidr": "10.0.0.0/8", "except": ["10.2.0.0/16", "10.3.0.0/16"] } },
        { "ipBlock": { "cidr": "192.0.2.0/24" } },
    ]);
    let world = world(Room { block_prefixes: 2, ..ROOM }, block, json!([]));
    let reached = ["10.1.0.2", "10.2.0.1", "10.3.0.1", "10.9.0.1", "192.0.2.9"];
    assert_eq!(reached.map(|other| reaches(&world, other, 80)), [false, false, false, false, true]);
    assert_eq!(world.planner.shortages(&world.index), [Shortage::Blocks(1)]);
}
