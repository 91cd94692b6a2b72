//! The forms of one entry that other kinds show, each derived once and kept with the entry.

use crate::{entry::Entry, kind::Kind};
use arc_swap::ArcSwapOption;
use keelson_store::Revision;
use std::sync::Arc;

/// Most forms of one entry that are kept; of a custom kind there may be one for each version that is served.
const VIEWS_MAX: usize = 16;

/// What is known of an entry's other forms.
#[derive(Debug, Default)]
pub(crate) struct Views(ArcSwapOption<Vec<View>>);

/// The object as another kind shows it.
#[derive(Clone, Debug)]
struct View {
    /// The kind's.
    id: u64,
    /// Of the kind's definition.
    since: Revision,
    shown: Shown,
}

/// How a kind shows an entry.
#[derive(Clone, Debug)]
pub(crate) enum Shown {
    AsStored,
    Derived(Arc<Entry>),
    /// It cannot be.
    Not,
}

impl Views {
    pub(crate) fn find(&self, kind: &Kind) -> Option<Shown> {
        let views = self.0.load();
        views.as_deref()?.iter().find(|view| view.id == kind.id).map(|view| view.shown.clone())
    }

    /// Keeps a form; those that were made for a definition before its last change are nobody's any more.
    pub(crate) fn keep(&self, kind: &Kind, shown: &Shown) {
        let since = kind.custom.as_ref().map_or(0, |custom| custom.since());
        self.0.rcu(|views| {
            let known = views.as_deref().into_iter().flatten();
            let mut next: Vec<View> =
                known.filter(|view| view.since >= since && view.id != kind.id).cloned().collect();
            if next.len() >= VIEWS_MAX {
                next.remove(0);
            }
            next.push(View { id: kind.id, since, shown: shown.clone() });
            Some(Arc::new(next))
        });
    }
}
