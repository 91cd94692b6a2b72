//! What the cases say in one word.

use crate::{
    Commit, Compare, Event, KeyValue, Revision, Store, StoreError, Txn, TxnOutcome, WatchStream, Write,
};
use bytes::Bytes;
use futures::StreamExt;
use std::time::Duration;

/// Longer than any backend needs for any single answer or event.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn put(key: &str, value: &str) -> Write {
    Write::Put { key: key.into(), value: Bytes::copy_from_slice(value.as_bytes()), ttl: None }
}

pub(super) fn put_for(key: &str, value: &str, ttl: Duration) -> Write {
    Write::Put { key: key.into(), value: Bytes::copy_from_slice(value.as_bytes()), ttl: Some(ttl) }
}

pub(super) fn delete(key: &str) -> Write {
    Write::Delete { key: key.into() }
}

pub(super) fn absent(key: &str) -> Compare {
    Compare::Absent(key.into())
}

pub(super) fn at(key: &str, revision: Revision) -> Compare {
    Compare::ModRevision(key.into(), revision)
}

pub(super) fn kv(key: &str, value: &str, mod_revision: Revision, create_revision: Revision) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: Bytes::copy_from_slice(value.as_bytes()),
        mod_revision,
        create_revision,
    }
}

/// Runs the transaction.
pub(super) async fn run(store: &dyn Store, compares: Vec<Compare>, writes: Vec<Write>) -> TxnOutcome {
    store.commit(Txn { compares, writes }).await.expect("the transaction is answered")
}

/// Writes without a compare, and says the revision.
pub(super) async fn write(store: &dyn Store, writes: Vec<Write>) -> Revision {
    match run(store, vec![], writes).await {
        TxnOutcome::Committed(revision) => revision,
        conflict @ TxnOutcome::Conflict(_) => panic!("no compare, yet {conflict:?}"),
    }
}

/// The conflict's states.
pub(super) fn conflict(outcome: TxnOutcome) -> Vec<Option<KeyValue>> {
    match outcome {
        TxnOutcome::Conflict(states) => states,
        committed @ TxnOutcome::Committed(_) => panic!("expected a conflict, got {committed:?}"),
    }
}

/// Values under `/registry/`, as `key=value`.
pub(super) async fn contents(store: &dyn Store, revision: Option<Revision>) -> Vec<String> {
    let listing = store.list("/registry/", None, 0, revision).await.expect("the list is answered");
    listing.items.iter().map(|kv| format!("{}={}", kv.key, String::from_utf8_lossy(&kv.value))).collect()
}

/// The next commit; one that takes longer than [`PATIENCE`] fails the case.
pub(super) async fn next(stream: &mut WatchStream) -> Commit {
    let item = tokio::time::timeout(PATIENCE, stream.next()).await.expect("a commit within the time");
    item.expect("the stream goes on").expect("the stream has no error")
}

/// The first item's error, or the call's.
pub(super) async fn watch_error(store: &dyn Store, after: Revision) -> StoreError {
    let mut stream = match store.watch(after).await {
        Ok(stream) => stream,
        Err(error) => return error,
    };
    let item = tokio::time::timeout(PATIENCE, stream.next()).await.expect("an error within the time");
    match item.expect("an error before the end") {
        Ok(commit) => panic!("watching after {after} gave {commit:?}"),
        Err(error) => {
            assert!(stream.next().await.is_none(), "a stream ends after its error");
            error
        }
    }
}

/// A commit as `revision +key=value -key`.
pub(super) fn show(commit: &Commit) -> String {
    let mut text = commit.revision.to_string();
    for event in &commit.events {
        match event {
            Event::Put(kv) => text += &format!(" +{}={}", kv.key, String::from_utf8_lossy(&kv.value)),
            Event::Delete { key } => text += &format!(" -{key}"),
        }
    }
    text
}
