//! `services/NAME/proxy` and `pods/NAME/proxy` end to end, to a TLS server of the test.

use super::{streams::Cluster, *};
use bytes::Bytes;
use futures::{StreamExt, stream};
use hyper_util::rt::TokioIo;
use keelson_webhook::testing::{TestServer, answer, body as read_body};
use serde_json::json;
use std::net::{IpAddr, UdpSocket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A Service `s` in default, with its port `web` behind which `backend` listens.
pub(super) async fn service(bed: &Bed, backend: SocketAddr) {
    let post = async |path: &str, object: Value| {
        let got = bed.send("POST", path, &[], &object.to_string()).await;
        assert_eq!(got.code, 201, "{}", got.text());
    };
    let ports = json!([{"name": "web", "port": 443}]);
    let object = json!({"metadata": {"name": "s"}, "spec": {"ports": ports}});
    post("/api/v1/namespaces/default/services", object).await;
    let slice = json!({
        "metadata": {"name": "s-1", "labels": {"kubernetes.io/service-name": "s"}},
        "addressType": "IPv4",
        "ports": [{"name": "web", "port": backend.port()}],
        "endpoints": [{"addresses": [backend.ip().to_string()], "conditions": {"ready": true}}],
    });
    post("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", slice).await;
}

/// An address of this machine that is not loopback, which nothing is proxied to. No packet is sent.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_loopback())
}

fn backend(ip: IpAddr) -> TestServer {
    TestServer::start_at(ip, "backend", None, |request| async move {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        if uri.path() == "/moved" {
            let mut answer = answer(302, "");
            answer.headers_mut().insert("location", "/elsewhere/".parse().unwrap());
            return answer;
        }
        if uri.path() == "/upgrade" {
            return upgraded(request);
        }
        if uri.path() == "/stream" {
            let chunks =
                stream::iter(["one ", "two ", "three"]).map(|chunk| Ok(Bytes::from_static(chunk.as_bytes())));
            return Response::new(body::stream(chunks));
        }
        let credentials = request.headers().contains_key("authorization");
        let text = String::from_utf8(read_body(request).await.to_vec()).unwrap();
        answer(200, format!("{method} {uri} {text} {credentials}"))
    })
}

/// Takes an upgrade up and echoes, or refuses what it does not know, or answers as if nothing was asked.
pub(super) fn upgraded(mut request: Request<hyper::body::Incoming>) -> Response<Body> {
    let wanted = request.headers()["upgrade"].to_str().unwrap().to_owned();
    match wanted.as_str() {
        "unknown" => return answer(426, "no"),
        "ignored" => return answer(200, "well"),
        _ => {}
    }
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let mut io = TokioIo::new(upgrade.await.unwrap());
        let mut buffer = [0; 64];
        while let Ok(read @ 1..) = io.read(&mut buffer).await {
            io.write_all(&buffer[..read]).await.unwrap();
        }
    });
    let mut answer = answer(101, "");
    answer.headers_mut().insert("connection", "Upgrade".parse().unwrap());
    answer.headers_mut().insert("upgrade", wanted.parse().unwrap());
    answer
}

/// What comes back of `ping` over a connection that was switched to `protocol`, or the refusal.
pub(super) async fn echoed(cluster: &Cluster, uri: &str, protocol: &str) -> Result<String, u16> {
    let answer = cluster.ask("GET", uri, &[("connection", "Upgrade"), ("upgrade", protocol)]).await;
    if answer.status() != 101 {
        return Err(answer.status().as_u16());
    }
    assert_eq!(answer.headers()["upgrade"], protocol);
    let mut io = TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
    io.write_all(b"ping").await.unwrap();
    let mut echo = [0; 4];
    io.read_exact(&mut echo).await.unwrap();
    Ok(String::from_utf8(echo.to_vec()).unwrap())
}

#[tokio::test]
async fn upgrades_and_streams_go_through_to_services() {
    let Some(ip) = own_address() else {
        eprintln!("skipped: this machine has no address but loopback");
        return;
    };
    let cluster = Cluster::around(Bed::new().await).await;
    let backend = backend(ip);
    service(&cluster.bed, backend.address).await;
    for protocol in ["websocket", "SPDY/3.1"] {
        assert_eq!(echoed(&cluster, &format!("{PROXY}/upgrade"), protocol).await.as_deref(), Ok("ping"));
    }
    assert_eq!(echoed(&cluster, &format!("{PROXY}/upgrade"), "unknown").await, Err(426));
    assert_eq!(echoed(&cluster, &format!("{PROXY}/upgrade"), "ignored").await, Err(500));
    let answer = cluster.ask("GET", &format!("{PROXY}/stream"), &[]).await;
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "one two three");
    let escaped = PROXY.replace("/proxy", "%2Fproxy");
    assert_eq!(cluster.ask("GET", &format!("{escaped}/x"), &[]).await.status(), 400);
    assert_eq!(cluster.ask("GET", &format!("{PROXY}/a/../b"), &[]).await.status(), 400);
}

#[tokio::test]
async fn a_node_is_asked_by_every_method_and_upgraded_by_who_may_create() {
    let cluster = Cluster::around(Bed::new().await).await;
    let node = "/api/v1/nodes/n/proxy";
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
        let answer = cluster.ask(method, &format!("{node}/containerLogs/x%2Fy?a=b"), &[]).await;
        let text = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(text, "/containerLogs/x%2Fy?a=b as kube-apiserver-kubelet-client", "{method}");
    }
    let answer = cluster.ask("GET", node, &[]).await;
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["location"]),
        (301, &format!("{node}/").parse().unwrap())
    );
    let switch = [("connection", "Upgrade"), ("upgrade", "SPDY/3.1")];
    let answer = cluster.ask("GET", &format!("{node}/exec/default/p/c"), &switch).await;
    assert_eq!(answer.status(), 101);
    let mut io = TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
    let mut greeting = [0; "/exec/default/p/c".len()];
    io.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"/exec/default/p/c");
    // Another port of it is met in the clear, unless it is this machine's own.
    let got = cluster.bed.get("/api/v1/nodes/n:9/proxy/x").await;
    assert_eq!((got.code.as_u16(), got.message()), (400, "address not allowed".to_owned()));
    assert_eq!(cluster.bed.get("/api/v1/nodes/nobody/proxy/x").await.code, 404);
}

const PROXY: &str = "/api/v1/namespaces/default/services/https:s:web/proxy";

#[tokio::test]
async fn a_service_is_spoken_to_through_the_server() {
    let Some(ip) = own_address() else {
        eprintln!("skipped: this machine has no address but loopback");
        return;
    };
    let (bed, backend) = (Bed::new().await, backend(ip));
    service(&bed, backend.address).await;
    let headers = [("authorization", "Bearer secret")];
    let rows = [
        ("GET", "/a%2Fb?x=y", "", "GET /a%2Fb?x=y  false"),
        ("POST", "/", "hello", "POST / hello false"),
        ("OPTIONS", "/o", "", "OPTIONS /o  false"),
        ("DELETE", "", "", "DELETE /  false"),
    ];
    for (method, rest, text, wanted) in rows {
        let got = bed.send(method, &format!("{PROXY}{rest}"), &headers, text).await;
        assert_eq!((got.code.as_u16(), got.text().as_str()), (200, wanted));
    }
    let got = bed.get(PROXY).await;
    assert_eq!((got.code.as_u16(), got.headers["location"].to_str().unwrap()), (301, &*format!("{PROXY}/")));
    let got = bed.get(&format!("{PROXY}/moved")).await;
    let wanted = format!("{PROXY}/elsewhere/");
    assert_eq!((got.code.as_u16(), got.headers["location"].to_str().unwrap()), (302, &*wanted));

    let port = backend.address.port();
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let pods = "/api/v1/namespaces/default/pods";
    assert_eq!(bed.send("POST", pods, &[], &pod.to_string()).await.code, 201);
    let path = format!("{pods}/https:p:{port}/proxy/x");
    assert_eq!(bed.get(&path).await.message(), "address not allowed");
    let status = json!({"status": {"podIP": ip.to_string(), "podIPs": [{"ip": ip.to_string()}]}});
    let merge = [("content-type", "application/merge-patch+json")];
    let got = bed.send("PATCH", &format!("{pods}/p/status"), &merge, &status.to_string()).await;
    assert_eq!(got.code, 200, "{}", got.text());
    assert_eq!(bed.get(&path).await.text(), "GET /x  false");
}

#[tokio::test]
async fn what_cannot_be_proxied_to_is_named() {
    let bed = Bed::new().await;
    let ask = async |name: &str| {
        let got = bed.get(&format!("/api/v1/namespaces/default/services/{name}/proxy/")).await;
        (got.code.as_u16(), got.message())
    };
    assert_eq!(ask("s:web").await, (404, r#"services "s" not found"#.to_owned()));
    service(&bed, "127.0.0.1:9".parse().unwrap()).await;
    assert_eq!(ask("s:web").await, (400, "address not allowed".to_owned()));
    assert_eq!(ask("s:other").await, (503, r#"no endpoints available for service "s""#.to_owned()));
    assert_eq!(ask("s:81").await, (503, r#"no service port 81 found for service "s""#.to_owned()));
    assert_eq!(ask("ftp:s:web").await, (400, r#"invalid service request "ftp:s:web""#.to_owned()));
}
