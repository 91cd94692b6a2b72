//! The answers, as kube-proxy words them.

use std::time::Instant;

use http::{Response, StatusCode, header::HeaderValue};
use k8s_openapi::jiff::Timestamp;

use super::{Site, State};
use crate::index::Key;

/// What a load balancer that weighs nodes reads.
const WEIGHT: &str = "x-load-balancing-endpoint-weight";

/// Answers a request for `path`.
pub(super) fn answer(state: &State, site: &Site, path: &str, now: Instant) -> Response<String> {
    match (site, path) {
        (Site::Service(service), _) => service_answer(state, service, now),
        (Site::Proxy, "/healthz") => proxy_answer(state, now, true),
        (Site::Proxy, "/livez") => proxy_answer(state, now, false),
        (Site::Proxy, _) => response(StatusCode::NOT_FOUND, "there are /healthz and /livez\n".to_owned()),
    }
}

fn service_answer(state: &State, service: &Key, now: Instant) -> Response<String> {
    let Some(endpoints) = state.endpoints(service) else {
        return response(StatusCode::NOT_FOUND, "this Service is not checked any more\n".to_owned());
    };
    let healthy = state.proxy(now).healthy;
    let (namespace, name) = service;
    let body = format!(
        "{{\n\t\"service\": {{\n\t\t\"namespace\": \"{namespace}\",\n\t\t\"name\": \"{name}\"\n\t}},\n\
         \t\"localEndpoints\": {endpoints},\n\t\"serviceProxyHealthy\": {healthy}\n}}"
    );
    let mut answer = json(endpoints > 0 && healthy, body);
    answer.headers_mut().insert(WEIGHT, HeaderValue::from(endpoints));
    answer
}

fn proxy_answer(state: &State, now: Instant, with_node: bool) -> Response<String> {
    let health = state.proxy(now);
    let healthy = health.healthy && (health.eligible || !with_node);
    let current = Timestamp::now();
    // What is up to date was updated now, as clients have learnt to expect.
    let updated = if healthy { current } else { health.updated.unwrap_or(Timestamp::UNIX_EPOCH) };
    let node = if with_node { format!(", \"nodeEligible\": {}", health.eligible) } else { String::new() };
    json(healthy, format!("{{\"lastUpdated\": \"{updated}\",\"currentTime\": \"{current}\"{node}}}"))
}

fn json(healthy: bool, body: String) -> Response<String> {
    let status = if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut answer = response(status, body);
    let headers = answer.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    answer
}

fn response(status: StatusCode, body: String) -> Response<String> {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer
}
