//! Clusters and changes by chance, against the rules read once more from the objects themselves, as simply as it can be said.
//!
//! While a change is made, whoever may connect before and after it may at every moment of it, and whoever may not, never may.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;
use k8s_openapi::{
    api::networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort},
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};
use keelson_ebpf_common::policy::Direction;
use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::{Value, json};

use super::{HERE, World, ip, model::Connection, namespace, pod, policy, with_ports};
use crate::policy::Selecting;

/// The objects by kind and name, as an API server has them.
type Objects = BTreeMap<String, Value>;

fn name_of(object: &Value) -> String {
    let metadata = &object["metadata"];
    format!("{} {}/{}", object["kind"], metadata["namespace"], metadata["name"])
}

type Labels = BTreeMap<String, String>;

fn labels_of(object: &Value) -> Labels {
    serde_json::from_value(object["metadata"]["labels"].clone()).unwrap()
}

fn selected(selector: &LabelSelector, labels: &Labels) -> bool {
    let equal = selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    equal
        && selector.match_expressions.iter().flatten().all(|expression| {
            let value = labels.get(&expression.key);
            let listed = value.is_some_and(|value| expression.values.iter().flatten().any(|v| v == value));
            match expression.operator.as_str() {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => value.is_some(),
                _ => value.is_none(),
            }
        })
}

fn holder(objects: &Objects, address: IpAddr) -> Option<&Value> {
    objects.values().find(|o| o["kind"] == "Pod" && o["status"]["podIP"] == json!(address.to_string()))
}

fn is_peer(objects: &Objects, own: &str, peer: &NetworkPolicyPeer, address: IpAddr) -> bool {
    if let Some(block) = &peer.ip_block {
        let holds = |text: &String| text.parse::<IpNet>().unwrap().contains(&address);
        return holds(&block.cidr) && !block.except.iter().flatten().any(holds);
    }
    let Some(pod) = holder(objects, address) else { return false };
    let namespace = pod["metadata"]["namespace"].as_str().unwrap();
    let there = match &peer.namespace_selector {
        None => namespace == own,
        Some(selector) => {
            let object = objects.get(&name_of(&super::namespace(namespace, "")));
            object.is_some_and(|object| selected(selector, &labels_of(object)))
        }
    };
    there && peer.pod_selector.as_ref().is_none_or(|selector| selected(selector, &labels_of(pod)))
}

fn is_port(port: &NetworkPolicyPort, receiver: Option<&Value>, connection: &Connection) -> bool {
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    let number = match protocol {
        "TCP" => 6,
        "UDP" => 17,
        _ => 132,
    };
    number == connection.protocol
        && match (&port.port, port.end_port) {
            (None, _) => true,
            (Some(IntOrString::Int(first)), end) => {
                (*first..=end.unwrap_or(*first)).contains(&i32::from(connection.port))
            }
            (Some(IntOrString::String(name)), _) => receiver.is_some_and(|pod| {
                pod["spec"]["containers"][0]["ports"].as_array().into_iter().flatten().any(|own| {
                    own["name"] == json!(name)
                        && own["protocol"] == json!(protocol)
                        && own["containerPort"] == json!(connection.port)
                })
            }),
        }
}

fn may(objects: &Objects, connection: &Connection) -> bool {
    let key = format!("\"Pod\" \"{}\"/\"{}\"", connection.pod.0, connection.pod.1);
    let Some(pod) = objects.get(&key) else { return false };
    let policies = objects.values().filter(|object| object["kind"] == "NetworkPolicy");
    let policies = policies.map(|object| serde_json::from_value::<NetworkPolicy>(object.clone()).unwrap());
    let policies = policies.filter(|policy| {
        policy.metadata.namespace.as_deref() == Some(&*connection.pod.0)
            && selected(policy.spec.as_ref().unwrap().pod_selector.as_ref().unwrap(), &labels_of(pod))
    });
    let receiver = match connection.direction {
        Direction::Ingress => Some(pod),
        Direction::Egress => holder(objects, connection.other),
    };
    let (mut isolated, mut allowed) = (false, false);
    for policy in policies {
        let spec = policy.spec.unwrap();
        let wanted = if connection.direction == Direction::Ingress { "Ingress" } else { "Egress" };
        if !spec.policy_types.iter().flatten().any(|own| own == wanted) {
            continue;
        }
        isolated = true;
        let rules: Vec<_> = match connection.direction {
            Direction::Ingress => spec.ingress.into_iter().flatten().map(|r| (r.from, r.ports)).collect(),
            Direction::Egress => spec.egress.into_iter().flatten().map(|r| (r.to, r.ports)).collect(),
        };
        for (peers, ports) in rules {
            let (peers, ports) = (peers.unwrap_or_default(), ports.unwrap_or_default());
            let peer = |peer| is_peer(objects, &connection.pod.0, peer, connection.other);
            allowed |= (peers.is_empty() || peers.iter().any(peer))
                && (ports.is_empty() || ports.iter().any(|port| is_port(port, receiver, connection)));
        }
    }
    !isolated || allowed
}

const NAMESPACES: [&str; 3] = ["a", "b", "c"];
const ADDRESSES: [&str; 8] =
    ["10.1.0.1", "10.1.0.2", "10.1.1.1", "10.2.0.1", "fd00::1", "fd00::2", "fd00:1::1", "10.1.0.130"];
const BLOCKS: [(&str, &[&str]); 6] = [
    ("0.0.0.0/0", &["10.1.0.0/24"]),
    ("10.0.0.0/8", &["10.1.0.0/16", "10.1.0.1/32"]),
    ("10.1.0.0/24", &["10.1.0.128/25"]),
    ("10.1.0.1/32", &[]),
    ("::/0", &["fd00:1::/64"]),
    ("fd00::/64", &[]),
];

fn some_labels() -> impl Strategy<Value = String> {
    vec((select(vec!["k", "l"]), select(vec!["x", "y"])), 0..3).prop_map(|pairs| {
        let pairs: BTreeMap<_, _> = pairs.into_iter().collect();
        pairs.into_iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
    })
}

fn selector() -> impl Strategy<Value = Value> {
    let values = json!(["x"]);
    prop_oneof![
        Just(json!({})),
        some_labels().prop_map(|labels| json!({ "matchLabels": super::labels(&labels) })),
        (select(vec!["k", "l"]), select(vec!["In", "NotIn"])).prop_map(move |(key, operator)| {
            json!({ "matchExpressions": [{ "key": key, "operator": operator, "values": values }] })
        }),
        (select(vec!["k", "l"]), select(vec!["Exists", "DoesNotExist"])).prop_map(|(key, operator)| {
            json!({ "matchExpressions": [{ "key": key, "operator": operator }] })
        }),
    ]
}

fn peer() -> impl Strategy<Value = Value> {
    prop_oneof![
        selector().prop_map(|pods| json!({ "podSelector": pods })),
        selector().prop_map(|namespaces| json!({ "namespaceSelector": namespaces })),
        (selector(), selector()).prop_map(|(n, p)| json!({ "namespaceSelector": n, "podSelector": p })),
        select(BLOCKS.to_vec())
            .prop_map(|(cidr, except)| json!({ "ipBlock": { "cidr": cidr, "except": except } })),
    ]
}

fn port() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!({ "port": 80 })),
        Just(json!({ "protocol": "UDP" })),
        Just(json!({ "port": 79, "endPort": 90 })),
        Just(json!({ "port": "http" })),
        Just(json!({ "protocol": "UDP", "port": "dns" })),
    ]
}

fn rule(peers: &'static str) -> impl Strategy<Value = Value> {
    (vec(peer(), 0..3), vec(port(), 0..3))
        .prop_map(move |(peer, ports)| json!({ peers: peer, "ports": ports }))
}

fn some_object() -> impl Strategy<Value = Value> {
    let ports =
        select(vec![vec![], vec![("http", "TCP", 80)], vec![("http", "TCP", 81), ("dns", "UDP", 53)]]);
    let one_pod = (select(NAMESPACES.to_vec()), 0..4_usize, some_labels(), 0..ADDRESSES.len() / 4, ports)
        .prop_map(|(namespace, number, labels, more, ports)| {
            // Each pod has addresses of its own: whose an address is depends on nothing but that.
            let place = (number + more * 4) % ADDRESSES.len();
            let at = NAMESPACES.iter().position(|n| *n == namespace).unwrap();
            let address = match ADDRESSES[place].parse::<IpAddr>().unwrap() {
                IpAddr::V4(v4) => IpAddr::from((u32::from(v4) + 2 * at as u32 + 1).to_be_bytes()),
                IpAddr::V6(v6) => IpAddr::from((u128::from(v6) + 2 * at as u128 + 1).to_be_bytes()),
            };
            let node = if number < 2 { HERE } else { "there" };
            with_ports(pod(&format!("{namespace}/p{number}"), &labels, &address.to_string(), node), &ports)
        });
    let types = select(vec![vec!["Ingress"], vec!["Egress"], vec!["Ingress", "Egress"]]);
    let one_policy = (
        select(NAMESPACES.to_vec()),
        0..3,
        selector(),
        types,
        vec(rule("from"), 0..3),
        vec(rule("to"), 0..3),
    )
        .prop_map(|(namespace, number, selector, types, ingress, egress)| {
            let spec = json!({
                "podSelector": selector, "policyTypes": types, "ingress": ingress, "egress": egress,
            });
            policy(&format!("{namespace}/q{number}"), spec)
        });
    prop_oneof![
        3 => one_pod,
        3 => one_policy,
        1 => (select(NAMESPACES.to_vec()), some_labels()).prop_map(|(name, labels)| namespace(name, &labels)),
    ]
}

/// Connections of this node's pods with everybody, on every port that means something.
fn connections(objects: &Objects) -> Vec<Connection> {
    let pods = objects.values().filter(|object| object["kind"] == "Pod");
    let mut others: Vec<IpAddr> = ADDRESSES.iter().map(|address| ip(address)).collect();
    others.extend(pods.clone().map(|pod| ip(pod["status"]["podIP"].as_str().unwrap())));
    others.extend(["192.0.2.1", "10.1.0.200", "10.1.9.9", "fd00:1::99", "2001:db8::1"].map(ip));
    let own = pods.filter(|pod| pod["spec"]["nodeName"] == HERE);
    let mut all = Vec::new();
    for pod in own {
        let text = |field: &str| pod["metadata"][field].as_str().unwrap().into();
        let pod: (Box<str>, Box<str>) = (text("namespace"), text("name"));
        for other in &others {
            for (protocol, port) in [(6, 80), (6, 81), (6, 90), (17, 53), (17, 9), (1, 0)] {
                for direction in [Direction::Ingress, Direction::Egress] {
                    all.push(Connection { pod: pod.clone(), direction, other: *other, protocol, port });
                }
            }
        }
    }
    all
}

/// One change, taken step by step and looked at after each.
fn change(world: &mut World, before: &Objects, after: &Objects) {
    let connections = connections(after);
    let known = |c: &&Connection| before.contains_key(&format!("\"Pod\" \"{}\"/\"{}\"", c.pod.0, c.pod.1));
    let steady: Vec<(&Connection, bool)> = connections
        .iter()
        .filter(known)
        .map(|connection| (connection, may(before, connection), may(after, connection)))
        .filter(|(_, was, is)| was == is)
        .map(|(connection, was, _)| (connection, was))
        .collect();
    loop {
        let changes = world.planner.plan(&mut world.index);
        take(world, &changes, &steady);
        if !world.planner.confirm() && changes.is_empty() {
            break;
        }
    }
    for connection in &connections {
        let passes = world.maps.passes(connection);
        assert_eq!(passes, may(after, connection), "{connection:?}");
        let explained = explain(world, connection);
        assert_eq!(explained.policies.is_empty() || !explained.letting.is_empty(), passes, "{explained:?}");
    }
}

/// The policies by name that have a say.
fn explain(world: &World, connection: &Connection) -> Selecting {
    let Connection { direction, other, protocol, port, .. } = *connection;
    let own = world.index.pod_named(&connection.pod).unwrap().addresses[0];
    let (from, to) = if direction == Direction::Egress { (own, other) } else { (other, own) };
    let asked = crate::policy::Connection { from, to, protocol, port };
    world.index.explain(&asked, direction).unwrap()
}

fn take(world: &mut World, changes: &super::Changes, steady: &[(&Connection, bool)]) {
    let mut maps = std::mem::take(&mut world.maps);
    let mut step = 0_usize;
    maps.apply(changes, |maps| {
        // Each state costs a look at all connections: a share of them, another one each time.
        for (connection, passes) in steady.iter().skip(step % 7).step_by(7) {
            assert_eq!(maps.passes(connection), *passes, "{connection:?} while it changes: {changes:?}");
        }
        step += 1;
    });
    world.maps = maps;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn the_maps_say_what_the_objects_say(
        steps in vec((some_object(), prop::bool::weighted(0.25)), 1..24)
    ) {
        let (mut world, mut objects) = (World::new(), Objects::new());
        for (object, goes) in steps {
            let before = objects.clone();
            if goes {
                objects.remove(&name_of(&object));
                world.delete(&object);
            } else {
                objects.insert(name_of(&object), object.clone());
                world.apply(&object);
            }
            change(&mut world, &before, &objects);
        }
    }
}
