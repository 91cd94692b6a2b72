//! The recent past of a store that lives in this process: a bounded ring of commits, the watch streams that read it,
//! and the point that readers see. It knows no engine; `S` is whatever a backend reads its values from.
//!
//! Watchers have no queue of their own. A stream remembers the revision that it delivered last and takes what follows
//! out of the ring, so a hundred slow watchers cost what one does; one that falls behind the ring ends with
//! [`StoreError::Lagged`].

use crate::contract::{Commit, Event, KeyValue, Revision, StoreError, WatchStream};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// Commits that a watch stream takes out of the ring at a time.
const WATCH_CHUNK_COMMITS: usize = 128;

/// How much of the past is kept in memory. The newest batch is always kept, whatever its size.
#[derive(Clone, Copy, Debug)]
pub struct HistoryLimits {
    /// Commits.
    pub commits_max: usize,
    /// Their keys, values and replaced values.
    pub bytes_max: usize,
    /// Their age, looked at when something is committed: an idle store gives its memory back as it ticks on.
    pub age_max: Duration,
}

impl Default for HistoryLimits {
    /// Five minutes, as upstream's compaction keeps, but never more than 16 MiB.
    fn default() -> Self {
        Self { commits_max: 32_768, bytes_max: 16 * 1_024 * 1_024, age_max: Duration::from_secs(300) }
    }
}

/// A commit and what it replaced.
#[derive(Debug)]
pub(crate) struct Recorded {
    pub(crate) commit: Commit,
    /// Each touched key as it was before.
    pub(crate) before: Vec<(Arc<str>, Option<KeyValue>)>,
}

impl Recorded {
    fn bytes(&self) -> usize {
        let pair = |kv: &KeyValue| kv.key.len() + kv.value.len();
        let events = self.commit.events.iter().map(|event| match event {
            Event::Put(kv) => pair(kv),
            Event::Delete { key } => key.len(),
        });
        let before = self.before.iter().map(|(_, kv)| kv.as_ref().map_or(0, pair));
        events.chain(before).sum()
    }
}

/// What a reader at one revision needs.
pub(crate) struct View<S> {
    /// Where values are read from.
    pub(crate) snapshot: S,
    /// The revision to show.
    pub(crate) revision: Revision,
    /// Commits that the snapshot has and the reader must not see, oldest first.
    undo: Vec<Arc<Recorded>>,
}

impl<S> View<S> {
    /// What to take instead of the snapshot's own values, for keys under `prefix` and after `after`.
    pub(crate) fn overlay(&self, prefix: &str, after: Option<&str>) -> BTreeMap<Arc<str>, Option<KeyValue>> {
        let mut overlay = BTreeMap::new();
        for (key, kv) in self.undo.iter().flat_map(|recorded| &recorded.before) {
            if key.starts_with(prefix) && after.is_none_or(|after| &**key > after) {
                // The oldest commit after the revision knows what the revision showed.
                overlay.entry(key.clone()).or_insert_with(|| kv.clone());
            }
        }
        overlay
    }
}

struct Kept {
    recorded: Arc<Recorded>,
    bytes: usize,
    at: Instant,
}

struct State<S> {
    snapshot: S,
    /// Newest revision that readers may see.
    revision: Revision,
    /// Oldest revision that can be listed at or watched after; `commits` are those greater than it, without a gap.
    oldest: Revision,
    commits: VecDeque<Kept>,
    bytes: usize,
    closed: bool,
}

impl<S> State<S> {
    fn check(&self, requested: Revision) -> Result<(), StoreError> {
        if requested > self.revision {
            return Err(StoreError::Future { requested, current: self.revision });
        }
        if requested < self.oldest {
            return Err(StoreError::Compacted { requested, oldest: self.oldest });
        }
        Ok(())
    }

    /// Commits after `revision`, which has been checked.
    fn after(&self, revision: Revision) -> impl Iterator<Item = &Arc<Recorded>> {
        let skip = usize::try_from(revision - self.oldest).unwrap_or(usize::MAX);
        self.commits.iter().skip(skip).map(|kept| &kept.recorded)
    }

    fn forget_first(&mut self) {
        if let Some(kept) = self.commits.pop_front() {
            self.bytes -= kept.bytes;
            self.oldest = kept.recorded.commit.revision;
        }
    }
}

/// The ring, and the point that readers see.
pub(crate) struct History<S> {
    state: Mutex<State<S>>,
    newest: watch::Sender<Revision>,
    limits: HistoryLimits,
}

impl<S: Clone + Send + 'static> History<S> {
    /// A store that is at `revision` and remembers nothing before it.
    pub(crate) fn new(revision: Revision, snapshot: S, limits: HistoryLimits) -> Arc<Self> {
        let state =
            State { snapshot, revision, oldest: revision, commits: VecDeque::new(), bytes: 0, closed: false };
        Arc::new(Self { state: Mutex::new(state), newest: watch::Sender::new(revision), limits })
    }

    /// Makes durable commits visible, with the snapshot that shows them. Their revisions follow the newest one.
    pub(crate) fn publish(&self, snapshot: S, batch: Vec<Recorded>) {
        let at = Instant::now();
        let batch_len = batch.len();
        let mut state = self.state.lock();
        // The old snapshot is dropped after the lock.
        let _old = std::mem::replace(&mut state.snapshot, snapshot);
        for recorded in batch {
            debug_assert_eq!(recorded.commit.revision, state.revision + 1);
            state.revision = recorded.commit.revision;
            let bytes = recorded.bytes();
            state.bytes += bytes;
            state.commits.push_back(Kept { recorded: Arc::new(recorded), bytes, at });
        }
        while state.commits.len() > batch_len && self.over_limit(&state, at) {
            state.forget_first();
        }
        let revision = state.revision;
        drop(state);
        self.newest.send_replace(revision);
    }

    fn over_limit(&self, state: &State<S>, now: Instant) -> bool {
        let aged = |kept: &Kept| now.duration_since(kept.at) > self.limits.age_max;
        state.commits.len() > self.limits.commits_max
            || state.bytes > self.limits.bytes_max
            || state.commits.front().is_some_and(aged)
    }

    /// The newest revision that readers may see.
    pub(crate) fn revision(&self) -> Revision {
        self.state.lock().revision
    }

    /// The oldest revision that can be listed at or watched after.
    pub(crate) fn oldest(&self) -> Revision {
        self.state.lock().oldest
    }

    /// What a read at `at` (`None`: now) is made of.
    pub(crate) fn view(&self, at: Option<Revision>) -> Result<View<S>, StoreError> {
        let state = self.state.lock();
        let revision = at.unwrap_or(state.revision);
        state.check(revision)?;
        let undo = state.after(revision).cloned().collect();
        Ok(View { snapshot: state.snapshot.clone(), revision, undo })
    }

    /// Forgets commits up to and with `before`.
    pub(crate) fn compact(&self, before: Revision) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        if before > state.revision {
            return Err(StoreError::Future { requested: before, current: state.revision });
        }
        while state.oldest < before {
            state.forget_first();
        }
        Ok(())
    }

    /// Ends every stream.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.newest.send_modify(|_| ());
    }

    /// Whether [`History::close`] was called.
    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// Every commit after `after`.
    pub(crate) fn watch(self: &Arc<Self>, after: Revision) -> Result<WatchStream, StoreError> {
        self.state.lock().check(after)?;
        let watcher = Watcher {
            history: self.clone(),
            newest: self.newest.subscribe(),
            cursor: after,
            taken: VecDeque::new(),
            ended: false,
        };
        Ok(Box::pin(futures::stream::unfold(watcher, |mut watcher| async {
            let item = watcher.next().await?;
            Some((item, watcher))
        })))
    }
}

struct Watcher<S> {
    history: Arc<History<S>>,
    newest: watch::Receiver<Revision>,
    /// The revision taken out of the ring last.
    cursor: Revision,
    taken: VecDeque<Arc<Recorded>>,
    ended: bool,
}

impl<S: Clone + Send + 'static> Watcher<S> {
    async fn next(&mut self) -> Option<Result<Commit, StoreError>> {
        loop {
            if let Some(recorded) = self.taken.pop_front() {
                return Some(Ok(recorded.commit.clone()));
            }
            if self.ended {
                return None;
            }
            // Before the look, so that a commit published after it wakes us.
            self.newest.mark_unchanged();
            if let Err(error) = self.take() {
                self.ended = true;
                return Some(Err(error));
            }
            // The sender lives in `history`, so this cannot fail while we hold it.
            if self.taken.is_empty() && self.newest.changed().await.is_err() {
                return None;
            }
        }
    }

    fn take(&mut self) -> Result<(), StoreError> {
        let state = self.history.state.lock();
        if state.closed {
            return Err(StoreError::unavailable("watching", "the store was closed"));
        }
        if self.cursor < state.oldest {
            return Err(StoreError::Lagged { commits_max: self.history.limits.commits_max });
        }
        self.taken.extend(state.after(self.cursor).take(WATCH_CHUNK_COMMITS).cloned());
        if let Some(last) = self.taken.back() {
            self.cursor = last.commit.revision;
        }
        Ok(())
    }
}
