//! The envelope of every body: four bytes, then a `runtime.Unknown` that says what the rest is.
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding>

use super::reader::{Payload, Reader};
use super::{Malformed, text};
use crate::decode::TypeMeta;

/// What a body begins with.
pub(super) const PREFIX: &[u8] = b"k8s\0";

pub(super) struct Envelope<'a> {
    pub(super) type_meta: TypeMeta,
    /// The object's message.
    pub(super) raw: &'a [u8],
}

impl<'a> Envelope<'a> {
    pub(super) fn read(body: &'a [u8]) -> Result<Envelope<'a>, Malformed> {
        if body.is_empty() {
            return Err(Malformed::EmptyData);
        }
        let body = body.strip_prefix(PREFIX).ok_or(Malformed::NoPrefix)?;
        if body.is_empty() {
            return Err(Malformed::EmptyBody);
        }
        let mut envelope = Envelope { type_meta: TypeMeta::default(), raw: &[] };
        let mut reader = Reader::new(body);
        while let Some((number, payload)) = reader.field()? {
            let Payload::Bytes(bytes) = payload else { continue };
            match number {
                1 => envelope.type_meta = type_meta(bytes)?,
                2 => envelope.raw = bytes,
                3 if !bytes.is_empty() => {
                    return Err(Malformed::ContentEncoding(String::from_utf8_lossy(bytes).into_owned()));
                }
                4 if !matches!(bytes, b"" | b"application/vnd.kubernetes.protobuf") => {
                    return Err(Malformed::ContentType(String::from_utf8_lossy(bytes).into_owned()));
                }
                _ => {}
            }
        }
        Ok(envelope)
    }
}

fn type_meta(bytes: &[u8]) -> Result<TypeMeta, Malformed> {
    let mut found = TypeMeta::default();
    let mut reader = Reader::new(bytes);
    while let Some((number, payload)) = reader.field()? {
        match (number, payload) {
            (1, Payload::Bytes(bytes)) => found.api_version = text(bytes, || "apiVersion".to_owned())?,
            (2, Payload::Bytes(bytes)) => found.kind = text(bytes, || "kind".to_owned())?,
            _ => {}
        }
    }
    Ok(found)
}
