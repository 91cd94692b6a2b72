//! An answer before it becomes an HTTP response.

use crate::{
    request::accept::{Accepted, Encoding},
    response::{Indent, yaml},
    wire::{Body, body},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use keelson_registry::status::Status;
use keelson_schema::encode::{self, EncodeError};
use serde::Serialize;

/// No message is a matter of the client's wish, another error one of ours.
pub(crate) fn unencodable(error: &EncodeError) -> Status {
    match error {
        EncodeError::NoMessage { .. } => Status::not_acceptable(error.to_string()),
        EncodeError::Misfit { .. } => Status::internal(error),
    }
}

/// What a handler answers with.
pub(crate) enum Answer {
    /// Everything at hand; compressed when large.
    Whole {
        /// HTTP code.
        code: StatusCode,
        /// Media type and what else the handler sets.
        headers: HeaderMap,
        /// The body.
        bytes: Bytes,
    },
    /// A stream, or an upgrade: passed on as it is.
    Streaming(Response<Body>),
}

impl Answer {
    /// Bytes of a media type.
    pub(crate) fn bytes(code: StatusCode, media_type: &'static str, bytes: impl Into<Bytes>) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        Self::Whole { code, headers, bytes: bytes.into() }
    }

    /// Plain text.
    pub(crate) fn text(code: StatusCode, text: impl Into<String>) -> Self {
        let mut answer = Self::bytes(code, "text/plain; charset=utf-8", text.into());
        answer.header(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        answer
    }

    /// JSON that was made here, for programs or for people.
    pub(crate) fn json(code: StatusCode, json: impl Into<Bytes>, accepted: Accepted) -> Self {
        let json = json.into();
        let json = if accepted.pretty { Indent::whole(&json).into() } else { json };
        Self::bytes(code, Encoding::Json.media_type(), json)
    }

    /// An object in the encoding asked for.
    pub(crate) fn object(
        code: StatusCode,
        object: &impl Serialize,
        accepted: Accepted,
    ) -> Result<Self, Status> {
        let bytes = match accepted.encoding {
            Encoding::Json => {
                let json = serde_json::to_vec(object).map_err(Status::internal)?;
                return Ok(Self::json(code, json, accepted));
            }
            Encoding::Yaml => yaml::encode(object)?.into_bytes(),
            Encoding::Protobuf => {
                let value = serde_json::to_value(object).map_err(Status::internal)?;
                encode::object(&value).map_err(|error| unencodable(&error))?
            }
        };
        Ok(Self::bytes(code, accepted.encoding.media_type(), bytes))
    }

    /// A failure; in JSON where nothing else was negotiated.
    pub(crate) fn failure(status: &Status, accepted: Accepted) -> Self {
        let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = status.to_json();
        let mut answer = Self::object(code, &body, accepted)
            .unwrap_or_else(|_| Self::bytes(code, "application/json", body.to_string()));
        if let Some(seconds) = status.details.as_ref().map(|d| d.retry_after_s).filter(|s| *s > 0) {
            answer.header(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        answer
    }

    /// Adds a header.
    pub(crate) fn header(&mut self, name: header::HeaderName, value: HeaderValue) {
        match self {
            Self::Whole { headers, .. } => headers,
            Self::Streaming(response) => response.headers_mut(),
        }
        .insert(name, value);
    }

    /// The HTTP code.
    pub(crate) fn code(&self) -> StatusCode {
        match self {
            Self::Whole { code, .. } => *code,
            Self::Streaming(response) => response.status(),
        }
    }

    /// The response, without what `finish` adds.
    pub(crate) fn into_response(self) -> Response<Body> {
        match self {
            Self::Streaming(response) => response,
            Self::Whole { code, headers, bytes } => {
                let mut response = Response::new(body::full(bytes));
                *response.status_mut() = code;
                *response.headers_mut() = headers;
                response
            }
        }
    }
}
