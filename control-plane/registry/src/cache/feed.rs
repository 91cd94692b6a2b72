//! The one task that follows the store and fills the caches: once per batch of commits, each touched resource's state is
//! replaced, then progress is told.
//!
//! A broken connection resumes after the last revision taken in. When the store no longer has what follows, everything
//! is loaded anew with empty rings, so that watchers are closed with 410 and none misses an event. A body that cannot be
//! read ends the feed and with it every consistent answer: a wrong cache is worse than none.

use super::{ResourceCache, Root, State, progress::Progress};
use crate::{
    entry::Entry,
    intern::Interner,
    kind::{Kind, Storage},
    table::KindTable,
};
use arc_swap::{ArcSwap, Guard};
use futures::StreamExt;
use keelson_store::{Commit, Event, KeyValue, Revision, Store, StoreError};
use std::{
    collections::{BTreeMap, HashMap},
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

/// What is served at one moment: the kinds, and the caches of those that are stored, by key prefix. Replaced whole.
pub(crate) struct World {
    pub(crate) table: Arc<KindTable>,
    by_prefix: HashMap<String, Arc<ResourceCache>>,
}

/// The kinds with their caches, and the state of the guard key.
pub(crate) struct Caches {
    world: ArcSwap<World>,
    /// Revision of [`NODE_PORT_GUARD`], 0 while it is absent. Moved after the caches' states.
    pub(crate) node_port_guard: AtomicU64,
}

impl Caches {
    /// The kinds of a table, each with an empty cache.
    pub(crate) fn new(table: KindTable) -> Self {
        let by_prefix = table
            .iter()
            .filter(|kind| matches!(kind.storage, Storage::Own))
            .map(|kind| (kind.prefix.clone(), Arc::new(ResourceCache::new(kind.clone()))))
            .collect();
        let world = World { table: Arc::new(table), by_prefix };
        Self { world: ArcSwap::from_pointee(world), node_port_guard: AtomicU64::new(0) }
    }

    /// What is served now, taken without a lock.
    pub(crate) fn world(&self) -> Guard<Arc<World>> {
        self.world.load()
    }

    /// Where a kind's objects are.
    pub(crate) fn of_kind(&self, kind: &Kind) -> Option<Arc<ResourceCache>> {
        self.world.load().by_prefix.get(&kind.prefix).cloned()
    }

    /// Wakes every watcher.
    pub(crate) fn wake_all(&self) {
        self.world.load().by_prefix.values().for_each(|cache| cache.wake());
    }
}

impl World {
    fn of_key(&self, key: &str) -> Option<&Arc<ResourceCache>> {
        let (end, _) = key.match_indices('/').nth(3)?;
        self.by_prefix.get(&key[..=end])
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

    /// Replaces every cache by what the store holds now.
    pub(crate) async fn load(&mut self) -> Result<Revision, FeedError> {
        let mut roots: BTreeMap<&str, Root> = BTreeMap::new();
        let world = self.caches.world.load_full();
        let (mut after, mut at, mut guard): (Option<Arc<str>>, Option<Revision>, Revision) = (None, None, 0);
        let revision = loop {
            let page = self.store.list(STORE_PREFIX, after.as_deref(), LOAD_PAGE, at).await?;
            at = Some(page.revision);
            after = page.items.last().map(|item| item.key.clone());
            for item in page.items {
                if &*item.key == NODE_PORT_GUARD {
                    guard = item.mod_revision;
                }
                let Some(cache) = world.of_key(&item.key) else { continue };
                let entry = self.read(cache, item)?;
                roots.entry(&cache.kind.prefix).or_default().insert(entry.head.key().clone(), entry);
            }
            if !page.more {
                break page.revision;
            }
        };
        for (prefix, cache) in &world.by_prefix {
            cache.replace(State::loaded(roots.remove(prefix.as_str()).unwrap_or_default(), revision));
        }
        self.caches.node_port_guard.store(guard, Ordering::Release);
        self.progress.advance(revision);
        Ok(revision)
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
                self.take(good)?;
                *revision = last;
            }
            if let Some(error) = failure {
                return Err(error.into());
            }
        }
        Ok(())
    }

    fn take(&mut self, commits: Vec<Commit>) -> Result<(), FeedError> {
        let Some(last) = commits.last().map(|commit| commit.revision) else { return Ok(()) };
        let world = self.caches.world.load_full();
        let mut touched: Vec<(&Arc<ResourceCache>, State)> = Vec::new();
        let mut guard = None;
        for commit in commits {
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
                    touched.push((cache, State::clone(&cache.state())));
                    touched.len() - 1
                });
                touched[at].1.apply(commit.revision, key, entry);
            }
        }
        for (cache, state) in touched {
            cache.replace(state);
        }
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
