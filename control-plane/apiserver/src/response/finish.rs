//! What every answer gets at the end: compression, audit id, warnings, cache control.

use super::{Answer, warning};
use crate::wire::Body;
use bytes::Bytes;
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use http::{HeaderName, HeaderValue, Response, header};
use std::io::{Read, Write};

/// Answers below this are not compressed (upstream's `defaultGzipThresholdBytes`).
pub(crate) const GZIP_FROM_BYTES: usize = 128 * 1024;
/// Upstream's level: low, as the network is rarely the bottleneck.
const GZIP_LEVEL: u32 = 1;

/// What the request says about how its answer ends.
pub(crate) struct Finish<'a> {
    /// The client takes gzip.
    pub(crate) gzip: bool,
    /// HEAD: headers only.
    pub(crate) head: bool,
    /// Names the request in logs.
    pub(crate) audit_id: &'a str,
    /// Told to the user by kubectl.
    pub(crate) warnings: &'a [String],
}

/// Makes the response.
pub(crate) fn finish(mut answer: Answer, how: &Finish<'_>) -> Response<Body> {
    if let Answer::Whole { headers, bytes, .. } = &mut answer {
        if how.gzip
            && bytes.len() >= GZIP_FROM_BYTES
            && !headers.contains_key(header::CONTENT_ENCODING)
            && let Some(packed) = gzip(bytes)
        {
            *bytes = packed;
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        }
        if how.head {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
            *bytes = Bytes::new();
        }
    }
    let mut response = answer.into_response();
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(how.audit_id) {
        headers.insert(HeaderName::from_static("audit-id"), id);
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache, private"));
    for value in warning::values(how.warnings) {
        headers.append(header::WARNING, value);
    }
    response
}

/// Compresses at once; None when it cannot, in which case the answer goes as it is.
pub(crate) fn gzip(bytes: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 6), Compression::new(GZIP_LEVEL));
    encoder.write_all(bytes).ok()?;
    encoder.finish().ok().map(Bytes::from)
}

/// The reverse of [`gzip`].
pub(crate) fn gunzip(packed: &[u8]) -> std::io::Result<Bytes> {
    let mut bytes = Vec::with_capacity(packed.len() * 8);
    GzDecoder::new(packed).read_to_end(&mut bytes)?;
    Ok(Bytes::from(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;

    fn how(gzip: bool, warnings: &[String]) -> Finish<'_> {
        Finish { gzip, head: false, audit_id: "id", warnings }
    }

    #[test]
    fn only_large_answers_are_compressed() {
        let small = Answer::bytes(StatusCode::OK, "application/json", vec![b'a'; 100]);
        assert!(!finish(small, &how(true, &[])).headers().contains_key("content-encoding"));
        let large = || Answer::bytes(StatusCode::OK, "application/json", vec![b'a'; GZIP_FROM_BYTES]);
        assert_eq!(finish(large(), &how(true, &[])).headers()["content-encoding"], "gzip");
        assert!(!finish(large(), &how(false, &[])).headers().contains_key("content-encoding"));
    }
}
