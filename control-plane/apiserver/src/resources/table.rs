//! `meta.k8s.io` Table: the server-side printed form. Cells come from the kind's printer; this is the frame around.

use super::{form, stream::ListMeta};
use crate::request::{accept::MetaVersion, query::Query};
use bytes::{BufMut, BytesMut};
use keelson_registry::{entry::Entry, kind::Kind, printers, status::Status};
use serde_json::{Value, json};
use std::sync::Arc;
use time::OffsetDateTime;

/// What each row carries beside its cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IncludeObject {
    /// Nothing.
    None,
    /// PartialObjectMetadata, the default.
    Metadata,
    /// The whole object.
    Object,
}

impl IncludeObject {
    /// Reads the `includeObject` option.
    pub(crate) fn parse(query: &Query) -> Result<Self, Status> {
        match query.non_empty("includeObject") {
            None | Some("Metadata") => Ok(Self::Metadata),
            Some("None") => Ok(Self::None),
            Some("Object") => Ok(Self::Object),
            Some(other) => Err(Status::bad_request(format!("unrecognized includeObject value: {other:?}"))),
        }
    }
}

/// How a Table is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub(crate) include: IncludeObject,
    pub(crate) version: MetaVersion,
    /// False from the second event of a watch on.
    pub(crate) with_columns: bool,
}

/// Writes a Table.
pub(crate) fn render(
    kind: &Kind,
    meta: &ListMeta,
    entries: &[Arc<Entry>],
    frame: Frame,
    now: OffsetDateTime,
) -> Result<BytesMut, Status> {
    let mut out = BytesMut::with_capacity(1024 + entries.len() * 1024);
    out.put_slice(br#"{"kind":"Table","apiVersion":""#);
    out.put_slice(frame.version.api_version().as_bytes());
    out.put_slice(br#"","metadata":"#);
    out.put_slice(meta.to_json().to_string().as_bytes());
    out.put_slice(br#","columnDefinitions":"#);
    let columns = json!(frame.with_columns.then(|| columns(kind)));
    out.put_slice(columns.to_string().as_bytes());
    out.put_slice(br#","rows":["#);
    for (index, entry) in printers::in_order(kind, entries).iter().enumerate() {
        if index > 0 {
            out.put_u8(b',');
        }
        row(kind, entry, frame, now, &mut out)?;
    }
    out.put_slice(b"]}\n");
    Ok(out)
}

/// The same of objects that are not stored.
pub(crate) fn of_values(
    kind: &Kind,
    meta: &ListMeta,
    objects: &[Value],
    frame: Frame,
    now: OffsetDateTime,
) -> Result<BytesMut, Status> {
    let mut rows = Vec::with_capacity(objects.len());
    for object in objects {
        rows.push(with_object(printers::row(kind, object, now).cells, object, frame)?);
    }
    Ok(tabled(&columns(kind), meta, &rows, frame))
}

/// The same of a Scale.
pub(crate) fn of_scale(scale: &Value, frame: Frame, now: OffsetDateTime) -> Result<BytesMut, Status> {
    let column = |name: &str, type_: &str, format: &str| json!({ "name": name, "type": type_, "format": format, "description": "", "priority": 0 });
    let columns = json!([
        column("Name", "string", "name"),
        column("Desired", "integer", ""),
        column("Available", "integer", ""),
        column("Age", "string", ""),
    ]);
    let metadata = &scale["metadata"];
    let meta = ListMeta {
        resource_version: metadata["resourceVersion"].as_str().unwrap_or_default().to_owned(),
        ..ListMeta::default()
    };
    let row = with_object(printers::scale(scale, now), scale, frame)?;
    Ok(tabled(&columns, &meta, &[row], frame))
}

/// A row of these cells, with what of the object is asked for.
fn with_object(cells: Vec<Value>, object: &Value, frame: Frame) -> Result<Value, Status> {
    let mut row = json!({ "cells": cells });
    match frame.include {
        IncludeObject::None => {}
        IncludeObject::Metadata => {
            let mut out = BytesMut::new();
            form::write_metadata_of(object.to_string().as_bytes(), frame.version, &mut out)?;
            row["object"] = serde_json::from_slice(&out).map_err(Status::internal)?;
        }
        IncludeObject::Object => row["object"] = object.clone(),
    }
    Ok(row)
}

fn tabled(columns: &Value, meta: &ListMeta, rows: &[Value], frame: Frame) -> BytesMut {
    let table = json!({
        "kind": "Table", "apiVersion": frame.version.api_version(), "metadata": meta.to_json(),
        "columnDefinitions": columns, "rows": rows,
    });
    BytesMut::from(table.to_string().as_bytes())
}

fn row(
    kind: &Kind,
    entry: &Entry,
    frame: Frame,
    now: OffsetDateTime,
    out: &mut BytesMut,
) -> Result<(), Status> {
    let printed = printers::row(kind, &entry.to_value(), now);
    out.put_slice(br#"{"cells":"#);
    out.put_slice(Value::Array(printed.cells).to_string().as_bytes());
    if !printed.conditions.is_empty() {
        out.put_slice(br#","conditions":"#);
        out.put_slice(Value::Array(printed.conditions).to_string().as_bytes());
    }
    match frame.include {
        IncludeObject::None => {}
        IncludeObject::Metadata => {
            out.put_slice(br#","object":"#);
            form::write_metadata(entry, entry.mod_revision(), frame.version, out)?;
        }
        IncludeObject::Object => {
            out.put_slice(br#","object":"#);
            entry.write_json(entry.mod_revision(), out);
        }
    }
    out.put_u8(b'}');
    Ok(())
}

/// The Table of a bookmark, `object`: one row, as upstream makes it, whose object tells the end of the initial events.
pub(crate) fn bookmark(kind: &Kind, object: &Value, frame: Frame, now: OffsetDateTime) -> Value {
    let (metadata, version) = (&object["metadata"], frame.version.api_version());
    let mut row = json!({ "cells": printers::row(kind, object, now).cells });
    match frame.include {
        IncludeObject::None => {}
        IncludeObject::Metadata => {
            row["object"] =
                json!({ "kind": "PartialObjectMetadata", "apiVersion": version, "metadata": metadata });
        }
        IncludeObject::Object => row["object"] = object.clone(),
    }
    json!({
        "kind": "Table",
        "apiVersion": version,
        "metadata": { "resourceVersion": metadata["resourceVersion"] },
        "columnDefinitions": frame.with_columns.then(|| columns(kind)),
        "rows": [row],
    })
}

fn columns(kind: &Kind) -> Value {
    let columns: Vec<Value> = kind
        .columns
        .iter()
        .map(|column| {
            json!({
                "name": column.name,
                "type": column.type_,
                "format": column.format,
                "description": "",
                "priority": column.priority,
            })
        })
        .collect();
    Value::Array(columns)
}
