//! The planner against the rules of the API: tables of cases, and clusters made by chance.

mod changes;
mod limits;
mod model;
mod random;
mod rules;
mod scale;

use std::net::IpAddr;

use kube::runtime::watcher::Event;
use model::Maps;
use serde_json::{Value, json};

use super::{
    Changes, Index, Planner, PolicySeen,
    objects::{NamespaceObject, PodObject, PolicyObject},
};

/// The node of these tests.
const HERE: &str = "here";

/// An index and a planner, and maps that hold what they say.
struct World {
    index: Index,
    planner: Planner,
    maps: Maps,
}

impl World {
    /// Without anything; the lists are complete.
    fn new() -> Self {
        Self::with(Planner::default())
    }

    fn with(planner: Planner) -> Self {
        let mut index = Index::new(HERE);
        for event in [PolicySeen::Pod(Event::Init), PolicySeen::Pod(Event::InitDone)] {
            index.see(event);
        }
        for event in [PolicySeen::Namespace(Event::Init), PolicySeen::Namespace(Event::InitDone)] {
            index.see(event);
        }
        for event in [PolicySeen::RuntimeClass(Event::Init), PolicySeen::RuntimeClass(Event::InitDone)] {
            index.see(event);
        }
        for event in [PolicySeen::Policy(Event::Init), PolicySeen::Policy(Event::InitDone)] {
            index.see(event);
        }
        Self { index, planner, maps: Maps::default() }
    }

    fn apply(&mut self, object: &Value) {
        let object = object.clone();
        self.index.see(match object["kind"].as_str().unwrap() {
            "Pod" => PolicySeen::Pod(Event::Apply(read::<PodObject>(object))),
            "Namespace" => PolicySeen::Namespace(Event::Apply(read::<NamespaceObject>(object))),
            _ => PolicySeen::Policy(Event::Apply(read::<PolicyObject>(object))),
        });
    }

    fn delete(&mut self, object: &Value) {
        let object = object.clone();
        self.index.see(match object["kind"].as_str().unwrap() {
            "Pod" => PolicySeen::Pod(Event::Delete(read::<PodObject>(object))),
            "Namespace" => PolicySeen::Namespace(Event::Delete(read::<NamespaceObject>(object))),
            _ => PolicySeen::Policy(Event::Delete(read::<PolicyObject>(object))),
        });
    }

    /// Plans and applies until there is nothing more to do; answers all steps.
    fn settle(&mut self) -> Vec<Changes> {
        let mut steps = Vec::new();
        loop {
            let changes = self.planner.plan(&mut self.index);
            self.maps.apply(&changes, |_| {});
            let more = self.planner.confirm();
            let done = changes.is_empty() && !more;
            steps.extend(Some(changes).filter(|changes| !changes.is_empty()));
            if done {
                return steps;
            }
        }
    }
}

fn read<T: serde::de::DeserializeOwned>(object: Value) -> T {
    serde_json::from_value(object).unwrap()
}

/// Labels from words such as `app=web,tier=front`.
fn labels(text: &str) -> Value {
    let pairs = text.split(',').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap());
    pairs.map(|(key, value)| (key.to_owned(), json!(value))).collect::<serde_json::Map<_, _>>().into()
}

fn namespace(name: &str, with: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": labels(with) } })
}

/// A pod `namespace/name` of this node, or of another.
fn pod(name: &str, with: &str, address: &str, node: &str) -> Value {
    let (namespace, name) = name.split_once('/').unwrap();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "namespace": namespace, "name": name, "uid": format!("uid-{name}"), "labels": labels(with) },
        "spec": { "nodeName": node, "containers": [{ "name": "c" }] },
        "status": { "phase": "Running", "podIP": address, "podIPs": [{ "ip": address }] },
    })
}

/// The same pod with ports: name, protocol, number.
fn with_ports(mut pod: Value, ports: &[(&str, &str, u16)]) -> Value {
    let ports = ports.iter().map(
        |(name, protocol, number)| json!({ "name": name, "protocol": protocol, "containerPort": number }),
    );
    pod["spec"]["containers"][0]["ports"] = ports.collect();
    pod
}

fn policy(name: &str, spec: Value) -> Value {
    let (namespace, name) = name.split_once('/').unwrap();
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": { "namespace": namespace, "name": name }, "spec": spec,
    })
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}
