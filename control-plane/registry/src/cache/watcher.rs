//! One watch: a position in a resource's ring, and what follows it.
//!
//! A watcher has no queue. When woken it takes the present state and reads on from its position; when the ring no longer
//! reaches back to that position it is closed with 410. So a slow watcher costs nothing but its own place, and none ever
//! misses an event. An object that enters or leaves the selection is an ADDED or a DELETED (with its last selected state).

use super::{ResourceCache, Root, State, progress::Progress, range, ring::Change, select::Select};
use crate::{
    convert::{Converter, Forms},
    entry::Entry,
    kind::Kind,
    status::Status,
};
use futures::{Stream, stream};
use keelson_store::Revision;
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio::{sync::watch, time::Instant};

/// Events are made in parts of at most this many.
const PART_MAX: usize = 256;
/// A bookmark comes at least this often to those who want them.
pub(crate) const BOOKMARK_EVERY: Duration = Duration::from_secs(60);

/// What a watch delivers. Revisions are the resourceVersion to write into the object.
#[derive(Clone, Debug)]
pub enum WatchEvent {
    /// New, or newly selected.
    Added(Arc<Entry>, Revision),
    /// Changed.
    Modified(Arc<Entry>, Revision),
    /// Gone, or no longer selected: the last selected state.
    Deleted(Arc<Entry>, Revision),
    /// Everything up to `revision` has been delivered.
    Bookmark {
        /// The revision to resume from.
        revision: Revision,
        /// The initial events end here (annotation `k8s.io/initial-events-end`).
        initial_events_end: bool,
    },
    /// The watch ends with this error.
    Error(Status),
}

/// A watch in progress.
pub(crate) struct Watcher {
    pub(crate) cache: Arc<ResourceCache>,
    pub(crate) kind: Arc<Kind>,
    pub(crate) select: Select,
    /// Keys of interest start with this.
    pub(crate) prefix: String,
    pub(crate) progress: Arc<Progress>,
    pub(crate) converter: Arc<Converter>,
    pub(crate) position: Revision,
    pub(crate) initial: Option<Initial>,
    pub(crate) bookmarks: bool,
    pub(crate) changed: watch::Receiver<Revision>,
    pending: VecDeque<WatchEvent>,
    bookmark_at: Instant,
    closed: bool,
}

/// The synthetic ADDED events that a watch begins with.
pub(crate) struct Initial {
    pub(crate) root: Root,
    pub(crate) after: Option<Arc<str>>,
    /// Ends with a bookmark that says so (sendInitialEvents).
    pub(crate) announce_end: bool,
}

impl Watcher {
    pub(crate) fn new(
        cache: Arc<ResourceCache>,
        kind: Arc<Kind>,
        select: Select,
        prefix: String,
        progress: Arc<Progress>,
    ) -> Self {
        let changed = cache.subscribe();
        Self {
            cache,
            kind,
            select,
            prefix,
            progress,
            converter: Arc::default(),
            position: 0,
            initial: None,
            bookmarks: false,
            changed,
            pending: VecDeque::new(),
            bookmark_at: Instant::now() + BOOKMARK_EVERY,
            closed: false,
        }
    }

    pub(crate) fn into_stream(self) -> impl Stream<Item = WatchEvent> + Send + 'static {
        stream::unfold(self, |mut watcher| async move { watcher.next().await.map(|event| (event, watcher)) })
    }

    async fn next(&mut self) -> Option<WatchEvent> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Some(event);
            }
            if self.closed {
                return None;
            }
            if self.initial.is_some() {
                self.fill_initial().await;
                continue;
            }
            self.changed.borrow_and_update();
            if let Err(status) = self.progress.check() {
                self.closed = true;
                return Some(WatchEvent::Error(status));
            }
            // In this order: whatever is reached now is in the state taken after.
            let reached = self.progress.reached();
            let ended = self.cache.is_closed();
            let state = self.cache.state();
            if self.fill(&state).await {
                continue;
            }
            if ended {
                return None;
            }
            self.position = self.position.max(reached);
            self.wait().await;
        }
    }

    async fn fill_initial(&mut self) {
        let Some(mut initial) = self.initial.take() else { return };
        let part: Vec<Arc<Entry>> =
            range(&initial.root, &self.prefix, initial.after.as_deref()).take(PART_MAX).cloned().collect();
        let kind = self.kind.clone();
        let mut forms = Forms::new(&kind);
        forms.look_for(part.iter().cloned());
        if let Err(status) = self.converter.complete(&mut forms).await {
            return self.end(status);
        }
        for entry in part.iter().filter_map(|entry| self.selected(&forms, entry)).collect::<Vec<_>>() {
            let revision = entry.mod_revision();
            self.pending.push_back(WatchEvent::Added(entry, revision));
        }
        if let Some(last) = part.last().filter(|_| part.len() == PART_MAX) {
            initial.after = Some(last.head.key().clone());
            self.initial = Some(initial);
        } else if initial.announce_end {
            self.pending
                .push_back(WatchEvent::Bookmark { revision: self.position, initial_events_end: true });
        }
    }

    /// The last event says why.
    fn end(&mut self, status: Status) {
        self.pending.push_back(WatchEvent::Error(status));
        self.closed = true;
    }

    /// Takes up to [`PART_MAX`] changes; false when there are none.
    async fn fill(&mut self, state: &State) -> bool {
        let Some(first) = state.ring.after(self.position) else {
            self.end(Status::too_old(self.position, state.ring.start()));
            return true;
        };
        let last = state.ring.len().min(first + PART_MAX);
        let kind = self.kind.clone();
        let mut forms = Forms::new(&kind);
        let changes = (first..last).map(|index| state.ring.get(index));
        let changes = changes.filter(|change| change.key.starts_with(&self.prefix));
        forms.look_for(changes.flat_map(|change| [&change.previous, &change.current]).flatten().cloned());
        if let Err(status) = self.converter.complete(&mut forms).await {
            self.end(status);
            return true;
        }
        for index in first..last {
            let change = state.ring.get(index);
            // One transaction touches a key once and at most one key of a resource, so a part may end anywhere.
            self.position = change.revision;
            if change.key.starts_with(&self.prefix)
                && let Some(event) = self.event(&forms, change)
            {
                self.pending.push_back(event);
            }
        }
        last > first
    }

    fn event(&self, forms: &Forms<'_>, change: &Change) -> Option<WatchEvent> {
        let current = change.current.as_ref().and_then(|entry| self.selected(forms, entry));
        let previous = change.previous.as_ref().and_then(|entry| self.selected(forms, entry));
        match (previous, current) {
            (None, Some(entry)) => Some(WatchEvent::Added(entry, change.revision)),
            (Some(_), Some(entry)) => Some(WatchEvent::Modified(entry, change.revision)),
            (Some(entry), None) => Some(WatchEvent::Deleted(entry, change.revision)),
            (None, None) => None,
        }
    }

    fn selected(&self, forms: &Forms<'_>, entry: &Arc<Entry>) -> Option<Arc<Entry>> {
        forms.of(entry).filter(|entry| self.select.matches(entry))
    }

    async fn wait(&mut self) {
        if !self.bookmarks {
            // An error means that the registry is gone, and the watch with it.
            self.closed = self.changed.changed().await.is_err();
            return;
        }
        tokio::select! {
            changed = self.changed.changed() => self.closed = changed.is_err(),
            () = tokio::time::sleep_until(self.bookmark_at) => {
                self.bookmark_at = Instant::now() + BOOKMARK_EVERY;
                self.pending.push_back(WatchEvent::Bookmark { revision: self.position, initial_events_end: false });
            }
        }
    }
}
