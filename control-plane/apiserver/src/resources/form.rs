//! The forms of one object: its own bytes, a PartialObjectMetadata cut out of them, or the same as YAML.

use super::protobuf;
use crate::{
    request::accept::{Accepted, Encoding, MetaVersion},
    response::{Answer, yaml},
};
use bytes::{BufMut, BytesMut};
use http::StatusCode;
use keelson_registry::{entry::Entry, kind::Kind, status::Status};
use keelson_store::Revision;
use serde::Deserialize;
use serde_json::value::RawValue;

/// An object's JSON at the revision that wrote it.
pub(crate) fn json(entry: &Entry) -> BytesMut {
    let mut out = BytesMut::with_capacity(entry.json_len_max());
    entry.write_json(entry.mod_revision(), &mut out);
    out
}

/// Answers with one stored object.
pub(crate) fn object(
    code: StatusCode,
    kind: &Kind,
    entry: &Entry,
    accepted: Accepted,
) -> Result<Answer, Status> {
    if accepted.encoding == Encoding::Protobuf {
        let body = protobuf::body(kind, entry, entry.mod_revision())?;
        return Ok(Answer::bytes(code, accepted.encoding.media_type(), body));
    }
    if accepted.encoding == Encoding::Json {
        return Ok(Answer::json(code, json(entry), accepted));
    }
    Answer::object(code, &entry.to_value(), accepted)
}

/// Answers with bytes of JSON that were made here, in the encoding asked for.
pub(crate) fn rendered(code: StatusCode, bytes: BytesMut, accepted: Accepted) -> Result<Answer, Status> {
    if accepted.encoding == Encoding::Json {
        return Ok(Answer::json(code, bytes, accepted));
    }
    let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(Status::internal)?;
    match accepted.encoding {
        Encoding::Json | Encoding::Protobuf => Answer::object(code, &value, accepted),
        Encoding::Yaml => Ok(Answer::bytes(code, "application/yaml", yaml::encode(&value)?)),
    }
}

#[derive(Deserialize)]
struct OnlyMetadata<'a> {
    #[serde(borrow)]
    metadata: &'a RawValue,
}

/// Writes the PartialObjectMetadata of an object, its metadata copied unparsed.
pub(crate) fn write_metadata(
    entry: &Entry,
    revision: Revision,
    version: MetaVersion,
    out: &mut BytesMut,
) -> Result<(), Status> {
    let mut whole = BytesMut::with_capacity(entry.json_len_max());
    entry.write_json(revision, &mut whole);
    write_metadata_of(&whole, version, out)
}

/// The same of an object that is at hand as JSON.
pub(crate) fn write_metadata_of(
    object: &[u8],
    version: MetaVersion,
    out: &mut BytesMut,
) -> Result<(), Status> {
    let only: OnlyMetadata<'_> = serde_json::from_slice(object).map_err(Status::internal)?;
    out.put_slice(br#"{"kind":"PartialObjectMetadata","apiVersion":""#);
    out.put_slice(version.api_version().as_bytes());
    out.put_slice(br#"","metadata":"#);
    out.put_slice(only.metadata.get().as_bytes());
    out.put_u8(b'}');
    Ok(())
}
