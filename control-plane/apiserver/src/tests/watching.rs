//! Watches as they arrive: frames, forms, ends.

use super::*;
use serde_json::json;
use std::time::Duration;

/// Reads frames until `count` events are there.
async fn events(response: Response<Body>, count: usize) -> Vec<Value> {
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    let mut text = String::new();
    while text.lines().count() < count {
        let frame = tokio::time::timeout(Duration::from_secs(10), body.frame()).await.unwrap();
        let Some(frame) = frame else { break };
        text.push_str(std::str::from_utf8(&frame.unwrap().into_data().unwrap()).unwrap());
    }
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_watch_from_a_revision_sees_what_follows() {
    let bed = Bed::new().await;
    let made = bed.config_map("a").await;
    let version = made["metadata"]["resourceVersion"].as_str().unwrap();
    let uri = format!("{MAPS}?watch=1&resourceVersion={version}");
    let response = bed.open(Bed::root(), "GET", &uri, &[], "").await;
    let merge = [("content-type", "application/merge-patch+json")];
    bed.send("PATCH", &format!("{MAPS}/a"), &merge, r#"{"data":{"k":"w"}}"#).await;
    bed.send("DELETE", &format!("{MAPS}/a"), &[], "").await;
    let seen = events(response, 2).await;
    assert_eq!(
        (seen[0]["type"].as_str(), seen[0]["object"]["data"]["k"].as_str()),
        (Some("MODIFIED"), Some("w"))
    );
    assert_eq!(seen[1]["type"], "DELETED");
    let of = |event: &Value| {
        event["object"]["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap()
    };
    assert!(of(&seen[1]) > of(&seen[0]), "a deletion carries its own revision");
}

#[tokio::test]
async fn initial_events_end_with_a_bookmark_that_says_so() {
    let bed = Bed::new().await;
    bed.config_map("a").await;
    let uri = format!(
        "{MAPS}?watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan"
    );
    let seen = events(bed.open(Bed::root(), "GET", &uri, &[], "").await, 2).await;
    assert_eq!(seen[0]["type"], "ADDED");
    assert_eq!(seen[1]["type"], "BOOKMARK");
    assert_eq!(seen[1]["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    assert_eq!(seen[1]["object"]["kind"], "ConfigMap");
}

#[tokio::test]
async fn a_bookmark_of_tables_is_a_row_that_ends_the_initial_events() {
    let bed = Bed::new().await;
    bed.config_map("a").await;
    let uri = format!(
        "{MAPS}?watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan"
    );
    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let seen = events(bed.open(Bed::root(), "GET", &uri, &table, "").await, 2).await;
    let (added, bookmark) = (&seen[0]["object"], &seen[1]["object"]);
    assert_eq!((&seen[1]["type"], &bookmark["kind"]), (&"BOOKMARK".into(), &"Table".into()));
    assert!(bookmark["columnDefinitions"].is_null());
    assert_eq!(bookmark["metadata"], added["metadata"], "the revision of the only object");
    let rows = bookmark["rows"].as_array().unwrap();
    let cells = |row: &Value| row["cells"].as_array().unwrap().len();
    assert_eq!((rows.len(), cells(&rows[0])), (1, cells(&added["rows"][0])));
    assert_eq!(rows[0]["cells"], json!(["", 0, "<unknown>"]), "as an object that has nothing is printed");
    assert_eq!(rows[0]["object"]["kind"], "PartialObjectMetadata");
    assert_eq!(rows[0]["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
}

#[tokio::test]
async fn a_table_watch_names_its_columns_once() {
    let bed = Bed::new().await;
    bed.config_map("a").await;
    bed.config_map("b").await;
    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let seen = events(bed.open(Bed::root(), "GET", &format!("{MAPS}?watch=1"), &table, "").await, 2).await;
    assert!(!seen[0]["object"]["columnDefinitions"].as_array().unwrap().is_empty());
    assert!(seen[1]["object"]["columnDefinitions"].is_null());
    assert_eq!(seen[1]["object"]["rows"][0]["cells"][0], "b");
}

#[tokio::test]
async fn a_watch_ends_at_its_timeout() {
    let bed = Bed::new().await;
    let response = bed.open(Bed::root(), "GET", &format!("{MAPS}?watch=1&timeoutSeconds=1"), &[], "").await;
    assert!(events(response, 1).await.is_empty());
}

#[tokio::test]
async fn a_client_in_the_process_speaks_to_the_same_router() {
    let bed = Bed::new().await;
    bed.config_map("a").await;
    let client =
        crate::in_process_client(&bed.server, UserInfo::authenticated("root", ["system:masters"]), "test");
    let request = Request::get(MAPS).body(Vec::new()).unwrap();
    let list: Value = client.request(request).await.unwrap();
    assert_eq!(list["items"][0]["metadata"]["name"], "a");
    let nobody = crate::in_process_client(&bed.server, UserInfo::authenticated("nobody", ["none"]), "test");
    let refused = nobody.request::<Value>(Request::get(MAPS).body(Vec::new()).unwrap()).await.unwrap_err();
    assert!(matches!(refused, kube::Error::Api(status) if status.code == 403));
}
