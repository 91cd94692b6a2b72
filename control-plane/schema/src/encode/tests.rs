//! Frames, and what cannot be encoded. That objects are what they were is tested where they are decoded.

use serde_json::json;

use super::*;

#[test]
fn a_list_is_its_parts() {
    let items = [
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b"}}),
    ];
    let list = json!({"apiVersion": "v1", "kind": "ConfigMapList",
        "metadata": {"resourceVersion": "7", "remainingItemCount": 3}, "items": items});
    let body = object(&list).expect("a built-in kind");
    let ty = type_of("", "v1", "ConfigMap").expect("it is built in");
    let messages: Vec<Vec<u8>> = items.iter().map(|item| message(ty, item).expect("canonical")).collect();
    let frame = ListFrame::new("v1", "ConfigMapList", &list["metadata"], messages.iter().map(Vec::len))
        .expect("a ListMeta");
    let mut parts = frame.head;
    for message in messages {
        ListFrame::put_item_head(message.len(), &mut parts);
        parts.extend(message);
    }
    parts.extend_from_slice(ListFrame::TAIL);
    assert_eq!(parts, body);
}

#[test]
fn a_watch_event_is_framed_with_its_length() {
    let out = watch_event("ADDED", &[9; 200]);
    let len = u32::from_be_bytes(out[..4].try_into().expect("four bytes")) as usize;
    assert_eq!(out.len(), 4 + len);
    assert_eq!(&out[4..11], b"\x0a\x05ADDED");
    // object, of two bytes of length; raw, of two bytes of length.
    assert_eq!(&out[11..17], [0x12, 0xcb, 0x01, 0x0a, 0xc8, 0x01]);
    assert_eq!(out[17..], [9; 200]);
}

#[test]
fn what_has_no_message_is_named() {
    let thing = json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "a"}});
    let error = object(&thing).expect_err("nobody knows it");
    assert_eq!(error.to_string(), "Thing of example.com/v1 has no protobuf encoding");
    let partial =
        json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": {"name": "a"}});
    assert!(object(&partial).expect("metadata has").ends_with(b"\x0a\x03\x0a\x01a\x1a\x00\x22\x00"));
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "spec": {"priority": "high"}});
    let error = object(&pod).expect_err("a text is no number");
    assert_eq!(error.to_string(), "io.k8s.api.core.v1.PodSpec.priority is not what its type says");
}
