//! Sockets and TLS: from accepted connections to requests with a peer. What a request means is not known here.

pub(crate) mod body;
pub(crate) mod peer;
pub(crate) mod serve;
pub(crate) mod tls;
mod unread;

pub(crate) use body::{Body, BoxError};
pub use serve::HttpOptions;
