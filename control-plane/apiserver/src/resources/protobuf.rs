//! Answers in protobuf: messages that entries keep, in the frames of bodies and lists. Watches frame theirs in `watch`.
//!
//! A kind has messages when its type is built in; custom ones have none, as with upstream, and negotiation passes over.

use super::{
    form,
    stream::{self, Fill, ListHead, PIECE_BYTES},
};
use crate::{
    request::accept::{Encoding, MetaVersion},
    response::{Answer, unencodable},
};
use bytes::{BufMut, Bytes, BytesMut};
use keelson_registry::{entry::Entry, kind::Kind, status::Status};
use keelson_schema::{
    TypeRef,
    encode::{self, ListFrame, PARTIAL_METADATA},
};
use keelson_store::Revision;
use std::sync::Arc;

/// After so many messages of a list, which are made where they are not there yet, others have their turn.
const MESSAGES_PER_TURN: usize = 64;

/// The type of the kind, or of its subresource where that has a body of its own; none where it has no messages.
pub(crate) fn type_of(kind: &Kind, subresource: Option<&str>) -> Option<TypeRef<'static>> {
    let body = subresource.and_then(|name| kind.subresource(name)).and_then(|sub| sub.body);
    let (group, version, kind) = body.unwrap_or(kind.gvk());
    encode::type_of(group, version, kind)
}

fn message(kind: &Kind, entry: &Entry, revision: Revision) -> Result<Bytes, Status> {
    let ty = type_of(kind, None)
        .ok_or_else(|| Status::not_acceptable(format!("{} has no protobuf encoding", kind.kind)))?;
    entry.message(ty, revision).map_err(|error| unencodable(&error))
}

/// The message of an object's metadata alone.
fn partial(entry: &Entry, revision: Revision) -> Result<Vec<u8>, Status> {
    let mut json = BytesMut::new();
    form::write_metadata(entry, revision, MetaVersion::V1, &mut json)?;
    let value: serde_json::Value = serde_json::from_slice(&json).map_err(Status::internal)?;
    encode::partial_metadata(&value["metadata"]).map_err(|error| unencodable(&error))
}

/// A body with one object.
pub(crate) fn body(kind: &Kind, entry: &Entry, revision: Revision) -> Result<Vec<u8>, Status> {
    Ok(encode::envelope(&kind.api_version(), &kind.kind, &message(kind, entry, revision)?))
}

/// A body with its metadata.
pub(crate) fn partial_body(entry: &Entry, revision: Revision) -> Result<Vec<u8>, Status> {
    let (api_version, kind) = PARTIAL_METADATA;
    Ok(encode::envelope(api_version, kind, &partial(entry, revision)?))
}

/// A list of objects, or of their metadata. The length of the whole stands at its beginning, so that all messages are there before
/// the first is sent.
pub(crate) async fn list(
    head: &ListHead<'_>,
    kind: &Kind,
    items: Vec<Arc<Entry>>,
    metadata_alone: bool,
    gzip: bool,
) -> Result<Answer, Status> {
    let mut messages = Vec::with_capacity(items.len());
    for part in items.chunks(MESSAGES_PER_TURN) {
        for entry in part {
            let revision = entry.mod_revision();
            messages.push(match metadata_alone {
                true => Bytes::from(partial(entry, revision)?),
                false => message(kind, entry, revision)?,
            });
        }
        tokio::task::yield_now().await;
    }
    let lens = messages.iter().map(Bytes::len);
    let frame = ListFrame::new(head.api_version, head.kind, &head.meta.to_json(), lens);
    let frame = frame.map_err(|error| unencodable(&error))?;
    let out = BytesMut::from(frame.head.as_slice());
    stream::answer(out, Messages { messages, next: 0, closed: false }, gzip, Encoding::Protobuf.media_type())
}

/// Writes a list's messages.
struct Messages {
    messages: Vec<Bytes>,
    next: usize,
    closed: bool,
}

impl Fill for Messages {
    fn fill(&mut self, out: &mut BytesMut) -> Result<(), Status> {
        let mut head = Vec::new();
        while out.len() < PIECE_BYTES
            && let Some(message) = self.messages.get(self.next)
        {
            head.clear();
            ListFrame::put_item_head(message.len(), &mut head);
            out.put_slice(&head);
            out.put_slice(message);
            self.next += 1;
        }
        if self.next == self.messages.len() && !self.closed {
            out.put_slice(ListFrame::TAIL);
            self.closed = true;
        }
        Ok(())
    }

    fn is_closed(&self) -> bool {
        self.closed
    }
}
