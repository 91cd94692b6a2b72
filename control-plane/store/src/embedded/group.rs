//! A group of transactions that one fsync makes durable: what each does to the keys, in order, every compare seeing
//! what was accepted before it. Nothing of it is written until [`Group::finish`].

use super::{
    deadlines::{Deadlines, deadline},
    engine::{Change, Engine},
    record::{Deadline, Record},
};
use crate::{
    contract::{Commit, Event, KeyValue, Revision, StoreError, Txn, TxnOutcome, Write},
    history::Recorded,
};
use std::{collections::HashMap, sync::Arc, time::SystemTime};

struct Pending {
    record: Option<Record>,
    deadline_changes: bool,
}

/// The group being made.
pub(super) struct Group<'a> {
    engine: &'a Engine,
    deadlines: &'a mut Deadlines,
    now: SystemTime,
    revision: Revision,
    /// The newest state of every key that the group touches.
    pending: HashMap<Arc<str>, Pending>,
    recorded: Vec<Recorded>,
}

/// What a group comes to.
pub(super) struct Finished {
    pub(super) revision: Revision,
    /// A change a key.
    pub(super) changes: Vec<Change>,
    /// A commit a transaction, in order; none where nothing changed.
    pub(super) recorded: Vec<Recorded>,
}

impl<'a> Group<'a> {
    /// Begins after `revision`.
    pub(super) fn new(
        engine: &'a Engine,
        deadlines: &'a mut Deadlines,
        revision: Revision,
        now: SystemTime,
    ) -> Self {
        Self { engine, deadlines, now, revision, pending: HashMap::new(), recorded: Vec::new() }
    }

    fn current(&self, key: &Arc<str>) -> Result<Option<Record>, StoreError> {
        match self.pending.get(key) {
            Some(pending) => Ok(pending.record.clone()),
            None => self.engine.read(key),
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
        let before =
            txn.writes.iter().map(|write| self.current(write.key())).collect::<Result<Vec<_>, _>>()?;
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
        let pending =
            self.pending.entry(key.clone()).or_insert(Pending { record: None, deadline_changes: false });
        pending.record = new;
        pending.deadline_changes |= before != after;
    }

    /// What to write, and then to show.
    pub(super) fn finish(self) -> Finished {
        let change = |(key, pending): (Arc<str>, Pending)| Change {
            key,
            record: pending.record,
            deadline_changes: pending.deadline_changes,
        };
        let changes = self.pending.into_iter().map(change).collect();
        Finished { revision: self.revision, changes, recorded: self.recorded }
    }
}
