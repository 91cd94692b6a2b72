//! `/openapi/v2`: the frame of a document, without paths and definitions, which are served by `/openapi/v3` alone.
//!
//! It is there for kubectl, which looks into it when a manifest names a kind that nobody serves: finding nothing, it goes
//! on and says so; finding no document, it stops with an error about the document.

use crate::{pipeline::text, response::Answer};
use http::{HeaderMap, StatusCode, header};
use serde_json::json;

const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
const TITLE: &str = "Kubernetes";
const VERSION: &str = "v1.36.0";

/// Answers in protobuf where that is asked for, else in JSON.
pub(crate) fn answer(headers: &HeaderMap) -> Answer {
    let accept = text(headers, &header::ACCEPT).unwrap_or_default();
    if accept.contains("proto-openapi.spec.v2") {
        return Answer::bytes(StatusCode::OK, PROTOBUF, protobuf());
    }
    let document = json!({
        "swagger": "2.0",
        "info": { "title": TITLE, "version": VERSION },
        "paths": {},
        "definitions": {},
    });
    Answer::bytes(StatusCode::OK, "application/json", document.to_string())
}

/// Document (swagger 1, info 2, paths 8) and Info (title 1, version 2) of gnostic's OpenAPIv2.proto.
fn protobuf() -> Vec<u8> {
    let field = |number: u8, content: &[u8]| {
        let mut out = vec![number << 3 | 2, content.len() as u8];
        out.extend_from_slice(content);
        out
    };
    let info = [field(1, TITLE.as_bytes()), field(2, VERSION.as_bytes())].concat();
    [field(1, b"2.0"), field(2, &info), field(8, &[])].concat()
}
