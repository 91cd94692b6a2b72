//! Whoever has no rights learns nothing: not what is there, not what could be, and no byte of theirs is read.
//!
//! `routes` goes over every route of the kind table, `node` and `tenant` over what those two may see and must not. They say who
//! asks; in `wire` it is proven, by signatures over TLS; so it is in
//! `restriction`, where a node says what it wants written.

mod node;
mod restriction;
mod routes;
mod tenant;
mod wire;

use super::{
    walk::{collection, fixture, kinds},
    *,
};
use bytes::Bytes;
use futures::stream;
use keelson_auth::{
    bootstrap::rbac_objects,
    user::{names, service_account_groups, service_account_user},
};
use keelson_registry::kind::Kind;
use serde_json::json;
use std::sync::atomic::{AtomicBool, Ordering};

/// Over a socket, as somebody who has proven it.
fn proven(name: &str, groups: &[&str]) -> Caller {
    let address: SocketAddr = "127.0.0.1:1".parse().unwrap();
    let user = Arc::new(UserInfo::authenticated(name, groups.iter().copied()));
    Caller::Peer(Arc::new(Peer {
        address,
        certificate: PeerCertificate::Verified { user, not_after_s: i64::MAX },
    }))
}

/// A ServiceAccount of namespace `tenant` that nobody gave anything.
fn bare_account() -> Caller {
    let groups = service_account_groups("tenant");
    proven(&service_account_user("tenant", "bare"), &groups.each_ref().map(String::as_str))
}

/// Somebody who may do everything in namespace `tenant`.
fn tenant() -> Caller {
    proven("tenant", &[])
}

/// A node's daemon.
fn node(name: &str) -> Caller {
    proven(&format!("{}{name}", names::NODE_USER_PREFIX), &[names::NODES_GROUP])
}

/// A server with the roles that a cluster starts with, and the tenant's.
pub(super) async fn cluster() -> Bed {
    with_roles(Bed::new().await).await
}

/// The same of a server that is there.
pub(super) async fn with_roles(bed: Bed) -> Bed {
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"namespace": "tenant", "name": "all"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "tenant"}],
    });
    for object in rbac_objects().iter().chain([&binding]) {
        let plural = format!("{}s", object["kind"].as_str().unwrap().to_ascii_lowercase());
        let scope = match object["metadata"]["namespace"].as_str() {
            Some(namespace) => format!("/namespaces/{namespace}"),
            None => String::new(),
        };
        let uri = format!("/apis/rbac.authorization.k8s.io/v1{scope}/{plural}");
        let made = bed.send("POST", &uri, &[], &object.to_string()).await;
        assert_eq!(made.code, 201, "{}", made.text());
    }
    until(&bed, tenant(), "/api/v1/namespaces/tenant/configmaps", 200).await;
    bed
}

/// Waits until the authorizer has heard of what was written.
async fn until(bed: &Bed, caller: Caller, uri: &str, code: u16) {
    let reached = async {
        while bed.send_as(caller.clone(), "GET", uri, &[], "").await.code != code {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), reached).await.expect("the authorizer follows");
}

/// An answer, and whether the body of its question was read.
struct Heard {
    code: u16,
    text: String,
    read: bool,
}

/// Asks with a body that notices being read.
async fn ask(bed: &Bed, caller: Caller, method: &str, uri: &str, headers: &[(&str, &str)]) -> Heard {
    let read = Arc::new(AtomicBool::new(false));
    let seen = read.clone();
    let once = stream::once(async move {
        seen.store(true, Ordering::Relaxed);
        Ok(Bytes::from_static(b"{}"))
    });
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = bed.server.answer(caller, request.body(body::stream(once)).unwrap()).await;
    let (head, body) = response.into_parts();
    let code = head.status.as_u16();
    // A watch that was granted has no end to wait for.
    let text = match uri.contains("watch") && code == 200 {
        true => String::new(),
        false => String::from_utf8_lossy(&body.collect().await.unwrap().to_bytes()).into_owned(),
    };
    Heard { code, text, read: read.load(Ordering::Relaxed) }
}

/// The events of a watch up to the bookmark that ends the initial ones.
async fn initial_events(bed: &Bed, caller: Caller, uri: &str) -> String {
    let response = bed.open(caller, "GET", uri, &[], "").await;
    assert_eq!(response.status(), 200, "{uri}");
    let (mut body, mut text) = (response.into_body(), String::new());
    while !text.contains("initial-events-end") {
        let frame =
            tokio::time::timeout(Duration::from_secs(10), body.frame()).await.expect("the bookmark comes");
        let data = frame.expect("the watch goes on").unwrap().into_data().unwrap();
        text.push_str(std::str::from_utf8(&data).unwrap());
    }
    text
}
