//! Entries as one kind shows them: looked up with each entry, or, where a webhook makes them, collected beforehand.

use crate::{
    entry::{Entry, Form},
    kind::Kind,
};
use serde_json::Value;
use std::{collections::HashMap, sync::Arc};

/// How entries look as one kind.
pub(crate) struct Forms<'k> {
    pub(super) kind: &'k Kind,
    /// Of a kind whose forms a webhook makes: by the entry's address, with the entry, so that the address stays its own.
    made: HashMap<usize, (Arc<Entry>, Option<Arc<Entry>>)>,
    missing: Vec<Arc<Entry>>,
}

impl<'k> Forms<'k> {
    pub(crate) fn new(kind: &'k Kind) -> Self {
        Self { kind, made: HashMap::new(), missing: Vec::new() }
    }

    /// The entry in the kind's form; none where it cannot be shown so, or was not looked for.
    pub(crate) fn of(&self, entry: &Arc<Entry>) -> Option<Arc<Entry>> {
        if self.kind.family().is_none() {
            return entry.as_kind(self.kind);
        }
        self.made.get(&address(entry)).and_then(|(_, shown)| shown.clone())
    }

    /// Entries that will be asked for. Of most kinds nothing need be known beforehand.
    pub(crate) fn look_for(&mut self, entries: impl IntoIterator<Item = Arc<Entry>>) {
        if self.kind.family().is_none() {
            return;
        }
        for entry in entries {
            if self.made.contains_key(&address(&entry)) {
                continue;
            }
            match entry.form(self.kind) {
                Form::Shown(shown) => self.insert(entry, Some(shown)),
                Form::Not => self.insert(entry, None),
                Form::Elsewhere => self.missing.push(entry),
            }
        }
    }

    /// Those whose forms are yet to be made.
    pub(super) fn take_missing(&mut self) -> Option<Vec<Arc<Entry>>> {
        Some(std::mem::take(&mut self.missing)).filter(|missing| !missing.is_empty())
    }

    /// The form that a webhook made, which is kept with the entry from now on.
    pub(super) fn take(&mut self, entry: &Arc<Entry>, object: Value) {
        let shown = entry.keep(self.kind, object);
        self.insert(entry.clone(), shown);
    }

    fn insert(&mut self, entry: Arc<Entry>, shown: Option<Arc<Entry>>) {
        self.made.insert(address(&entry), (entry, shown));
    }
}

fn address(entry: &Arc<Entry>) -> usize {
    Arc::as_ptr(entry).addr()
}
