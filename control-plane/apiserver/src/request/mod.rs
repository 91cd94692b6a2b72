//! What a request asks for, read from its line and headers alone: path, verb, options, media types. No kind's rules.

pub(crate) mod accept;
pub(crate) mod body;
pub(crate) mod info;
pub(crate) mod options;
pub(crate) mod query;
pub(crate) mod timeout;
