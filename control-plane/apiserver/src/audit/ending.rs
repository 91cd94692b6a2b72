//! The last event of a request whose answer is a stream: made when nobody holds the stream any longer.

use super::{Audited, STREAMED_BYTES_MAX};
use crate::wire::{self, BoxError};
use bytes::{Buf, Bytes};
use hyper::body::{Frame, SizeHint};
use keelson_audit::{Body, Level, Media, Stage};
use parking_lot::Mutex;
use serde_json::Value;
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

/// Held by whoever goes on with a watch or stream. Clones share; the last one to go ends the request.
#[derive(Clone, Default)]
pub(crate) struct Lasting(Arc<Mutex<Option<Ending>>>);

impl Lasting {
    /// What ends with it.
    pub(super) fn ends_with(&self, ending: Ending) {
        *self.0.lock() = Some(ending);
    }
}

/// Records the end when it is dropped.
pub(super) struct Ending {
    audited: Audited,
    status: Value,
    response: Option<Body>,
    truncated: bool,
}

impl Ending {
    pub(super) fn new(audited: Audited, status: Value) -> Self {
        Self { audited, status, response: None, truncated: false }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.audited.closed = true;
        let (status, response) = (self.status.take(), self.response.take());
        let event = self.audited.event(Stage::ResponseComplete, status, response, self.truncated);
        if let Some(event) = event {
            self.audited.auditor.record_now(event);
        }
    }
}

/// A body that is recorded: its end, and of lists what it says.
pub(super) struct Recorded {
    body: wire::Body,
    list: Option<List>,
    _lasting: Option<Lasting>,
}

/// A list that goes out, and what of it is kept.
struct List {
    ending: Ending,
    kept: Option<(Vec<u8>, Media)>,
    gzip: bool,
    complete: bool,
}

impl Recorded {
    /// A watch or stream.
    pub(super) fn lasting(body: wire::Body, lasting: Lasting) -> Self {
        Self { body, list: None, _lasting: Some(lasting) }
    }

    /// A long list, in the media type of its answer.
    pub(super) fn list(body: wire::Body, ending: Ending, media: Option<Media>, gzip: bool) -> Self {
        let wanted = ending.audited.decision.level >= Level::RequestResponse;
        let kept = media.filter(|_| wanted).map(|media| (Vec::new(), media));
        Self { body, list: Some(List { ending, kept, gzip, complete: false }), _lasting: None }
    }
}

impl List {
    fn see(&mut self, frame: Option<&Frame<Bytes>>) {
        let Some(frame) = frame else {
            self.complete = true;
            return;
        };
        let Some(data) = frame.data_ref() else { return };
        match &mut self.kept {
            Some((kept, _)) if kept.len() + data.remaining() <= STREAMED_BYTES_MAX => {
                kept.extend_from_slice(data)
            }
            Some(_) => {
                self.kept = None;
                self.ending.truncated = true;
            }
            None => {}
        }
    }
}

impl Drop for List {
    fn drop(&mut self) {
        let Some((kept, media)) = self.kept.take() else { return };
        if self.complete {
            self.ending.response = Some(Body { bytes: kept.into(), media, gzip: self.gzip });
        } else {
            self.ending.truncated = true;
        }
    }
}

impl hyper::body::Body for Recorded {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(list) = &mut self.list {
            match &frame {
                Some(Ok(frame)) => list.see(Some(frame)),
                Some(Err(_)) => {}
                None => list.see(None),
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
