//! The one task that follows the store and fills the caches: once per batch of commits, each touched resource's state is
//! replaced, then progress is told.
//!
//! A broken connection resumes after the last revision taken in. When the store no longer has what follows, everything
//! is loaded anew with empty rings, so that watchers are closed with 410 and none misses an event. A body that cannot be
//! read ends the feed and with it every consistent answer: a wrong cache is worse than none.

use super::{
    ResourceCache, Root, State,
    progress::Progress,
    world::{DEFINITIONS, World},
};
use crate::{entry::Entry, intern::Interner, kind::Kind, table::KindTable};
use arc_swap::{ArcSwap, Guard};
use bytes::Bytes;
use futures::StreamExt;
use keelson_store::{Commit, Event, KeyValue, Revision, Store, StoreError};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// At most this many commits are taken in at once.
const BATCH_MAX: usize = 1_024;
/// Keys are read in parts of this many when everything is loaded.
const LOAD_PAGE: usize = 2_000;
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Everything in the store that is ours.
pub(crate) const STORE_PREFIX: &str = "/registry/";
/// Bumped by each transaction that takes or returns node ports, so that two of them cannot pass each other.
pub(crate) const NODE_PORT_GUARD: &str = "/registry/ranges/servicenodeports";

/// The kinds with their caches, and the state of the guard key.
pub(crate) struct Caches {
    world: ArcSwap<World>,
    /// Revision of [`NODE_PORT_GUARD`], 0 while it is absent. Moved after the caches' states.
    pub(crate) node_port_guard: AtomicU64,
}

impl Caches {
    /// The kinds of a table, each with an empty cache.
    pub(crate) fn new(table: KindTable) -> Self {
        Self { world: ArcSwap::from_pointee(World::new(table)), node_port_guard: AtomicU64::new(0) }
    }

    /// What is served now, taken without a lock.
    pub(crate) fn world(&self) -> Guard<Arc<World>> {
        self.world.load()
    }

    /// Where a kind's objects are.
    pub(crate) fn of_kind(&self, kind: &Kind) -> Option<Arc<ResourceCache>> {
        self.world.load().of_kind(kind).cloned()
    }

    /// Wakes every watcher.
    pub(crate) fn wake_all(&self) {
        self.world.load().caches().for_each(|cache| cache.wake());
    }
}

/// Why the feed cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FeedError {
    #[error("reading the store: {0}")]
    Store(#[from] StoreError),
    #[error("{0}")]
    Unreadable(#[from] crate::entry::Unreadable),
}

/// When a kind that appears gets its objects.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fill {
    Now,
    /// With all others.
    Later,
}

/// Fills the caches and follows the store.
pub(crate) struct Feed {
    store: Arc<dyn Store>,
    caches: Arc<Caches>,
    progress: Arc<Progress>,
    interner: Interner,
}

impl Feed {
    pub(crate) fn new(store: Arc<dyn Store>, caches: Arc<Caches>, progress: Arc<Progress>) -> Self {
        Self { store, caches, progress, interner: Interner::default() }
    }

    /// Replaces every cache by what the store holds now, the definitions of custom kinds first.
    pub(crate) async fn load(&mut self) -> Result<Revision, FeedError> {
        let (definitions, revision) = self.list(DEFINITIONS, None).await?;
        let known: Vec<String> = self.caches.world().definitions().cloned().collect();
        let gone = known.into_iter().filter(|name| definitions.iter().all(|item| name_in(&item.key) != name));
        for name in gone.collect::<Vec<_>>() {
            self.redefine(&name, None, revision, Fill::Later).await?;
        }
        for item in &definitions {
            self.redefine(name_in(&item.key), Some(&item.value), item.mod_revision, Fill::Later).await?;
        }
        let world = self.caches.world.load_full();
        let (items, _) = self.list(STORE_PREFIX, Some(revision)).await?;
        let (mut roots, mut guard): (BTreeMap<&str, Root>, Revision) = (BTreeMap::new(), 0);
        for item in items {
            if &*item.key == NODE_PORT_GUARD {
                guard = item.mod_revision;
            }
            let Some(cache) = world.of_key(&item.key) else { continue };
            let entry = self.read(cache, item)?;
            roots.entry(&cache.kind.prefix).or_default().insert(entry.head.key().clone(), entry);
        }
        for cache in world.caches() {
            let root = roots.remove(cache.kind.prefix.as_str()).unwrap_or_default();
            cache.replace(State::loaded(root, revision));
        }
        self.caches.node_port_guard.store(guard, Ordering::Release);
        self.progress.advance(revision);
        Ok(revision)
    }

    /// All keys with a prefix, at one revision.
    async fn list(
        &self,
        prefix: &str,
        mut at: Option<Revision>,
    ) -> Result<(Vec<KeyValue>, Revision), FeedError> {
        let (mut items, mut after): (Vec<KeyValue>, Option<Arc<str>>) = (Vec::new(), None);
        loop {
            let page = self.store.list(prefix, after.as_deref(), LOAD_PAGE, at).await?;
            at = Some(page.revision);
            after = page.items.last().map(|item| item.key.clone());
            items.extend(page.items);
            if !page.more {
                return Ok((items, page.revision));
            }
        }
    }

    /// Takes a definition of a custom kind in: from here on its kinds are served, or no longer. Objects that are there
    /// before it (a definition was deleted without them) are read at the same revision.
    async fn redefine(
        &mut self,
        name: &str,
        value: Option<&Bytes>,
        revision: Revision,
        fill: Fill,
    ) -> Result<(), FeedError> {
        let object = value.map(|bytes| serde_json::from_slice::<Value>(bytes)).transpose();
        let object = object.unwrap_or_else(|error| {
            tracing::error!(name, %error, "a definition cannot be read and is not served");
            None
        });
        let world = self.caches.world.load_full();
        let Some(next) = world.after(name, object.as_ref(), revision)? else { return Ok(()) };
        if let Some(cache) = next.appeared.as_ref().filter(|_| fill == Fill::Now) {
            let (items, revision) = self.list(&cache.kind.prefix, Some(revision)).await?;
            let mut root = Root::new();
            for item in items {
                let entry = self.read(cache, item)?;
                root.insert(entry.head.key().clone(), entry);
            }
            cache.replace(State::loaded(root, revision));
        }
        self.caches.world.store(Arc::new(next.world));
        if let Some(gone) = next.gone {
            gone.close();
        }
        Ok(())
    }

    /// Follows the store from what [`Feed::load`] gave, for ever; ends by failing progress.
    pub(crate) async fn run(mut self, mut revision: Revision) {
        let mut pause = RETRY_MIN;
        loop {
            let before = revision;
            match self.follow(&mut revision).await {
                Ok(()) => tracing::warn!(revision, "the store ended the watch; resuming"),
                Err(FeedError::Unreadable(error)) => {
                    tracing::error!(%error, "the watch cache stops");
                    return self.fail(&error);
                }
                Err(FeedError::Store(StoreError::Compacted { oldest, .. })) => {
                    tracing::warn!(revision, oldest, "what follows is compacted; loading everything anew");
                    match self.load().await {
                        Ok(loaded) => revision = loaded,
                        Err(FeedError::Unreadable(error)) => return self.fail(&error),
                        Err(error) => tracing::warn!(%error, "loading the watch cache"),
                    }
                }
                Err(error) => tracing::warn!(%error, revision, "following the store; resuming"),
            }
            pause = if revision > before { RETRY_MIN } else { RETRY_MAX.min(pause * 2) };
            tokio::time::sleep(pause).await;
        }
    }

    /// Everybody who waits or watches is told.
    fn fail(&self, why: &dyn std::fmt::Display) {
        self.progress.fail(why.to_string());
        self.caches.wake_all();
    }

    async fn follow(&mut self, revision: &mut Revision) -> Result<(), FeedError> {
        let mut commits = self.store.watch(*revision).await?.ready_chunks(BATCH_MAX);
        while let Some(batch) = commits.next().await {
            let (mut good, mut failure) = (Vec::with_capacity(batch.len()), None);
            for commit in batch {
                match commit {
                    Ok(commit) => good.push(commit),
                    Err(error) => failure = Some(error),
                }
            }
            if let Some(last) = good.last().map(|commit| commit.revision) {
                self.take(good).await?;
                *revision = last;
            }
            if let Some(error) = failure {
                return Err(error.into());
            }
        }
        Ok(())
    }

    async fn take(&mut self, commits: Vec<Commit>) -> Result<(), FeedError> {
        let Some(last) = commits.last().map(|commit| commit.revision) else { return Ok(()) };
        let mut touched: Vec<(Arc<ResourceCache>, State)> = Vec::new();
        let mut guard = None;
        for commit in commits {
            // Before the definition itself is seen: who sees that it is established is served.
            for (key, value) in
                commit.events.iter().map(parts).filter(|(key, _)| key.starts_with(DEFINITIONS))
            {
                publish(&mut touched);
                self.redefine(name_in(key), value, commit.revision, Fill::Now).await?;
            }
            let world = self.caches.world.load_full();
            for event in commit.events {
                let (key, value) = match event {
                    Event::Put(value) => (value.key.clone(), Some(value)),
                    Event::Delete { key } => (key, None),
                };
                if &*key == NODE_PORT_GUARD {
                    guard = Some(if value.is_some() { commit.revision } else { 0 });
                }
                let Some(cache) = world.of_key(&key) else { continue };
                let entry = value.map(|value| self.read(cache, value)).transpose()?;
                let at = touched.iter().position(|(own, _)| Arc::ptr_eq(own, cache)).unwrap_or_else(|| {
                    touched.push((cache.clone(), State::clone(&cache.state())));
                    touched.len() - 1
                });
                touched[at].1.apply(commit.revision, key, entry);
            }
        }
        publish(&mut touched);
        if let Some(guard) = guard {
            self.caches.node_port_guard.store(guard, Ordering::Release);
        }
        self.progress.advance(last);
        Ok(())
    }

    fn read(&mut self, cache: &ResourceCache, item: KeyValue) -> Result<Arc<Entry>, FeedError> {
        let entry = Entry::read(&cache.kind, item.key, item.value, item.mod_revision, &mut self.interner)?;
        Ok(Arc::new(entry))
    }
}

fn publish(touched: &mut Vec<(Arc<ResourceCache>, State)>) {
    for (cache, state) in touched.drain(..) {
        cache.replace(state);
    }
}

fn parts(event: &Event) -> (&Arc<str>, Option<&Bytes>) {
    match event {
        Event::Put(value) => (&value.key, Some(&value.value)),
        Event::Delete { key } => (key, None),
    }
}

/// The name in a key of a cluster-scoped object.
fn name_in(key: &str) -> &str {
    key.rsplit('/').next().unwrap_or_default()
}
