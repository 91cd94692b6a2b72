//! A group of transactions that one fsync makes durable: what each does to the keys, in order, every compare seeing
//! what was accepted before it. Nothing of it is written here.

use super::{
    deadlines::{Deadlines, deadline},
    log::{Change, Deadline, Index, Record},
};
use crate::{
    contract::{Commit, Event, KeyValue, Revision, StoreError, Txn, TxnOutcome, Write},
    history::Recorded,
};
use std::{collections::HashMap, sync::Arc, time::SystemTime};

/// A key's deadline before and after, zero for none.
struct Moved {
    key: Arc<str>,
    before: Deadline,
    after: Deadline,
}

/// The group being made.
pub(super) struct Group<'a> {
    index: &'a Index,
    deadlines: &'a mut Deadlines,
    now: SystemTime,
    revision: Revision,
    /// The newest state of every key that the group touches.
    pending: HashMap<Arc<str>, Option<Record>>,
    recorded: Vec<Recorded>,
    moved: Vec<Moved>,
}

/// What a group comes to.
pub(super) struct Finished {
    pub(super) revision: Revision,
    /// A change a key.
    pub(super) changes: Vec<Change>,
    /// A commit a transaction, in order; none where nothing changed.
    pub(super) recorded: Vec<Recorded>,
    moved: Vec<Moved>,
}

impl<'a> Group<'a> {
    /// Begins after `revision`.
    pub(super) fn new(
        index: &'a Index,
        deadlines: &'a mut Deadlines,
        revision: Revision,
        now: SystemTime,
    ) -> Self {
        Self {
            index,
            deadlines,
            now,
            revision,
            pending: HashMap::new(),
            recorded: Vec::new(),
            moved: Vec::new(),
        }
    }

    fn current(&self, key: &Arc<str>) -> Result<Option<Record>, StoreError> {
        match self.pending.get(key) {
            Some(pending) => Ok(pending.clone()),
            None => self.index.get(key),
        }
    }

    /// Runs one transaction. Everything is read before anything is changed, so that one that fails changes nothing.
    pub(super) fn apply(&mut self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        let states =
            txn.compares.iter().map(|compare| self.current(compare.key())).collect::<Result<Vec<_>, _>>()?;
        let held = |(compare, state): (&crate::Compare, &Option<Record>)| {
            compare.holds(state.as_ref().map(|record| record.kv.mod_revision))
        };
        if !txn.compares.iter().zip(&states).all(held) {
            return Ok(TxnOutcome::Conflict(
                states.into_iter().map(|state| state.map(|record| record.kv)).collect(),
            ));
        }
        // Mostly what is written is what was compared.
        let compared = |key: &Arc<str>| txn.compares.iter().position(|compare| compare.key() == key);
        let before = txn.writes.iter().map(|write| match compared(write.key()) {
            Some(at) => Ok(states[at].clone()),
            None => self.current(write.key()),
        });
        let before = before.collect::<Result<Vec<_>, _>>()?;
        self.write(txn.writes, before);
        Ok(TxnOutcome::Committed(self.revision))
    }

    /// Deletes a key whose time has come, in a transaction of its own.
    pub(super) fn expire(&mut self, key: Arc<str>, deadline: Deadline) -> Result<(), StoreError> {
        match self.current(&key)? {
            Some(record) if record.deadline == deadline => {
                self.write(vec![Write::Delete { key }], vec![Some(record)])
            }
            // The record knows better than the index.
            _ => self.deadlines.change(&key, deadline, 0),
        }
        Ok(())
    }

    fn write(&mut self, writes: Vec<Write>, before: Vec<Option<Record>>) {
        let revision = self.revision + 1;
        let mut commit = Commit { revision, events: Vec::with_capacity(writes.len()) };
        let mut replaced = Vec::with_capacity(writes.len());
        for (write, old) in writes.into_iter().zip(before) {
            let key = write.key().clone();
            let (event, record) = match write {
                Write::Put { key, value, ttl } => {
                    let create_revision = old.as_ref().map_or(revision, |old| old.kv.create_revision);
                    let kv = KeyValue { key, value, mod_revision: revision, create_revision };
                    let deadline = ttl.map_or(0, |ttl| deadline(self.now, ttl));
                    (Event::Put(kv.clone()), Some(Record { kv, deadline }))
                }
                Write::Delete { .. } if old.is_none() => continue,
                Write::Delete { key } => (Event::Delete { key }, None),
            };
            self.set(&key, old.as_ref(), record);
            commit.events.push(event);
            replaced.push((key, old.map(|old| old.kv)));
        }
        if !commit.events.is_empty() {
            self.revision = revision;
            self.recorded.push(Recorded { commit, before: replaced });
        }
    }

    fn set(&mut self, key: &Arc<str>, old: Option<&Record>, new: Option<Record>) {
        let deadline_of = |record: Option<&Record>| record.map_or(0, |record| record.deadline);
        let (before, after) = (deadline_of(old), deadline_of(new.as_ref()));
        self.deadlines.change(key, before, after);
        if before != after {
            self.moved.push(Moved { key: key.clone(), before, after });
        }
        self.pending.insert(key.clone(), new);
    }

    /// What to write, and then to show.
    pub(super) fn finish(self) -> Finished {
        let changes = self.pending.into_iter().map(|(key, record)| Change { key, record }).collect();
        Finished { revision: self.revision, changes, recorded: self.recorded, moved: self.moved }
    }
}

impl Finished {
    /// The group was refused: the deadlines are what they were.
    pub(super) fn undo(self, deadlines: &mut Deadlines) {
        for moved in self.moved.into_iter().rev() {
            deadlines.change(&moved.key, moved.after, moved.before);
        }
    }
}
