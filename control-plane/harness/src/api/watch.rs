//! A watch as a sequence of lines, each read into one reused buffer. Does not own resuming: the reflector does.

use super::{Api, ApiError, Cause};
use futures::{AsyncBufRead, AsyncBufReadExt, TryStreamExt};
use http_body_util::BodyExt;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::{borrow::Cow, pin::Pin, time::Duration};

/// The longest event that is accepted; the server's own limit on an object is 3 MiB.
pub(super) const EVENT_BYTES_MAX: usize = 8 << 20;
/// The server sends a bookmark each minute; a watch that is silent for longer than this is taken for dead.
const SILENCE_MAX: Duration = Duration::from_secs(330);
/// The buffer is given back after an event larger than this.
const BUFFER_KEPT_BYTES: usize = 64 << 10;

/// One event, its object not yet decoded.
#[derive(Deserialize)]
pub struct RawEvent<'a> {
    /// ADDED, MODIFIED, DELETED, BOOKMARK or ERROR.
    #[serde(borrow)]
    pub r#type: Cow<'a, str>,
    /// The object, or the Status of an error.
    #[serde(borrow)]
    pub object: &'a RawValue,
}

/// An open watch.
pub struct WatchLines {
    body: Pin<Box<dyn AsyncBufRead + Send>>,
    line: Vec<u8>,
    path: String,
}

pub(super) async fn open(api: &Api, path: String, accept: &str) -> Result<WatchLines, ApiError> {
    let fail = |cause| ApiError { verb: "WATCH", path: path.clone(), cause };
    let request = http::Request::get(&path)
        .header(http::header::ACCEPT, accept)
        .header(http::header::ACCEPT_ENCODING, "identity")
        .body(Vec::new())
        .map_err(|e| fail(Cause::Transport(Box::new(kube::Error::HttpError(e)))))?;
    let opened = tokio::time::timeout(super::REQUEST_TIMEOUT, api.counted("GET", request))
        .await
        .map_err(|_| fail(Cause::TimedOut(super::REQUEST_TIMEOUT)))?
        .map_err(fail)?;
    let body = opened.into_body().into_data_stream().map_err(std::io::Error::other).into_async_read();
    Ok(WatchLines { body: Box::pin(body), line: Vec::new(), path })
}

impl WatchLines {
    fn fail(&self, error: std::io::Error) -> ApiError {
        let cause = Cause::Transport(Box::new(kube::Error::ReadEvents(error)));
        ApiError { verb: "WATCH", path: self.path.clone(), cause }
    }

    /// The next line, without its end; `None` when the server ended the watch.
    pub async fn next(&mut self) -> Result<Option<&[u8]>, ApiError> {
        self.line.clear();
        self.line.shrink_to(BUFFER_KEPT_BYTES);
        let read = tokio::time::timeout(SILENCE_MAX, read_line(&mut self.body, &mut self.line)).await;
        match read {
            Ok(Ok(true)) => Ok(Some(&self.line)),
            Ok(Ok(false)) => Ok(None),
            Ok(Err(e)) if e.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
            Ok(Err(e)) => Err(self.fail(e)),
            Err(_) => Err(self.fail(std::io::ErrorKind::TimedOut.into())),
        }
    }
}

/// True: a whole line is in `line`. A line that the end of the stream cuts off is not an event.
async fn read_line(
    body: &mut Pin<Box<dyn AsyncBufRead + Send>>,
    line: &mut Vec<u8>,
) -> std::io::Result<bool> {
    loop {
        let chunk = body.fill_buf().await?;
        if chunk.is_empty() {
            return Ok(false);
        }
        let end = chunk.iter().position(|&b| b == b'\n');
        let taken = end.unwrap_or(chunk.len());
        if line.len() + taken > EVENT_BYTES_MAX {
            return Err(std::io::Error::other(format!("an event of more than {EVENT_BYTES_MAX} bytes")));
        }
        line.extend_from_slice(&chunk[..taken]);
        body.consume_unpin(taken + usize::from(end.is_some()));
        match end {
            Some(_) if !line.is_empty() => return Ok(true),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::io::Cursor;

    async fn lines(text: &'static str) -> Vec<String> {
        let mut body: Pin<Box<dyn AsyncBufRead + Send>> = Box::pin(Cursor::new(text.as_bytes()));
        let mut out = Vec::new();
        let mut line = Vec::new();
        while read_line(&mut body, &mut line).await.unwrap() {
            out.push(String::from_utf8(std::mem::take(&mut line)).unwrap());
        }
        out
    }

    #[tokio::test]
    async fn a_line_cut_off_by_the_end_is_no_event() {
        assert_eq!(lines("a\n\nbc\nd").await, ["a", "bc"]);
    }
}
