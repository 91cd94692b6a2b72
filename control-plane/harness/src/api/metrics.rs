//! What is counted of calls to the API server, under upstream's names (`k8s.io/component-base/metrics/prometheus/restclient`).

use http::StatusCode;
use keelson_metrics::{Group, Histogram, HistogramVec, IntCounter, IntCounterVec, Stability::Alpha, seconds};
use parking_lot::RwLock;
use std::{sync::LazyLock, time::Duration};

/// Bounds of durations.
const BOUNDS_MS: [u32; 12] = [5, 25, 100, 250, 500, 1_000, 2_000, 4_000, 8_000, 15_000, 30_000, 60_000];
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];
/// The code of a call without an answer, as upstream.
const NO_ANSWER: &str = "<error>";

struct Families {
    requests: IntCounterVec,
    duration: HistogramVec,
}

static FAMILIES: LazyLock<Families> = LazyLock::new(|| {
    let group = Group::process();
    Families {
        requests: group.counters(
            Alpha,
            "rest_client_requests_total",
            "Number of HTTP requests, partitioned by status code, method, and host.",
            &["code", "method", "host"],
        ),
        duration: group.histograms(
            Alpha,
            "rest_client_request_duration_seconds",
            "Request latency in seconds. Broken down by verb, and host.",
            &["verb", "host"],
            &seconds(&BOUNDS_MS),
        ),
    }
});

/// The series of calls to one API server.
pub(super) struct Calls {
    host: String,
    durations: [Histogram; METHODS.len()],
    /// By method, code 0 for none: a few, found by looking through them.
    requests: RwLock<Vec<(&'static str, u16, IntCounter)>>,
}

impl Calls {
    pub(super) fn to(host: &str) -> Self {
        let durations = METHODS.map(|method| FAMILIES.duration.with_label_values(&[method, host]));
        Self { host: host.to_owned(), durations, requests: RwLock::default() }
    }

    /// A call begins; how it ends is counted however it ends.
    pub(super) fn begin(&self, method: &'static str) -> Count<'_> {
        Count { calls: self, method, code: 0 }
    }

    /// A call that is no watch has ended.
    pub(super) fn took(&self, method: &str, duration: Duration) {
        if let Some(at) = METHODS.iter().position(|known| *known == method) {
            self.durations[at].observe(duration.as_secs_f64());
        }
    }

    fn count(&self, method: &'static str, code: u16) {
        let known = |all: &[(&'static str, u16, IntCounter)]| {
            let found = all.iter().find(|(of, with, _)| (*of, *with) == (method, code));
            found.map(|(_, _, counter)| counter.inc()).is_some()
        };
        if known(&self.requests.read()) {
            return;
        }
        let mut all = self.requests.write();
        if !known(&all) {
            let text = if code == 0 { NO_ANSWER.to_owned() } else { code.to_string() };
            let counter = FAMILIES.requests.with_label_values(&[&text, method, &self.host]);
            counter.inc();
            all.push((method, code, counter));
        }
    }
}

/// One call; without an answer unless it is said otherwise.
pub(super) struct Count<'a> {
    calls: &'a Calls,
    method: &'static str,
    code: u16,
}

impl Count<'_> {
    pub(super) fn answered(&mut self, code: StatusCode) {
        self.code = code.as_u16();
    }
}

impl Drop for Count<'_> {
    fn drop(&mut self) {
        self.calls.count(self.method, self.code);
    }
}

#[cfg(test)]
mod tests {
    use crate::{Api, api::PODS};
    use http::{Request, Response};
    use kube::client::Body;
    use serde_json::Value;

    #[tokio::test]
    async fn calls_are_counted_by_what_came_of_them() {
        let answering = |request: Request<Body>| async move {
            let (code, body) = match request.uri().path() {
                "/ok" => (200, "{}"),
                "/no" => (404, r#"{"kind":"Status","message":"no","reason":"NotFound","code":404}"#),
                _ => return Err("cut off".into()),
            };
            let body = Body::from(body.as_bytes().to_vec());
            Ok::<_, tower::BoxError>(Response::builder().status(code).body(body).unwrap())
        };
        let api = Api::of("here:1", kube::Client::new(tower::service_fn(answering), "default"));
        assert!(api.get_path::<Value>("/ok").await.is_ok());
        assert_eq!(api.get_path::<Value>("/no").await.unwrap_err().code(), Some(404));
        assert_eq!(api.get::<Value>(&PODS, None, "cut").await.unwrap_err().code(), None);
        let mut text = String::new();
        keelson_metrics::Group::process().render(&mut text);
        for line in [
            r#"rest_client_requests_total{code="200",host="here:1",method="GET"} 1"#,
            r#"rest_client_requests_total{code="404",host="here:1",method="GET"} 1"#,
            r#"rest_client_requests_total{code="<error>",host="here:1",method="GET"} 1"#,
            r#"rest_client_request_duration_seconds_count{host="here:1",verb="GET"} 3"#,
        ] {
            assert!(text.lines().any(|own| own == line), "{line}: {text}");
        }
    }
}
