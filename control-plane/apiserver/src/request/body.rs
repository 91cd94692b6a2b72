//! Request bodies: bounded reading, and the media types that are read.

use crate::wire::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use keelson_registry::status::Status;
use keelson_schema::ContentType;

/// Bytes of a request body, as upstream's `MaxRequestBodyBytes`.
pub const BODY_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Reads all of a body.
pub(crate) async fn read(mut body: Body) -> Result<Bytes, Status> {
    // One that says how long it is need not be read to be refused.
    if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
        return Err(Status::too_large(format!("limit is {BODY_BYTES_MAX}")));
    }
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame
            .map_err(|error| Status::bad_request(format!("the request body could not be read: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + rest.len() + data.len() > BODY_BYTES_MAX {
            return Err(Status::too_large(format!("limit is {BODY_BYTES_MAX}")));
        }
        // Most bodies are one frame, which is then not copied.
        if first.is_empty() { first = data } else { rest.extend_from_slice(&data) }
    }
    if rest.is_empty() {
        return Ok(first);
    }
    let mut whole = BytesMut::with_capacity(first.len() + rest.len());
    whole.extend_from_slice(&first);
    whole.extend_from_slice(&rest);
    Ok(whole.freeze())
}

/// What a Content-Type header says; JSON without one.
pub(crate) fn content_type(header: Option<&str>) -> Result<ContentType, Status> {
    let media = header.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    match media.to_ascii_lowercase().as_str() {
        "" | "application/json" => Ok(ContentType::Json),
        "application/yaml" => Ok(ContentType::Yaml),
        "application/vnd.kubernetes.protobuf" => Ok(ContentType::Protobuf),
        other => Err(Status::unsupported_media_type(format!(
            "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf (got {other:?})"
        ))),
    }
}
