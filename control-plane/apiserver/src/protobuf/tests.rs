//! Bodies as Go's encoder writes them, byte by byte.

use super::*;
use serde_json::json;

/// A length-delimited field.
fn bytes(number: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2, u8::try_from(content.len()).unwrap()];
    out.extend(content);
    out
}

fn text(number: u8, content: &str) -> Vec<u8> {
    bytes(number, content.as_bytes())
}

fn int(number: u8, value: u8) -> Vec<u8> {
    vec![number << 3, value]
}

fn body(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let meta = [text(1, api_version), text(2, kind)].concat();
    [MAGIC.to_vec(), bytes(1, &meta), bytes(2, raw), text(3, ""), text(4, "")].concat()
}

#[test]
fn what_go_always_writes_is_dropped_and_what_was_set_is_kept() {
    let meta = [text(1, "settings"), text(2, ""), text(3, "ns"), int(7, 0), bytes(8, &[])].concat();
    let data = [text(1, "color"), text(2, "")].concat();
    let binary = [text(1, "b"), bytes(2, &[1, 2])].concat();
    let raw = [bytes(1, &meta), bytes(2, &data), bytes(3, &binary), int(4, 0)].concat();
    let body = body("v1", "ConfigMap", &raw);
    assert_eq!(type_meta(&body).unwrap().kind, "ConfigMap");
    assert_eq!(
        to_json(&body).unwrap(),
        json!({
            "metadata": {"name": "settings", "namespace": "ns"},
            "data": {"color": ""},
            "binaryData": {"b": "AQI="},
            "immutable": false,
        })
    );
}

#[test]
fn inlined_and_special_messages_become_their_json() {
    let quantity = text(1, "100m");
    let requests = bytes(2, &[text(1, "cpu"), bytes(2, &quantity)].concat());
    let port = [int(1, 0), int(2, 80), text(3, "")].concat();
    let probe = bytes(1, &bytes(2, &bytes(2, &port)));
    let container = [text(1, "c"), text(2, "i"), bytes(8, &requests), bytes(10, &probe)].concat();
    let volume = [text(1, "v"), bytes(2, &bytes(2, &[]))].concat();
    let spec = [bytes(1, &volume), bytes(2, &container), text(3, "")].concat();
    let pod = bytes(2, &spec);
    assert_eq!(
        to_json(&body("v1", "Pod", &pod)).unwrap(),
        json!({"spec": {
            "volumes": [{"name": "v", "emptyDir": {}}],
            "containers": [{
                "name": "c", "image": "i",
                "resources": {"requests": {"cpu": "100m"}},
                "livenessProbe": {"httpGet": {"port": 80}},
            }],
        }})
    );
}

#[test]
fn a_list_that_is_a_message_is_a_list() {
    let extra = bytes(5, &[text(1, "k"), bytes(2, &[text(1, "a"), text(1, "b")].concat())].concat());
    let review = bytes(2, &extra);
    let got = to_json(&body("authorization.k8s.io/v1", "SubjectAccessReview", &review)).unwrap();
    assert_eq!(got, json!({"spec": {"extra": {"k": ["a", "b"]}}}));
    let grace = to_json(&body("v1", "DeleteOptions", &int(1, 0))).unwrap();
    assert_eq!(grace, json!({"gracePeriodSeconds": 0}));
}

#[test]
fn what_cannot_be_read_is_refused_by_name() {
    assert_eq!(to_json(b"{}"), Err(ProtobufError::NoMagic));
    assert!(matches!(to_json(&body("v1", "Nothing", &[])), Err(ProtobufError::UnknownKind { .. })));
    let newer = [0xf8, 0x3f, 1];
    assert!(matches!(
        to_json(&body("v1", "Pod", &newer)),
        Err(ProtobufError::UnknownField { number: 1023, .. })
    ));
    assert!(matches!(to_json(&body("v1", "Pod", &[0x0a, 9])), Err(ProtobufError::Malformed(_))));
}
