//! The observer's contract as JSON, under `/keelson/` of the kubelet's HTTPS API: the way for `kubectl keelson`, through the
//! API server's node proxy.

use axum::body::Body;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::{StatusCode, header};
use keelson_observer as proto;

use super::{Observer, PathError};

/// The routes; all say 404 with the reason where there is no data plane.
pub(crate) fn router(observer: Option<Observer>) -> Router {
    let Some(observer) = observer else {
        let none = (StatusCode::NOT_FOUND, "this node runs --without dataplane: nothing is observed\n");
        return Router::new().fallback(move || async move { none });
    };
    Router::new()
        .route("/services", get(services))
        .route("/flows", get(flows))
        .route("/status", get(status))
        .route("/trace", get(trace))
        .route("/path", get(path))
        .with_state(observer)
}

fn answer<T: serde::Serialize>(result: Result<T, keelson_dataplane::Error>) -> Response {
    match result {
        Ok(message) => Json(message).into_response(),
        Err(error) => {
            let text = format!("{:#}\n", anyhow::Error::new(error));
            (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
        }
    }
}

async fn services(State(observer): State<Observer>) -> Response {
    answer(observer.services().await)
}

async fn status(State(observer): State<Observer>) -> Response {
    answer(observer.status().await)
}

async fn trace(State(observer): State<Observer>, Query(request): Query<proto::TraceRequest>) -> Response {
    answer(Ok(observer.trace(&request)))
}

async fn path(State(observer): State<Observer>, Query(request): Query<proto::PathRequest>) -> Response {
    match observer.path(&request).await {
        Ok(reply) => Json(reply).into_response(),
        Err(error) => {
            let code = match error {
                PathError::Routes(_) | PathError::Tables(_) => StatusCode::INTERNAL_SERVER_ERROR,
                _ => StatusCode::BAD_REQUEST,
            };
            (code, format!("{:#}\n", anyhow::Error::new(error))).into_response()
        }
    }
}

/// One event a line, until the caller goes.
async fn flows(State(observer): State<Observer>, Query(request): Query<proto::FlowsRequest>) -> Response {
    let flows = match observer.flows(request) {
        Ok(flows) => flows,
        Err(error) => return answer::<()>(Err(error)),
    };
    let lines = futures::stream::unfold(flows, async |mut flows| {
        let flow = flows.next().await?;
        Some((serde_json::to_string(&flow).map(|line| line + "\n"), flows))
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}
