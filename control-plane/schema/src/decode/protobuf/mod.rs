//! `application/vnd.kubernetes.protobuf`: what client-go's typed clients, and with them half of kubectl's commands, send.
//!
//! Bytes become the JSON value that the same client would have sent as JSON, guided by the schema and a table of field
//! numbers. From there on a body is decoded like any other. The way back is `crate::encode`.

mod either;
mod envelope;
mod leaf;
mod message;
mod reader;
mod table;

use serde::de::DeserializeSeed;
use serde_json::Value;

use super::seed::Seed;
use super::{Cx, DEPTH_MAX, DecodeError, Decoded, TypeMeta, is_shallow, refused, summary};
use crate::types::TypeRef;
use envelope::Envelope;
pub(crate) use table::{Form, Target, Wire};

/// Why bytes are not the message that they should be. The first ones are upstream's texts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Malformed {
    #[error("empty data")]
    EmptyData,
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    NoPrefix,
    #[error("empty body")]
    EmptyBody,
    #[error("unexpected EOF")]
    UnexpectedEnd,
    #[error("proto: integer overflow")]
    Overflow,
    #[error("proto: illegal tag {0}")]
    IllegalTag(u64),
    #[error("proto: illegal wireType {0}")]
    IllegalWireType(u64),
    #[error("proto: wrong wireType = {wire_type} for field {field}")]
    WrongWireType { wire_type: u8, field: String },
    #[error("the content encoding {0:?} of a protobuf body is not supported, send the object as it is")]
    ContentEncoding(String),
    #[error(
        "a protobuf body with content of type {0:?} is not supported, send it under its own content type"
    )]
    ContentType(String),
    #[error("proto: field {0} contains invalid UTF-8")]
    Utf8(String),
    #[error("field {field}: an IntOrString of type {kind} is neither an integer (0) nor a string (1)")]
    IntOrString { kind: u64, field: String },
    #[error("field {0}: the year of a time must be in 0..9999")]
    Time(String),
    #[error("field {field}: {message}")]
    Json { field: String, message: String },
    #[error("field {0}: a raw extension that is itself protobuf is not supported, send it as JSON")]
    NestedProtobuf(String),
    #[error("exceeded max depth")]
    TooDeep,
}

/// What a body says it is.
pub(super) fn type_meta(body: &[u8], expected: &str) -> Result<TypeMeta, DecodeError> {
    Envelope::read(body).map(|e| e.type_meta).map_err(|e| unrecognized(body, expected, &e))
}

/// Decodes a body as `ty`.
pub(super) fn decode(body: &[u8], ty: TypeRef<'_>, cx: Cx) -> Result<Decoded, DecodeError> {
    let envelope = Envelope::read(body).map_err(|e| unrecognized(body, ty.kind(), &e))?;
    let mut object = message::object(&cx, ty, envelope.raw).map_err(|e| refused(ty, e.to_string()))?;
    let TypeMeta { api_version, kind } = envelope.type_meta;
    for (name, value) in [("apiVersion", api_version), ("kind", kind)] {
        if !value.is_empty() && ty.property(name).is_some() {
            object.insert(name.to_owned(), value.into());
        }
    }
    let value = Value::Object(object);
    if !is_shallow(&value, DEPTH_MAX) {
        return Err(refused(ty, Malformed::TooDeep.to_string()));
    }
    let read = Seed::root(&cx, ty).deserialize(value).map_err(|e| refused(ty, e.to_string()));
    cx.finish(ty, read)
}

fn unrecognized(body: &[u8], kind: &str, error: &Malformed) -> DecodeError {
    DecodeError::Unrecognized { kind: kind.to_owned(), message: error.to_string(), summary: summary(body) }
}

/// A text field; Go's decoder lets other bytes pass, which JSON then could not carry.
fn text(bytes: &[u8], field: impl FnOnce() -> String) -> Result<String, Malformed> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| Malformed::Utf8(field()))
}

#[cfg(test)]
mod tests;
