//! Lists as they are written: in pieces, so that a list of any size costs a buffer and not a copy of itself.

use super::form;
use crate::{
    request::accept::MetaVersion,
    response::{Answer, Indent},
    wire::{BoxError, body},
};
use bytes::{BufMut, Bytes, BytesMut};
use flate2::{Compression, write::GzEncoder};
use futures::stream;
use http::{HeaderValue, Response, StatusCode, header};
use keelson_registry::{entry::Entry, status::Status};
use std::{io::Write, sync::Arc};

/// A list up to this size is one buffer; what is beyond follows in pieces of it.
pub(super) const PIECE_BYTES: usize = 128 * 1024;
const JSON: &str = "application/json";

/// What stands before the items.
pub(crate) struct ListHead<'a> {
    /// `apiVersion` of the list.
    pub(crate) api_version: &'a str,
    /// `kind` of the list.
    pub(crate) kind: &'a str,
    /// Its revision, continue token and count of the remainder.
    pub(crate) meta: &'a ListMeta,
}

/// metav1 ListMeta.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListMeta {
    /// Revision that the list shows.
    pub(crate) resource_version: String,
    /// Where to go on.
    pub(crate) continue_token: Option<String>,
    /// How many follow.
    pub(crate) remaining: Option<u64>,
}

impl ListMeta {
    /// As JSON.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        let mut out = serde_json::json!({ "resourceVersion": self.resource_version });
        if let Some(token) = &self.continue_token {
            out["continue"] = serde_json::json!(token);
        }
        if let Some(remaining) = self.remaining {
            out["remainingItemCount"] = serde_json::json!(remaining);
        }
        out
    }
}

/// How one item is written.
pub(crate) type WriteItem = fn(&Entry, &mut BytesMut) -> Result<(), Status>;

/// The item as it is.
pub(crate) fn write_object(entry: &Entry, out: &mut BytesMut) -> Result<(), Status> {
    entry.write_json(entry.mod_revision(), out);
    Ok(())
}

/// The item's metadata alone.
pub(crate) fn write_partial(entry: &Entry, out: &mut BytesMut) -> Result<(), Status> {
    form::write_metadata(entry, entry.mod_revision(), MetaVersion::V1, out)
}

/// The same in `meta.k8s.io/v1beta1`.
pub(crate) fn write_partial_beta(entry: &Entry, out: &mut BytesMut) -> Result<(), Status> {
    form::write_metadata(entry, entry.mod_revision(), MetaVersion::V1Beta1, out)
}

/// Writes the rest of a list, piece by piece.
pub(super) trait Fill: Send + 'static {
    /// Appends items until the piece is full or the list ends.
    fn fill(&mut self, out: &mut BytesMut) -> Result<(), Status>;

    /// Whether the end was written.
    fn is_closed(&self) -> bool;
}

struct Writer {
    items: Vec<Arc<Entry>>,
    next: usize,
    write: WriteItem,
    closed: bool,
}

impl Fill for Writer {
    fn fill(&mut self, out: &mut BytesMut) -> Result<(), Status> {
        while out.len() < PIECE_BYTES && self.next < self.items.len() {
            if self.next > 0 {
                out.put_u8(b',');
            }
            (self.write)(&self.items[self.next], out)?;
            self.next += 1;
        }
        if self.next == self.items.len() && !self.closed {
            out.put_slice(b"]}\n");
            self.closed = true;
        }
        Ok(())
    }

    fn is_closed(&self) -> bool {
        self.closed
    }
}

/// A list in JSON: everything when it is small, else the first piece and the writer of the others.
pub(crate) fn list(
    head: &ListHead<'_>,
    items: Vec<Arc<Entry>>,
    write: WriteItem,
    gzip: bool,
    pretty: bool,
) -> Result<Answer, Status> {
    let mut out = BytesMut::with_capacity(8 * 1024);
    let text = |value: &str| serde_json::Value::from(value).to_string();
    out.put_slice(b"{\"kind\":");
    out.put_slice(text(head.kind).as_bytes());
    out.put_slice(b",\"apiVersion\":");
    out.put_slice(text(head.api_version).as_bytes());
    out.put_slice(b",\"metadata\":");
    out.put_slice(head.meta.to_json().to_string().as_bytes());
    out.put_slice(b",\"items\":[");
    let writer = Writer { items, next: 0, write, closed: false };
    if !pretty {
        return answer(out, writer, gzip, JSON);
    }
    let (mut indent, mut indented) = (Indent::default(), BytesMut::with_capacity(16 * 1024));
    indent.push(&out, &mut indented);
    out.clear();
    answer(indented, Pretty { writer, piece: out, indent }, gzip, JSON)
}

/// The same for people.
struct Pretty {
    writer: Writer,
    /// What comes next, on one line.
    piece: BytesMut,
    indent: Indent,
}

impl Fill for Pretty {
    fn fill(&mut self, out: &mut BytesMut) -> Result<(), Status> {
        self.writer.fill(&mut self.piece)?;
        self.indent.push(&self.piece, out);
        self.piece.clear();
        Ok(())
    }

    fn is_closed(&self) -> bool {
        self.writer.is_closed()
    }
}

/// Answers with what is in `out` and what follows.
pub(super) fn answer(
    mut out: BytesMut,
    mut writer: impl Fill,
    gzip: bool,
    media_type: &'static str,
) -> Result<Answer, Status> {
    writer.fill(&mut out)?;
    if writer.is_closed() {
        return Ok(Answer::bytes(StatusCode::OK, media_type, out.freeze()));
    }
    Ok(Answer::Streaming(pieces(out, writer, gzip, media_type)))
}

fn pieces(
    first: BytesMut,
    writer: impl Fill,
    gzip: bool,
    media_type: &'static str,
) -> Response<crate::wire::Body> {
    let packer = gzip.then(|| GzEncoder::new(Vec::with_capacity(PIECE_BYTES / 4), Compression::new(1)));
    let state = Some((first, writer, packer));
    let chunks = stream::try_unfold(state, |state| async move {
        let Some((piece, mut writer, mut packer)) = state else { return Ok(None) };
        let last = writer.is_closed();
        let chunk = match &mut packer {
            None => piece.freeze(),
            Some(packer) => {
                packer.write_all(&piece)?;
                if last {
                    packer.try_finish()?;
                }
                Bytes::from(std::mem::take(packer.get_mut()))
            }
        };
        if last {
            return Ok(Some((chunk, None)));
        }
        let mut next = BytesMut::with_capacity(PIECE_BYTES + PIECE_BYTES / 8);
        writer.fill(&mut next).map_err(|status| Box::new(status) as BoxError)?;
        Ok::<_, BoxError>(Some((chunk, Some((next, writer, packer)))))
    });
    let mut response = Response::new(body::stream(chunks));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    if gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    response
}
