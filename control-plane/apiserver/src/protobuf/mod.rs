//! `application/vnd.kubernetes.protobuf` bodies, turned into the JSON that the decoder reads.
//!
//! kubectl's typed commands (`create namespace`, `auth can-i`) send nothing else. Only requests are read; answers are
//! JSON, which every such client accepts too. Field numbers come from `facts/protobuf.tsv`.
//!
//! Protobuf has no absence for plain values: Go's encoder writes "" and 0 for fields that are not pointers. So zero
//! values are dropped, except where Go has a pointer and zero says something (`zero.rs`).

mod message;
mod special;
mod table;
mod wire;
mod zero;

use keelson_schema::TypeMeta;
use serde_json::Value;
use wire::{Field, Reader};

/// What every body begins with.
const MAGIC: &[u8] = b"k8s\0";

/// Why a body cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProtobufError {
    /// Another format under this media type.
    #[error("the body is not Kubernetes protobuf: it does not begin with the four bytes k8s\\0")]
    NoMagic,
    /// Cut off, or not protobuf.
    #[error("the protobuf body is malformed: {0}")]
    Malformed(&'static str),
    /// A message that the table does not have.
    #[error("no kind {kind:?} is registered for version {api_version:?} in protobuf, send JSON")]
    UnknownKind {
        /// As in the body.
        api_version: String,
        /// As in the body.
        kind: String,
    },
    /// A field that the table does not have.
    #[error("protobuf field {number} of {message} is not known to this server, send JSON to have it named")]
    UnknownField {
        /// The message.
        message: &'static str,
        /// The field's number.
        number: u64,
    },
    /// Text that is none, JSON that is none.
    #[error("protobuf field {field:?} of {message} cannot be read: {why}")]
    Field {
        /// The message.
        message: &'static str,
        /// The field's JSON key.
        field: &'static str,
        /// Why.
        why: String,
    },
}

/// The envelope (`runtime.Unknown`).
struct Envelope<'a> {
    meta: TypeMeta,
    raw: &'a [u8],
}

fn envelope(body: &[u8]) -> Result<Envelope<'_>, ProtobufError> {
    let body = body.strip_prefix(MAGIC).ok_or(ProtobufError::NoMagic)?;
    let mut envelope = Envelope { meta: TypeMeta::default(), raw: &[] };
    let mut reader = Reader::new(body);
    while let Some((number, field)) = reader.next()? {
        match (number, field) {
            (1, Field::Bytes(meta)) => {
                let mut reader = Reader::new(meta);
                while let Some((number, field)) = reader.next()? {
                    let Field::Bytes(bytes) = field else { continue };
                    let text = String::from_utf8_lossy(bytes).into_owned();
                    match number {
                        1 => envelope.meta.api_version = text,
                        2 => envelope.meta.kind = text,
                        _ => {}
                    }
                }
            }
            (2, Field::Bytes(raw)) => envelope.raw = raw,
            (3, Field::Bytes([_, ..])) => {
                return Err(ProtobufError::Malformed("encoded content is not supported"));
            }
            _ => {}
        }
    }
    Ok(envelope)
}

/// What a body says it is.
pub(crate) fn type_meta(body: &[u8]) -> Result<TypeMeta, ProtobufError> {
    Ok(envelope(body)?.meta)
}

/// The object as JSON, without apiVersion and kind.
pub(crate) fn to_json(body: &[u8]) -> Result<Value, ProtobufError> {
    let Envelope { meta, raw } = envelope(body)?;
    let name = message_name(&meta);
    let unknown =
        || ProtobufError::UnknownKind { api_version: meta.api_version.clone(), kind: meta.kind.clone() };
    let message = table::message(&name)
        .or_else(|| table::message(&format!("meta.v1.{}", meta.kind)))
        .ok_or_else(unknown)?;
    message::read(message, raw, 0)
}

/// `apps/v1` Deployment is `apps.v1.Deployment`, `rbac.authorization.k8s.io/v1` Role is `rbac.v1.Role`.
fn message_name(meta: &TypeMeta) -> String {
    let (package, version) = match meta.api_version.split_once('/') {
        Some((group, version)) => (group.split('.').next().unwrap_or_default(), version),
        None => ("core", meta.api_version.as_str()),
    };
    format!("{package}.{version}.{}", meta.kind)
}

#[cfg(test)]
mod tests;
