//! What stands around messages: the envelope of a body, the parts of a list, the frame of a watch event.

use serde_json::Value;

use super::writer::{VARINT_BYTES_MAX, put_bytes, put_tag_len, varint_len};
use super::{EncodeError, LIST_META, known, put_message};

/// apiVersion and kind of what is cut out of an object when its metadata alone is asked for.
pub const PARTIAL_METADATA: (&str, &str) = ("meta.k8s.io/v1", "PartialObjectMetadata");

/// What every body begins with.
const PREFIX: &[u8] = b"k8s\0";
/// Fields 3 and 4 of `runtime.Unknown`, contentEncoding and contentType: empty, and written all the same, as by Go.
const ENVELOPE_TAIL: &[u8] = &[0x1a, 0, 0x22, 0];

/// The head of a body whose message has so many bytes: prefix, `Unknown.typeMeta` and the length of `Unknown.raw`.
fn envelope_head(api_version: &str, kind: &str, len: usize) -> Vec<u8> {
    let mut type_meta = Vec::with_capacity(api_version.len() + kind.len() + 8);
    put_bytes(1, api_version.as_bytes(), &mut type_meta);
    put_bytes(2, kind.as_bytes(), &mut type_meta);
    let mut out = Vec::with_capacity(PREFIX.len() + type_meta.len() + 2 * VARINT_BYTES_MAX);
    out.extend_from_slice(PREFIX);
    put_bytes(1, &type_meta, &mut out);
    put_tag_len(2, len, &mut out);
    out
}

/// A body: what it is, and its message.
#[must_use]
pub fn envelope(api_version: &str, kind: &str, message: &[u8]) -> Vec<u8> {
    let mut out = envelope_head(api_version, kind, message.len());
    out.reserve_exact(message.len() + ENVELOPE_TAIL.len());
    out.extend_from_slice(message);
    out.extend_from_slice(ENVELOPE_TAIL);
    out
}

/// A list, of which items are written one after another: `head`, each item behind its own head, [`ListFrame::TAIL`].
#[derive(Debug)]
pub struct ListFrame {
    /// Envelope and ListMeta.
    pub head: Vec<u8>,
}

impl ListFrame {
    /// What stands behind the last item.
    pub const TAIL: &[u8] = ENVELOPE_TAIL;

    /// Of items whose messages have these lengths: that of the whole stands at its beginning. `metadata` is a ListMeta.
    pub fn new(
        api_version: &str,
        kind: &str,
        metadata: &Value,
        lens: impl Iterator<Item = usize>,
    ) -> Result<Self, EncodeError> {
        let mut meta = Vec::new();
        put_message(known(LIST_META), metadata, &mut meta)?;
        let items: usize = lens.map(|len| 1 + varint_len(len as u64) + len).sum();
        let whole = 1 + varint_len(meta.len() as u64) + meta.len() + items;
        let mut head = envelope_head(api_version, kind, whole);
        put_bytes(1, &meta, &mut head);
        Ok(Self { head })
    }

    /// What stands before an item's message.
    pub fn put_item_head(len: usize, out: &mut Vec<u8>) {
        put_tag_len(2, len, out);
    }
}

/// A frame of a watch: four bytes of length, big endian, then a `WatchEvent { type = 1, object = 2 }` whose object is a
/// `RawExtension { raw = 1 }` with a body in its envelope.
#[must_use]
pub fn watch_event(kind: &str, body: &[u8]) -> Vec<u8> {
    let raw = 1 + varint_len(body.len() as u64) + body.len();
    let whole = 1 + varint_len(kind.len() as u64) + kind.len() + 1 + varint_len(raw as u64) + raw;
    let mut out = Vec::with_capacity(4 + whole);
    // Objects are smaller by orders of magnitude than what four bytes can say.
    out.extend_from_slice(&(whole as u32).to_be_bytes());
    put_bytes(1, kind.as_bytes(), &mut out);
    put_tag_len(2, raw, &mut out);
    put_bytes(1, body, &mut out);
    out
}
