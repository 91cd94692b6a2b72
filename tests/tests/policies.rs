//! Network policies: pods on three nodes, and who reaches whom.
//!
//! A refusal is silence, so each "not" is a question that is not answered in a second, asked until that is so; each "may" a
//! question that is answered.

use anyhow::{Context, Result, ensure};
use keelson_tests::{
    Cluster, Namespace, PATIENCE, api, eventually, load::from_node, manifest, outside::within,
};
use serde_json::{Value, json};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::Duration,
};

use crate::{
    packets::netns_of,
    podnet::{dual, ips},
};

/// From a change of the API until it is true on every node.
const PROGRAMMED_MAX: Duration = Duration::from_secs(10);

/// A namespace with a server on the first node and clients on the first and the second.
struct Shop {
    namespace: Namespace,
    cluster: Cluster,
    /// The server's address.
    server: String,
}

/// nginx on ports 80 (named `http`) and 8080.
fn server(name: &str) -> Value {
    let listen = "sed -i 's/listen 80;/listen 80; listen 8080;/' /etc/nginx/nginx.conf; \
                  echo $HOSTNAME > /usr/share/nginx/html/index.html; exec nginx -g 'daemon off;'";
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "server"}},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "nginx", "image": manifest::NGINX, "command": ["sh", "-c", listen],
                "ports": [{"name": "http", "containerPort": 80}],
                "readinessProbe": {"tcpSocket": {"port": 80}, "periodSeconds": 1},
            }],
        },
    })
}

impl Shop {
    fn open(topic: &str) -> Result<Shop> {
        let (cluster, namespace) = (Cluster::require()?, Namespace::create(topic)?);
        let nodes = cluster.nodes();
        let mut other = manifest::on_node(manifest::shell("far"), &nodes[1]);
        other["metadata"]["labels"] = json!({"app": "client", "place": "far"});
        let mut near = manifest::on_node(manifest::shell("near"), &nodes[0]);
        near["metadata"]["labels"] = json!({"app": "client", "place": "near"});
        namespace.apply_all(&[
            manifest::on_node(server("server"), &nodes[0]),
            near,
            other,
            manifest::service("server", "server"),
        ])?;
        for pod in ["near", "far"] {
            namespace.ready(pod)?;
        }
        let server = address(&namespace.ready("server")?)?;
        namespace.endpoints("server", 1)?;
        Ok(Shop { namespace, cluster, server })
    }

    fn policy(&self, name: &str, spec: Value) -> Result<()> {
        self.namespace.apply_all(&[json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name}, "spec": spec,
        })])?;
        Ok(())
    }

    /// Whether a pod is answered, once, in a second.
    fn asks(&self, pod: &str, what: &str) -> Result<bool> {
        let script = format!("timeout 1 wget -q -O - http://{what}/ || true");
        Ok(!self.namespace.shell(pod, &script)?.trim().is_empty())
    }

    /// The same by UDP: from the network of the pod to a socket in that of the server, which answers.
    fn asks_by_udp(&self, pod: &str, port: u16) -> Result<bool> {
        let network = |name: &str| netns_of(&self.cluster, &self.namespace.get(&format!("pods/{name}"))?);
        let to = SocketAddr::new(self.server.parse()?, port);
        let server = within(&network("server")?, move || Ok(UdpSocket::bind(to)?))?;
        within(&network(pod)?, move || {
            let client = UdpSocket::bind("0.0.0.0:0")?;
            client.connect(to)?;
            client.send(b"question")?;
            server.set_read_timeout(Some(Duration::from_secs(1)))?;
            client.set_read_timeout(Some(Duration::from_secs(1)))?;
            let mut buffer = [0; 16];
            let Ok((_, from)) = server.recv_from(&mut buffer) else { return Ok(false) };
            server.send_to(b"answer", from)?;
            Ok(client.recv(&mut buffer).is_ok())
        })
    }

    /// Waits until exactly these of `near` and `far` are answered; then asks once more.
    fn reached(&self, by: &[&str], what: &str) -> Result<()> {
        eventually(PROGRAMMED_MAX, &format!("{by:?} of near and far reach {what}"), || {
            for pod in ["near", "far"] {
                ensure!(self.asks(pod, what)? == by.contains(&pod), "{pod} is other");
            }
            Ok(())
        })
    }
}

fn address(pod: &Value) -> Result<String> {
    Ok(pod["status"]["podIP"].as_str().context("an address")?.to_string())
}

const BOTH: &[&str] = &["near", "far"];
const NOBODY: &[&str] = &[];

#[test]
fn what_is_let_in_is_what_some_policy_allows() -> Result<()> {
    let shop = Shop::open("policies")?;
    let (web, alt) = (format!("{}:80", shop.server), format!("{}:8080", shop.server));
    shop.reached(BOTH, &web)?;
    shop.reached(BOTH, &alt)?;
    shop.policy("deny", json!({"podSelector": {"matchLabels": {"app": "server"}}}))?;
    shop.reached(NOBODY, &web)?;
    // Its own node always reaches it: probes do.
    let node = from_node(&shop.cluster, "n1", &web, 1)?;
    ensure!(node.failures.is_empty(), "from its node: {:?}", node.failures);
    let from = |peer: Value, ports: Value| json!({"podSelector": {"matchLabels": {"app": "server"}}, "ingress": [{"from": [peer], "ports": ports}]});
    // A pod by its labels, a port by its number.
    let far = json!({"podSelector": {"matchLabels": {"place": "far"}}});
    shop.policy("allow", from(far, json!([{"port": 80}])))?;
    shop.reached(&["far"], &web)?;
    shop.reached(NOBODY, &alt)?;
    // Labels change.
    shop.namespace.kubectl("label pod near place=far --overwrite")?;
    shop.reached(BOTH, &web)?;
    shop.namespace.kubectl("label pod far place=away --overwrite")?;
    shop.reached(&["near"], &web)?;
    // A port by its name, and a range.
    let all = json!({"podSelector": {}});
    shop.policy("allow", from(all.clone(), json!([{"port": "http"}])))?;
    shop.reached(BOTH, &web)?;
    shop.reached(NOBODY, &alt)?;
    shop.policy("allow", from(all, json!([{"port": 8000, "endPort": 8100}])))?;
    shop.reached(BOTH, &alt)?;
    shop.reached(NOBODY, &web)?;
    // Another policy adds.
    shop.policy("more", json!({"podSelector": {}, "ingress": [{"ports": [{"port": 80}]}]}))?;
    shop.reached(BOTH, &web)?;
    // Without policies, as before.
    shop.namespace.kubectl("delete networkpolicy --all")?;
    shop.reached(BOTH, &web)?;
    shop.reached(BOTH, &alt)
}

#[test]
fn peers_are_chosen_by_namespace_by_pod_by_both_and_by_address() -> Result<()> {
    let shop = Shop::open("policies")?;
    let other = Namespace::create("policies")?;
    let nodes = shop.cluster.nodes();
    let mut guest = manifest::on_node(manifest::shell("guest"), &nodes[2]);
    guest["metadata"]["labels"] = json!({"app": "client"});
    let mut stranger = manifest::on_node(manifest::shell("stranger"), &nodes[2]);
    stranger["metadata"]["labels"] = json!({"app": "stranger"});
    other.apply_all(&[guest, stranger])?;
    let guest_ip = address(&other.ready("guest")?)?;
    let stranger_ip = address(&other.ready("stranger")?)?;
    let url = format!("http://{}:80/", shop.server);
    let own = json!({"kubernetes.io/metadata.name": other.name});
    let rows = [
        ("its namespace", json!({"namespaceSelector": {"matchLabels": own}}), [true, true], NOBODY),
        (
            "both",
            json!({"namespaceSelector": {"matchLabels": own}, "podSelector": {"matchLabels": {"app": "client"}}}),
            [true, false],
            NOBODY,
        ),
        (
            "any namespace's",
            json!({"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "client"}}}),
            [true, false],
            BOTH,
        ),
        ("one's own namespace", json!({"podSelector": {}}), [false, false], BOTH),
        ("a block", json!({"ipBlock": {"cidr": format!("{stranger_ip}/32")}}), [false, true], NOBODY),
        (
            "a block without a part",
            json!({"ipBlock": {"cidr": "0.0.0.0/0", "except": [format!("{guest_ip}/32")]}}),
            [false, true],
            BOTH,
        ),
    ];
    for (what, peer, reached, own) in rows {
        shop.policy(
            "one",
            json!({"podSelector": {"matchLabels": {"app": "server"}}, "ingress": [{"from": [peer]}]}),
        )?;
        eventually(PROGRAMMED_MAX, what, || {
            for (pod, reached) in ["guest", "stranger"].iter().zip(reached) {
                let said = other.shell(pod, &format!("timeout 1 wget -q -O - {url} || true"))?;
                ensure!(said.trim().is_empty() != reached, "{pod} is other");
            }
            Ok(())
        })?;
        shop.reached(own, &format!("{}:80", shop.server)).context(what)?;
    }
    // The namespace changes, not the pods.
    let team = json!({"namespaceSelector": {"matchLabels": {"team": "ours"}}});
    shop.policy("one", json!({"podSelector": {}, "ingress": [{"from": [team]}]}))?;
    shop.reached(NOBODY, &format!("{}:80", shop.server))?;
    api::merge(
        &format!("/api/v1/namespaces/{}", other.name),
        &json!({"metadata": {"labels": {"team": "ours"}}}),
    )?;
    eventually(PROGRAMMED_MAX, "the namespace is ours", || {
        let said = other.shell("guest", &format!("timeout 1 wget -q -O - {url} || true"))?;
        ensure!(!said.trim().is_empty(), "no answer");
        Ok(())
    })
}

#[test]
fn what_is_let_out_is_judged_behind_the_service() -> Result<()> {
    let shop = Shop::open("policies")?;
    let service = format!("{}:80", shop.namespace.cluster_ip("server")?);
    let direct = format!("{}:80", shop.server);
    let clients = json!({"matchLabels": {"app": "client"}});
    shop.policy("deny", json!({"podSelector": clients, "policyTypes": ["Egress"]}))?;
    shop.reached(NOBODY, &direct)?;
    shop.reached(NOBODY, &service)?;
    // A pod's own node answers names nevertheless.
    let name = shop.namespace.dns_name("server");
    shop.namespace.shell("far", &format!("timeout 5 nslookup {name}"))?;
    let to = |peer: Value, ports: Value| json!({"podSelector": clients, "policyTypes": ["Egress"], "egress": [{"to": [peer], "ports": ports}]});
    let server = json!({"podSelector": {"matchLabels": {"app": "server"}}});
    shop.policy("deny", to(server.clone(), json!([{"port": "http"}])))?;
    shop.reached(BOTH, &direct)?;
    shop.reached(BOTH, &service)?;
    shop.reached(NOBODY, &format!("{}:8080", shop.server))?;
    ensure!(!shop.asks_by_udp("far", 5353)?, "UDP is another port");
    shop.policy("deny", to(server, json!([{"protocol": "UDP", "port": 5353}])))?;
    shop.reached(NOBODY, &direct)?;
    // Its answers come back though the server may send nothing of its own.
    shop.policy(
        "mute",
        json!({"podSelector": {"matchLabels": {"app": "server"}}, "policyTypes": ["Egress"]}),
    )?;
    for pod in BOTH {
        eventually(PROGRAMMED_MAX, "an answer by UDP", || {
            ensure!(shop.asks_by_udp(pod, 5353)?, "none");
            Ok(())
        })?;
        ensure!(!shop.asks_by_udp(pod, 5354)?, "another port");
    }
    Ok(())
}

#[test]
fn pods_in_the_hosts_network_are_their_node() -> Result<()> {
    let shop = Shop::open("policies")?;
    let nodes = shop.cluster.nodes();
    let mut host = manifest::on_node(manifest::shell("host"), &nodes[1]);
    host["metadata"]["labels"] = json!({"app": "host"});
    host["spec"]["hostNetwork"] = json!(true);
    shop.namespace.apply_all(&[host])?;
    shop.namespace.ready("host")?;
    let web = format!("{}:80", shop.server);
    let asked = |reached: bool| {
        eventually(PROGRAMMED_MAX, &format!("the host is answered: {reached}"), || {
            ensure!(shop.asks("host", &web)? == reached, "it is not so");
            Ok(())
        })
    };
    asked(true)?;
    let by_label = json!({"podSelector": {"matchLabels": {"app": "host"}}});
    let from = |peer: Value| json!({"podSelector": {"matchLabels": {"app": "server"}}, "ingress": [{"from": [peer]}]});
    shop.policy("one", from(by_label))?;
    asked(false)?;
    let node = shop.cluster.node_address(&nodes[1])?;
    shop.policy("one", from(json!({"ipBlock": {"cidr": format!("{node}/32")}})))?;
    asked(true)?;
    // It is selected by none.
    shop.policy("two", json!({"podSelector": {}, "policyTypes": ["Egress"]}))?;
    shop.reached(NOBODY, &web)?;
    asked(true)
}

#[test]
fn a_connection_that_is_allowed_no_more_stops() -> Result<()> {
    let shop = Shop::open("policies")?;
    let pod = |name: &str| shop.namespace.get(&format!("pods/{name}"));
    let at = SocketAddr::new(address(&pod("near")?)?.parse()?, 7000);
    let listener = within(&netns_of(&shop.cluster, &pod("near")?)?, move || Ok(TcpListener::bind(at)?))?;
    let mut client = within(&netns_of(&shop.cluster, &pod("far")?)?, move || {
        Ok(TcpStream::connect_timeout(&at, Duration::from_secs(5))?)
    })?;
    let (mut server, _) = listener.accept()?;
    server.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut arrives = |wanted: bool| {
        // After some seconds of silence TCP tries again only so often.
        eventually(PATIENCE, &format!("what the client sends arrives: {wanted}"), || {
            client.write_all(b"x")?;
            ensure!(server.read(&mut [0; 64]).is_ok() == wanted, "it is other");
            Ok(())
        })
    };
    arrives(true)?;
    shop.policy("deny", json!({"podSelector": {}}))?;
    arrives(false)?;
    shop.policy("deny", json!({"podSelector": {}, "ingress": [{}]}))?;
    arrives(true)
}

#[test]
fn a_new_pod_is_never_open_for_a_moment() -> Result<()> {
    let shop = Shop::open("policies")?;
    shop.policy(
        "deny",
        json!({"podSelector": {"matchLabels": {"app": "new"}}, "policyTypes": ["Ingress", "Egress"]}),
    )?;
    let url = format!("http://{}:80/", shop.server);
    // What it tells must not arrive: each new pod asks at once and as often as it can, and says how often it was answered.
    let script = format!(
        "n=0; i=0; while [ $i -lt 20 ]; do timeout 1 wget -q -O /dev/null {url} && n=$((n+1)); i=$((i+1)); \
         [ $i -gt 2 ] && break; done; echo answered $n"
    );
    for round in 0..4 {
        let node = &shop.cluster.nodes()[round % 3];
        let name = format!("new-{round}");
        let mut pod = manifest::on_node(manifest::script(&name, &script), node);
        pod["metadata"]["labels"] = json!({"app": "new"});
        shop.namespace.apply_all(&[pod])?;
    }
    for round in 0..4 {
        let log = shop.namespace.finished(&format!("new-{round}"))?;
        ensure!(log.lines().any(|line| line == "answered 0"), "{log}");
    }
    // And nobody reaches one while it comes up: it listens from its first moment, and counts who came.
    let address_of =
        |name: &str| -> Result<String> { address(&shop.namespace.get(&format!("pods/{name}"))?) };
    let mut pod = manifest::on_node(
        manifest::script("heard", "exec nc -ll -p 80 -e sh -c 'echo came >> /tmp/came'"),
        "n1",
    );
    pod["metadata"]["labels"] = json!({"app": "new"});
    shop.namespace.apply_all(&[pod])?;
    let target = eventually(PATIENCE, "the new pod has an address", || address_of("heard"))?;
    let hammer =
        format!("i=0; while [ $i -lt 10 ]; do timeout 1 nc {target} 80 < /dev/null; i=$((i+1)); done; true");
    shop.namespace.shell("near", &hammer)?;
    shop.namespace.ready("heard")?;
    shop.namespace.shell("far", &format!("timeout 1 nc {target} 80 < /dev/null; true"))?;
    let came = shop.namespace.shell("heard", "cat /tmp/came 2>/dev/null | wc -l")?;
    ensure!(came.trim() == "0", "{came} came through");
    Ok(())
}

#[test]
fn both_families_are_judged_alike() -> Result<()> {
    let Some(_dual) = dual()? else { return Ok(()) };
    let shop = Shop::open("policies")?;
    let ipv6 = |pod: &str| -> Result<String> {
        let pod = shop.namespace.get(&format!("pods/{pod}"))?;
        let ips = ips(&pod["status"]["podIPs"], "ip")?;
        Ok(ips.iter().find(|ip| ip.is_ipv6()).context("an IPv6 address")?.to_string())
    };
    let web = format!("[{}]:80", ipv6("server")?);
    shop.reached(BOTH, &web)?;
    let from = |peer: Value| json!({"podSelector": {"matchLabels": {"app": "server"}}, "ingress": [{"from": [peer]}]});
    shop.policy("one", json!({"podSelector": {"matchLabels": {"app": "server"}}}))?;
    shop.reached(NOBODY, &web)?;
    shop.policy("one", from(json!({"podSelector": {"matchLabels": {"place": "far"}}})))?;
    shop.reached(&["far"], &web)?;
    let but_far = json!({"ipBlock": {"cidr": "::/0", "except": [format!("{}/128", ipv6("far")?)]}});
    shop.policy("one", from(but_far))?;
    shop.reached(&["near"], &web)?;
    // What says nothing of IPv4 lets none in.
    shop.reached(NOBODY, &format!("{}:80", shop.server))
}

/// As many policies as large clusters have; each writer creates its part.
const MANY: usize = 2_000;
const WRITERS: usize = 4;

#[test]
fn thousands_of_policies_are_as_quick_as_one() -> Result<()> {
    let shop = Shop::open("policies")?;
    let crowd = Namespace::create("policies")?;
    let path = format!("/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies", crowd.name);
    let write = |part: usize| -> Result<()> {
        for number in (part..MANY).step_by(WRITERS) {
            let tier = json!({"matchLabels": {"tier": format!("t{number}")}});
            let policy = json!({
                "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
                "metadata": {"name": format!("p{number}")},
                "spec": {"podSelector": tier, "ingress": [{"from": [{"namespaceSelector": {}, "podSelector": tier}]}]},
            });
            api::create(&path, &policy)?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS).map(|part| scope.spawn(move || write(part))).collect();
        writers.into_iter().try_for_each(|writer| writer.join().expect("a writer does not panic"))
    })?;
    let web = format!("{}:80", shop.server);
    shop.reached(BOTH, &web)?;
    // The first and the last of them select a pod each, and let in who has the same label.
    for (number, by) in [(0, "near"), (MANY - 1, "far")] {
        let mut pod = server(&format!("s{number}"));
        pod["metadata"]["labels"] = json!({"tier": format!("t{number}")});
        crowd.apply_all(&[manifest::on_node(pod, &shop.cluster.nodes()[2])])?;
        let target = address(&crowd.ready(&format!("s{number}"))?)?;
        shop.reached(NOBODY, &format!("{target}:80"))?;
        shop.namespace.kubectl(&*format!("label pod {by} tier=t{number} --overwrite"))?;
        shop.reached(&[by], &format!("{target}:80"))?;
    }
    Ok(())
}
