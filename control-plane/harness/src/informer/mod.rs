//! Shared informers: one watch and one cache of views per kind and process, and whoever wants to hear of changes.
//!
//! Ownership: the reflector's task alone writes the store; everyone reads `Arc`s. A subscriber is called in that task,
//! after the store shows the change, and must not block: it adds a key to a queue or updates a snapshot.

mod reflector;
mod store;

pub use reflector::{Collection, METADATA, Sink, WHOLE, reflect};
pub use store::{Change, IndexKey, Store};

use crate::{Api, ObjectKey, views::View};
use parking_lot::Mutex;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

type Call<T> = dyn Fn(&Change<T>) + Send + Sync;

struct Subscriber<T> {
    until: CancellationToken,
    call: Box<Call<T>>,
}

/// The shared cache of one kind.
pub struct Informer<T> {
    api: Api,
    shutdown: CancellationToken,
    store: Store<T>,
    subscribers: Mutex<Vec<Subscriber<T>>>,
    started: AtomicBool,
    synced: watch::Sender<bool>,
}

impl<T: View> Informer<T> {
    pub(crate) fn new(api: Api, shutdown: CancellationToken) -> Arc<Self> {
        let (synced, _) = watch::channel(false);
        let (store, subscribers) = (Store::default(), Mutex::default());
        Arc::new(Self { api, shutdown, store, subscribers, started: AtomicBool::new(false), synced })
    }

    /// Starts the watch unless it runs already.
    pub(crate) fn start(self: &Arc<Self>) {
        if !self.started.swap(true, Ordering::Relaxed) {
            let informer = self.clone();
            tokio::spawn(async move {
                let (api, shutdown) = (informer.api.clone(), informer.shutdown.clone());
                reflect(&api, &Collection::all(T::RESOURCE), &*informer, &shutdown).await;
            });
        }
    }

    /// Hears of every change from now on, after being told of everything that is there as additions, `until` cancelled.
    pub fn subscribe(
        &self,
        until: &CancellationToken,
        subscriber: impl Fn(&Change<T>) + Send + Sync + 'static,
    ) {
        let mut subscribers = self.subscribers.lock();
        for object in self.store.all() {
            subscriber(&Change { old: None, new: Some(object) });
        }
        subscribers.push(Subscriber { until: until.clone(), call: Box::new(subscriber) });
    }

    /// Returns once the first list is in the store; false if the process shuts down before.
    pub async fn synced(&self) -> bool {
        let mut synced = self.synced.subscribe();
        tokio::select! {
            result = synced.wait_for(|&done| done) => result.is_ok(),
            () = self.shutdown.cancelled() => false,
        }
    }

    /// What the cache knows under this name.
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<T>> {
        self.store.get(key)
    }

    /// All objects under an index key, sorted by namespace and name.
    pub fn by(&self, index: &IndexKey) -> Vec<Arc<T>> {
        self.store.by(index)
    }

    /// All objects, in no order.
    pub fn all(&self) -> Vec<Arc<T>> {
        self.store.all()
    }

    fn tell(&self, changes: Vec<Change<T>>) {
        let mut subscribers = self.subscribers.lock();
        subscribers.retain(|subscriber| !subscriber.until.is_cancelled());
        for change in &changes {
            subscribers.iter().for_each(|subscriber| (subscriber.call)(change));
        }
    }
}

impl<T: View> Sink<T> for Informer<T> {
    fn reset(&self, objects: Vec<T>) {
        self.tell(self.store.reset(objects));
        self.synced.send_replace(true);
    }

    fn apply(&self, object: T) {
        self.tell(self.store.apply(object));
    }

    fn delete(&self, object: T) {
        self.tell(self.store.delete(object));
    }
}

#[cfg(test)]
mod tests;
