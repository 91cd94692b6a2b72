//! From a proposed object to a durable one: encoding, the transaction, and the wait until reads show it.

use super::{Registry, Target, store_error};
use crate::{
    alloc::{Allocation, Side},
    entry::Entry,
    intern::Interner,
    status::Status,
};
use bytes::Bytes;
use keelson_store::{Compare, Revision, Txn, TxnOutcome, Write};
use serde_json::{Map, Value};
use std::{ops::Range, sync::Arc};

/// The largest stored object: etcd's default limit for a transaction, less keys and what is written beside it.
pub(crate) const OBJECT_BYTES_MAX: usize = 1_480 << 10;
/// How often a write is tried anew after another one came between.
pub(crate) const ATTEMPTS_MAX: usize = 64;

/// What a transaction came to.
pub(crate) enum Outcome {
    Committed(Revision),
    /// The object's own key was not as expected.
    KeyChanged,
    /// A key beside it (an address, the node port guard) was not as expected.
    SideChanged,
}

/// An object as it is stored.
pub(crate) struct Encoded {
    pub(crate) bytes: Bytes,
    /// Where the value of metadata.managedFields is; empty where there is none.
    managed: Range<usize>,
}

impl Encoded {
    /// Whether the entry holds the same but for managedFields.
    pub(crate) fn is_but_for_managed(&self, entry: &Entry) -> bool {
        let Range { start, end } = self.managed;
        if start == end {
            return entry.around_managed() == (&*self.bytes, &[]);
        }
        entry.around_managed() == (&self.bytes[..start], &self.bytes[end..])
    }
}

/// The canonical stored form: sorted keys, no white space, without what the server adds to answers. `managed` is the
/// JSON of metadata.managedFields, "" for none; what the object itself has there is not looked at.
pub(crate) fn encode(object: &Value, managed: &str) -> Result<Encoded, Status> {
    encode_in(object, managed, None)
}

/// The same in another version, which differs by its name alone.
pub(crate) fn encode_in(object: &Value, managed: &str, version: Option<&str>) -> Result<Encoded, Status> {
    let mut out = Vec::with_capacity(4096 + managed.len());
    let mut at = 0..0;
    out.push(b'{');
    for (key, value) in object.as_object().into_iter().flatten() {
        write_key(key, &mut out);
        match value {
            Value::Object(metadata) if key == "metadata" => at = write_metadata(metadata, managed, &mut out),
            value => {
                let version = version.filter(|_| key == "apiVersion");
                match version {
                    Some(version) => serde_json::to_writer(&mut out, version),
                    None => serde_json::to_writer(&mut out, value),
                }
                .map_err(Status::internal)?;
            }
        }
    }
    out.push(b'}');
    if out.len() > OBJECT_BYTES_MAX {
        return Err(Status::too_large(format!("limit is {OBJECT_BYTES_MAX}, the object has {}", out.len())));
    }
    // Not what was reserved for it: the bytes are kept for a while.
    Ok(Encoded { bytes: out.into_boxed_slice().into(), managed: at })
}

/// Writes metadata with managedFields at its place, and says where.
fn write_metadata(metadata: &Map<String, Value>, managed: &str, out: &mut Vec<u8>) -> Range<usize> {
    const MANAGED: &str = "managedFields";
    let mut at = 0..0;
    let mut write_managed = |out: &mut Vec<u8>| {
        if at.is_empty() && !managed.is_empty() {
            write_key(MANAGED, out);
            at = out.len()..out.len() + managed.len();
            out.extend_from_slice(managed.as_bytes());
        }
    };
    out.push(b'{');
    for (key, value) in metadata {
        if key.as_str() > MANAGED {
            write_managed(out);
        }
        if !matches!(key.as_str(), "resourceVersion" | "selfLink" | MANAGED) {
            write_key(key, out);
            serde_json::to_writer(&mut *out, value).expect("writing to memory does not fail");
        }
    }
    write_managed(out);
    out.push(b'}');
    at
}

fn write_key(key: &str, out: &mut Vec<u8>) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    serde_json::to_writer(&mut *out, key).expect("writing to memory does not fail");
    out.push(b':');
}

impl Registry {
    pub(crate) fn allocation<'a>(&'a self, target: &Target<'a>, now: time::OffsetDateTime) -> Allocation<'a> {
        Allocation::new(&self.caches, self.table(), &self.config, target.namespace, target.name, now)
    }

    /// Runs a transaction whose first compare is the object's own.
    ///
    /// The store writes at most one key of a resource in a transaction. What a side would write beyond that goes before
    /// (and is taken back if the transaction fails) or, a deletion, after; a crash in between leaves a record without a
    /// user, which [`crate::repair`] finds.
    pub(crate) async fn run(&self, own: Compare, write: Write, sides: Vec<Side>) -> Result<Outcome, Status> {
        let mut txn = Txn { compares: vec![own], writes: vec![write] };
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for side in sides {
            let again =
                txn.writes.iter().any(|write| resource_of(write.key()) == resource_of(side.write.key()));
            match (again, &side.write) {
                (false, _) => {
                    txn.compares.extend(side.compare);
                    txn.writes.push(side.write);
                }
                (true, Write::Put { .. }) => before.push(side),
                (true, Write::Delete { .. }) => after.push(side),
            }
        }
        let mut taken = Vec::with_capacity(before.len());
        for side in before {
            let key = side.write.key().clone();
            match self.run_side(side).await {
                Ok(TxnOutcome::Committed(revision)) => taken.push((key, revision)),
                other => {
                    self.take_back(taken).await;
                    return other.map(|_| Outcome::SideChanged);
                }
            }
        }
        let outcome = self.run_own(txn).await;
        match &outcome {
            Ok(Outcome::Committed(_)) => {
                for side in after {
                    // The object is written: what is not given back now is given back by repair.
                    if let Err(error) = self.run_side(side).await {
                        tracing::warn!(
                            error = error.message,
                            "what an object no longer uses is not released"
                        );
                    }
                }
            }
            // After a failure of the store nobody knows whether the object was written and uses them: repair sees.
            Err(_) => {}
            Ok(_) => self.take_back(taken).await,
        }
        outcome
    }

    async fn run_own(&self, txn: Txn) -> Result<Outcome, Status> {
        let compares = txn.compares.clone();
        match self.store.commit(txn).await.map_err(store_error)? {
            TxnOutcome::Committed(revision) => Ok(Outcome::Committed(revision)),
            TxnOutcome::Conflict(states) => {
                let own_holds = match (&compares[0], states.first()) {
                    (Compare::Absent(_), Some(None)) => true,
                    (Compare::ModRevision(_, expected), Some(Some(found))) => found.mod_revision == *expected,
                    _ => false,
                };
                Ok(if own_holds { Outcome::SideChanged } else { Outcome::KeyChanged })
            }
        }
    }

    /// One side in a transaction of its own.
    pub(crate) async fn run_side(&self, side: Side) -> Result<TxnOutcome, Status> {
        let txn = Txn { compares: side.compare.into_iter().collect(), writes: vec![side.write] };
        self.store.commit(txn).await.map_err(store_error)
    }

    async fn take_back(&self, taken: Vec<(Arc<str>, Revision)>) {
        for (key, revision) in taken {
            let compare = Some(Compare::ModRevision(key.clone(), revision));
            if let Err(error) = self.run_side(Side { compare, write: Write::Delete { key } }).await {
                tracing::warn!(error = error.message, "what a failed write took is not released");
            }
        }
    }

    /// Waits until every read shows the write, and gives the entry that the caches made of it.
    pub(crate) async fn written(
        &self,
        target: &Target<'_>,
        key: &Arc<str>,
        body: Bytes,
        revision: Revision,
    ) -> Result<Arc<Entry>, Status> {
        self.progress.wait(revision).await?;
        let cache = self.cache(target.kind)?;
        if let Some(entry) = cache.state().written(key, revision) {
            return Ok(entry);
        }
        // The ring has moved on already.
        Entry::read(&cache.kind, key.clone(), body, revision, &mut Interner::default())
            .map(Arc::new)
            .map_err(Status::internal)
    }
}

/// `/registry/<group>/<plural>/` of a key.
fn resource_of(key: &str) -> &str {
    key.match_indices('/').nth(3).map_or(key, |(end, _)| &key[..=end])
}
