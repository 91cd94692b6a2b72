//! Aggregation: groups and versions that other API servers serve behind this one, named by APIService objects.
//!
//! ```text
//! request for GROUP/VERSION ──> routes (compiled once a change) ──> proxy ──> a ready endpoint of its Service
//! keep (a loop) ──> check ──> status.conditions of each APIService; what it serves, for discovery and OpenAPI
//!               └─> register: an APIService for each group and version of our own
//! ```
//! Users are authenticated and authorised here; the other server learns who asks from `X-Remote-*` headers, which it
//! believes for our front proxy's certificate. <https://kubernetes.io/docs/concepts/extend-kubernetes/api-extension/apiserver-aggregation/>

mod check;
mod discovery;
mod headers;
mod keep;
mod metrics;
mod register;
mod routes;

pub(crate) use discovery::{answer as discover, documents, openapi};
pub(crate) use headers::{is_remote, remote_user};
pub(crate) use keep::keep;
pub(crate) use routes::{Aggregation, Remote};

use crate::{
    proxy::{Forward, To, forward},
    request::info::RequestInfo,
    response::Answer,
    server::ApiServer,
    wire::Body,
};
use http::{Request, StatusCode, header};
use keelson_auth::UserInfo;
use std::sync::Arc;

/// Who serves what the request asks for, where it is not us.
pub(crate) fn remote(server: &ApiServer, info: &RequestInfo) -> Option<Arc<Remote>> {
    if info.is_resource {
        return server.inner.aggregation.remote(&server.inner.registry, &info.group, &info.version);
    }
    let mut parts = info.path.trim_matches('/').split('/');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some("apis"), Some(group), Some(version), None) => {
            server.inner.aggregation.remote(&server.inner.registry, group, version)
        }
        _ => None,
    }
}

/// Answers with what the other server answers, in upstream's plain texts where it cannot.
pub(crate) async fn answer(
    server: &ApiServer,
    remote: &Remote,
    user: &UserInfo,
    request: Request<Body>,
) -> Answer {
    if !remote.available {
        return Answer::text(StatusCode::SERVICE_UNAVAILABLE, "service unavailable\n");
    }
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let to = To::Peer(remote.peer.clone());
    let how = Forward { to, path, prefix: None, headers: headers::of(user) };
    match forward(server, how, request).await {
        // Who asks is told to the server behind us alone: a client that followed would go there by himself.
        Ok(response)
            if response.status().is_redirection() && response.headers().contains_key(header::LOCATION) =>
        {
            let why = "the backend attempted to redirect this request, which is not permitted";
            Answer::text(StatusCode::BAD_GATEWAY, why)
        }
        Ok(response) => Answer::Streaming(response),
        Err(error) => {
            tracing::debug!(api_service = remote.name, %error, "an aggregated API server did not answer");
            Answer::text(StatusCode::SERVICE_UNAVAILABLE, format!("error trying to reach service: {error}\n"))
        }
    }
}
