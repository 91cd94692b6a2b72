//! The watch cache: every stored kind's objects, and the last changes to them, for readers without a lock.
//!
//! ```text
//! Store::watch ──> feed (one task) ──> ResourceCache.state (ArcSwap, replaced once a batch) ──> lists, watchers
//!                                  └─> Progress (the revision that every cache has reached)  ──> waiting writers, reads
//! ```
//! A reader takes a pointer to an immutable [`State`] and works on that. Only the feed replaces states.

pub(crate) mod feed;
pub(crate) mod progress;
pub(crate) mod ring;
pub(crate) mod select;
pub(crate) mod token;
pub(crate) mod watcher;
pub(crate) mod world;

use crate::{entry::Entry, kind::Kind};
use arc_swap::ArcSwap;
use imbl::OrdMap;
use keelson_store::Revision;
use ring::{Change, Ring};
use std::{
    ops::Bound,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::watch;

/// Objects by their key in the store, which sorts by namespace, then name.
pub(crate) type Root = OrdMap<Arc<str>, Arc<Entry>>;

/// One resource at one moment. Valid from `changed` until the next change.
#[derive(Clone)]
pub(crate) struct State {
    /// Revision of the resource's last change, or of the load.
    pub(crate) changed: Revision,
    pub(crate) root: Root,
    pub(crate) ring: Ring,
}

/// One stored kind's cache.
pub(crate) struct ResourceCache {
    pub(crate) kind: Arc<Kind>,
    state: OnceLock<ArcSwap<State>>,
    wake: watch::Sender<Revision>,
    closed: AtomicBool,
}

impl ResourceCache {
    pub(crate) fn new(kind: Arc<Kind>) -> Self {
        Self { kind, state: OnceLock::new(), wake: watch::Sender::new(0), closed: AtomicBool::new(false) }
    }

    /// The present state.
    pub(crate) fn state(&self) -> Arc<State> {
        self.swap().load_full()
    }

    fn swap(&self) -> &ArcSwap<State> {
        self.state.get_or_init(|| ArcSwap::from_pointee(State::loaded(Root::new(), 0)))
    }

    /// One object's present state.
    pub(crate) fn get(&self, key: &str) -> Option<Arc<Entry>> {
        self.swap().load().root.get(key).cloned()
    }

    /// Replaces the state and wakes the watchers. The feed's alone.
    pub(crate) fn replace(&self, state: State) {
        let changed = state.changed;
        self.swap().store(Arc::new(state));
        self.wake.send_replace(changed);
    }

    /// Wakes the watchers though nothing changed: they look whether the feed still runs.
    pub(crate) fn wake(&self) {
        self.wake.send_modify(|_| ());
    }

    /// Ends the watches: the kind is no longer served, or not in this form.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.wake();
    }

    /// Whether nothing will ever change here again.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Told of each change.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Revision> {
        self.wake.subscribe()
    }
}

impl State {
    /// A state without history.
    pub(crate) fn loaded(root: Root, revision: Revision) -> Self {
        Self { changed: revision, root, ring: Ring::starting_at(revision) }
    }

    /// Takes one change in. `current` absent is a deletion; deleting what is not there is no change.
    pub(crate) fn apply(&mut self, revision: Revision, key: Arc<str>, current: Option<Arc<Entry>>) {
        let previous = match &current {
            Some(entry) => self.root.insert(key.clone(), entry.clone()),
            None => self.root.remove(&key),
        };
        if previous.is_none() && current.is_none() {
            return;
        }
        self.changed = revision;
        self.ring.push(Change { revision, key, previous, current });
    }

    /// The objects as they were at `revision`, or None when the ring does not reach back so far.
    pub(crate) fn at(&self, revision: Revision) -> Option<Root> {
        if revision >= self.changed {
            return Some(self.root.clone());
        }
        let first = self.ring.after(revision)?;
        let mut root = self.root.clone();
        for index in (first..self.ring.len()).rev() {
            let change = self.ring.get(index);
            match &change.previous {
                Some(previous) => root.insert(change.key.clone(), previous.clone()),
                None => root.remove(&change.key),
            };
        }
        Some(root)
    }

    /// The object as the transaction of exactly `revision` wrote it.
    pub(crate) fn written(&self, key: &str, revision: Revision) -> Option<Arc<Entry>> {
        if let Some(entry) = self.root.get(key)
            && entry.mod_revision() == revision
        {
            return Some(entry.clone());
        }
        let index = self.ring.after(revision.checked_sub(1)?)?;
        let change = (index < self.ring.len()).then(|| self.ring.get(index))?;
        (change.revision == revision && &*change.key == key).then(|| change.current.clone())?
    }
}

/// Entries whose keys start with `prefix` and are greater than `after`, in order.
pub(crate) fn range<'a>(
    root: &'a Root,
    prefix: &'a str,
    after: Option<&'a str>,
) -> impl Iterator<Item = &'a Arc<Entry>> {
    let from = match after {
        Some(after) if after >= prefix => Bound::Excluded(after),
        _ => Bound::Included(prefix),
    };
    root.range::<(Bound<&str>, Bound<&str>), str>((from, Bound::Unbounded))
        .take_while(move |(key, _)| key.starts_with(prefix))
        .map(|(_, entry)| entry)
}
