//! What every answer gets at the end: compression, audit id, warnings, cache control.

use super::Answer;
use crate::wire::Body;
use bytes::Bytes;
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use http::{HeaderName, HeaderValue, Response, header};
use std::io::{Read, Write};

/// Answers below this are not compressed (upstream's `defaultGzipThresholdBytes`).
pub(crate) const GZIP_FROM_BYTES: usize = 128 * 1024;
/// Upstream's level: low, as the network is rarely the bottleneck.
const GZIP_LEVEL: u32 = 1;
/// Bytes of all warnings of an answer (upstream's `truncateAtTotalRunes`).
const WARNINGS_BYTES_MAX: usize = 4 * 1024;

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
    let mut budget = WARNINGS_BYTES_MAX;
    for warning in how.warnings {
        let Some(value) = warning_value(warning) else { continue };
        let Some(left) = budget.checked_sub(value.len()) else { break };
        budget = left;
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

/// RFC 7234 warn-code 299, no agent, quoted text.
fn warning_value(text: &str) -> Option<HeaderValue> {
    let mut quoted = String::with_capacity(text.len() + 10);
    quoted.push_str("299 - \"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push(' '),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    HeaderValue::from_bytes(quoted.as_bytes()).ok()
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

    #[test]
    fn warnings_are_quoted_and_bounded() {
        let warnings = vec!["unknown field \"spec.x\"".to_owned(), "y".repeat(WARNINGS_BYTES_MAX)];
        let response = finish(Answer::text(StatusCode::OK, "ok"), &how(false, &warnings));
        let got: Vec<_> = response.headers().get_all("warning").iter().collect();
        assert_eq!(got, [r#"299 - "unknown field \"spec.x\"""#]);
    }
}
