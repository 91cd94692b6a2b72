//! How the node daemon follows the API: watches that are tried again every few seconds for as long as the process lives.
#![forbid(unsafe_code)]

mod backoff;

use backoff::Bounded;
use futures::stream::{BoxStream, StreamExt};
use kube::{
    Api, Resource,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event},
    },
};
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// The objects of `api` that `config` selects: what there is, then each change. An error says that the watch is made again,
/// which takes a few seconds at most; the stream never ends.
pub fn watch<K>(api: Api<K>, config: watcher::Config) -> BoxStream<'static, watcher::Result<Event<K>>>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    kube::runtime::watcher(api, config).backoff(Bounded::default()).boxed()
}

/// One object of `api`: as it is, then each change; None once it is gone. Errors as [`watch`] has them.
pub fn watch_object<K>(api: Api<K>, name: &str) -> BoxStream<'static, watcher::Result<Option<K>>>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    watcher::watch_object(api, name).backoff(Bounded::default()).boxed()
}
