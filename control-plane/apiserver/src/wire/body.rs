//! The one body type of requests and responses.

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;

/// An error of a body, its type forgotten.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A request's or response's body.
pub(crate) type Body = UnsyncBoxBody<Bytes, BoxError>;

/// No bytes.
pub(crate) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// Any other body.
pub(crate) fn of(body: impl hyper::body::Body<Data = Bytes, Error = BoxError> + Send + 'static) -> Body {
    body.boxed_unsync()
}

/// All bytes at hand.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// Bytes as they come.
pub(crate) fn stream(chunks: impl Stream<Item = Result<Bytes, BoxError>> + Send + 'static) -> Body {
    BodyExt::boxed_unsync(StreamBody::new(chunks.map(|chunk| chunk.map(Frame::data))))
}
