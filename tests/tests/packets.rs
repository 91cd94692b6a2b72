//! What no socket hook sees: packets of processes outside of the node's cgroup, from pod to pod, to Services, to the world.
//!
//! A process that only joins a pod's network namespace stands for a virtual machine or a raw socket: it is in no cgroup that
//! the data plane knows, so its packets are translated one by one.

use anyhow::{Context, Result, ensure};
use keelson_tests::{Cluster, Namespace, manifest, outside::within};
use serde_json::Value;
use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// For an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where a pod's network is.
pub(crate) fn netns_of(cluster: &Cluster, pod: &Value) -> Result<String> {
    let node = pod["spec"]["nodeName"].as_str().context("a pod on a node")?;
    let uid = pod["metadata"]["uid"].as_str().context("a uid")?;
    let (pid, _) = *cluster.pod_processes(node, uid)?.first().context("a process of the pod")?;
    Ok(format!("/proc/{pid}/ns/net"))
}

/// The last line of what a server says, asked with the network of a pod.
fn ask(cluster: &Cluster, pod: &Value, address: &str, port: u16, request: &'static [u8]) -> Result<String> {
    let server = SocketAddr::new(address.parse()?, port);
    let answer = within(&netns_of(cluster, pod)?, move || {
        let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(request)?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    });
    let text = answer.with_context(|| format!("{server} from {}", pod["metadata"]["name"]))?;
    Ok(text.trim().lines().last().unwrap_or_default().to_string())
}

const GET: &[u8] = b"GET / HTTP/1.0\r\n\r\n";

#[test]
fn packets_that_no_socket_hook_saw_reach_services_and_pods() -> Result<()> {
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("packets")?);
    let nodes = cluster.nodes();
    let mut objects = vec![manifest::service("all", "all"), manifest::service("none", "nobody")];
    for node in &nodes[..2] {
        let name = format!("web-{node}");
        let mut pod = manifest::on_node(manifest::shell(&name), node);
        pod["spec"]["containers"] = serde_json::json!([manifest::answering("$HOSTNAME")]);
        pod["metadata"]["labels"] = serde_json::json!({"app": "all", "own": name});
        objects.push(pod);
        let mut service = manifest::service(&name, "all");
        service["spec"]["selector"] = serde_json::json!({"own": name});
        objects.push(service);
    }
    namespace.apply_all(&objects)?;
    let pods = namespace.ready_pods("app=all", 2)?;
    namespace.endpoints("all", 2)?;
    for node in &nodes[..2] {
        namespace.endpoints(&format!("web-{node}"), 1)?;
    }
    for client in &pods {
        for server in &pods {
            let name = server["metadata"]["name"].as_str().context("a name")?;
            // By its own address, and by a Service that leads to it alone: a pod also reaches itself.
            let address = server["status"]["podIP"].as_str().context("an address")?;
            ensure!(ask(&cluster, client, address, 80, GET)? == name, "straight to {name}");
            let service = namespace.cluster_ip(name)?;
            ensure!(ask(&cluster, client, &service, 80, GET)? == name, "by the Service of {name}");
        }
        // Both backends are chosen.
        let service = namespace.cluster_ip("all")?;
        let mut answers: Vec<String> =
            (0..30).map(|_| ask(&cluster, client, &service, 80, GET)).collect::<Result<_>>()?;
        answers.sort_unstable();
        answers.dedup();
        ensure!(answers.len() == 2, "{answers:?}");
        // Without backends the answer is a refusal, at once.
        let refused = ask(&cluster, client, &namespace.cluster_ip("none")?, 80, GET).err();
        let refused = refused.and_then(|e| Some(e.downcast_ref::<io::Error>()?.kind()));
        ensure!(refused == Some(io::ErrorKind::ConnectionRefused), "{refused:?}");
    }
    namespace.apply_all(&[manifest::shell("shell")])?;
    namespace.ready("shell")?;
    namespace.shell("shell", &format!("ping -c 1 -W 2 {}", namespace.cluster_ip("all")?))?;
    Ok(())
}
