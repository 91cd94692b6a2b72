//! Services and nodes get their addresses from the controllers, over the API alone: no node runs.

use crate::support::{Backend, Server, missing, text};

const BALANCED: &str = r"
apiVersion: v1
kind: Service
metadata: {name: NAME}
spec:
  type: LoadBalancer
  ipFamilyPolicy: PreferDualStack
  ports: [{port: 80}]
";

const NODE: &str = r"
apiVersion: v1
kind: Node
metadata: {name: NAME}
spec: SPEC
";

/// One IPv4 address and one IPv6 address for load balancers, two ranges for nodes.
const FLAGS: &[&str] = &[
    "--service-cidr=10.96.0.0/24,fd00:96::/112",
    "--load-balancer-pool=192.0.2.7/32,2001:db8::7/128",
    "--cluster-cidr=10.244.0.0/23,fd00:244::/56",
    "--service-node-port-range=31000-31009",
];

const ALLOCATED: &str =
    r#"jsonpath={.status.conditions[?(@.type=="keelson.dev/LoadBalancerAddress")].reason}"#;

/// None, having said why, where it cannot run.
fn start() -> Option<Server> {
    if let Some(why) = missing(Backend::Embedded) {
        eprintln!("skipped: {why}");
        return None;
    }
    Some(Server::start_with(Backend::Embedded, "apiserver,controllers", FLAGS))
}

fn wait(server: &Server, name: &str, path: &str, value: &str) {
    server.ok(&["wait", name, &format!("--for={path}={value}"), "--timeout=30s"]);
}

/// The name of the first object that a watch shows.
fn first_line(server: &Server, args: &[&str]) -> String {
    let mut watch = server.spawn(&[args, &["-w", "-o", "name"]].concat());
    let mut line = String::new();
    let mut reader = std::io::BufReader::new(watch.stdout.take().expect("it is piped"));
    std::io::BufRead::read_line(&mut reader, &mut line).expect("the watch shows something");
    watch.kill().and_then(|()| watch.wait()).expect("kubectl was running");
    line.trim().to_owned()
}

#[test]
fn load_balancers_get_addresses_of_the_pools_and_give_them_back() {
    let Some(mut server) = start() else { return };
    let create =
        |server: &Server, name: &str| server.ok_with(&["create", "-f", "-"], &BALANCED.replace("NAME", name));
    let addresses = |server: &Server, name: &str| {
        server.ok(&["get", "svc", name, "-o", "jsonpath={.status.loadBalancer.ingress[*].ip}"])
    };
    create(&server, "first");
    wait(&server, "svc/first", ALLOCATED, "Allocated");
    assert_eq!(addresses(&server, "first"), "192.0.2.7 2001:db8::7");
    assert_eq!(
        server.ok(&["get", "svc", "first", "-o", "jsonpath={.status.loadBalancer.ingress[0].ipMode}"]),
        "VIP"
    );
    assert!(server.ok(&["get", "svc", "first"]).contains("192.0.2.7,2001:db8::7"));
    let port = server.ok(&["get", "svc", "first", "-o", "jsonpath={.spec.ports[0].nodePort}"]);
    assert!(port.starts_with("3100"), "{port}");

    create(&server, "second");
    wait(&server, "svc/second", ALLOCATED, "PoolExhausted");
    assert_eq!(addresses(&server, "second"), "");
    assert!(server.ok(&["get", "svc", "second"]).contains("<pending>"));

    // Who has which survives the process.
    server.kill_and_restart();
    assert_eq!(addresses(&server, "first"), "192.0.2.7 2001:db8::7");
    server.ok(&["patch", "svc", "first", "-p", r#"{"spec":{"type":"ClusterIP"}}"#]);
    wait(&server, "svc/second", ALLOCATED, "Allocated");
    assert_eq!(addresses(&server, "second"), "192.0.2.7 2001:db8::7");
    assert_eq!(server.ok(&["get", "svc", "first", "-o", "jsonpath={.metadata.finalizers}"]), "");
    assert_eq!(addresses(&server, "first"), "");
    server.ok(&["delete", "svc", "second", "--timeout=30s"]);
    let events = server.ok(&["get", "events", "-o", "jsonpath={.items[*].reason}"]);
    for reason in ["EnsuredLoadBalancer", "SyncLoadBalancerFailed"] {
        assert!(events.contains(reason), "{events}");
    }
}

#[test]
fn each_node_gets_ranges_that_no_other_has() {
    let Some(server) = start() else { return };
    let create = |name: &str, spec: &str| {
        server.ok_with(&["create", "-f", "-"], &NODE.replace("NAME", name).replace("SPEC", spec));
    };
    let ranges = |name: &str| {
        text(&server.kubectl(&["get", "node", name, "-o", "jsonpath={.spec.podCIDRs[*]}"]).stdout)
    };
    create("own", "{podCIDR: 10.244.0.0/24}");
    create("given", "{}");
    server.ok(&["wait", "node/given", "--for=jsonpath={.spec.podCIDR}=10.244.1.0/24", "--timeout=30s"]);
    assert_eq!(ranges("given"), "10.244.1.0/24 fd00:244::/64");
    create("late", "{}");
    let line = first_line(&server, &["get", "events", "-A", "--field-selector=reason=CIDRNotAvailable"]);
    assert!(line.starts_with("event/late"), "{line}");
    assert_eq!((ranges("late"), ranges("own")), (String::new(), "10.244.0.0/24".to_owned()));
    server.ok(&["delete", "node", "own"]);
    server.ok(&["wait", "node/late", "--for=jsonpath={.spec.podCIDR}=10.244.0.0/24", "--timeout=30s"]);
}

const EXTERNAL: &str = r"
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {ports: [{port: 5432}]}
---
apiVersion: v1
kind: Endpoints
metadata: {name: db, labels: {team: x}}
subsets: [{addresses: [{ip: 192.0.2.1}], ports: [{port: 5432}]}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
";

#[test]
fn endpoints_and_slices_show_the_same() {
    let Some(server) = start() else { return };
    server.ok_with(&["create", "-f", "-"], EXTERNAL);
    let slice = first_line(&server, &["get", "endpointslices", "-l", "kubernetes.io/service-name=db"]);
    let mirrored =
        server.ok(&["get", &slice, "-o", "jsonpath={.endpoints[0].addresses[0]} {.metadata.labels.team}"]);
    assert_eq!(mirrored, "192.0.2.1 x");
    let made = first_line(&server, &["get", "endpoints", "--field-selector=metadata.name=web"]);
    assert_eq!(made, "endpoints/web");
    server.ok(&["delete", "svc", "web", "db"]);
    for gone in ["endpoints/web", slice.as_str()] {
        server.ok(&["wait", gone, "--for=delete", "--timeout=30s"]);
    }
    assert!(server.ok(&["get", "endpoints", "db"]).contains("192.0.2.1:5432"), "it is the user's own");
}
