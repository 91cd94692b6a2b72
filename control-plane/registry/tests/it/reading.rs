//! Lists and gets: selectors, limits, continue tokens, past revisions.

use crate::fixture::{config_map, fixture, labelled, on, pod, version};
use keelson_registry::{ListOptions, options::PatchType};
use serde_json::{Value, json};

fn limited(limit: u64, token: &str) -> ListOptions {
    ListOptions { limit, continue_token: token.to_owned(), ..ListOptions::default() }
}

#[tokio::test]
async fn a_list_in_parts_is_one_state() {
    let f = fixture().await;
    for name in ["a", "b", "c", "d", "e"] {
        f.made("configmaps", config_map(name)).await;
    }
    let first = f.list("configmaps", limited(2, "")).await.expect("the list can be made");
    assert_eq!((first.items.len(), first.remaining), (2, Some(3)));
    f.made("configmaps", config_map("bb")).await;
    f.delete("configmaps", "d", Default::default()).await.expect("it is there");
    f.patch("configmaps", "e", None, json!({"data": {"k": "new"}})).await.expect("it is there");
    let second =
        f.list("configmaps", limited(2, &first.continue_token)).await.expect("the ring reaches back");
    assert_eq!(second.revision, first.revision);
    let third =
        f.list("configmaps", limited(2, &second.continue_token)).await.expect("the ring reaches back");
    let names: Vec<&str> = second.items.iter().chain(&third.items).map(|entry| entry.head.name()).collect();
    assert_eq!(names, ["c", "d", "e"]);
    assert_eq!(third.items[0].to_value()["data"]["k"], "v");
    assert_eq!((third.continue_token.as_str(), third.remaining), ("", None));
}

#[tokio::test]
async fn a_token_that_the_ring_has_lost_says_so_and_offers_to_go_on() {
    let f = fixture().await;
    for name in ["a", "b", "c"] {
        f.made("configmaps", config_map(name)).await;
    }
    let first = f.list("configmaps", limited(1, "")).await.expect("the list can be made");
    f.made("configmaps", config_map("bb")).await;
    // A registry that starts anew has no history.
    let f = on(f.store.clone()).await;
    let status = f.list("configmaps", limited(1, &first.continue_token)).await.expect_err("it is too old");
    assert_eq!(status.code, 410);
    let token = status.continue_token.expect("it offers a token");
    let rest = f.list("configmaps", limited(0, &token)).await.expect("an inconsistent list");
    assert_eq!(rest.items.iter().map(|entry| entry.head.name()).collect::<Vec<_>>(), ["b", "bb", "c"]);
}

#[tokio::test]
async fn selectors_choose() {
    let f = fixture().await;
    for (name, value) in [("a", "1"), ("b", "2"), ("c", "2")] {
        f.made("configmaps", labelled(name, value)).await;
    }
    let rows = [
        ("l=2", "", vec!["b", "c"]),
        ("l in (1,2),l!=1", "", vec!["b", "c"]),
        ("!l", "", vec![]),
        ("", "metadata.name=b", vec!["b"]),
        ("", "metadata.name!=b", vec!["a", "c"]),
        ("l=1", "metadata.name=b", vec![]),
        ("", "metadata.namespace=other", vec![]),
    ];
    for (labels, fields, expected) in rows {
        let options = ListOptions {
            label_selector: labels.to_owned(),
            field_selector: fields.to_owned(),
            ..ListOptions::default()
        };
        assert_eq!(f.names("configmaps", options).await, expected, "{labels} {fields}");
    }
}

#[tokio::test]
async fn fields_that_a_kind_declares_can_be_selected_by() {
    let f = fixture().await;
    for name in ["a", "b"] {
        f.made("pods", pod(name)).await;
    }
    f.patch("pods", "b", Some("status"), json!({"status": {"phase": "Running"}})).await.expect("valid");
    let by = |field: &str| ListOptions { field_selector: field.to_owned(), ..ListOptions::default() };
    assert_eq!(f.names("pods", by("status.phase=Running")).await, ["b"]);
    assert_eq!(f.names("pods", by("spec.nodeName=")).await, ["a", "b"]);
    assert_eq!(f.names("pods", by("spec.hostNetwork=false,status.phase!=Running")).await, ["a"]);
    let status = f.list("pods", by("spec.foo=x")).await.expect_err("pods have no such field");
    assert_eq!((status.code, status.message.as_str()), (400, "field label not supported: spec.foo"));
    let status = f.list("configmaps", by("data=x")).await.expect_err("configmaps have none");
    assert!(status.message.starts_with("\"data\" is not a known field selector"), "{status}");
}

#[tokio::test]
async fn revisions_are_understood_as_asked() {
    let f = fixture().await;
    let a = f.made("configmaps", config_map("a")).await;
    f.made("configmaps", config_map("b")).await;
    let at = |version: &str, matched: &str| ListOptions {
        resource_version: version.to_owned(),
        resource_version_match: matched.to_owned(),
        ..ListOptions::default()
    };
    let then = version(&a).to_string();
    assert_eq!(f.names("configmaps", at(&then, "Exact")).await, ["a"]);
    assert_eq!(f.names("configmaps", at(&then, "NotOlderThan")).await, ["a", "b"]);
    assert_eq!(f.names("configmaps", at("0", "")).await, ["a", "b"]);
    for (version, matched, code) in
        [("", "Exact", 422), ("0", "Exact", 422), ("1", "Almost", 422), ("x", "", 400)]
    {
        let status = f.list("configmaps", at(version, matched)).await.expect_err("they do not go together");
        assert_eq!(status.code, code, "{version:?} {matched:?}: {status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_revision_that_is_not_reached_in_time_is_a_timeout() {
    let f = fixture().await;
    let kind = f.kind("configmaps");
    let status = f.registry.get(&kind, Some("ns"), "a", Some("999")).await.expect_err("it is in the future");
    assert_eq!(status.code, 504);
    assert!(status.message.starts_with("Timeout: Too large resource version: 999"), "{status}");
}

#[tokio::test]
async fn both_events_show_the_same_object() {
    let f = fixture().await;
    let view = f.registry.table().by_resource("events.k8s.io", "v1", "events").expect("served").clone();
    let body = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"}, "type": "Normal",
        "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "c", "reportingInstance": "i",
        "action": "a", "reason": "r", "note": "text",
        "regarding": {"kind": "Pod", "name": "p", "namespace": "ns", "uid": "u"},
    });
    let made =
        f.registry.create(&f.context, &view, Some("ns"), None, None, body.clone()).await.expect("valid");
    assert_eq!(made.body.to_value()["note"], "text");
    let core = f.get("events", "e").await.expect("it is there");
    assert_eq!((&core["message"], &core["involvedObject"]["name"]), (&json!("text"), &json!("p")));
    let options = ListOptions { field_selector: "regarding.uid=u".to_owned(), ..ListOptions::default() };
    let list = f.registry.list(&view, Some("ns"), &options).await.expect("the field is known");
    assert_eq!(list.items.len(), 1);
    assert_eq!(list.items[0].to_value()["apiVersion"], "events.k8s.io/v1");
    let patch = json!({"note": "other"}).to_string().into();
    let stored = f.registry.patch(&f.context, &view, Some("ns"), "e", None, PatchType::Merge, patch).await;
    assert_eq!(stored.expect("valid").body.to_value()["note"], "other");
    assert_eq!(f.get("events", "e").await.expect("it is there")["message"], "other");
    let mut wrong = body;
    wrong["action"] = Value::Null;
    let status = f.registry.create(&f.context, &view, Some("ns"), None, None, wrong).await;
    assert_eq!(status.map(|_| ()).map_err(|status| status.code), Err(422));
}

#[tokio::test]
async fn what_was_stored_is_there_after_a_restart() {
    let f = fixture().await;
    let made = f.made("configmaps", config_map("a")).await;
    let again = on(f.store.clone()).await;
    assert_eq!(again.get("configmaps", "a").await, Ok(made));
}
