//! What can go wrong on the way to a webhook and back, in upstream's words: users search for them.

use crate::TlsError;

/// Why a request had no answer.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The other end's certificates cannot be judged.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No connection, or none that is trusted.
    #[error("{0}")]
    Unreachable(String),
    /// The connection broke.
    #[error("{0}")]
    Broken(String),
}

/// Why a review had no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No answer.
    #[error("Post {url:?}: {source}")]
    Transport {
        /// What was asked.
        url: String,
        /// Why.
        source: TransportError,
    },
    /// No complete answer in time.
    #[error("Post {url:?}: context deadline exceeded")]
    Timeout {
        /// What was asked.
        url: String,
    },
    /// The path or the host makes no URL.
    #[error("{url:?} is no URL: {why}")]
    Url {
        /// What should have been asked.
        url: String,
        /// Why not.
        why: String,
    },
    /// The answer was cut off while it came.
    #[error("Post {url:?}: the answer ended early: {why}")]
    Broken {
        /// What was asked.
        url: String,
        /// Why.
        why: String,
    },
    /// More bytes than the caller takes.
    #[error("Post {url:?}: the answer has more than {max} bytes")]
    TooLarge {
        /// What was asked.
        url: String,
        /// How many are taken.
        max: usize,
    },
    /// Another code than 2xx.
    #[error("{}", status_text(*code, body))]
    Status {
        /// The HTTP code.
        code: u16,
        /// The beginning of the body.
        body: String,
    },
}

impl CallError {
    /// Whether the time ran out.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout { .. })
    }
}

/// The texts of client-go's `errors.NewGenericServerResponse`.
fn status_text(code: u16, body: &str) -> String {
    let known = match code {
        401 => "the server has asked for the client to provide credentials",
        403 => body,
        404 => "the server could not find the requested resource",
        405 => "the server does not allow this method on the requested resource",
        406 => "the server was unable to respond with a content type that the client supports",
        409 => "the server reported a conflict",
        413 => "Request entity too large",
        415 => "the body of the request was in an unknown format",
        429 => "the server has received too many requests and has asked us to try again later",
        503 => "the server is currently unable to handle the request",
        504 => {
            "the server was unable to return a response in the time allotted, but may still be processing the request"
        }
        500.. => {
            return format!("an error on the server ({body:?}) has prevented the request from succeeding");
        }
        _ => "the server rejected our request for an unknown reason",
    };
    known.to_owned()
}
