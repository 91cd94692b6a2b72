//! Paths that are no resources: discovery, OpenAPI, health, version, metrics, token issuer documents, the index.

use crate::{
    aggregation,
    pipeline::text,
    request::{
        accept::{self, Accepted, Form},
        info::RequestInfo,
        query::Query,
    },
    response::Answer,
    server::ApiServer,
    storage, version,
    wire::Body,
};
use http::{HeaderMap, Method, Request, StatusCode, header};
use keelson_registry::{
    kind::Storage,
    status::{GroupResource, Status},
};
use serde_json::json;

/// Answers a path.
pub(crate) async fn answer(
    server: &ApiServer,
    info: &RequestInfo,
    query: &Query,
    request: Request<Body>,
) -> Result<Answer, Status> {
    let inner = &server.inner;
    let path = match info.path.trim_end_matches('/') {
        "" => "/",
        path => path,
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(Status::method_not_allowed(&GroupResource::new("", ""), request.method().as_str()));
    }
    if let Some(answer) = inner.health.answer(path, query).await {
        return Ok(answer);
    }
    let headers = request.headers();
    let accepted = |forms: &[Form]| negotiated(headers, forms, query);
    let known = text(headers, &header::IF_NONE_MATCH);
    match path {
        "/version" => return Answer::object(StatusCode::OK, &version::info(), accepted(&[])?),
        "/metrics" => {
            let table = inner.table();
            let stored = table.iter().filter(|kind| matches!(kind.storage, Storage::Own));
            let counted = stored.map(|kind| (&*kind.group, &*kind.plural, inner.registry.cached_count(kind)));
            let mut text = inner.metrics.render(counted);
            version::render(&mut text);
            storage::render(inner, &mut text).await;
            inner.gate.render(&mut text);
            inner.reloads.render(&mut text);
            inner.aggregation.metrics.render(&mut text);
            inner.render_authorization(&mut text);
            inner.health.render(&mut text);
            if let Some(auditor) = &inner.auditor {
                auditor.render(&mut text);
            }
            return Ok(Answer::bytes(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text));
        }
        "/metrics/slis" => {
            let mut text = String::new();
            inner.health.render(&mut text);
            return Ok(Answer::bytes(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text));
        }
        "/" => return Answer::object(StatusCode::OK, &index(server), accepted(&[])?),
        "/.well-known/openid-configuration" => {
            return Ok(Answer::bytes(
                StatusCode::OK,
                "application/json",
                inner.identity.openid_configuration(),
            ));
        }
        "/openid/v1/jwks" => {
            return Ok(Answer::bytes(StatusCode::OK, "application/jwk-set+json", inner.identity.jwks()));
        }
        _ => {}
    }
    if let Some(table) = path.strip_prefix("/debug/api_priority_and_fairness/") {
        return match table {
            "dump_priority_levels" => Ok(Answer::text(StatusCode::OK, inner.gate.dump_priority_levels())),
            "dump_queues" => Ok(Answer::text(StatusCode::OK, inner.gate.dump_queues())),
            "dump_requests" => {
                let with_details = query.non_empty("includeRequestDetails").is_some();
                Ok(Answer::text(StatusCode::OK, inner.gate.dump_requests(with_details)))
            }
            other => {
                let mut status = Status::no_such_path();
                status.message = format!("{}: {other} is not served here", status.message);
                Err(status)
            }
        };
    }
    let published = inner.published();
    if path == "/openapi/v2" {
        return published.openapi.answer_v2(headers, aggregation::documents(server)).await;
    }
    let own_index = async || published.openapi.answer("v3", headers, query).await;
    if let Some(answer) = aggregation::openapi(server, path, request.uri().query(), own_index).await {
        return answer;
    }
    if let Some(rest) = path.strip_prefix("/openapi/") {
        return published.openapi.answer(rest, headers, query).await;
    }
    if path.starts_with("/apis") {
        let own = |accepted| published.discovery.answer(path, accepted, None);
        let accepted = accepted(published.discovery.forms(path))?;
        if let Some(answer) = aggregation::discover(server, path, accepted, known, own) {
            return answer;
        }
    }
    if let Some(answer) = published.discovery.answer(path, accepted(published.discovery.forms(path))?, known)
    {
        return answer;
    }
    Ok(not_found())
}

/// The plain answer for a path that nobody serves, as upstream's.
pub(crate) fn not_found() -> Answer {
    Answer::text(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// Negotiates one of the forms or fails with 406.
pub(crate) fn negotiated(headers: &HeaderMap, forms: &[Form], query: &Query) -> Result<Accepted, Status> {
    negotiated_object(headers, forms, query, false)
}

/// The same for an object, which has `protobuf` or not.
pub(crate) fn negotiated_object(
    headers: &HeaderMap,
    forms: &[Form],
    query: &Query,
    protobuf: bool,
) -> Result<Accepted, Status> {
    let header = text(headers, &header::ACCEPT);
    let mut accepted = accept::negotiate_object(header, forms, protobuf).ok_or_else(|| {
        let third = if protobuf { ", application/vnd.kubernetes.protobuf" } else { "" };
        Status::not_acceptable(format!(
            "only the following media types are accepted: application/json, application/yaml{third} (asked for {:?})",
            header.unwrap_or_default()
        ))
    })?;
    accepted.pretty = is_for_people(headers, query);
    Ok(accepted)
}

/// Whether JSON is indented: `pretty=`, and without it for clients that show what they get, as upstream does.
pub(crate) fn is_for_people(headers: &HeaderMap, query: &Query) -> bool {
    if let Some(pretty) = query.non_empty("pretty") {
        return matches!(pretty, "1" | "t" | "T" | "true" | "TRUE" | "True");
    }
    let agent = text(headers, &header::USER_AGENT).unwrap_or_default();
    ["curl", "Wget", "Mozilla/5.0"].iter().any(|shows| agent.starts_with(shows))
}

fn index(server: &ApiServer) -> serde_json::Value {
    let own = [
        "/healthz",
        "/livez",
        "/metrics",
        "/metrics/slis",
        "/openapi/v2",
        "/openapi/v3",
        "/openid/v1/jwks",
        "/readyz",
        "/version",
        "/.well-known/openid-configuration",
    ];
    let published = server.inner.published();
    let mut paths: Vec<&str> = own.into_iter().chain(published.discovery.paths()).collect();
    paths.sort_unstable();
    json!({ "paths": paths })
}
