//! `/openapi/v2`: what the v3 documents say, in the form of v2; made when it is first asked for, kept compressed.
//!
//! kubectl reads it as protobuf: before 1.27 for everything that it knows of kinds, since then where a server has no v3, and when a
//! manifest names a kind that nobody serves.

use crate::{
    discovery::etag,
    pipeline::text,
    request::accept,
    response::{Answer, gunzip, gzip},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use keelson_registry::status::Status;
use keelson_schema::openapi;

/// As upstream answers, also to those who ask with the older `v2@v1.0`.
const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
const JSON: &str = "application/json";

/// The document in both encodings.
pub(crate) struct OpenApiV2 {
    json: Packed,
    protobuf: Packed,
}

struct Packed {
    media_type: &'static str,
    bytes: Bytes,
    etag: HeaderValue,
}

impl OpenApiV2 {
    /// Made of all v3 documents, which are compressed.
    pub(crate) fn make(v3: &[Bytes]) -> Result<Self, Status> {
        // One document at a time: together they are several megabytes.
        let mut broken = None;
        let documents =
            v3.iter().map_while(|packed| gunzip(packed).map_err(|error| broken = Some(error)).ok());
        let made = openapi::v2_document(documents).map_err(Status::internal)?;
        if let Some(error) = broken {
            return Err(Status::internal(error));
        }
        Ok(Self { json: Packed::new(JSON, &made.json)?, protobuf: Packed::new(PROTOBUF, &made.protobuf)? })
    }

    /// In protobuf where that is asked for, else in JSON.
    pub(crate) fn answer(&self, headers: &HeaderMap) -> Result<Answer, Status> {
        let asked = text(headers, &header::ACCEPT).unwrap_or_default();
        let packed = if asked.contains("proto-openapi.spec.v2") { &self.protobuf } else { &self.json };
        packed.answer(headers)
    }
}

impl Packed {
    fn new(media_type: &'static str, bytes: &[u8]) -> Result<Self, Status> {
        let packed = gzip(bytes).ok_or_else(|| Status::internal("compressing an OpenAPI document"))?;
        Ok(Self { media_type, bytes: packed, etag: etag(bytes) })
    }

    fn answer(&self, headers: &HeaderMap) -> Result<Answer, Status> {
        let known = text(headers, &header::IF_NONE_MATCH)
            .is_some_and(|known| known.as_bytes() == self.etag.as_bytes());
        let mut answer = if known {
            Answer::bytes(StatusCode::NOT_MODIFIED, self.media_type, Bytes::new())
        } else if accept::accepts_gzip(text(headers, &header::ACCEPT_ENCODING)) {
            let mut answer = Answer::bytes(StatusCode::OK, self.media_type, self.bytes.clone());
            answer.header(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            answer
        } else {
            Answer::bytes(StatusCode::OK, self.media_type, gunzip(&self.bytes).map_err(Status::internal)?)
        };
        answer.header(header::ETAG, self.etag.clone());
        answer.header(header::VARY, HeaderValue::from_static("Accept-Encoding, Accept"));
        Ok(answer)
    }
}
