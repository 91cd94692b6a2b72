//! An API server behind ours, end to end: found, asked as the user, told in discovery, given up when it goes; and front
//! proxies that tell us who asks.

use super::{
    proxied::{echoed, service, upgraded},
    streams::Cluster,
    *,
};
use crate::nodes::{NodeAddress, NodeClient};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures::stream;
use keelson_webhook::testing::{TestServer, answer};
use serde_json::json;
use std::time::Duration;
use tokio::{net::TcpListener, sync::Semaphore};

const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const DUCKS: &str = "/apis/ducks.example.com/v1";

fn pki(bed: &Bed, name: &str) -> String {
    std::fs::read_to_string(names::pki_file(bed._folder.path(), name)).unwrap()
}

fn extension(bed: &Bed) -> TestServer {
    extension_with(bed, Arc::new(Semaphore::new(0)))
}

/// Serves ducks, and says who it was asked by. Lets nobody in but the front proxy. A watch has an event for each permit.
fn extension_with(bed: &Bed, events: Arc<Semaphore>) -> TestServer {
    let ca = pki(bed, names::FRONT_PROXY_CA_CERT);
    TestServer::start("s.default.svc", Some(&ca), move |request| answered(request, events.clone()))
}

async fn answered(request: Request<hyper::body::Incoming>, events: Arc<Semaphore>) -> Response<Body> {
    if request.uri().path().ends_with("/fly") {
        return upgraded(request);
    }
    if request.uri().query().is_some_and(|query| query.contains("watch=1")) {
        let chunks = stream::unfold(0, move |count| {
            let events = events.clone();
            async move {
                events.acquire_owned().await.expect("it is not closed").forget();
                Some((Ok(Bytes::from(format!("event {count}\n"))), count + 1))
            }
        });
        return Response::new(body::stream(chunks));
    }
    let headers = request.headers();
    let all = |name: &str| -> Vec<String> {
        headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
    };
    match request.uri().path() {
        DUCKS => answer(
            200,
            json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "ducks.example.com/v1",
                "resources": [{"name": "ducks", "singularName": "duck", "namespaced": true, "kind": "Duck",
                               "verbs": ["get", "list"]}]})
            .to_string(),
        ),
        "/openapi/v3" => answer(
            200,
            r#"{"paths":{"apis/ducks.example.com/v1":{"serverRelativeURL":"/openapi/v3/apis/ducks.example.com/v1?hash=A"}}}"#,
        ),
        "/openapi/v3/apis/ducks.example.com/v1" => answer(200, openapi().to_string()),
        path => answer(
            200,
            json!({"path": path, "user": all("x-remote-user"), "groups": all("x-remote-group"),
                   "extra": all("x-remote-extra-scopes"), "authorization": all("authorization")})
            .to_string(),
        ),
    }
}

/// Of ducks, and of what is not the server's to speak of.
fn openapi() -> Value {
    let get = json!({"get": {"operationId": "own", "responses": {"200": {"description": "OK", "content": {
        "application/json": {"schema": {"$ref": "#/components/schemas/com.example.Duck"}}}}}}});
    json!({
        "openapi": "3.0.0",
        "paths": {"/apis/ducks.example.com/v1/ducks": get, "/api/v1/pods": get, "/apis/ducks.example.com/v10/x": get},
        "components": {"schemas": {
            "com.example.Duck": {"type": "object", "description": "It swims."},
            "io.k8s.api.core.v1.Pod": {"type": "string"},
        }},
    })
}

/// Waits until the APIService's condition has the reason.
async fn reason(bed: &Bed, name: &str, wanted: &str) -> Value {
    let found = async {
        loop {
            let object = bed.get(&format!("{SERVICES}/{name}")).await.json();
            if object["status"]["conditions"][0]["reason"] == wanted {
                return object;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(15), found).await;
    match waited {
        Ok(object) => object,
        Err(_) => panic!("{wanted}: {}", bed.get(&format!("{SERVICES}/{name}")).await.text()),
    }
}

/// Waits until the answer is as wanted: what was found is told a moment after the condition is written.
async fn told(bed: &Bed, uri: &str, wanted: impl Fn(&str) -> bool) {
    let found = async {
        while !wanted(&bed.get(uri).await.text()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    if tokio::time::timeout(Duration::from_secs(15), found).await.is_err() {
        panic!("{uri}: {}", bed.get(uri).await.text());
    }
}

async fn register(bed: &Bed, extension: &TestServer) {
    let object = json!({
        "metadata": {"name": "v1.ducks.example.com"},
        "spec": {
            "group": "ducks.example.com", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10,
            "service": {"namespace": "default", "name": "s"}, "caBundle": STANDARD.encode(&extension.ca_pem),
        },
    });
    let got = bed.send("POST", SERVICES, &[], &object.to_string()).await;
    assert_eq!(got.code, 201, "{}", got.text());
}

#[tokio::test]
async fn another_server_is_found_asked_as_the_user_and_given_up() {
    let bed = Bed::new().await;
    let extension = extension(&bed);
    register(&bed, &extension).await;
    bed.server.mark_started();
    let own = reason(&bed, "v1.apps", "Local").await;
    let managed = "kube-aggregator.kubernetes.io/automanaged";
    assert_eq!(own["metadata"]["labels"][managed], "onstart");
    let message =
        &reason(&bed, "v1.ducks.example.com", "ServiceNotFound").await["status"]["conditions"][0]["message"];
    assert_eq!(message, r#"service/s in "default" is not present"#);
    let got = bed.get(&format!("{DUCKS}/ducks")).await;
    assert_eq!((got.code.as_u16(), got.text().as_str()), (503, "service unavailable\n"));

    service(&bed, extension.address).await;
    reason(&bed, "v1.ducks.example.com", "Passed").await;
    let forged = [("x-remote-extra-scopes", "all"), ("x-remote-user", "boss"), ("authorization", "Bearer x")];
    let got = bed.send("GET", &format!("{DUCKS}/namespaces/default/ducks"), &forged, "").await;
    let wanted = json!({
        "path": "/apis/ducks.example.com/v1/namespaces/default/ducks", "user": ["root"],
        "groups": ["system:masters", "system:authenticated"], "extra": [], "authorization": [],
    });
    assert_eq!(got.json(), wanted);
    told(&bed, "/openapi/v2", |text| text.contains("com.example.Duck")).await;
    discovery_and_openapi(&bed).await;

    let slice = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/s-1";
    assert_eq!(bed.send("DELETE", slice, &[], "").await.code, 200);
    let gone = reason(&bed, "v1.ducks.example.com", "MissingEndpoints").await;
    let message = &gone["status"]["conditions"][0]["message"];
    assert_eq!(message, r#"endpoints for service/s in "default" have no addresses with port name "web""#);
    assert_eq!(bed.get(&format!("{DUCKS}/ducks")).await.code, 503);
    for line in [
        r#"aggregator_unavailable_apiservice{name="v1.ducks.example.com"} 1"#,
        r#"aggregator_unavailable_apiservice{name="v1.apps"} 0"#,
        r#"aggregator_unavailable_apiservice_total{name="v1.ducks.example.com",reason="MissingEndpoints"} 1"#,
    ] {
        told(&bed, "/metrics", |text| text.lines().any(|own| own == line)).await;
    }
    told(&bed, "/openapi/v2", |text| !text.contains("com.example.Duck")).await;
    bed.server.inner.shutdown.cancel();
}

#[tokio::test]
async fn watches_and_upgrades_go_through_to_another_server() {
    let cluster = Cluster::around(Bed::new().await).await;
    let (bed, events) = (&cluster.bed, Arc::new(Semaphore::new(0)));
    let extension = extension_with(bed, events.clone());
    register(bed, &extension).await;
    service(bed, extension.address).await;
    bed.server.mark_started();
    reason(bed, "v1.ducks.example.com", "Passed").await;

    // Each event is there before the next one is sent.
    events.add_permits(1);
    let answer = cluster.ask("GET", &format!("{DUCKS}/ducks?watch=1"), &[]).await;
    assert_eq!(answer.status(), 200);
    let mut seen = answer.into_body();
    for event in ["event 0\n", "event 1\n", "event 2\n"] {
        let next = tokio::time::timeout(Duration::from_secs(20), seen.frame()).await.expect("it is sent");
        assert_eq!(next.unwrap().unwrap().into_data().unwrap(), event);
        events.add_permits(1);
    }
    let fly = format!("{DUCKS}/namespaces/default/ducks/d/fly");
    for protocol in ["websocket", "SPDY/3.1"] {
        assert_eq!(echoed(&cluster, &fly, protocol).await.as_deref(), Ok("ping"));
    }
    assert_eq!(echoed(&cluster, &fly, "unknown").await, Err(426));
    bed.server.inner.shutdown.cancel();
}

async fn discovery_and_openapi(bed: &Bed) {
    let plain = bed.get("/apis").await.json();
    let groups = plain["groups"].as_array().unwrap();
    assert!(groups.iter().any(|group| group["name"] == "ducks.example.com"), "{plain}");
    let group = bed.get("/apis/ducks.example.com").await.json();
    assert_eq!(group["preferredVersion"]["groupVersion"], "ducks.example.com/v1");
    assert_eq!(bed.get(DUCKS).await.json()["resources"][0]["kind"], "Duck");
    let accept = [("accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")];
    let all = bed.send("GET", "/apis", &accept, "").await.json();
    let found =
        all["items"].as_array().unwrap().iter().find(|item| item["metadata"]["name"] == "ducks.example.com");
    assert_eq!(found.unwrap()["versions"][0]["resources"][0]["resource"], "ducks");
    let index = bed.get("/openapi/v3").await.json();
    let url = index["paths"]["apis/ducks.example.com/v1"]["serverRelativeURL"].as_str().unwrap();
    assert_eq!(bed.get(url).await.json()["openapi"], "3.0.0");
    assert!(index["paths"]["apis/apps/v1"].is_object(), "{index}");
    let v2 = bed.get("/openapi/v2").await.json();
    let answer = &v2["paths"][format!("{DUCKS}/ducks")]["get"]["responses"]["200"];
    assert_eq!(answer["schema"]["$ref"], "#/definitions/com.example.Duck", "{answer}");
    assert_eq!(v2["definitions"]["com.example.Duck"]["description"], "It swims.");
    assert_eq!(v2["definitions"]["io.k8s.api.core.v1.Pod"]["type"], "object", "ours is ours");
    assert_eq!(v2["paths"]["/api/v1/pods"]["get"]["operationId"], "listCoreV1PodForAllNamespaces");
    assert!(v2["paths"].get("/apis/ducks.example.com/v10/x").is_none());
    let protobuf = [("accept", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf")];
    let protobuf = bed.send("GET", "/openapi/v2", &protobuf, "").await;
    assert!(protobuf.text().contains("com.example.Duck"));
}

/// Asks over TLS with a certificate of the data folder who it is.
async fn whoami(
    bed: &Bed,
    cert: &str,
    key: &str,
    headers: &[(&str, &str)],
) -> Result<(u16, Value), keelson_webhook::TlsError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = NodeAddress {
        node: "the server".to_owned(),
        ip: "127.0.0.1".parse().unwrap(),
        port: listener.local_addr().unwrap().port(),
    };
    let ca = pki(bed, names::CA_CERT);
    let (api, api_ca) = (bed.server.clone(), ca.clone());
    let (api_cert, api_key) = (pki(bed, names::APISERVER_CERT), pki(bed, names::APISERVER_KEY));
    tokio::spawn(async move { api.serve(vec![listener], &api_cert, &api_key, &api_ca).await });
    let client = NodeClient::new(&ca, &pki(bed, cert), &pki(bed, key))?;
    let mut request = Request::builder()
        .method("POST")
        .uri("/apis/authentication.k8s.io/v1/selfsubjectreviews")
        .header("host", "127.0.0.1")
        .header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut sender = client.connect(&to).await.unwrap();
    let answer = sender.send_request(request.body(body::full("{}")).unwrap()).await.unwrap();
    let code = answer.status().as_u16();
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    Ok((code, serde_json::from_slice(&bytes).unwrap_or_default()))
}

#[tokio::test]
async fn a_front_proxy_tells_who_asks_and_nobody_else_does() {
    let bed = Bed::new().await;
    let claims = [("x-remote-user", "jane"), ("x-remote-group", "system:masters"), ("x-remote-extra-a", "b")];
    let (proxy, proxy_key) = (names::FRONT_PROXY_CLIENT_CERT, names::FRONT_PROXY_CLIENT_KEY);
    let (code, review) = whoami(&bed, proxy, proxy_key, &claims).await.unwrap();
    let user = &review["status"]["userInfo"];
    assert_eq!(
        (code, &user["username"], &user["extra"]["a"]),
        (201, &json!("jane"), &json!(["b"])),
        "{review}"
    );
    assert_eq!(user["groups"], json!(["system:masters", "system:authenticated"]));
    // By itself the proxy is nobody.
    assert_eq!(whoami(&bed, proxy, proxy_key, &[]).await.unwrap().0, 401);
    // A user's certificate is the user's, whatever headers say.
    let (own, own_key) = (names::KUBELET_CLIENT_CERT, names::KUBELET_CLIENT_KEY);
    let (code, review) = whoami(&bed, own, own_key, &claims).await.unwrap();
    let user = &review["status"]["userInfo"]["username"];
    assert_eq!((code, user), (201, &json!("kube-apiserver-kubelet-client")), "{review}");
    // The authority may have signed others, which are not believed.
    let address: SocketAddr = "127.0.0.1:1".parse().unwrap();
    for (name, not_after_s, code) in
        [("front-proxy-client", i64::MAX, 201), ("other", i64::MAX, 401), ("front-proxy-client", 1, 401)]
    {
        let certificate = PeerCertificate::FrontProxy { name: name.to_owned(), not_after_s };
        let caller = Caller::Peer(Arc::new(Peer { address, certificate }));
        let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
        assert_eq!(bed.send_as(caller, "POST", path, &claims, "{}").await.code.as_u16(), code, "{name}");
    }
}
