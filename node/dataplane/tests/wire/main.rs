//! The per-packet programs on real wires: a node, its pods, a second node, a client outside, each in a network namespace, all on
//! one bridge; and TCP from end to end.
//!
//! ```text
//!  pod1 ── node1 ──┐          ┌── node2 ── pod3
//!  pod2 ────┘      └─ bridge ─┘
//!                        └── outside
//! ```
//! Only node1 has the programs, and in `direct` node2. Needs root, a bpffs at /sys/fs/bpf and the compiled programs; else each test says why it was
//! skipped.

mod direct;
mod lab;
mod translated;

#[path = "../shared/node.rs"]
mod node;

use keelson_dataplane::plan::Protocol::Tcp;

use lab::{Lab, NODE1, NODE2, OUTSIDE, POD1, POD2, POD3, external, frontend};

const SERVICE: &str = "10.96.0.7:80";

#[test]
fn pods_and_services_reach_each_other_past_the_stack() {
    let Some(mut lab) = Lab::new("east-west") else { return };
    let here = lab.serve("pod2", POD2, 8080);
    let there = lab.serve("pod3", POD3, 8080);
    assert_eq!(lab.ask("pod1", POD2, 8080).unwrap(), POD1, "straight");
    assert_eq!(lab.ask("pod1", POD3, 8080).unwrap(), POD1, "straight to another node");
    assert_eq!(lab.ask("pod3", POD2, 8080).unwrap(), POD3, "and back");
    for backend in [POD2, POD3] {
        lab.frontends(&[frontend(Tcp, SERVICE, &[&format!("{backend}:8080")])]);
        assert_eq!(lab.ask("pod1", "10.96.0.7", 80).unwrap(), POD1, "by the Service, at {backend}");
    }
    lab.frontends(&[frontend(Tcp, SERVICE, &[&format!("{POD2}:8080")])]);
    assert_eq!(lab.ask("pod2", "10.96.0.7", 80).unwrap(), NODE1, "a pod to itself");
    lab.frontends(&[frontend(Tcp, SERVICE, &[])]);
    let refused = lab.ask("pod1", "10.96.0.7", 80).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    // A connection that lives through it all.
    lab.frontends(&[frontend(Tcp, SERVICE, &[&format!("{POD3}:9090")])]);
    let bulk = lab.bulk("pod3", POD3, 9090);
    assert_eq!(lab.send("pod1", "10.96.0.7", 80, 20_000_000).unwrap(), 20_000_000);
    assert_eq!(bulk.join().unwrap(), 20_000_000);
    drop((here, there));
}

#[test]
fn services_are_reached_from_outside() {
    let Some(mut lab) = Lab::new("north-south") else { return };
    let here = lab.serve("pod2", POD2, 8080);
    let there = lab.serve("pod3", POD3, 8080);
    lab.external(&[
        external(Tcp, &format!("{NODE1}:30080"), &[&format!("{POD2}:8080")]),
        external(Tcp, &format!("{NODE1}:30081"), &[&format!("{POD3}:8080")]),
        external(Tcp, &format!("{NODE1}:30082"), &[]),
    ]);
    assert_eq!(lab.ask("outside", NODE1, 30_080).unwrap(), OUTSIDE, "a pod of the node sees the client");
    assert_eq!(lab.ask("outside", NODE1, 30_081).unwrap(), NODE1, "another node's pod sees the node");
    assert_eq!(lab.ask("node2", NODE1, 30_081).unwrap(), NODE1, "and also when its own node asks");
    let refused = lab.ask("outside", NODE1, 30_082).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    drop((here, there));
}

#[test]
fn pods_are_seen_outside_by_their_nodes_address() {
    let Some(lab) = Lab::new("masquerade") else { return };
    let outside = lab.serve("outside", OUTSIDE, 8080);
    assert_eq!(lab.ask("pod1", OUTSIDE, 8080).unwrap(), NODE1);
    assert_eq!(lab.ask("node1", OUTSIDE, 8080).unwrap(), NODE1);
    let node = lab.serve("node2", NODE2, 8080);
    assert_eq!(lab.ask("pod1", NODE2, 8080).unwrap(), POD1, "nodes see pods as they are");
    drop((outside, node));
}

#[test]
fn by_filters_it_is_the_same() {
    let Some(mut lab) = Lab::with("filters", |options| options.without_tcx = true) else { return };
    let there = lab.serve("pod3", POD3, 8080);
    let outside = lab.serve("outside", OUTSIDE, 8080);
    lab.frontends(&[frontend(Tcp, SERVICE, &[&format!("{POD3}:8080")])]);
    lab.external(&[external(Tcp, &format!("{NODE1}:30081"), &[&format!("{POD3}:8080")])]);
    assert_eq!(lab.ask("pod1", "10.96.0.7", 80).unwrap(), POD1);
    assert_eq!(lab.ask("outside", NODE1, 30_081).unwrap(), NODE1);
    assert_eq!(lab.ask("pod1", OUTSIDE, 8080).unwrap(), NODE1);
    drop((there, outside));
}

/// What a request of one byte to another node's pod and its answer take, beside the stack's own forwarding on this node.
#[test]
#[ignore = "a measurement: run it alone, with --ignored --nocapture"]
fn the_short_way_beside_the_stacks_own() {
    const ROUNDS: usize = 40;
    let Some(lab) = Lab::with("bench", |options| options.masquerade = false) else { return };
    let echo = lab.echo("pod3", POD3, 8080);
    // pod4 is on node1 as well, but its link has no programs and its address is no endpoint. In turns: what disturbs the
    // one disturbs the other.
    let rounds: Vec<[f64; 2]> =
        (0..ROUNDS).map(|_| ["pod1", "pod4"].map(|pod| lab.round_trips(pod, POD3, 8080, 3_000))).collect();
    for (way, name) in ["by the programs", "by the stack"].into_iter().enumerate() {
        let mut times: Vec<f64> = rounds.iter().map(|round| round[way]).collect();
        times.sort_unstable_by(f64::total_cmp);
        println!("{name}: least {:.2} us, median {:.2} us", times[0], times[ROUNDS / 2]);
    }
    drop(echo);
}
