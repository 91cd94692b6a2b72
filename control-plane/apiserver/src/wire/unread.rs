//! What a handler leaves unread of a request's body.
//!
//! Over HTTP/1 a connection takes its next request only once all of this one was read. hyper reads what is there already and else
//! closes, without a word in the answer: a client that keeps its connections then loses the request that it sends next. A
//! request that is refused before its body is looked at must cost its client nothing, so as Go's server does, a short
//! rest is read, and with a long one the answer says `connection: close`. Over HTTP/2 the rest is told off by resetting the request's
//! stream, which is right, and for which some clients (curl 7.88) throw the answer away: there, too, a short rest is read.

use super::body::{self, Body, BoxError};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, Version, header};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use parking_lot::Mutex;
use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

/// So much of a body is read for nobody; what Go's `net/http` does (`maxPostHandlerReadBytes`).
const REST_BYTES_MAX: usize = 256 * 1024;
/// So long the rest is waited for.
const REST_TIMEOUT: Duration = Duration::from_secs(1);

/// A body that comes back when the handler has done with it.
struct Lent(Arc<Mutex<Incoming>>);

impl hyper::body::Body for Lent {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut *self.0.lock()).poll_frame(cx).map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().size_hint()
    }
}

/// Has a request answered, and leaves its connection fit for the next one, or says that there will be none.
pub(super) async fn answered<F>(
    request: Request<Incoming>,
    handle: impl FnOnce(Request<Body>) -> F,
) -> Response<Body>
where
    F: Future<Output = Response<Body>>,
{
    if request.body().is_end_stream() {
        return handle(request.map(|incoming| incoming.map_err(Into::into).boxed_unsync())).await;
    }
    let is_http_1 = request.version() < Version::HTTP_2;
    // Asking for the body would ask the client to send it.
    let waits = request.headers().contains_key(header::EXPECT);
    let (head, incoming) = request.into_parts();
    let lent = Arc::new(Mutex::new(incoming));
    let mut response = handle(Request::from_parts(head, body::of(Lent(lent.clone())))).await;
    // A handler that has kept the body is still reading it: a proxy, or a stream.
    let Some(rest) = Arc::into_inner(lent) else { return response };
    let mut rest = rest.into_inner();
    if !rest.is_end_stream() && (waits || !is_read(&mut rest).await) && is_http_1 {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Reads what is left of a body; false if that is too much, or takes too long.
async fn is_read(rest: &mut Incoming) -> bool {
    let read = async {
        let mut bytes = 0;
        while let Some(Ok(frame)) = rest.frame().await {
            bytes += frame.data_ref().map_or(0, Bytes::len);
            if bytes > REST_BYTES_MAX {
                return false;
            }
        }
        true
    };
    tokio::time::timeout(REST_TIMEOUT, read).await.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use std::convert::Infallible;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    /// A connection to a server that answers `no` without looking at any body.
    fn refusing() -> DuplexStream {
        let (client, server) = tokio::io::duplex(1024 * 1024);
        let service = service_fn(|request| async {
            let refuse = |_| async { Response::new(body::full("no")) };
            Ok::<_, Infallible>(answered(request, refuse).await)
        });
        tokio::spawn(
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(server), service),
        );
        client
    }

    async fn answer(client: &mut DuplexStream) -> String {
        let mut read = Vec::new();
        while !read.ends_with(b"\r\n\r\nno") {
            assert_ne!(client.read_buf(&mut read).await.expect("the server answers"), 0, "it closed instead");
        }
        String::from_utf8(read).expect("text")
    }

    #[tokio::test]
    async fn a_refused_request_whose_body_comes_late_costs_the_next_one_nothing() {
        let mut client = refusing();
        for _ in 0..3 {
            client.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\n").await.unwrap();
            tokio::task::yield_now().await;
            client.write_all(b"body").await.unwrap();
            assert!(!answer(&mut client).await.contains("connection: close"));
        }
    }

    #[tokio::test]
    async fn what_is_too_long_or_waits_to_be_asked_for_ends_the_connection_and_says_so() {
        let long = format!(
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{}",
            2 * REST_BYTES_MAX,
            "x".repeat(2 * REST_BYTES_MAX)
        );
        let asks =
            "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n".to_owned();
        for request in [long, asks] {
            let mut client = refusing();
            client.write_all(request.as_bytes()).await.unwrap();
            assert!(answer(&mut client).await.contains("connection: close"));
        }
    }
}
