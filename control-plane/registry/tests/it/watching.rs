//! Watches: order, selection, bookmarks, lag.

use crate::fixture::{config_map, fixture, labelled, next, on, version};
use futures::StreamExt;
use keelson_registry::{WatchEvent, WatchOptions};
use keelson_store::{Txn, Write};
use serde_json::json;

fn from(revision: u64) -> WatchOptions {
    WatchOptions { resource_version: revision.to_string(), ..WatchOptions::default() }
}

#[tokio::test]
async fn a_watch_begins_with_what_exists_and_goes_on() {
    let f = fixture().await;
    let a = f.made("configmaps", config_map("a")).await;
    let mut watch = f.watch("configmaps", WatchOptions::default()).await;
    assert_eq!(next(&mut watch).await, ("ADDED a".to_owned(), version(&a)));
    let b = f.made("configmaps", config_map("b")).await;
    assert_eq!(next(&mut watch).await, ("ADDED b".to_owned(), version(&b)));
    let a = f.patch("configmaps", "a", None, json!({"data": {"k": "2"}})).await.expect("valid");
    assert_eq!(next(&mut watch).await, ("MODIFIED a".to_owned(), version(&a)));
    f.delete("configmaps", "a", Default::default()).await.expect("it is there");
    assert_eq!(next(&mut watch).await, ("DELETED a".to_owned(), version(&a) + 1));
}

#[tokio::test]
async fn a_watch_resumes_without_a_gap() {
    let f = fixture().await;
    let first = f.made("configmaps", config_map("c0")).await;
    for index in 1..20 {
        f.made("configmaps", config_map(&format!("c{index}"))).await;
    }
    let mut watch = f.watch("configmaps", from(version(&first))).await;
    for index in 1..20 {
        assert_eq!(next(&mut watch).await, (format!("ADDED c{index}"), version(&first) + index));
    }
}

#[tokio::test]
async fn entering_and_leaving_a_selection_is_coming_and_going() {
    let f = fixture().await;
    let mut options = from(1);
    options.label_selector = "l=1".to_owned();
    f.made("configmaps", config_map("first")).await;
    let mut watch = f.watch("configmaps", options).await;
    f.made("configmaps", labelled("a", "2")).await;
    let label = |value: &str| json!({"metadata": {"labels": {"l": value}}});
    f.patch("configmaps", "a", None, label("1")).await.expect("valid");
    assert_eq!(next(&mut watch).await.0, "ADDED a");
    f.patch("configmaps", "a", None, json!({"data": {"k": "2"}})).await.expect("valid");
    assert_eq!(next(&mut watch).await.0, "MODIFIED a");
    let left = f.patch("configmaps", "a", None, label("2")).await.expect("valid");
    let event = watch.next().await.expect("the watch goes on");
    let WatchEvent::Deleted(entry, revision) = event else { panic!("{event:?}") };
    // The last selected state, at the revision of the change.
    assert_eq!((entry.head.label("l"), revision), (Some("1"), version(&left)));
    f.delete("configmaps", "a", Default::default()).await.expect("it is there");
    f.made("configmaps", labelled("b", "1")).await;
    assert_eq!(next(&mut watch).await.0, "ADDED b");
}

#[tokio::test]
async fn initial_events_end_with_a_bookmark_that_says_so() {
    let f = fixture().await;
    for index in 0..600 {
        f.made("configmaps", config_map(&format!("c{index:03}"))).await;
    }
    let options = WatchOptions {
        resource_version_match: "NotOlderThan".to_owned(),
        allow_bookmarks: true,
        send_initial_events: Some(true),
        ..WatchOptions::default()
    };
    let mut watch = f.watch("configmaps", options).await;
    for index in 0..600 {
        assert_eq!(next(&mut watch).await.0, format!("ADDED c{index:03}"));
    }
    assert_eq!(next(&mut watch).await, ("END".to_owned(), f.registry.revision()));
}

#[tokio::test]
async fn options_that_do_not_go_together_are_refused() {
    let f = fixture().await;
    let kind = f.kind("configmaps");
    let rows = [
        (
            None,
            "NotOlderThan",
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        ),
        (Some(true), "", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"),
        (Some(true), "Exact", "supported values: \"NotOlderThan\""),
    ];
    for (send, matched, message) in rows {
        let options = WatchOptions {
            send_initial_events: send,
            resource_version_match: matched.to_owned(),
            ..WatchOptions::default()
        };
        let outcome = f.registry.watch(&kind, Some("ns"), &options).await;
        let status = outcome.map(|_| ()).expect_err("they do not go together");
        assert!(status.message.contains(message), "{status}");
    }
}

#[tokio::test]
async fn a_revision_before_the_ring_is_gone() {
    let f = fixture().await;
    let first = f.made("configmaps", config_map("a")).await;
    f.made("configmaps", config_map("b")).await;
    let f = on(f.store.clone()).await;
    let mut watch = f.watch("configmaps", from(version(&first))).await;
    assert_eq!(next(&mut watch).await.0, "ERROR 410");
    assert!(watch.next().await.is_none());
}

#[tokio::test]
async fn a_lagging_watcher_is_closed_not_skipped() {
    let f = fixture().await;
    let first = f.made("configmaps", config_map("a")).await;
    let mut watch = f.watch("configmaps", from(version(&first))).await;
    f.patch("configmaps", "a", None, json!({"data": {"k": "0"}})).await.expect("valid");
    assert_eq!(next(&mut watch).await.0, "MODIFIED a");
    // The ring holds 8 MiB of previous states: 600 kB each push the watcher's place out of it.
    let mut last = 0;
    for index in 0..200 {
        let big = "x".repeat(600_000) + &index.to_string();
        let object = f.patch("configmaps", "a", None, json!({"data": {"k": big}})).await.expect("valid");
        last = version(&object);
    }
    let mut seen = version(&first) + 1;
    loop {
        match next(&mut watch).await {
            (word, revision) if word == "MODIFIED a" => {
                assert_eq!(revision, seen + 1, "an event is missing");
                seen = revision;
            }
            (word, _) => {
                assert_eq!(word, "ERROR 410");
                break;
            }
        }
    }
    assert!(seen < last);
    assert!(watch.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_quiet_watch_gets_bookmarks() {
    let f = fixture().await;
    let first = f.made("configmaps", config_map("a")).await;
    let options = WatchOptions { allow_bookmarks: true, ..from(version(&first)) };
    let mut watch = f.watch("configmaps", options).await;
    f.made(
        "leases",
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}}),
    )
    .await;
    let event = watch.next().await.expect("the watch goes on");
    // Another resource's revision: nothing of this one is missing up to there.
    let WatchEvent::Bookmark { revision, initial_events_end: false } = event else { panic!("{event:?}") };
    assert_eq!(revision, version(&first) + 1);
}

#[tokio::test]
async fn a_watch_does_not_outlive_the_registry_in_silence() {
    let f = fixture().await;
    let mut watch = f.watch("configmaps", WatchOptions::default()).await;
    drop(f);
    assert_eq!(next(&mut watch).await.0, "ERROR 500");
    assert!(watch.next().await.is_none());
}

#[tokio::test]
async fn a_body_that_cannot_be_read_stops_every_answer() {
    let f = fixture().await;
    let mut watch = f.watch("configmaps", WatchOptions::default()).await;
    let key = "/registry/core/configmaps/ns/broken".into();
    let write = Write::Put { key, value: "not JSON".into(), ttl: None };
    f.store
        .commit(Txn { compares: Vec::new(), writes: vec![write] })
        .await
        .expect("the store takes any bytes");
    assert_eq!(next(&mut watch).await.0, "ERROR 500");
    let status = f.get("configmaps", "broken").await.expect_err("nothing can be said of it");
    assert!(status.message.contains("/registry/core/configmaps/ns/broken cannot be read"), "{status}");
}
