//! A JSON review posted to a webhook, and its answer: bounded in time and bytes.

use crate::{Body, CallError, ClientConfig, Transport};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use std::{sync::Arc, time::Duration};

/// Bytes of a failed answer's body that go into the message.
const ERROR_BODY_BYTES_MAX: usize = 1024;

/// How much a webhook may take of us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Until the whole answer is there.
    pub timeout: Duration,
    /// Bytes of the answer.
    pub answer_bytes_max: usize,
}

/// Posts reviews. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    transport: Arc<Transport>,
}

impl Client {
    /// Over this transport's connections.
    pub fn new(transport: Arc<Transport>) -> Self {
        Self { transport }
    }

    /// Posts `review` and answers with the body of a 2xx. The time left goes along as `?timeout=`, as upstream's.
    pub async fn post(
        &self,
        config: &ClientConfig,
        review: Bytes,
        limits: Limits,
    ) -> Result<Bytes, CallError> {
        let url = url(config, limits.timeout);
        let exchange = async {
            let peer = config.peer();
            let answer = self
                .transport
                .send(&peer, request(&url, ADMISSION_AGENT, review)?)
                .await
                .map_err(|source| CallError::Transport { url: url.clone(), source })?;
            read(&url, answer, limits.answer_bytes_max).await
        };
        match tokio::time::timeout(limits.timeout, exchange).await {
            Ok(outcome) => outcome,
            Err(_) => Err(CallError::Timeout { url }),
        }
    }
}

fn url(config: &ClientConfig, timeout: Duration) -> String {
    let ms = timeout.as_millis();
    let text = if ms.is_multiple_of(1000) { format!("{}s", ms / 1000) } else { format!("{ms}ms") };
    format!("{}?timeout={text}", config.url())
}

/// Upstream's.
const ADMISSION_AGENT: &str = "kube-apiserver-admission";

pub(crate) fn request(url: &str, agent: &'static str, review: Bytes) -> Result<Request<Body>, CallError> {
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    Request::post(url)
        .header(header::CONTENT_TYPE, JSON)
        .header(header::ACCEPT, HeaderValue::from_static("application/json, */*"))
        .header(header::USER_AGENT, HeaderValue::from_static(agent))
        .body(Full::new(review).map_err(|never| match never {}).boxed_unsync())
        .map_err(|error| CallError::Url { url: url.to_owned(), why: error.to_string() })
}

pub(crate) async fn read(
    url: &str,
    answer: Response<Incoming>,
    bytes_max: usize,
) -> Result<Bytes, CallError> {
    let code = answer.status();
    if !code.is_success() {
        let body = Limited::new(answer.into_body(), ERROR_BODY_BYTES_MAX).collect().await;
        let body = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).trim().to_owned());
        return Err(CallError::Status {
            code: code.as_u16(),
            body: body.unwrap_or_else(|_| "unknown".to_owned()),
        });
    }
    match Limited::new(answer.into_body(), bytes_max).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(CallError::TooLarge { url: url.to_owned(), max: bytes_max })
        }
        Err(error) => Err(CallError::Broken { url: url.to_owned(), why: error.to_string() }),
    }
}
