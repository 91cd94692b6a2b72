//! The verbs of the API over the registry. One set of handlers serves every kind; nothing here knows a kind's rules.

pub(crate) mod components;
pub(crate) mod decode;
mod delete;
mod dispatch;
mod evict;
mod form;
mod protobuf;
mod read;
mod stream;
mod table;
mod watch;
mod write;

pub(crate) use dispatch::{Call, dispatch};
