//! What policies say, case by case. <https://kubernetes.io/docs/concepts/services-networking/network-policies/>

use keelson_ebpf_common::{
    packet::protocol::{ICMP, SCTP, TCP, UDP},
    policy::Direction::{self, Egress, Ingress},
};
use serde_json::{Value, json};

use super::{HERE, World, ip, model::Connection, namespace, pod, policy, with_ports};

/// A small cluster: `shop/web` is on this node, all others elsewhere.
fn cluster() -> Vec<Value> {
    let mut host = pod("ops/agent", "app=agent", "172.30.0.12", "there");
    host["spec"]["hostNetwork"] = json!(true);
    let mut done = pod("shop/job", "app=api", "10.1.0.9", "there");
    done["status"]["phase"] = json!("Succeeded");
    vec![
        namespace("shop", "team=a"),
        namespace("ops", "team=b"),
        with_ports(
            pod("shop/web", "app=web,tier=front", "10.1.0.1", HERE),
            &[("http", "TCP", 8080), ("dns", "UDP", 53)],
        ),
        with_ports(pod("shop/api", "app=api", "10.1.0.2", "there"), &[("http", "TCP", 9090)]),
        pod("shop/db", "app=db", "fd00::2", "there"),
        with_ports(pod("ops/api", "app=api", "10.1.0.3", "there"), &[("http", "TCP", 7070)]),
        pod("ops/mon", "app=mon", "10.1.0.4", "there"),
        host,
        done,
    ]
}

/// Direction, the other side, protocol and port, and whether `shop/web` may have it.
type Row = (Direction, &'static str, u8, u16, bool);

fn check(name: &str, specs: Vec<Value>, rows: &[Row]) {
    let mut world = World::new();
    cluster().iter().for_each(|object| world.apply(object));
    for (i, spec) in specs.into_iter().enumerate() {
        world.apply(&policy(&format!("shop/p{i}"), spec));
    }
    world.settle();
    for (direction, other, protocol, port, passes) in rows {
        let connection = Connection {
            pod: ("shop".into(), "web".into()),
            direction: *direction,
            other: ip(other),
            protocol: *protocol,
            port: *port,
        };
        assert_eq!(world.maps.passes(&connection), *passes, "{name}: {connection:?}");
    }
}

#[test]
fn without_a_policy_everything_passes() {
    check("none", vec![], &[(Ingress, "10.1.0.2", TCP, 80, true), (Egress, "192.0.2.1", ICMP, 0, true)]);
    let other = json!({ "podSelector": { "matchLabels": { "app": "api" } } });
    check("another's", vec![other], &[(Ingress, "10.1.0.2", TCP, 80, true)]);
}

#[test]
fn types_default_to_what_the_rules_are_about() {
    let rows = [
        (json!({ "podSelector": {} }), false, true),
        (json!({ "podSelector": {}, "policyTypes": [] }), false, true),
        (json!({ "podSelector": {}, "egress": [] }), false, true),
        (json!({ "podSelector": {}, "egress": [{ "ports": [{ "port": 1 }] }] }), false, false),
        (json!({ "podSelector": {}, "policyTypes": ["Ingress"], "egress": [{}] }), false, true),
        (json!({ "podSelector": {}, "policyTypes": ["Egress"] }), true, false),
        (json!({ "podSelector": {}, "policyTypes": ["Egress"], "ingress": [{}] }), true, false),
        (json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] }), false, false),
        (
            json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [{}], "egress": [{}] }),
            true,
            true,
        ),
        (json!({}), false, true),
    ];
    for (spec, lets_in, lets_out) in rows {
        let name = spec.to_string();
        check(
            &name,
            vec![spec],
            &[(Ingress, "10.1.0.2", TCP, 80, lets_in), (Egress, "10.1.0.2", TCP, 80, lets_out)],
        );
    }
}

#[test]
fn selectors_select_by_every_operator() {
    let selects = [
        (json!({ "matchLabels": { "app": "web" } }), true),
        (json!({ "matchLabels": { "app": "web", "tier": "back" } }), false),
        (json!({ "matchExpressions": [{ "key": "app", "operator": "In", "values": ["web", "x"] }] }), true),
        (json!({ "matchExpressions": [{ "key": "app", "operator": "NotIn", "values": ["web"] }] }), false),
        (json!({ "matchExpressions": [{ "key": "none", "operator": "NotIn", "values": ["web"] }] }), true),
        (json!({ "matchExpressions": [{ "key": "tier", "operator": "Exists" }] }), true),
        (json!({ "matchExpressions": [{ "key": "tier", "operator": "DoesNotExist" }] }), false),
    ];
    for (selector, selected) in selects {
        let name = selector.to_string();
        check(&name, vec![json!({ "podSelector": selector })], &[(Ingress, "10.1.0.2", TCP, 80, !selected)]);
    }
}

#[test]
fn peers_are_pods_namespaces_or_both() {
    let from = |peer: Value| json!({ "podSelector": {}, "ingress": [{ "from": [peer] }] });
    // shop/api, ops/api, ops/mon, somebody outside.
    let rows = [
        (json!({ "podSelector": { "matchLabels": { "app": "api" } } }), [true, false, false, false]),
        (json!({ "podSelector": {} }), [true, false, false, false]),
        (json!({ "namespaceSelector": { "matchLabels": { "team": "b" } } }), [false, true, true, false]),
        (json!({ "namespaceSelector": {} }), [true, true, true, false]),
        (
            json!({ "namespaceSelector": { "matchLabels": { "team": "b" } }, "podSelector": { "matchLabels": { "app": "api" } } }),
            [false, true, false, false],
        ),
        (
            json!({ "namespaceSelector": {}, "podSelector": { "matchLabels": { "app": "api" } } }),
            [true, true, false, false],
        ),
    ];
    for (peer, passes) in rows {
        let name = peer.to_string();
        let others = ["10.1.0.2", "10.1.0.3", "10.1.0.4", "192.0.2.1"];
        let rows: Vec<Row> =
            others.iter().zip(passes).map(|(other, passes)| (Ingress, *other, UDP, 1, passes)).collect();
        check(&name, vec![from(peer)], &rows);
    }
}

#[test]
fn hosts_and_ended_pods_are_no_peers() {
    let all = json!({ "podSelector": {}, "ingress": [{ "from": [{ "namespaceSelector": {} }] }] });
    check(
        "all pods",
        vec![all],
        &[(Ingress, "172.30.0.12", TCP, 80, false), (Ingress, "10.1.0.9", TCP, 80, false)],
    );
    let node =
        json!({ "podSelector": {}, "ingress": [{ "from": [{ "ipBlock": { "cidr": "172.30.0.0/24" } }] }] });
    check("the node", vec![node], &[(Ingress, "172.30.0.12", TCP, 80, true)]);
}

#[test]
fn blocks_hold_what_they_do_not_leave_out() {
    let block = |cidr: &str, except: &[&str]| json!({ "ipBlock": { "cidr": cidr, "except": except } });
    let to = |peers: Vec<Value>| json!({ "podSelector": {}, "policyTypes": ["Egress"], "egress": [{ "to": peers }] });
    let out = |other, passes| (Egress, other, TCP, 443, passes);
    check(
        "all of IPv4 without a part",
        vec![to(vec![block("0.0.0.0/0", &["10.1.0.0/16", "192.0.2.0/24"])])],
        &[out("198.51.100.1", true), out("192.0.2.1", false), out("10.1.0.2", false), out("fd00::2", false)],
    );
    check(
        "all of IPv6",
        vec![to(vec![block("::/0", &["fd00::/8"])])],
        &[out("198.51.100.1", false), out("2001:db8::1", true), out("fd00::2", false)],
    );
    check(
        "what one leaves out another holds",
        vec![to(vec![block("10.0.0.0/8", &["10.1.0.0/16"]), block("10.1.0.0/24", &["10.1.0.4/32"])])],
        &[out("10.9.0.1", true), out("10.1.9.1", false), out("10.1.0.2", true), out("10.1.0.4", false)],
    );
    check(
        "a pod is in blocks too, and a single address is one",
        vec![to(vec![
            block("10.1.0.2/32", &[]),
            json!({ "podSelector": { "matchLabels": { "app": "db" } } }),
        ])],
        &[out("10.1.0.2", true), out("10.1.0.3", false), out("fd00::2", true)],
    );
    check(
        "bits behind the prefix do not count",
        vec![to(vec![block("10.1.0.77/24", &[])])],
        &[out("10.1.0.2", true), out("10.2.0.2", false)],
    );
}

#[test]
fn ports_are_numbers_names_ranges_or_a_whole_protocol() {
    let ports = |ports: Value| json!({ "podSelector": {}, "ingress": [{ "ports": ports }] });
    let into = |protocol, port, passes| (Ingress, "192.0.2.1", protocol, port, passes);
    check("none", vec![ports(json!([]))], &[into(TCP, 1, true), into(ICMP, 0, true), into(47, 0, true)]);
    check(
        "a number",
        vec![ports(json!([{ "port": 80 }]))],
        &[into(TCP, 80, true), into(TCP, 81, false), into(UDP, 80, false), into(ICMP, 0, false)],
    );
    check(
        "a protocol",
        vec![ports(json!([{ "protocol": "UDP" }, { "protocol": "SCTP", "port": 7 }]))],
        &[
            into(UDP, 1, true),
            into(UDP, 65_535, true),
            into(TCP, 1, false),
            into(SCTP, 7, true),
            into(SCTP, 8, false),
        ],
    );
    check(
        "a range",
        vec![ports(json!([{ "protocol": "TCP", "port": 8000, "endPort": 8010 }]))],
        &[into(TCP, 7999, false), into(TCP, 8000, true), into(TCP, 8010, true), into(TCP, 8011, false)],
    );
    check(
        "a name is the receiver's",
        vec![ports(json!([{ "port": "http" }, { "protocol": "UDP", "port": "dns" }, { "port": "nobody" }]))],
        &[into(TCP, 8080, true), into(TCP, 9090, false), into(UDP, 53, true), into(TCP, 53, false)],
    );
}

#[test]
fn a_name_is_that_of_each_pod_which_is_reached() {
    let to = |rule: Value| json!({ "podSelector": {}, "policyTypes": ["Egress"], "egress": [rule] });
    let ports = json!([{ "port": "http" }]);
    let out = |other, port, passes| (Egress, other, TCP, port, passes);
    let everybody = [
        out("10.1.0.2", 9090, true),
        out("10.1.0.2", 7070, false),
        out("10.1.0.3", 7070, true),
        out("10.1.0.4", 7070, false),
        out("192.0.2.1", 9090, false),
    ];
    check("everybody's", vec![to(json!({ "ports": ports }))], &everybody);
    let own = json!({ "ports": ports, "to": [{ "podSelector": {} }] });
    check("own namespace's", vec![to(own)], &[out("10.1.0.2", 9090, true), out("10.1.0.3", 7070, false)]);
    let block = json!({ "ports": ports, "to": [{ "ipBlock": { "cidr": "10.1.0.3/32" } }] });
    check("a block's", vec![to(block)], &[out("10.1.0.2", 9090, false), out("10.1.0.3", 7070, true)]);
}

#[test]
fn rules_and_policies_add_up() {
    let api = json!({ "podSelector": { "matchLabels": { "app": "api" } } });
    let mon = json!({ "namespaceSelector": {}, "podSelector": { "matchLabels": { "app": "mon" } } });
    let specs = vec![
        json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] }),
        json!({ "podSelector": { "matchLabels": { "app": "web" } }, "ingress": [
            { "from": [api], "ports": [{ "port": 80 }] },
            { "from": [mon], "ports": [{ "port": 9100 }] },
        ] }),
        json!({ "podSelector": { "matchLabels": { "tier": "front" } }, "ingress": [{ "from": [mon], "ports": [{ "port": 80 }] }] }),
        json!({ "podSelector": { "matchLabels": { "app": "api" } }, "ingress": [{}] }),
    ];
    check(
        "union",
        specs,
        &[
            (Ingress, "10.1.0.2", TCP, 80, true),
            (Ingress, "10.1.0.2", TCP, 9100, false),
            (Ingress, "10.1.0.4", TCP, 80, true),
            (Ingress, "10.1.0.4", TCP, 9100, true),
            (Ingress, "10.1.0.3", TCP, 80, false),
            (Egress, "10.1.0.2", TCP, 80, false),
        ],
    );
}

#[test]
fn what_is_not_understood_lets_nothing_pass() {
    let malformed = json!({ "matchExpressions": [{ "key": "app", "operator": "Like", "values": ["x"] }] });
    let rows = [
        json!({ "podSelector": malformed }),
        json!({ "podSelector": {}, "ingress": [{ "from": [{ "podSelector": malformed }] }] }),
        json!({ "podSelector": {}, "ingress": [{ "from": [{ "ipBlock": { "cidr": "everywhere" } }] }] }),
        json!({ "podSelector": {}, "ingress": [{ "from": [{ "ipBlock": { "cidr": "0.0.0.0/0", "except": ["x"] } }] }] }),
        json!({ "podSelector": {}, "ingress": [{ "from": [{}] }] }),
        json!({ "podSelector": {}, "ingress": [{ "ports": [{ "protocol": "DCCP" }] }] }),
        json!({ "podSelector": {}, "ingress": [{ "ports": [{ "port": 90, "endPort": 80 }] }] }),
    ];
    for spec in rows {
        let name = spec.to_string();
        check(
            &name,
            vec![spec],
            &[(Ingress, "10.1.0.2", TCP, 80, false), (Ingress, "192.0.2.1", TCP, 90, false)],
        );
    }
}
