//! WATCH: one frame an event, JSON or protobuf, written from the entry's bytes; several frames that are ready at once share a chunk.

use super::{
    Call, form, protobuf,
    stream::ListMeta,
    table::{self, Frame, IncludeObject},
};
use crate::{
    metrics::WatchSeries,
    request::{
        accept::{Encoding, Form, MetaVersion},
        options,
    },
    response::{Answer, unencodable},
    wire::{BoxError, body},
};
use bytes::{BufMut, Bytes, BytesMut};
use futures::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, Response, header};
use keelson_registry::{
    WatchEvent,
    entry::Entry,
    kind::Kind,
    options::WatchOptions,
    status::{Reason, Status},
};
use keelson_schema::encode;
use keelson_semantics::field_selector::{FieldSelector, Term};
use keelson_store::Revision;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use time::OffsetDateTime;

/// Events written into one chunk at most.
const EVENTS_PER_CHUNK_MAX: usize = 64;
/// Marks the bookmark after the initial events (KEP-3157).
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// WATCH.
pub(crate) async fn watch(call: &Call<'_>, kind: &Arc<Kind>, headers: &HeaderMap) -> Result<Answer, Status> {
    if headers.contains_key(header::UPGRADE) {
        return Err(Status::bad_request("watching over WebSocket is not supported by this server"));
    }
    let forms = [Form::Table, Form::Metadata];
    let accepted = call.accepted(kind, headers, &forms)?;
    let media_type = match accepted.encoding {
        Encoding::Json => "application/json",
        Encoding::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
        Encoding::Yaml => {
            return Err(Status::not_acceptable("watch events are not served as application/yaml"));
        }
    };
    let (mut options, timeout) = options::watch(call.query)?;
    if call.info.named_by_path {
        add_name(&mut options, &call.info.name);
    }
    let mut frames = Frames {
        kind: kind.clone(),
        form: accepted.form,
        meta: accepted.meta,
        encoding: accepted.encoding,
        include: IncludeObject::parse(call.query)?,
        columns_sent: false,
        counted: call.inner().metrics.watched(&kind.group, &kind.version, &kind.plural),
    };
    let events = match call.inner().registry.watch(kind, call.namespace(kind), &options).await {
        Ok(events) => events,
        // Upstream tells a watcher of a revision that is gone within the stream, and clients rely on it.
        Err(status) if matches!(status.reason, Reason::Expired | Reason::Gone) => {
            stream::iter([WatchEvent::Error(status)]).boxed()
        }
        Err(status) => return Err(status),
    };
    let running = call.running.clone();
    let ended = ended(timeout, call.inner().shutdown.clone());
    let chunks = events.ready_chunks(EVENTS_PER_CHUNK_MAX).take_until(ended).map(move |batch| {
        // Counted as long as the stream lives.
        let _ = &running;
        frames.write(&batch)
    });
    let mut response = Response::new(body::stream(chunks));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    Ok(Answer::Streaming(response))
}

/// The end of a watch: its time is over, or the server drains.
async fn ended(timeout: Duration, shutdown: tokio_util::sync::CancellationToken) {
    tokio::select! {
        () = tokio::time::sleep(timeout) => {}
        () = shutdown.cancelled() => {}
    }
}

/// The deprecated `/watch/` path of a single object.
fn add_name(options: &mut WatchOptions, name: &str) {
    // In front and escaped, so that neither the name nor what is given can change what the other means.
    let own = Term { field: "metadata.name".to_owned(), equal: true, value: name.to_owned() };
    let given = std::mem::take(&mut options.field_selector);
    options.field_selector = format!("{},{given}", FieldSelector { terms: vec![own] });
}

/// Writes events in the form asked for.
struct Frames {
    kind: Arc<Kind>,
    form: Form,
    meta: MetaVersion,
    /// JSON or protobuf.
    encoding: Encoding,
    include: IncludeObject,
    columns_sent: bool,
    counted: WatchSeries,
}

impl Frames {
    fn write(&mut self, batch: &[WatchEvent]) -> Result<Bytes, BoxError> {
        let mut out = BytesMut::with_capacity(batch.len() * 2048);
        let mut ends = [0; EVENTS_PER_CHUNK_MAX + 1];
        for (event, end) in batch.iter().zip(1..) {
            self.event(event, &mut out)?;
            ends[end] = out.len();
        }
        self.counted.sent(ends[..=batch.len()].windows(2).map(|ends| ends[1] - ends[0]));
        Ok(out.freeze())
    }

    fn event(&mut self, event: &WatchEvent, out: &mut BytesMut) -> Result<(), Status> {
        match event {
            WatchEvent::Added(entry, revision) => self.object("ADDED", entry, *revision, out),
            WatchEvent::Modified(entry, revision) => self.object("MODIFIED", entry, *revision, out),
            WatchEvent::Deleted(entry, revision) => self.object("DELETED", entry, *revision, out),
            WatchEvent::Bookmark { revision, initial_events_end } => {
                let object = self.bookmark(*revision, *initial_events_end);
                self.made("BOOKMARK", &object, out)
            }
            WatchEvent::Error(status) => self.made("ERROR", &status.to_json(), out),
        }
    }

    /// An event about something that is not stored.
    fn made(&self, kind: &str, object: &Value, out: &mut BytesMut) -> Result<(), Status> {
        if self.encoding == Encoding::Protobuf {
            let body = encode::object(object).map_err(|error| unencodable(&error))?;
            out.put_slice(&encode::watch_event(kind, &body));
        } else {
            frame(kind, object.to_string().as_bytes(), out);
        }
        Ok(())
    }

    fn object(
        &mut self,
        kind: &str,
        entry: &Arc<Entry>,
        revision: Revision,
        out: &mut BytesMut,
    ) -> Result<(), Status> {
        if self.encoding == Encoding::Protobuf {
            let body = match self.form {
                Form::Metadata => protobuf::partial_body(entry, revision)?,
                _ => protobuf::body(&self.kind, entry, revision)?,
            };
            out.put_slice(&encode::watch_event(kind, &body));
            return Ok(());
        }
        out.put_slice(b"{\"type\":\"");
        out.put_slice(kind.as_bytes());
        out.put_slice(b"\",\"object\":");
        match self.form {
            Form::Metadata => form::write_metadata(entry, revision, self.meta, out)?,
            Form::Table => {
                let meta = ListMeta { resource_version: revision.to_string(), ..ListMeta::default() };
                let (frame, now) = (self.table_frame(), OffsetDateTime::now_utc());
                let table = table::render(&self.kind, &meta, std::slice::from_ref(entry), frame, now)?;
                out.put_slice(table.trim_ascii_end());
            }
            _ => entry.write_json(revision, out),
        }
        out.put_slice(b"}\n");
        Ok(())
    }

    /// Columns are in the first Table alone.
    fn table_frame(&mut self) -> Frame {
        let with_columns = !std::mem::replace(&mut self.columns_sent, true);
        Frame { include: self.include, version: self.meta, with_columns }
    }

    fn bookmark(&mut self, revision: Revision, initial_events_end: bool) -> Value {
        let mut metadata = json!({ "resourceVersion": revision.to_string(), "creationTimestamp": null });
        if initial_events_end {
            metadata["annotations"] = json!({ INITIAL_EVENTS_END: "true" });
        }
        let (kind, api_version) = match self.form {
            Form::Metadata => ("PartialObjectMetadata", self.meta.api_version().to_owned()),
            _ => (&*self.kind.kind, self.kind.api_version()),
        };
        let object = json!({ "kind": kind, "apiVersion": api_version, "metadata": metadata });
        if self.form != Form::Table {
            return object;
        }
        let frame = self.table_frame();
        table::bookmark(&self.kind, &object, frame, OffsetDateTime::now_utc())
    }
}

fn frame(kind: &str, object: &[u8], out: &mut BytesMut) {
    out.put_slice(b"{\"type\":\"");
    out.put_slice(kind.as_bytes());
    out.put_slice(b"\",\"object\":");
    out.put_slice(object);
    out.put_slice(b"}\n");
}
