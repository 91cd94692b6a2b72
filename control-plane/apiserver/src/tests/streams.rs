//! Streams of pods end to end over real TLS: client, API server, a node that echoes.

use super::*;
use crate::{
    nodes::{NodeAddress, NodeClient},
    wire::{
        serve::{self, Handler},
        tls,
    },
};
use async_trait::async_trait;
use hyper_util::rt::TokioIo;
use keelson_auth::pki::node_serving;
use keelson_registry::{Attributes, Operation, status::Status};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// Answers logs with the path that was asked for, and echoes what comes over an upgraded connection.
#[derive(Clone)]
struct EchoNode;

impl Handler for EchoNode {
    async fn handle(&self, peer: Arc<Peer>, mut request: Request<Body>) -> Response<Body> {
        let Some(Ok(user)) = peer.certificate.user() else { return code(401, body::empty()) };
        let path = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
        if path.starts_with("/containerLogs") {
            return code(200, body::full(format!("{path} as {}", user.name)));
        }
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut io = TokioIo::new(upgrade.await.unwrap());
            io.write_all(path.as_bytes()).await.unwrap();
            let mut buffer = [0; 64];
            while let Ok(read @ 1..) = io.read(&mut buffer).await {
                io.write_all(&buffer[..read]).await.unwrap();
            }
        });
        let mut response = code(101, body::empty());
        response.headers_mut().insert("connection", "Upgrade".parse().unwrap());
        response.headers_mut().insert("upgrade", request.headers()["upgrade"].clone());
        response
    }
}

fn code(code: u16, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response
}

/// A bed with a node, a pod on it, and a client's connections to the server over TLS.
pub(super) struct Cluster {
    pub(super) bed: Bed,
    client: NodeClient,
    server: NodeAddress,
}

impl Cluster {
    async fn new() -> Self {
        Self::around(Bed::new().await).await
    }

    pub(super) async fn around(bed: Bed) -> Self {
        let data = bed._folder.path();
        let read = |name| std::fs::read_to_string(names::pki_file(data, name)).unwrap();
        let ca = read(names::CA_CERT);
        let files = node_serving(
            data,
            "n",
            &["127.0.0.1".parse().unwrap()],
            &data.join("n"),
            OffsetDateTime::now_utc(),
        )
        .unwrap();
        let text = |path| std::fs::read_to_string(path).unwrap();
        let tls =
            tls::server(&text(files.cert), &text(files.key), &ca, Some(&read(names::FRONT_PROXY_CA_CERT)))
                .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let node_port = listener.local_addr().unwrap().port();
        let tls = Arc::new(arc_swap::ArcSwap::from_pointee(tls));
        tokio::spawn(serve::serve(
            vec![listener],
            tls,
            crate::HttpOptions::default(),
            EchoNode,
            CancellationToken::new(),
        ));

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = NodeAddress {
            node: "the server".to_owned(),
            ip: "127.0.0.1".parse().unwrap(),
            port: listener.local_addr().unwrap().port(),
        };
        let (cert, key) = (read(names::APISERVER_CERT), read(names::APISERVER_KEY));
        let (api, api_ca) = (bed.server.clone(), ca.clone());
        tokio::spawn(async move { api.serve(vec![listener], &cert, &key, &api_ca).await });

        let node = serde_json::json!({"metadata": {"name": "n"}, "status": {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": node_port}},
        }});
        let got = bed.send("POST", "/api/v1/nodes", &[], &node.to_string()).await;
        assert_eq!(got.code, 201, "{}", got.text());
        let pod =
            r#"{"metadata":{"name":"p"},"spec":{"nodeName":"n","containers":[{"name":"c","image":"i"}]}}"#;
        let got = bed.send("POST", "/api/v1/namespaces/default/pods", &[], pod).await;
        assert_eq!(got.code, 201, "{}", got.text());
        let client =
            NodeClient::new(&ca, &read(names::KUBELET_CLIENT_CERT), &read(names::KUBELET_CLIENT_KEY))
                .unwrap();
        Self { bed, client, server }
    }

    pub(super) async fn ask(
        &self,
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
    ) -> Response<hyper::body::Incoming> {
        let mut request = Request::builder().method(method).uri(uri).header("host", "127.0.0.1");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut sender = self.client.connect(&self.server).await.unwrap();
        sender.send_request(request.body(body::empty()).unwrap()).await.unwrap()
    }
}

pub(super) const POD: &str = "/api/v1/namespaces/default/pods/p";

#[tokio::test]
async fn logs_come_from_the_node_as_the_apiserver() {
    let cluster = Cluster::new().await;
    let answer = cluster.ask("GET", &format!("{POD}/log?tailLines=3"), &[]).await;
    assert_eq!(answer.status(), 200);
    let text = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(text, "/containerLogs/default/p/c?tailLines=3 as kube-apiserver-kubelet-client");
}

#[tokio::test]
async fn exec_is_spliced_to_the_node_in_both_directions() {
    let cluster = Cluster::new().await;
    let uri = format!("{POD}/exec?command=sh&stdin=true&stdout=true");
    let answer = cluster.ask("POST", &uri, &[("connection", "Upgrade"), ("upgrade", "SPDY/3.1")]).await;
    assert_eq!((answer.status().as_u16(), &answer.headers()["upgrade"]), (101, &"SPDY/3.1".parse().unwrap()));
    let mut io = TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
    let greeting = "/exec/default/p/c?input=1&output=1&command=sh";
    let mut seen = vec![0; greeting.len()];
    io.read_exact(&mut seen).await.unwrap();
    assert_eq!(String::from_utf8(seen).unwrap(), greeting);
    io.write_all(b"ping").await.unwrap();
    let mut echo = [0; 4];
    io.read_exact(&mut echo).await.unwrap();
    assert_eq!(&echo, b"ping");
}

#[tokio::test]
async fn a_stream_that_cannot_be_is_refused_before_anything_is_switched() {
    let cluster = Cluster::new().await;
    let uri = format!("{POD}/exec?command=sh&stdout=true");
    let plain = cluster.ask("GET", &uri, &[]).await;
    assert_eq!(plain.status(), 400);
    let newer = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-protocol", "v5.channel.k8s.io"),
    ];
    let answer = cluster.ask("GET", &uri, &newer).await;
    assert_eq!(answer.status(), 400);
    let text = answer.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&text).contains("v5.channel.k8s.io"));
    let unbound = r#"{"metadata":{"name":"q"},"spec":{"containers":[{"name":"c","image":"i"}]}}"#;
    cluster.bed.send("POST", "/api/v1/namespaces/default/pods", &[], unbound).await;
    let got = cluster.bed.get("/api/v1/namespaces/default/pods/q/log").await;
    assert_eq!((got.code.as_u16(), got.text().as_str()), (200, ""));
}

/// Lets nobody connect to anything.
struct NoConnects;

#[async_trait]
impl Admission for NoConnects {
    async fn mutate(&self, _: &Attributes<'_>, _: Option<&mut Value>) -> Result<(), Status> {
        Ok(())
    }

    async fn validate(&self, attributes: &Attributes<'_>, _: Option<&Value>) -> Result<(), Status> {
        match attributes.operation {
            Operation::Connect => {
                Err(Status::forbidden(&attributes.kind.group_resource(), attributes.name, "no connects"))
            }
            _ => Ok(()),
        }
    }
}

#[tokio::test]
async fn admission_is_asked_of_a_stream_before_anything_is_looked_at() {
    let bed = Bed::made(Arc::new(NoConnects), |_| ()).await;
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    assert_eq!(bed.send("POST", "/api/v1/namespaces/default/pods", &[], &pod.to_string()).await.code, 201);
    for path in ["exec?command=sh", "attach", "portforward?ports=80", "proxy/"] {
        // The one has no node, the other does not exist.
        for name in ["p", "nobody"] {
            let got = bed.get(&format!("/api/v1/namespaces/default/pods/{name}/{path}")).await;
            assert_eq!(got.code, 403, "{name} {path}: {}", got.text());
        }
    }
    assert_eq!(bed.get("/api/v1/namespaces/default/pods/p/log").await.code, 200, "a log is only read");
    let bed = Bed::new().await;
    assert_eq!(bed.send("POST", "/api/v1/namespaces/default/pods", &[], &pod.to_string()).await.code, 201);
    let got = bed.get(&format!("{POD}/exec?command=sh")).await;
    assert_eq!((got.code.as_u16(), got.message().as_str()), (400, "pod p does not have a host assigned"));
    assert_eq!(bed.get("/api/v1/namespaces/default/pods/nobody/exec?command=sh").await.code, 404);
}
