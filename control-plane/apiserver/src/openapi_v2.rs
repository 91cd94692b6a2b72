//! `/openapi/v2`: the definitions of custom kinds, and of the rest only the frame; built-in kinds are served by
//! `/openapi/v3` alone. In protobuf there is the frame alone.
//!
//! It is there for kubectl, which looks into it when a manifest names a kind that nobody serves: finding nothing, it goes
//! on and says so; finding no document, it stops with an error about the document. Older clients find custom kinds in it.

use crate::{pipeline::text, response::Answer};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use keelson_registry::table::KindTable;
use keelson_schema::openapi;
use serde_json::{Map, Value, json};
use std::sync::{Arc, OnceLock};

const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
const TITLE: &str = "Kubernetes";
const VERSION: &str = "v1.36.0";

/// The document of one kind table, made when it is first asked for.
pub(crate) struct OpenApiV2 {
    table: Arc<KindTable>,
    document: OnceLock<Bytes>,
}

impl OpenApiV2 {
    pub(crate) fn new(table: &Arc<KindTable>) -> Self {
        Self { table: table.clone(), document: OnceLock::new() }
    }

    /// Answers in protobuf where that is asked for, else in JSON.
    pub(crate) fn answer(&self, headers: &HeaderMap) -> Answer {
        let accept = text(headers, &header::ACCEPT).unwrap_or_default();
        if accept.contains("proto-openapi.spec.v2") {
            return Answer::bytes(StatusCode::OK, PROTOBUF, protobuf());
        }
        let document = self.document.get_or_init(|| document(&self.table));
        Answer::bytes(StatusCode::OK, "application/json", document.clone())
    }
}

fn document(table: &KindTable) -> Bytes {
    let definitions: Map<String, Value> = table
        .iter()
        .filter_map(|kind| {
            let custom = kind.custom.as_ref()?;
            let name = openapi::definition_name(&kind.group, &kind.version, &kind.kind);
            Some((name, openapi::v2_definition(custom.schema().openapi())))
        })
        .collect();
    let document = json!({
        "swagger": "2.0",
        "info": { "title": TITLE, "version": VERSION },
        "paths": {},
        "definitions": definitions,
    });
    Bytes::from(document.to_string())
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
