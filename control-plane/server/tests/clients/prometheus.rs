//! Prometheus scrapes the API server's own metrics as a ServiceAccount. Debian builds it without discovery of Kubernetes:
//! `kubernetes_sd_configs` of each role are carried out by VictoriaMetrics, which reads the same configuration.

use super::{Server, server};
use serde_json::Value;
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const PROMETHEUS: &str = "/usr/bin/prometheus";
const VICTORIA_METRICS: &str = "/usr/bin/victoria-metrics";
const ROLES: [&str; 6] = ["node", "pod", "service", "endpoints", "endpointslice", "ingress"];
const PATIENCE: Duration = Duration::from_secs(60);

/// One object for each role; an API server by itself takes them as they are.
const OBJECTS: &str = r"
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {zone: a}}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: default, namespace: default}
---
apiVersion: v1
kind: Pod
metadata: {name: web-0, namespace: default, labels: {app: web}}
spec:
  nodeName: n1
  containers: [{name: web, image: 'nginx:1', ports: [{name: http, containerPort: 80}]}]
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: default, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
endpoints: [{addresses: [10.244.0.7], conditions: {ready: true}}]
ports: [{name: http, port: 80, protocol: TCP}]
---
apiVersion: v1
kind: Endpoints
metadata: {name: web, namespace: default}
subsets: [{addresses: [{ip: 10.244.0.7}], ports: [{name: http, port: 80}]}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, namespace: default}
spec: {rules: [{host: web.example.org, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]}
";

/// One that scrapes; killed when dropped.
struct Scraper {
    process: Child,
    port: u16,
}

impl Scraper {
    fn start(program: &str, server: &Server, config: &str) -> Self {
        let port = TcpListener::bind(("127.0.0.1", 0))
            .and_then(|socket| socket.local_addr())
            .expect("a port")
            .port();
        let (file, data) = (server.path("scrape.yaml"), server.path("scraped"));
        std::fs::write(&file, config).expect("the folder can be written to");
        let mut command = Command::new(program);
        if program == PROMETHEUS {
            command.arg(format!("--config.file={}", file.display()));
            command.arg(format!("--storage.tsdb.path={}", data.display()));
            command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        } else {
            command.arg(format!("-promscrape.config={}", file.display()));
            command.arg(format!("-storageDataPath={}", data.display()));
            command.arg(format!("-httpListenAddr=127.0.0.1:{port}"));
        }
        let log = std::fs::File::create(server.path("scraper.log")).expect("a file");
        let process = command.stdout(Stdio::null()).stderr(log).spawn().expect("it starts");
        Self { process, port }
    }

    /// An answer of its API; none while it is not up.
    fn ask(&self, path: &str) -> Option<Value> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.write_all(format!("GET /api/v1/{path} HTTP/1.0\r\n\r\n").as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let body: Value = serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()?;
        Some(body["data"].clone())
    }

    /// Its targets, once `wanted` holds of them.
    fn targets(&self, server: &Server, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let targets = self.ask("targets").unwrap_or_default();
            if wanted(&targets) {
                return targets;
            }
            let log = std::fs::read_to_string(server.path("scraper.log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "{targets:#}\n{log}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Drop for Scraper {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn list<'a>(targets: &'a Value, which: &str) -> &'a [Value] {
    targets[which].as_array().map_or(&[], Vec::as_slice)
}

/// A ServiceAccount with the rights that a scraper needs; what a job's configuration says to be it.
fn access(server: &Server) -> String {
    server.ok(&["create", "serviceaccount", "scraper"]);
    let resources = "--resource=nodes,pods,services,endpoints,endpointslices.discovery.k8s.io,ingresses.networking.k8s.io";
    server.ok(&["create", "clusterrole", "discovery", "--verb=get,list,watch", resources]);
    server.ok(&["create", "clusterrole", "metrics", "--verb=get", "--non-resource-url=/metrics"]);
    for role in ["discovery", "metrics"] {
        let bound = format!("--clusterrole={role}");
        server.ok(&["create", "clusterrolebinding", role, &bound, "--serviceaccount=default:scraper"]);
    }
    let token = server.ok(&["create", "token", "scraper"]);
    std::fs::write(server.path("token"), token.trim()).expect("the folder can be written to");
    format!(
        "authorization: {{credentials_file: {token}}}, tls_config: {{ca_file: {ca}}}",
        token = server.path("token").display(),
        ca = server.path("pki/ca.crt").display(),
    )
}

fn url(server: &Server) -> String {
    server.ok(&["config", "view", "--raw", "-o", "jsonpath={.clusters[0].cluster.server}"])
}

#[test]
fn the_servers_own_metrics_are_scraped() {
    let Some(server) = server(&[Path::new(PROMETHEUS)]) else { return };
    let (access, url) = (access(&server), url(&server));
    let address = url.trim_start_matches("https://");
    let config = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n- {{job_name: apiserver, scheme: https, {access}, static_configs: [{{targets: ['{address}']}}]}}\n"
    );
    let prometheus = Scraper::start(PROMETHEUS, &server, &config);
    prometheus.targets(&server, |targets| {
        list(targets, "activeTargets").first().is_some_and(|target| target["health"] == "up")
    });
    let asked = prometheus.ask("query?query=sum(apiserver_request_total)").unwrap_or_default();
    assert_eq!(list(&asked, "result").len(), 1, "{asked}");
}

#[test]
fn every_role_is_discovered() {
    let Some(server) = server(&[Path::new(VICTORIA_METRICS)]) else { return };
    server.ok_with(&["create", "-f", "-"], OBJECTS);
    // A pod without an address is nothing to scrape.
    let address = r#"{"status": {"podIP": "10.244.0.7", "podIPs": [{"ip": "10.244.0.7"}]}}"#;
    server.ok(&["patch", "pod", "web-0", "--subresource=status", "-p", address]);
    let (access, url) = (access(&server), url(&server));
    let mut config = String::from("global: {scrape_interval: 1s}\nscrape_configs:\n");
    for role in ROLES {
        // Their addresses are nobody's: what is found is looked at, and not scraped.
        config += &format!(
            "- {{job_name: {role}, kubernetes_sd_configs: [{{role: {role}, api_server: '{url}', {access}}}], relabel_configs: [{{action: drop, regex: '.*', source_labels: [job]}}]}}\n"
        );
    }
    let scraper = Scraper::start(VICTORIA_METRICS, &server, &config);
    let found = |targets: &Value, role: &str, name: &str, value: &str| {
        list(targets, "droppedTargets").iter().any(|target| {
            let labels = &target["discoveredLabels"];
            labels["job"] == role && labels[format!("__meta_kubernetes_{name}")] == value
        })
    };
    scraper.targets(&server, |targets| {
        [
            ("node", "node_label_zone", "a"),
            ("pod", "pod_container_port_name", "http"),
            ("pod", "pod_node_name", "n1"),
            ("service", "service_name", "web"),
            ("endpoints", "endpoints_name", "web"),
            ("endpointslice", "service_name", "web"),
            ("ingress", "ingress_host", "web.example.org"),
        ]
        .iter()
        .all(|(role, name, value)| found(targets, role, name, value))
    });
    // What changes is heard of by a watch.
    server.ok(&["label", "node", "n1", "zone=b", "--overwrite"]);
    scraper.targets(&server, |targets| found(targets, "node", "node_label_zone", "b"));
}
