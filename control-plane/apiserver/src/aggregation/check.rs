//! Whether an aggregated API server is there: its Service, an endpoint, an answer to discovery. Reasons and messages are
//! upstream's (`kube-aggregator/pkg/controllers/status/remote`).

use super::{
    headers,
    routes::{Found, OpenApi, Remote},
};
use crate::response::gzip;
use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Empty, Limited};
use keelson_auth::UserInfo;
use keelson_registry::{Registry, meta};
use keelson_webhook::{Resolve, ResolveError, Transport};
use serde_json::{Value, json};
use std::time::Duration;

/// How long one answer of discovery may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// As whom the server is asked.
const OWN_USER: &str = "system:kube-aggregator";

/// What the condition Available says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Availability {
    pub(super) available: bool,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Availability {
    /// Of a group and version of our own.
    pub(super) fn local() -> Self {
        Self { available: true, reason: "Local", message: "Local APIServices are always available".into() }
    }

    fn not(reason: &'static str, message: String) -> Self {
        Self { available: false, reason, message }
    }
}

/// The identity by which we ask for ourselves.
pub(super) fn own_user() -> UserInfo {
    UserInfo { name: OWN_USER.to_owned(), groups: vec!["system:masters".to_owned()], ..UserInfo::default() }
}

/// Looks at one server: what its condition must say, and what it serves. `known`: what it was found to serve before.
pub(super) async fn check(
    registry: &Registry,
    resolve: &dyn Resolve,
    calls: &Transport,
    remote: &Remote,
    known: Option<&Found>,
) -> (Availability, Found) {
    if let Some(missing) = endpoint(registry, resolve, remote) {
        return (missing, Found::default());
    }
    let url = format!("{}/{}", remote.peer.origin(), remote.path());
    let list = match get(calls, remote, &format!("/{}", remote.path())).await {
        Ok(list) => list,
        Err(why) => {
            let message = format!("failing or missing response from {url}: {why}");
            return (Availability::not("FailedDiscoveryCheck", message), Found::default());
        }
    };
    let list: Value = serde_json::from_slice(&list).unwrap_or_default();
    let found = Found {
        resources: meta::items(&list, &["resources"]).to_vec(),
        openapi: openapi(calls, remote, known.and_then(|known| known.openapi.as_ref())).await,
    };
    (Availability { available: true, reason: "Passed", message: "all checks passed".into() }, found)
}

/// What keeps the Service from being asked.
fn endpoint(registry: &Registry, resolve: &dyn Resolve, remote: &Remote) -> Option<Availability> {
    let service = &remote.service;
    let (name, namespace) = (&service.name, &service.namespace);
    let error = resolve.resolve(namespace, name, service.port).err()?;
    Some(match error {
        ResolveError::NotFound(_) => {
            Availability::not("ServiceNotFound", format!("service/{name} in {namespace:?} is not present"))
        }
        ResolveError::NoPort { port, .. } => Availability::not(
            "ServicePortError",
            format!("service/{name} in {namespace:?} is not listening on port {port}"),
        ),
        ResolveError::NoEndpoints(_) => {
            let port = port_name(registry, service).unwrap_or_default();
            let message = format!(
                "endpoints for service/{name} in {namespace:?} have no addresses with port name {port:?}"
            );
            Availability::not("MissingEndpoints", message)
        }
        other => Availability::not("ServiceAccessError", format!("service/{name} in {namespace:?}: {other}")),
    })
}

fn port_name(registry: &Registry, service: &keelson_webhook::ServiceReference) -> Option<String> {
    let kind = registry.table().by_resource("", "v1", "services").cloned()?;
    let object = registry.cached(&kind, Some(&service.namespace), &service.name)?.to_value();
    let ports = meta::items(&object, &["spec", "ports"]);
    let port = ports.iter().find(|port| meta::number(port, &["port"]) == Some(i64::from(service.port)))?;
    Some(meta::text(port, &["name"]).to_owned())
}

/// The document of the group and version, where the server has OpenAPI v3. One that is known by its hash is not read again.
async fn openapi(calls: &Transport, remote: &Remote, known: Option<&OpenApi>) -> Option<OpenApi> {
    let index: Value = serde_json::from_slice(&get(calls, remote, "/openapi/v3").await.ok()?).ok()?;
    let url = index["paths"].get(remote.path())?["serverRelativeURL"].as_str()?.to_owned();
    let same = known.filter(|known| known.url == url && url.contains("hash=") && known.document.is_some());
    if let Some(same) = same {
        return Some(same.clone());
    }
    let document = get(calls, remote, &url).await.and_then(|document| own_part(remote, &document));
    if let Err(why) = &document {
        tracing::warn!(
            api_service = remote.name,
            why,
            "an aggregated API server's OpenAPI document cannot be used"
        );
    }
    Some(OpenApi { url, document: document.ok() })
}

/// What a document says of the remote's own paths, compressed: no server speaks for another.
fn own_part(remote: &Remote, document: &[u8]) -> Result<Bytes, String> {
    let mut document: Value = serde_json::from_slice(document).map_err(|error| error.to_string())?;
    let paths = document["paths"].as_object_mut().ok_or("it has no paths")?;
    let own = format!("/{}/", remote.path());
    paths.retain(|path, _| format!("{path}/").starts_with(&own));
    gzip(document.to_string().as_bytes()).ok_or_else(|| "it cannot be compressed".to_owned())
}

/// GETs a path as ourselves.
async fn get(calls: &Transport, remote: &Remote, path: &str) -> Result<Bytes, String> {
    let mut request = Request::get(format!("{}{path}", remote.peer.origin()))
        .header(header::ACCEPT, "application/json")
        .body(Empty::new().map_err(|never| match never {}).boxed_unsync())
        .map_err(|error| error.to_string())?;
    for (name, value) in headers::of(&own_user()) {
        request.headers_mut().append(name, value);
    }
    let exchange = async {
        let answer =
            calls.send(&remote.peer, request).await.map_err(|error| format!("Get {path:?}: {error}"))?;
        if !answer.status().is_success() {
            let code = answer.status().as_u16();
            return Err(format!("bad status from {}{path}: {code}", remote.peer.origin()));
        }
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        body.map(|body| body.to_bytes()).map_err(|error| error.to_string())
    };
    tokio::time::timeout(TIMEOUT, exchange)
        .await
        .unwrap_or_else(|_| Err("context deadline exceeded".to_owned()))
}

/// The APIService with its condition saying so; None where it does already.
pub(super) fn with_condition(
    object: &Value,
    wanted: &Availability,
    now: time::OffsetDateTime,
) -> Option<Value> {
    let status = if wanted.available { "True" } else { "False" };
    let known = super::routes::condition(object);
    let same = |key: &str, value: &str| known.is_some_and(|known| meta::text(known, &[key]) == value);
    if same("status", status) && same("reason", wanted.reason) && same("message", &wanted.message) {
        return None;
    }
    let since = match known {
        Some(known) if same("status", status) => known["lastTransitionTime"].clone(),
        _ => meta::time_text(now),
    };
    let mut object = object.clone();
    let mut conditions = meta::items(&object, &["status", "conditions"]).to_vec();
    conditions.retain(|condition| condition["type"] != "Available");
    conditions.push(json!({
        "type": "Available", "status": status, "lastTransitionTime": since,
        "reason": wanted.reason, "message": wanted.message,
    }));
    object["status"]["conditions"] = Value::Array(conditions);
    Some(object)
}
