//! Facts against answers, and listeners against a real client.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use http::StatusCode;
use serde_json::{Value, json};

use super::{answer::answer, *};

fn service() -> Key {
    ("shop".into(), "web".into())
}

#[test]
fn a_service_is_well_where_it_has_endpoints_and_the_maps_follow() {
    let late = Instant::now() + Duration::from_secs(61);
    for (endpoints, failing, now, code, healthy) in [
        (2, false, Instant::now(), StatusCode::OK, true),
        (0, false, Instant::now(), StatusCode::SERVICE_UNAVAILABLE, true),
        (2, true, Instant::now(), StatusCode::OK, true),
        (2, true, late, StatusCode::SERVICE_UNAVAILABLE, false),
        (2, false, late, StatusCode::OK, true),
    ] {
        let state = State::default();
        state.set_endpoints([(service(), endpoints)].into_iter());
        state.attempted(!failing);
        let answer = answer(&state, &Site::Service(service()), "/", now);
        assert_eq!(answer.status(), code, "{endpoints} {failing}");
        assert_eq!(answer.headers()["content-type"], "application/json");
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
        assert_eq!(answer.headers()["x-load-balancing-endpoint-weight"], endpoints.to_string());
        let body: Value = serde_json::from_str(answer.body()).unwrap();
        let wanted = json!({ "service": { "namespace": "shop", "name": "web" },
                             "localEndpoints": endpoints, "serviceProxyHealthy": healthy });
        assert_eq!(body, wanted);
    }
}

#[test]
fn a_node_that_is_about_to_go_fails_healthz_and_not_livez() {
    for (eligible, path, code) in [
        (true, "/healthz", StatusCode::OK),
        (false, "/healthz", StatusCode::SERVICE_UNAVAILABLE),
        (false, "/livez", StatusCode::OK),
        (true, "/", StatusCode::NOT_FOUND),
    ] {
        let state = State::default();
        state.attempted(true);
        state.set_eligible(eligible);
        let answer = answer(&state, &Site::Proxy, path, Instant::now());
        assert_eq!(answer.status(), code, "{path}");
        if path == "/healthz" {
            let body: Value = serde_json::from_str(answer.body()).unwrap();
            assert_eq!(body["nodeEligible"], eligible);
            assert!(body["lastUpdated"].is_string() && body["currentTime"].is_string());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn listeners_follow_the_services() {
    let state = Arc::new(State::default());
    let mut servers = HealthServers::start(state, None, vec![Ipv4Addr::LOCALHOST.into()]);
    let port = free_port();
    let check = |local_endpoints| HashMap::from([(service(), HealthCheck { port, local_endpoints })]);
    assert!(servers.set(&check(1)).await.is_empty());
    assert!(get(port).await.starts_with("HTTP/1.1 200"));
    assert!(servers.set(&check(0)).await.is_empty());
    assert!(get(port).await.starts_with("HTTP/1.1 503"));
    // Another's port: said, not fatal, and tried again.
    let other: Key = ("shop".into(), "other".into());
    let both = [(service(), port), (other.clone(), port)];
    let both = both.map(|(key, port)| (key, HealthCheck { port, local_endpoints: 1 })).into();
    let refused = servers.set(&both).await;
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].service, other);
    let check = HealthCheck { port, local_endpoints: 1 };
    // The first closes; its port is free as soon as its task has ended.
    let mut refused = servers.set(&HashMap::from([(other.clone(), check)])).await;
    while !refused.is_empty() {
        tokio::task::yield_now().await;
        refused = servers.set(&HashMap::from([(other.clone(), check)])).await;
    }
    assert!(get(port).await.contains("\"name\": \"other\""));
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

async fn get(port: u16) -> String {
    let ask = move || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    tokio::task::spawn_blocking(ask).await.unwrap()
}
