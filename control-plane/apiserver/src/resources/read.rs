//! GET and LIST: entries copied to the wire in the form asked for.

use super::{
    Call, form, protobuf,
    stream::{self, ListHead, ListMeta},
    table::{self, Frame, IncludeObject},
};
use crate::{
    request::{
        accept::{Accepted, Encoding, Form, MetaVersion},
        options,
    },
    response::Answer,
};
use bytes::BytesMut;
use http::{HeaderMap, StatusCode};
use keelson_registry::{entry::Entry, kind::Kind, status::Status};
use serde_json::Value;
use std::sync::Arc;

/// GET of one object or its subresource.
pub(crate) async fn get(call: &Call<'_>, kind: &Arc<Kind>, headers: &HeaderMap) -> Result<Answer, Status> {
    let accepted = call.accepted(kind, headers, &[Form::Table, Form::Metadata])?;
    let registry = &call.inner().registry;
    if call.info.subresource == "scale" {
        let scale = registry.get_scale(kind, call.namespace(kind), &call.info.name).await?;
        return scaled(call, &scale, accepted);
    }
    let version = call.query.non_empty("resourceVersion");
    let entry = registry.get(kind, call.namespace(kind), &call.info.name, version).await?;
    match accepted.form {
        Form::Metadata => {
            let mut out = BytesMut::new();
            form::write_metadata(&entry, entry.mod_revision(), accepted.meta, &mut out)?;
            form::rendered(StatusCode::OK, out, accepted)
        }
        Form::Table => {
            let include = IncludeObject::parse(call.query)?;
            let meta = ListMeta { resource_version: entry.mod_revision().to_string(), ..ListMeta::default() };
            let frame = Frame { include, version: accepted.meta, with_columns: true };
            let bytes = table::render(kind, &meta, &[entry], frame, call.now)?;
            form::rendered(StatusCode::OK, bytes, accepted)
        }
        _ => form::object(StatusCode::OK, kind, &entry, accepted),
    }
}

/// A Scale in the form asked for.
fn scaled(call: &Call<'_>, scale: &Value, accepted: Accepted) -> Result<Answer, Status> {
    let bytes = match accepted.form {
        Form::Table => {
            let include = IncludeObject::parse(call.query)?;
            let frame = Frame { include, version: accepted.meta, with_columns: true };
            table::of_scale(scale, frame, call.now)?
        }
        Form::Metadata => {
            let mut out = BytesMut::new();
            form::write_metadata_of(scale.to_string().as_bytes(), accepted.meta, &mut out)?;
            out
        }
        _ => return Answer::object(StatusCode::OK, scale, accepted),
    };
    form::rendered(StatusCode::OK, bytes, accepted)
}

/// LIST.
pub(crate) async fn list(call: &Call<'_>, kind: &Arc<Kind>, headers: &HeaderMap) -> Result<Answer, Status> {
    let accepted = call.accepted(kind, headers, &[Form::Table, Form::MetadataList])?;
    let options = options::list(call.query)?;
    let found = call.inner().registry.list(kind, call.namespace(kind), &options).await?;
    let meta = ListMeta {
        resource_version: found.revision.to_string(),
        continue_token: Some(found.continue_token).filter(|token| !token.is_empty()),
        remaining: found.remaining,
    };
    if accepted.form == Form::Table {
        let include = IncludeObject::parse(call.query)?;
        let frame = Frame { include, version: accepted.meta, with_columns: true };
        let bytes = table::render(kind, &meta, &found.items, frame, call.now)?;
        return form::rendered(StatusCode::OK, bytes, accepted);
    }
    let api_version = kind.api_version();
    let (head, write): (_, stream::WriteItem) = if accepted.form == Form::MetadataList {
        let api_version = accepted.meta.api_version();
        let head = ListHead { api_version, kind: "PartialObjectMetadataList", meta: &meta };
        let write: stream::WriteItem = match accepted.meta {
            MetaVersion::V1 => stream::write_partial,
            MetaVersion::V1Beta1 => stream::write_partial_beta,
        };
        (head, write)
    } else {
        (ListHead { api_version: &api_version, kind: &kind.list_kind, meta: &meta }, stream::write_object)
    };
    if accepted.encoding == Encoding::Protobuf {
        let partial = accepted.form == Form::MetadataList;
        return protobuf::list(&head, kind, found.items, partial, call.gzip).await;
    }
    whole(&head, found.items, write, accepted, call.gzip)
}

/// A list in the encoding asked for.
pub(crate) fn whole(
    head: &ListHead<'_>,
    items: Vec<Arc<Entry>>,
    write: stream::WriteItem,
    accepted: Accepted,
    gzip: bool,
) -> Result<Answer, Status> {
    if accepted.encoding == Encoding::Json {
        return stream::list(head, items, write, gzip, accepted.pretty);
    }
    parsed(head, &items, write, accepted)
}

/// A list in an encoding that cannot be made piece by piece.
fn parsed(
    head: &ListHead<'_>,
    items: &[Arc<Entry>],
    write: stream::WriteItem,
    accepted: Accepted,
) -> Result<Answer, Status> {
    let mut values = Vec::with_capacity(items.len());
    for entry in items {
        let mut out = BytesMut::new();
        write(entry, &mut out)?;
        values.push(serde_json::from_slice::<Value>(&out).map_err(Status::internal)?);
    }
    let list = serde_json::json!({
        "kind": head.kind,
        "apiVersion": head.api_version,
        "metadata": head.meta.to_json(),
        "items": values,
    });
    Answer::object(StatusCode::OK, &list, accepted)
}
