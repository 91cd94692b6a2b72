//! A stored body in memory: its own bytes, and the long texts in it that other bodies have, too.
//!
//! `fieldsV1` of `metadata.managedFields` is as large as what it is about, and nearly always the same text in all revisions of
//! an object and in all objects of one writer. It is held once. Places in a body are those of its own bytes.

use crate::intern::Interner;
use bytes::BufMut;
use std::{ops::Range, sync::Arc};

/// Shorter texts cost more to share than to repeat.
const SHARED_BYTES_MIN: usize = 64;

/// A body.
#[derive(Debug)]
pub(crate) struct Body {
    own: Box<[u8]>,
    shared: Box<[Shared]>,
}

#[derive(Debug)]
struct Shared {
    /// The text stands before this one of the own bytes.
    at: u32,
    text: Arc<str>,
}

impl Body {
    /// Takes those of `texts`, which are ascending places in `bytes`, from the interner where that is worth it.
    pub(crate) fn new(bytes: &[u8], texts: &[Range<usize>], interner: &mut Interner) -> Self {
        let worth = |text: &&Range<usize>| text.len() >= SHARED_BYTES_MIN;
        let cut: usize = texts.iter().filter(worth).map(Range::len).sum();
        let mut own = Vec::with_capacity(bytes.len() - cut);
        let mut shared = Vec::with_capacity(if cut > 0 { texts.len() } else { 0 });
        let mut from = 0;
        for range in texts.iter().filter(worth) {
            // What is cut is a JSON value, which is text.
            let Ok(text) = std::str::from_utf8(&bytes[range.clone()]) else { continue };
            own.extend_from_slice(&bytes[from..range.start]);
            shared.push(Shared { at: own.len() as u32, text: interner.get(text) });
            from = range.end;
        }
        own.extend_from_slice(&bytes[from..]);
        Self { own: own.into(), shared: shared.into() }
    }

    /// A place in the whole as one of the own bytes; a place within a shared text is where that stands.
    pub(crate) fn place(&self, whole: usize) -> usize {
        let mut place = whole;
        for shared in &self.shared {
            let at = shared.at as usize;
            if place <= at {
                break;
            }
            place = at.max(place.saturating_sub(shared.text.len()));
        }
        place
    }

    /// Bytes of the whole.
    pub(crate) fn len(&self) -> usize {
        self.own.len() + self.shared.iter().map(|shared| shared.text.len()).sum::<usize>()
    }

    /// Bytes that nobody else holds.
    pub(crate) fn own_len(&self) -> usize {
        self.own.len()
    }

    /// The own bytes of a range in which no text is shared.
    pub(crate) fn own(&self, range: Range<usize>) -> &[u8] {
        &self.own[range]
    }

    /// The bytes from `range.start` on up to `range.end`, both places of the own bytes, in pieces.
    fn pieces(&self, range: Range<usize>) -> impl Iterator<Item = &[u8]> {
        let from = |place: usize| self.shared.partition_point(|shared| (shared.at as usize) < place);
        let shared = &self.shared[from(range.start)..from(range.end)];
        let last = shared.last().map_or(range.start, |shared| shared.at as usize);
        let mut from = range.start;
        let pieces = shared.iter().flat_map(move |shared| {
            let before = &self.own[std::mem::replace(&mut from, shared.at as usize)..shared.at as usize];
            [before, shared.text.as_bytes()]
        });
        pieces.chain([&self.own[last..range.end]])
    }

    /// Writes a range; see [`Body::place`].
    pub(crate) fn write(&self, range: Range<usize>, out: &mut impl BufMut) {
        self.pieces(range).for_each(|piece| out.put_slice(piece));
    }

    /// A range in one piece.
    pub(crate) fn copied(&self, range: Range<usize>) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.len());
        self.write(range, &mut out);
        out
    }

    /// All of it in one piece.
    pub(crate) fn whole(&self) -> Vec<u8> {
        self.copied(0..self.own.len())
    }

    /// Whether these are its bytes.
    pub(crate) fn is(&self, bytes: &[u8]) -> bool {
        let mut rest = Some(bytes);
        for piece in self.pieces(0..self.own.len()) {
            rest = rest.and_then(|rest| rest.strip_prefix(piece));
        }
        rest.is_some_and(<[u8]>::is_empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_what_it_was_made_of() {
        let long = "x".repeat(SHARED_BYTES_MIN);
        let whole = format!("before{long}between{long}short-after");
        let places = |start: usize, len: usize| start..start + len;
        let second = 6 + long.len() + 7;
        let rows: [&[Range<usize>]; 4] = [
            &[],
            &[places(6, long.len())],
            &[places(6, long.len()), places(second, long.len())],
            &[places(0, 3), places(second, long.len())],
        ];
        for texts in rows {
            let mut interner = Interner::default();
            let body = Body::new(whole.as_bytes(), texts, &mut interner);
            assert_eq!(body.whole(), whole.as_bytes(), "{texts:?}");
            assert_eq!(body.len(), whole.len(), "{texts:?}");
            assert!(body.is(whole.as_bytes()) && !body.is(&whole.as_bytes()[1..]), "{texts:?}");
            assert!(!body.is(format!("{whole}.").as_bytes()), "{texts:?}");
            let between = body.place(6 + long.len())..body.place(second);
            let between = body.copied(between);
            assert!(between.starts_with(b"between") || between.ends_with(b"between"), "{texts:?}");
        }
    }

    #[test]
    fn equal_texts_are_held_once() {
        let text = "{\"f:spec\":{}}".repeat(10);
        let mut interner = Interner::default();
        let mut body = |name: &str| {
            let whole = format!("{name}{text}");
            Body::new(whole.as_bytes(), std::slice::from_ref(&(name.len()..whole.len())), &mut interner)
        };
        let (one, other) = (body("one"), body("other"));
        assert!(Arc::ptr_eq(&one.shared[0].text, &other.shared[0].text));
        assert_eq!((one.own_len(), other.own_len()), (3, 5));
    }
}
