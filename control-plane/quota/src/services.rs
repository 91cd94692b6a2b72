//! Services: themselves, load balancers, and the node ports that they take.

use crate::{count, one};
use keelson_semantics::ResourceList;
use serde_json::Value;

pub(crate) fn add(used: &mut ResourceList, service: &Value) {
    let spec = &service["spec"];
    let ports: &[Value] = spec["ports"].as_array().map_or(&[], Vec::as_slice);
    let taken = ports.iter().filter(|port| port["nodePort"].as_i64().unwrap_or_default() != 0).count();
    let (balancers, node_ports) = match spec["type"].as_str() {
        Some("NodePort") => (0, ports.len()),
        // Without ports of their own only those count that somebody asked for by number.
        Some("LoadBalancer") if spec["allocateLoadBalancerNodePorts"] == Value::Bool(false) => (1, taken),
        Some("LoadBalancer") => (1, ports.len()),
        _ => (0, 0),
    };
    used.insert("services".to_owned(), one());
    used.insert("services.loadbalancers".to_owned(), count(balancers));
    used.insert("services.nodeports".to_owned(), count(node_ports));
}
