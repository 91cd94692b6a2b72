//! Transactions: revisions, compares, atomicity, refusals.

use super::{Fixture, helpers::*};
use crate::{StoreError, TXN_BYTES_MAX, Txn, TxnOutcome};

/// Nothing in it, and no key is found.
pub async fn a_new_store_is_empty(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    assert_eq!(contents(&*store, None).await, Vec::<String>::new());
    assert_eq!(store.get("/registry/a").await.expect("answered"), None);
}

/// By exactly one, over all keys, and a refused transaction takes none.
pub async fn revisions_grow_by_one_for_each_transaction(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let first = store.revision().await.expect("answered");
    assert_eq!(write(&*store, vec![put("/registry/a", "1")]).await, first + 1);
    assert_eq!(write(&*store, vec![put("/registry/b", "1"), put("/registry/c", "1")]).await, first + 2);
    conflict(run(&*store, vec![absent("/registry/a")], vec![put("/registry/a", "2")]).await);
    assert_eq!(store.revision().await.expect("answered"), first + 2);
    assert_eq!(write(&*store, vec![delete("/registry/a")]).await, first + 3);
    assert_eq!(store.revision().await.expect("answered"), first + 3);
}

/// One failing compare of several keeps every write out; else all share one revision.
pub async fn a_transaction_is_all_or_nothing(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let first = write(&*store, vec![put("/registry/a", "1"), put("/registry/b", "1")]).await;
    let writes = || vec![put("/registry/a", "2"), delete("/registry/b"), put("/registry/c", "2")];
    let half = vec![at("/registry/a", first), absent("/registry/b")];
    conflict(run(&*store, half, writes()).await);
    assert_eq!(contents(&*store, None).await, ["/registry/a=1", "/registry/b=1"]);
    let whole = vec![at("/registry/a", first), at("/registry/b", first), absent("/registry/c")];
    assert_eq!(run(&*store, whole, writes()).await, TxnOutcome::Committed(first + 1));
    assert_eq!(contents(&*store, None).await, ["/registry/a=2", "/registry/c=2"]);
    let listing = store.list("/registry/", None, 0, None).await.expect("answered");
    assert!(listing.items.iter().all(|kv| kv.mod_revision == first + 1));
}

/// In the order of the compares, also those that held.
pub async fn a_conflict_shows_every_compared_key(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let a = write(&*store, vec![put("/registry/a", "1")]).await;
    let compares = vec![absent("/registry/z"), at("/registry/a", a), at("/registry/missing", a)];
    let states = conflict(run(&*store, compares, vec![put("/registry/z", "1")]).await);
    assert_eq!(states, [None, Some(kv("/registry/a", "1", a, a)), None]);
}

/// Absent and "last written at" are different questions.
pub async fn compares_tell_absent_from_old(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let a = write(&*store, vec![put("/registry/a", "1")]).await;
    let b = write(&*store, vec![put("/registry/a", "2")]).await;
    let attempt = |compare| run(&*store, vec![compare], vec![put("/registry/a", "x")]);
    assert_eq!(conflict(attempt(at("/registry/a", a)).await), [Some(kv("/registry/a", "2", b, a))]);
    assert_eq!(conflict(attempt(at("/registry/a", b + 100)).await), [Some(kv("/registry/a", "2", b, a))]);
    assert_eq!(conflict(attempt(absent("/registry/a")).await), [Some(kv("/registry/a", "2", b, a))]);
    assert_eq!(attempt(at("/registry/a", b)).await, TxnOutcome::Committed(b + 1));
    write(&*store, vec![delete("/registry/a")]).await;
    assert_eq!(conflict(attempt(at("/registry/a", b + 1)).await), [None]);
    assert_eq!(attempt(absent("/registry/a")).await, TxnOutcome::Committed(b + 3));
}

/// A key that was deleted is a new one when it comes again.
pub async fn a_put_keeps_the_create_revision_until_deletion(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let key = "/registry/a";
    let created = write(&*store, vec![put(key, "1")]).await;
    write(&*store, vec![put(key, "2")]).await;
    assert_eq!(store.get(key).await.expect("answered"), Some(kv(key, "2", created + 1, created)));
    write(&*store, vec![delete(key)]).await;
    write(&*store, vec![put(key, "3")]).await;
    assert_eq!(store.get(key).await.expect("answered"), Some(kv(key, "3", created + 3, created + 3)));
}

/// Alone it takes no revision; beside another write it leaves no trace.
pub async fn deleting_an_absent_key_is_no_event(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let first = write(&*store, vec![put("/registry/a", "1")]).await;
    let mut watch = store.watch(first).await.expect("answered");
    assert_eq!(write(&*store, vec![delete("/registry/missing")]).await, first);
    assert_eq!(write(&*store, vec![delete("/registry/missing"), put("/registry/b", "1")]).await, first + 1);
    assert_eq!(show(&next(&mut watch).await), format!("{} +/registry/b=1", first + 1));
}

/// Refused before it does anything, with what is wrong.
pub async fn an_invalid_transaction_is_refused_and_leaves_nothing(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let before = store.revision().await.expect("answered");
    let large = "x".repeat(TXN_BYTES_MAX);
    let table = [
        vec![],
        vec![put("/registry/a", "1"), put("/registry/a", "2")],
        vec![put("/registry/b", "1"), put("/registry/large", &large)],
    ];
    for writes in table {
        let refused = store.commit(Txn { compares: vec![], writes }).await;
        assert!(matches!(refused, Err(StoreError::Invalid(_))), "{refused:?}");
    }
    assert_eq!(store.revision().await.expect("answered"), before);
    let largest = "x".repeat(TXN_BYTES_MAX - "/registry/large".len());
    write(&*store, vec![put("/registry/large", &largest)]).await;
    let found = store.get("/registry/large").await.expect("answered").expect("found");
    assert_eq!(found.value.len(), largest.len());
}
