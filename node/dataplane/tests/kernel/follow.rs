//! The whole way: from an API server's events to a connection.

use std::{
    collections::HashMap,
    convert::Infallible,
    io::{ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Bytes, Frame};
use keelson_dataplane::{Config, Handle, PortAddresses, Talk, run};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::support::{Lab, Servers, ask};

const SERVICE: &str = "10.96.0.7:80";

/// An API server of three lists and their watches, that takes events.
#[derive(Clone, Default)]
struct Api(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    lists: HashMap<&'static str, Vec<Value>>,
    watchers: HashMap<&'static str, mpsc::UnboundedSender<Value>>,
    /// Those about Services that the data plane has written.
    events: Vec<Value>,
}

impl Api {
    fn client(&self) -> kube::Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.answer(request).await) }
        });
        kube::Client::new(service, "default")
    }

    async fn answer(&self, request: Request<Body>) -> Response<UnsyncBoxBody<Bytes, Infallible>> {
        let (parts, body) = request.into_parts();
        if parts.method == http::Method::POST {
            let body = body.collect().await.unwrap().to_bytes();
            self.0.lock().unwrap().events.push(serde_json::from_slice(&body).unwrap());
            let frame = futures::stream::once(async { Ok(Frame::data(body)) });
            return Response::new(StreamBody::new(frame).boxed_unsync());
        }
        let plural = ["services", "endpointslices", "nodes"]
            .into_iter()
            .find(|plural| parts.uri.path().ends_with(&format!("/{plural}")))
            .unwrap();
        let query = parts.uri.query().unwrap_or_default();
        let selector = if plural == "nodes" { "fieldSelector=" } else { "labelSelector=" };
        assert!(query.contains(selector), "no other node, no headless Service is asked for: {query}");
        let mut state = self.0.lock().unwrap();
        if query.contains("watch=") {
            let (sender, receiver) = mpsc::unbounded_channel::<Value>();
            state.watchers.insert(plural, sender);
            let frames = futures::stream::unfold(receiver, |mut receiver| async {
                let line = format!("{}\n", receiver.recv().await?);
                Some((Ok(Frame::data(Bytes::from(line))), receiver))
            });
            return Response::new(StreamBody::new(frames).boxed_unsync());
        }
        let items = state.lists.get(plural).cloned().unwrap_or_default();
        let list = json!({ "metadata": { "resourceVersion": "1" }, "items": items }).to_string();
        let frame = futures::stream::once(async { Ok(Frame::data(Bytes::from(list))) });
        Response::new(StreamBody::new(frame).boxed_unsync())
    }

    /// Waits for an event about the Service.
    async fn event(&self, reason: &str, note: &str) {
        let is = |event: &Value| {
            event["reason"] == reason
                && event["note"].as_str().unwrap_or_default().contains(note)
                && event["regarding"]["uid"] == "u"
        };
        awaited(|| self.0.lock().unwrap().events.iter().any(is).then_some(())).await;
    }

    async fn send(&self, plural: &'static str, event: &str, object: Value) {
        loop {
            if let Some(watcher) = self.0.lock().unwrap().watchers.get(plural) {
                return watcher.send(json!({ "type": event, "object": object })).unwrap();
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

fn service() -> Value {
    json!({ "metadata": { "namespace": "n", "name": "web", "uid": "u", "resourceVersion": "2" },
            "spec": { "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"], "type": "LoadBalancer",
                      "externalTrafficPolicy": "Local", "healthCheckNodePort": 31080,
                      "ports": [{ "port": 80, "nodePort": 30080 }, { "port": 9, "protocol": "SCTP" }] } })
}

/// A slice with one port a backend, as loopback has one address.
fn slice(name: &str, port: u16, uid: &str, ready: bool) -> Value {
    json!({ "metadata": { "namespace": "n", "name": name, "resourceVersion": "3",
                          "labels": { "kubernetes.io/service-name": "web" } },
            "addressType": "IPv4", "ports": [{ "port": port, "protocol": "TCP" }, { "port": 10, "protocol": "SCTP" }],
            "endpoints": [{ "addresses": ["127.0.0.1"], "nodeName": "here", "targetRef": { "kind": "Pod", "uid": uid },
                            "conditions": { "ready": ready, "serving": true, "terminating": !ready } }] })
}

/// Looks until there is something to see.
async fn awaited<T>(look: impl Fn() -> Option<T>) -> T {
    let wait = async {
        loop {
            if let Some(seen) = look() {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.expect("it is reached")
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

async fn reached(
    handle: &Handle,
    what: impl Fn(&keelson_dataplane::Status) -> bool,
) -> keelson_dataplane::Status {
    let wait = async {
        loop {
            let status = handle.status().await.unwrap();
            if what(&status) {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.expect("the maps follow")
}

#[test]
fn events_reach_the_kernel_and_a_terminating_pod_is_waited_for() {
    let Some(lab) = Lab::new("follow") else { return };
    // Threads of the runtime are made here, in the namespace and cgroup of the test.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(follow(&lab));
}

async fn follow(lab: &Lab) {
    let servers = Servers::tcp("127.0.0.1", 2);
    let ports: Vec<_> = servers.addresses.iter().map(std::net::SocketAddr::port).collect();
    let address = SERVICE.parse().unwrap();
    let api = Api::default();
    api.0.lock().unwrap().lists.insert("services", vec![service()]);
    api.0.lock().unwrap().lists.insert("endpointslices", vec![slice("web-1", ports[0], "u0", true)]);
    let config = Config {
        node_name: lab.options.node.clone(),
        node_ips: vec!["192.0.2.1".parse().unwrap()],
        pod_cidrs: vec![],
        port_addresses: PortAddresses::Node,
        healthz: Some("127.0.0.1:10256".parse().unwrap()),
        cgroup_root: lab.options.cgroup_root.clone(),
        bpffs: lab.options.bpffs.clone(),
        object: lab.options.object.clone(),
        measure: true,
        talk: Talk::Silent,
        host_ports: false,
        policies: false,
        packets: None,
    };
    // The slices above name the node "here"; readiness of local pods goes by the node's real name.
    let here = |mut slice: Value| {
        slice["endpoints"][0]["nodeName"] = lab.options.node.clone().into();
        slice
    };
    // Somebody has the port already.
    let _first = TcpListener::bind("127.0.0.1:30080").unwrap();
    let shutdown = CancellationToken::new();
    let handle = run(api.client(), config, shutdown.clone()).await.unwrap();
    handle.ready().await;
    assert_eq!(ask(address).unwrap(), 0);
    let status = handle.status().await.unwrap();
    // The cluster address, and the node port on the node's address and on loopback.
    assert_eq!((status.maps.frontends, status.maps.backends, status.error), (3, 3, None));
    assert_eq!(
        status.unprogrammed[0].2,
        [
            "SCTP: port 9 differs from targetPort 10, and its packets' checksum counts the ports: not programmed"
        ]
    );
    assert_eq!(ask("127.0.0.1:30080".parse().unwrap()).unwrap(), 0, "not who bound it first");
    assert_eq!(TcpListener::bind("0.0.0.0:30080").unwrap_err().kind(), ErrorKind::AddrInUse);
    api.event("NotProgrammed", "SCTP: port 9 differs from targetPort 10").await;
    api.event("NodePortInUse", "30080/Tcp").await;
    assert!(get("127.0.0.1:31080", "/").starts_with("HTTP/1.1 503"), "no pod of this node");
    awaited(|| TcpStream::connect("127.0.0.1:10256").ok()).await;
    assert!(get("127.0.0.1:10256", "/healthz").starts_with("HTTP/1.1 200"));

    // A second slice: both answer.
    api.send("endpointslices", "ADDED", here(slice("web-2", ports[1], "u1", true))).await;
    reached(&handle, |status| status.maps.backends == 6).await;
    assert!((0..100).any(|_| ask(address).unwrap() == 1));
    awaited(|| get("127.0.0.1:31080", "/").contains("\"localEndpoints\": 1").then_some(())).await;

    // The pod of the second terminates: the kubelet is held until connections go elsewhere.
    handle.endpoint_terminating("unknown").await;
    let waiting = tokio::spawn({
        let handle = handle.clone();
        async move { handle.endpoint_terminating("u1").await }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    api.send("endpointslices", "MODIFIED", here(slice("web-2", ports[1], "u1", false))).await;
    tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap().unwrap();
    assert!((0..50).all(|_| ask(address).unwrap() == 0));

    // The Service goes.
    api.send("services", "DELETED", service()).await;
    reached(&handle, |status| status.maps.frontends == 0).await;
    assert!(ask(address).is_err());
    awaited(|| TcpStream::connect("127.0.0.1:31080").err()).await;

    // The end of the daemon detaches nothing.
    api.send("services", "ADDED", service()).await;
    reached(&handle, |status| status.maps.frontends == 3).await;
    shutdown.cancel();
    drop(handle);
    assert_eq!(ask(address).unwrap(), 0);
}

#[test]
fn an_address_that_passes_to_another_service_takes_no_figures_along() {
    let Some(lab) = Lab::new("handover") else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(hand_over(&lab));
}

/// Connections of each Service that is there, once they are as many as wanted.
async fn established(handle: &Handle, wanted: &[(&str, u64)]) {
    let mut found = Vec::new();
    for _ in 0..1_000 {
        let rows = handle.services().await.unwrap().pairs;
        found = rows.into_iter().map(|(name, _, figures)| (name.service, figures.established())).collect();
        found.retain(|(_, count)| *count > 0);
        if found.iter().map(|(name, count)| (&**name, *count)).eq(wanted.iter().copied()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{found:?}, not {wanted:?}");
}

async fn hand_over(lab: &Lab) {
    let servers = Servers::tcp("127.0.0.1", 1);
    let port = servers.addresses[0].port();
    let address = SERVICE.parse().unwrap();
    let successor = || {
        let (mut service, mut slice) = (service(), slice("next-1", port, "u0", true));
        service["metadata"]["name"] = "next".into();
        slice["metadata"]["labels"]["kubernetes.io/service-name"] = "next".into();
        (service, slice)
    };
    let api = Api::default();
    api.0.lock().unwrap().lists.insert("services", vec![service()]);
    api.0.lock().unwrap().lists.insert("endpointslices", vec![slice("web-1", port, "u0", true)]);
    let config = Config {
        node_name: lab.options.node.clone(),
        node_ips: vec!["192.0.2.1".parse().unwrap()],
        pod_cidrs: vec![],
        port_addresses: PortAddresses::Node,
        healthz: None,
        cgroup_root: lab.options.cgroup_root.clone(),
        bpffs: lab.options.bpffs.clone(),
        object: lab.options.object.clone(),
        packets: None,
        measure: true,
        talk: Talk::Silent,
        host_ports: false,
        policies: false,
    };
    let shutdown = CancellationToken::new();
    let handle = run(api.client(), config.clone(), shutdown.clone()).await.unwrap();
    handle.ready().await;
    (0..5).for_each(|_| assert_eq!(ask(address).unwrap(), 0));
    let held = std::net::TcpStream::connect(address).unwrap();
    established(&handle, &[("web", 6)]).await;

    api.send("services", "DELETED", service()).await;
    reached(&handle, |status| status.maps.frontends == 0).await;
    api.send("endpointslices", "ADDED", successor().1).await;
    api.send("services", "ADDED", successor().0).await;
    reached(&handle, |status| status.maps.backends > 0).await;
    (0..3).for_each(|_| assert_eq!(ask(address).unwrap(), 0));
    drop(held);
    established(&handle, &[("next", 3)]).await;

    // A later daemon knows it from what was written down.
    shutdown.cancel();
    drop(handle);
    let api = Api::default();
    api.0.lock().unwrap().lists.insert("services", vec![successor().0]);
    api.0.lock().unwrap().lists.insert("endpointslices", vec![successor().1]);
    let shutdown = CancellationToken::new();
    let handle = run(api.client(), config, shutdown.clone()).await.unwrap();
    handle.ready().await;
    assert_eq!(ask(address).unwrap(), 0);
    established(&handle, &[("next", 4)]).await;
    shutdown.cancel();
}
