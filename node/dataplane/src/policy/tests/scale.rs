//! How long planning takes in a large cluster, and what it needs of memory.
//!
//! `cargo test --release -p keelson-dataplane -- --ignored --nocapture planning_a_large_cluster`

use std::time::Instant;

use serde_json::json;

use super::{HERE, World, namespace, pod, policy, with_ports};

/// 10,000 pods of 1,000 workloads in 100 namespaces, 110 of them here; 5,000 policies, three of them for each workload.
#[test]
#[ignore = "measures; takes a while without optimisation"]
fn planning_a_large_cluster() {
    let start = Instant::now();
    let before_kib = resident_kib();
    let mut world = World::new();
    for n in 0..100 {
        world.apply(&namespace(
            &format!("n{n}"),
            &format!("team=t{},kubernetes.io/metadata.name=n{n}", n % 10),
        ));
    }
    for n in 0..10_000 {
        let (workload, node) = (n / 10, if n % 91 == 0 { HERE } else { "there" });
        let name = format!("n{}/w{workload}-{n}", workload / 10);
        let labels = format!("app=w{workload},tier=t{},version=v{}", workload % 3, workload % 7);
        let address = format!("10.{}.{}.{}", 1 + n / 60_000, n / 250 % 250, 1 + n % 250);
        world.apply(&with_ports(pod(&name, &labels, &address, node), &[("http", "TCP", 8080)]));
    }
    for n in 0..5_000 {
        let name = format!("n{}/p{n}", n % 100);
        let spec = match n / 100 % 5 {
            0 => json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] }),
            1 => json!({ "podSelector": { "matchLabels": { "tier": format!("t{}", n % 3) } }, "ingress": [{
                "from": [{ "podSelector": { "matchLabels": { "version": format!("v{}", n % 7) } } }],
                "ports": [{ "port": "http" }] }] }),
            2 => json!({ "podSelector": {}, "policyTypes": ["Egress"], "egress": [
                { "to": [{ "namespaceSelector": { "matchLabels": { "team": format!("t{}", n % 10) } } }],
                  "ports": [{ "port": "http" }, { "protocol": "UDP", "port": 53 }] }] }),
            3 => {
                json!({ "podSelector": { "matchLabels": { "app": format!("w{}", n % 100 * 10 + n / 500) } }, "ingress": [{
                "from": [{ "ipBlock": { "cidr": "0.0.0.0/0", "except": [format!("10.1.{}.0/24", n % 250)] } }],
                "ports": [{ "port": 8000, "endPort": 9000 }] }] })
            }
            _ => json!({ "podSelector": {}, "ingress": [{ "from": [
                { "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": format!("n{}", (n + 1) % 100) } },
                  "podSelector": { "matchLabels": { "tier": "t1" } } }] }] }),
        };
        world.apply(&policy(&name, spec));
    }
    println!("seen {:?}", start.elapsed());
    let start = Instant::now();
    let changes = world.planner.plan(&mut world.index);
    println!("planned {:?}", start.elapsed());
    let [groups, peers, classes, addresses, verdicts] = world.planner.sizes();
    println!(
        "{groups} groups, {peers} peers, {classes} classes, {addresses} addresses, {verdicts} entries, {} profiles, {} KiB",
        world.index.profiles.len(),
        resident_kib() - before_kib,
    );
    assert!(world.planner.shortages(&world.index).is_empty());
    assert_eq!(changes.verdicts.len(), verdicts);
    world.planner.confirm();
    let start = Instant::now();
    for n in 0..1_000 {
        world.apply(&with_ports(
            pod(
                &format!("n5/new-{n}"),
                "app=w55,tier=t1,version=v6",
                &format!("10.9.{}.{}", n / 250, n % 250),
                "there",
            ),
            &[("http", "TCP", 8080)],
        ));
        let changes = world.planner.plan(&mut world.index);
        assert!(changes.peers.len() <= 1);
        world.planner.confirm();
    }
    println!("a pod more: {:?}", start.elapsed() / 1_000);
    let start = Instant::now();
    world.apply(&namespace("n7", "team=t3,kubernetes.io/metadata.name=n7"));
    let changes = world.planner.plan(&mut world.index);
    println!("a namespace's label: {:?}, {} addresses", start.elapsed(), changes.peers.len());
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
