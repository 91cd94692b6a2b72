//! Answers in protobuf say what those in JSON say: every kind, lists, watches, metadata alone, errors.

use super::*;
use keelson_schema::{ContentType, FieldValidation, Schemas};
use serde_json::json;

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
pub(super) const ACCEPT: [(&str, &str); 1] = [("accept", PROTOBUF)];

/// Reads a body as the kind that it says.
pub(super) fn object(body: &[u8]) -> Value {
    let meta = keelson_schema::peek_type_meta(body, ContentType::Protobuf, "object").expect("an envelope");
    let (group, version) = meta.api_version.split_once('/').unwrap_or(("", &meta.api_version));
    let ty = Schemas::builtin().kind(group, version, &meta.kind);
    let ty = ty.unwrap_or_else(|| panic!("{} {} is not built in", meta.api_version, meta.kind));
    keelson_schema::decode(body, ContentType::Protobuf, ty, FieldValidation::Strict)
        .expect("a good body")
        .value
}

/// A message has what JSON has, but for zero values: Go's structures hold them by value, and a message cannot tell that they are set.
#[track_caller]
pub(super) fn assert_same(message: &Value, json: &Value) {
    let is_zero = |value: &Value| match value {
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::Bool(flag) => !flag,
        Value::Null => true,
    };
    match (message, json) {
        (Value::Object(ours), Value::Object(theirs)) => {
            for (key, value) in theirs {
                match ours.get(key) {
                    Some(own) => assert_same(own, value),
                    // Of an object within another (a claim's template): only a body's envelope says what it is.
                    None if matches!(key.as_str(), "apiVersion" | "kind") => {}
                    // Empty once its own zero values are left out.
                    None if value.is_object() => assert_same(&json!({}), value),
                    None => assert!(is_zero(value), "{key} of {json} is not in {message}"),
                }
            }
            assert!(ours.keys().all(|key| theirs.contains_key(key)), "{message} has more than {json}");
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            assert_eq!(ours.len(), theirs.len(), "{message} is not {json}");
            ours.iter().zip(theirs).for_each(|(own, value)| assert_same(own, value));
        }
        _ => assert_eq!(message, json),
    }
}

/// The fields of a message that are bytes.
fn fields(mut message: &[u8]) -> Vec<(u8, &[u8])> {
    let mut found = Vec::new();
    while let Some((tag, rest)) = message.split_first() {
        let (len, rest) = varint(rest);
        assert_eq!(tag & 7, 2, "bytes");
        found.push((tag >> 3, &rest[..len]));
        message = &rest[len..];
    }
    found
}

fn varint(bytes: &[u8]) -> (usize, &[u8]) {
    let end = bytes.iter().position(|byte| byte & 0x80 == 0).expect("it ends");
    let value = bytes[..=end].iter().rev().fold(0, |value, byte| value << 7 | usize::from(byte & 0x7f));
    (value, &bytes[end + 1..])
}

/// The message in a body's envelope.
fn raw(body: &[u8]) -> &[u8] {
    let unknown = fields(body.strip_prefix(b"k8s\0").expect("the prefix"));
    unknown.iter().find(|(number, _)| *number == 2).expect("a message").1
}

#[tokio::test]
async fn an_object_and_its_writes_come_as_messages() {
    let bed = Bed::new().await;
    let headers = [ACCEPT[0], ("content-type", "application/json")];
    let made = bed.send("POST", MAPS, &headers, r#"{"metadata":{"name":"a"},"data":{"k":"v"}}"#).await;
    assert_eq!((made.code.as_u16(), made.headers["content-type"].to_str().unwrap()), (201, PROTOBUF));
    let uri = format!("{MAPS}/a");
    let json = bed.get(&uri).await.json();
    assert_eq!(object(&made.bytes), json);
    assert_eq!(object(&bed.send("GET", &uri, &ACCEPT, "").await.bytes), json);
    let merge = [ACCEPT[0], ("content-type", "application/merge-patch+json")];
    let patched = bed.send("PATCH", &uri, &merge, r#"{"data":{"k":"w"}}"#).await;
    assert_eq!(object(&patched.bytes), bed.get(&uri).await.json());
    let deleted = object(&bed.send("DELETE", &uri, &ACCEPT, "").await.bytes);
    assert_eq!((deleted["kind"].as_str(), deleted["status"].as_str()), (Some("Status"), Some("Success")));
    let missing = bed.send("GET", &uri, &ACCEPT, "").await;
    let status = object(&missing.bytes);
    assert_eq!((missing.code.as_u16(), status["code"].as_i64()), (404, Some(404)));
    assert_eq!(status["details"], json!({"name": "a", "kind": "configmaps"}));
}

#[tokio::test]
async fn a_list_comes_as_one_message_of_any_size() {
    let bed = Bed::new().await;
    for name in ["a", "b"] {
        bed.config_map(name).await;
    }
    let data = "x".repeat(100_000);
    for name in ["c", "d"] {
        let body = json!({"metadata": {"name": name}, "data": {"k": data}});
        assert_eq!(bed.send("POST", MAPS, &[], &body.to_string()).await.code, 201);
    }
    let json = bed.get(MAPS).await.json();
    let got = bed.send("GET", MAPS, &ACCEPT, "").await;
    let parts = fields(raw(&got.bytes));
    let revision = json["metadata"]["resourceVersion"].as_str().unwrap();
    assert_eq!((parts[0].0, fields(parts[0].1)), (1, vec![(2, revision.as_bytes())]));
    let items = json["items"].as_array().unwrap();
    assert_eq!(parts.len(), 1 + items.len());
    for ((number, message), item) in parts[1..].iter().zip(items) {
        let body = keelson_schema::encode::envelope("v1", "ConfigMap", message);
        assert_eq!((*number, object(&body)), (2, item.clone()));
    }
    let packed = bed.send("GET", MAPS, &[ACCEPT[0], ("accept-encoding", "gzip")], "").await;
    assert_eq!(packed.headers["content-encoding"], "gzip");
    assert_eq!(crate::response::gunzip(&packed.bytes).unwrap(), got.bytes);
    let partial = format!("{PROTOBUF};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1");
    let got = bed.send("GET", MAPS, &[("accept", &partial)], "").await;
    let parts = fields(raw(&got.bytes));
    // PartialObjectMetadata { metadata = 1 }, as a ConfigMap without data has it.
    let first = object(&keelson_schema::encode::envelope("v1", "ConfigMap", parts[1].1));
    assert_eq!((&first["metadata"], first.get("data")), (&items[0]["metadata"], None));
}

#[tokio::test]
async fn a_watch_comes_in_frames() {
    let bed = Bed::new().await;
    let a = bed.config_map("a").await;
    let revision = a["metadata"]["resourceVersion"].as_str().unwrap();
    bed.send("DELETE", &format!("{MAPS}/a"), &[], "").await;
    let b = bed.config_map("b").await;
    let uri = format!("{MAPS}?watch=true&resourceVersion={revision}&timeoutSeconds=1");
    let accept = [("accept", "application/vnd.kubernetes.protobuf;stream=watch,application/json")];
    let got = bed.send("GET", &uri, &accept, "").await;
    assert_eq!(got.headers["content-type"], "application/vnd.kubernetes.protobuf;stream=watch");
    let (mut rest, mut events) = (got.bytes.as_slice(), Vec::new());
    while !rest.is_empty() {
        let len = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
        let event = fields(&rest[4..4 + len]);
        events.push((String::from_utf8_lossy(event[0].1).into_owned(), object(fields(event[1].1)[0].1)));
        rest = &rest[4 + len..];
    }
    assert_eq!((events[0].0.as_str(), &events[0].1["data"]), ("DELETED", &a["data"]));
    // The deletion's revision, not that of the last state.
    let deleted: u64 = events[0].1["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    assert_eq!(deleted, revision.parse::<u64>().unwrap() + 1);
    assert_eq!(events[1], ("ADDED".to_owned(), b));
}

#[tokio::test]
async fn a_form_without_messages_is_passed_over_or_refused() {
    let bed = Bed::new().await;
    bed.config_map("a").await;
    let table = format!("{PROTOBUF};as=Table;g=meta.k8s.io;v=v1");
    let got = bed.send("GET", MAPS, &[("accept", &table)], "").await;
    assert_eq!(got.code, 406);
    let either = format!("{table},application/json;as=Table;g=meta.k8s.io;v=v1");
    let got = bed.send("GET", MAPS, &[("accept", &either)], "").await;
    assert_eq!(got.json()["kind"], "Table");
    assert_eq!(bed.send("GET", "/version", &ACCEPT, "").await.code, 406);
}

/// What a review is told is told in the same encoding.
#[tokio::test]
async fn a_review_comes_as_a_message() {
    let bed = Bed::new().await;
    let body = r#"{"spec":{"resourceAttributes":{"verb":"get","resource":"pods"}}}"#;
    let uri = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let got = bed.send("POST", uri, &ACCEPT, body).await;
    assert_eq!(object(&got.bytes)["status"]["allowed"], true);
}
