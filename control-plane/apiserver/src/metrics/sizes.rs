//! The bytes of answers that show objects: known at once where the answer is whole, else when it has gone out.

use super::Series;
use crate::wire::{self, BoxError};
use bytes::Bytes;
use http::Response;
use hyper::body::{Body, Frame, SizeHint};
use keelson_metrics::Histogram;
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

/// Observes the answer's size, at once or with its end.
pub(crate) fn measured(response: Response<wire::Body>, series: &Series) -> Response<wire::Body> {
    let Some(sizes) = &series.sizes else { return response };
    match response.body().size_hint().exact() {
        Some(bytes) => {
            sizes.observe(bytes as f64);
            response
        }
        None => {
            let sizes = sizes.clone();
            response.map(|body| wire::body::of(Measured { body, bytes: 0, sizes }))
        }
    }
}

struct Measured {
    body: wire::Body,
    bytes: u64,
    sizes: Histogram,
}

impl Drop for Measured {
    fn drop(&mut self) {
        self.sizes.observe(self.bytes as f64);
    }
}

impl Body for Measured {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            self.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
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
