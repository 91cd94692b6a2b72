//! What is counted of requests, as `/metrics` tells it.

use super::*;
use crate::request::{info::RequestInfo, query::Query};
use http::{HeaderMap, Method};

fn line(text: &str, wanted: &str) {
    assert!(text.lines().any(|line| line == wanted), "{wanted}: {text}");
}

fn series(metrics: &Metrics, path: &str, is_served: bool) -> Arc<Series> {
    let query = Query::default();
    let info = RequestInfo::parse(&Method::GET, path, &query).unwrap();
    metrics.series(&Labels::of(&info, &Method::GET, &HeaderMap::new(), &query), || is_served)
}

#[test]
fn requests_are_counted_by_their_labels_and_code() {
    let metrics = Arc::new(Metrics::default());
    let pods = series(&metrics, "/api/v1/namespaces/n/pods/p", true);
    let took = |ms, waited_ms| Some((Duration::from_millis(ms), Duration::from_millis(waited_ms)));
    metrics.answered(&pods, 200, took(30, 0));
    metrics.answered(&pods, 200, None);
    metrics.answered(&pods, 404, took(30, 0));
    metrics.answered(&pods, 500, took(2_000, 1_930));
    metrics.terminated(&pods, 429);
    metrics.dropped(true);
    let text = metrics.render([("apps", "deployments", 3), ("", "pods", 2)].into_iter());
    let labels = r#"component="apiserver",dry_run="",group="",resource="pods",scope="resource",subresource="",verb="GET",version="v1""#;
    let with_code = labels.replacen("component=\"apiserver\",", "code=\"200\",component=\"apiserver\",", 1);
    line(&text, &format!("apiserver_request_total{{{with_code}}} 2"));
    line(&text, &format!("apiserver_request_duration_seconds_bucket{{{labels},le=\"0.025\"}} 0"));
    line(&text, &format!("apiserver_request_duration_seconds_bucket{{{labels},le=\"0.05\"}} 2"));
    let named = labels.replacen("dry_run=\"\",", "", 1);
    line(&text, &format!("apiserver_request_sli_duration_seconds_bucket{{{named},le=\"0.05\"}} 2"));
    line(&text, &format!("apiserver_request_sli_duration_seconds_bucket{{{named},le=\"0.1\"}} 3"));
    line(&text, r#"apiserver_dropped_requests_total{request_kind="readOnly"} 1"#);
    line(&text, r#"apiserver_storage_objects{resource="deployments.apps"} 3"#);
    line(&text, r#"apiserver_resource_objects{group="",resource="pods"} 2"#);
    assert!(text.contains("apiserver_request_terminations_total{code=\"429\""), "{text}");
}

#[test]
fn what_nobody_serves_shares_a_series() {
    let metrics = Metrics::default();
    let first = series(&metrics, "/apis/a/v1/bs/c", false);
    assert!(Arc::ptr_eq(&first, &series(&metrics, "/apis/d/v2/es/f", false)));
    assert!(!Arc::ptr_eq(&first, &series(&metrics, "/apis/d/v2/es/f", true)));
}

#[test]
fn the_most_of_a_second_is_told_and_long_ones_until_they_end() {
    let metrics = Arc::new(Metrics::default());
    let (one, two) = (InFlight::begin(&metrics, true), InFlight::begin(&metrics, true));
    drop(two);
    metrics.tick();
    line(
        &metrics.render([].into_iter()),
        r#"apiserver_current_inflight_requests{request_kind="readOnly"} 2"#,
    );
    metrics.tick();
    line(
        &metrics.render([].into_iter()),
        r#"apiserver_current_inflight_requests{request_kind="readOnly"} 1"#,
    );
    drop(one);
    let pods = series(&metrics, "/api/v1/pods", true);
    let running = LongRunning::begin(&metrics, &pods);
    let other = running.clone();
    drop(running);
    let gauge = r#"apiserver_longrunning_requests{component="apiserver",group="",resource="pods",scope="cluster",subresource="",verb="LIST",version="v1"}"#;
    line(&metrics.render([].into_iter()), &format!("{gauge} 1"));
    drop(other);
    let text = metrics.render([].into_iter());
    line(&text, &format!("{gauge} 0"));
    assert!(text.contains("apiserver_request_duration_seconds_count{"), "observed with its end: {text}");
}
