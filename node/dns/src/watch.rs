//! Keeps the index true to the API: one watch of Services, one of EndpointSlices. What is decoded is read and dropped.

use crate::{
    index::{Index, Key},
    objects::{ServiceObject, SliceObject},
};
use futures::{StreamExt, TryStreamExt};
use kube::{
    Api, Client, Resource,
    runtime::watcher::{self, Event},
};
use parking_lot::RwLock;
use serde::de::DeserializeOwned;
use std::{
    collections::BTreeSet,
    fmt::Debug,
    sync::atomic::{AtomicBool, Ordering},
};
use tokio_util::sync::CancellationToken;

/// The cluster, as far as it is known.
#[derive(Debug, Default)]
pub(crate) struct Cluster {
    index: RwLock<Index>,
    services_listed: AtomicBool,
    slices_listed: AtomicBool,
}

impl Cluster {
    /// What is known of the cluster, once it was listed to the end. Before, that something is not there means nothing.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Index) -> T) -> Option<T> {
        self.is_listed().then(|| read(&self.index.read()))
    }

    pub(crate) fn is_listed(&self) -> bool {
        self.services_listed.load(Ordering::Acquire) && self.slices_listed.load(Ordering::Acquire)
    }

    /// One that is listed, and is this.
    #[cfg(test)]
    pub(crate) fn known(index: Index) -> Self {
        Self { index: RwLock::new(index), services_listed: true.into(), slices_listed: true.into() }
    }
}

/// A kind that is watched: what its objects do to the index.
trait Watched: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static {
    fn put(&self, index: &mut Index);
    fn remove(index: &mut Index, key: &Key);
    fn retain(index: &mut Index, keep: &BTreeSet<Key>);
    fn listed(cluster: &Cluster) -> &AtomicBool;
}

impl Watched for ServiceObject {
    fn put(&self, index: &mut Index) {
        match self.project() {
            Some(service) => index.put_service(&key(self), service),
            None => index.remove_service(&key(self)),
        }
    }

    fn remove(index: &mut Index, key: &Key) {
        index.remove_service(key);
    }

    fn retain(index: &mut Index, keep: &BTreeSet<Key>) {
        index.retain_services(keep);
    }

    fn listed(cluster: &Cluster) -> &AtomicBool {
        &cluster.services_listed
    }
}

impl Watched for SliceObject {
    fn put(&self, index: &mut Index) {
        match self.project() {
            Some((service, set)) => index.put_slice(&key(self), service, set),
            None => index.remove_slice(&key(self)),
        }
    }

    fn remove(index: &mut Index, key: &Key) {
        index.remove_slice(key);
    }

    fn retain(index: &mut Index, keep: &BTreeSet<Key>) {
        index.retain_slices(keep);
    }

    fn listed(cluster: &Cluster) -> &AtomicBool {
        &cluster.slices_listed
    }
}

/// Follows both kinds until `shutdown`.
pub(crate) async fn follow(client: Client, cluster: &Cluster, shutdown: &CancellationToken) {
    tokio::join!(
        follow_kind::<ServiceObject>(client.clone(), cluster, shutdown),
        follow_kind::<SliceObject>(client, cluster, shutdown),
    );
}

async fn follow_kind<K: Watched>(client: Client, cluster: &Cluster, shutdown: &CancellationToken) {
    let stream = keelson_watch::watch(Api::<K>::all(client), watcher::Config::default());
    let mut events = stream.take_until(shutdown.cancelled()).boxed();
    let mut listing = BTreeSet::new();
    loop {
        match events.try_next().await {
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(kind = %K::plural(&()), %error, "the watch failed; answers stay as they are");
            }
            Ok(Some(event)) => see(cluster, &mut listing, event),
        }
    }
}

/// `listing`: what a list that is not at its end has named so far.
fn see<K: Watched>(cluster: &Cluster, listing: &mut BTreeSet<Key>, event: Event<K>) {
    match event {
        Event::Init => listing.clear(),
        Event::InitApply(object) => {
            listing.insert(key(&object));
            object.put(&mut cluster.index.write());
        }
        Event::InitDone => {
            K::retain(&mut cluster.index.write(), &std::mem::take(listing));
            K::listed(cluster).store(true, Ordering::Release);
        }
        Event::Apply(object) => object.put(&mut cluster.index.write()),
        Event::Delete(object) => K::remove(&mut cluster.index.write(), &key(&object)),
    }
}

fn key<K: Resource>(object: &K) -> Key {
    let meta = object.meta();
    Key::new(meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service(name: &str, address: &str) -> ServiceObject {
        let object = json!({"metadata": {"name": name, "namespace": "shop"}, "spec": {"clusterIP": address}});
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn nothing_is_known_before_both_lists_are_whole_and_a_second_list_takes_away() {
        let cluster = Cluster::default();
        let listing = &mut BTreeSet::new();
        see(&cluster, listing, Event::<SliceObject>::InitDone);
        see(&cluster, listing, Event::<ServiceObject>::Init);
        see(&cluster, listing, Event::InitApply(service("a", "10.96.0.1")));
        see(&cluster, listing, Event::InitApply(service("b", "10.96.0.2")));
        assert!(cluster.read(Index::services).is_none());
        see(&cluster, listing, Event::<ServiceObject>::InitDone);
        assert_eq!(cluster.read(Index::services), Some(2));
        see(&cluster, listing, Event::<ServiceObject>::Init);
        see(&cluster, listing, Event::InitApply(service("b", "10.96.0.2")));
        assert_eq!(cluster.read(Index::services), Some(2), "until the new list is whole");
        see(&cluster, listing, Event::<ServiceObject>::InitDone);
        assert_eq!(cluster.read(Index::services), Some(1));
        see(&cluster, listing, Event::Delete(service("b", "10.96.0.2")));
        assert_eq!(cluster.read(Index::services), Some(0));
    }
}
