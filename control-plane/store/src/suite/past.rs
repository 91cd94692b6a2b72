//! Lists, now and at earlier revisions.

use super::{Fixture, helpers::*};
use crate::StoreError;

/// Pages of a list at one revision are the whole list, whatever is written meanwhile.
pub async fn a_list_is_in_key_order_and_pages(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    for n in [3, 1, 4, 0, 2] {
        write(&*store, vec![put(&format!("/registry/k{n}"), "1")]).await;
    }
    let first = store.list("/registry/", None, 2, None).await.expect("answered");
    assert!(first.more);
    assert_eq!(first.items.iter().map(|kv| &*kv.key).collect::<Vec<_>>(), ["/registry/k0", "/registry/k1"]);
    write(&*store, vec![put("/registry/k15", "late"), delete("/registry/k2"), put("/registry/k3", "late")])
        .await;
    let second =
        store.list("/registry/", Some("/registry/k1"), 2, Some(first.revision)).await.expect("answered");
    assert!(second.more);
    assert_eq!(second.revision, first.revision);
    let shown: Vec<_> = second.items.iter().map(|kv| (&*kv.key, &kv.value[..])).collect();
    assert_eq!(shown, [("/registry/k2", &b"1"[..]), ("/registry/k3", &b"1"[..])]);
    let last =
        store.list("/registry/", Some("/registry/k3"), 2, Some(first.revision)).await.expect("answered");
    assert!(!last.more);
    assert_eq!(last.items.iter().map(|kv| &*kv.key).collect::<Vec<_>>(), ["/registry/k4"]);
    let exact =
        store.list("/registry/", Some("/registry/k2"), 2, Some(first.revision)).await.expect("answered");
    assert_eq!((exact.items.len(), exact.more), (2, false), "nothing follows a page that ends the list");
}

/// Nothing outside the prefix, and `after` may be any text.
pub async fn a_list_keeps_to_its_prefix(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let keys =
        ["/registry/core/pods/a", "/registry/core/podsx/a", "/registry/core/pods/b", "/registry/core/pod"];
    for key in keys {
        write(&*store, vec![put(key, "1")]).await;
    }
    let list = async |prefix: &str, after: Option<&str>| -> Vec<String> {
        let listing = store.list(prefix, after, 0, None).await.expect("answered");
        listing.items.iter().map(|kv| kv.key["/registry/core/".len()..].to_owned()).collect()
    };
    assert_eq!(list("/registry/core/pods/", None).await, ["pods/a", "pods/b"]);
    assert_eq!(list("/registry/core/pods/", Some("/registry/core/pods/a")).await, ["pods/b"]);
    assert_eq!(list("/registry/core/pods/", Some("/registry/core/pods/a\0")).await, ["pods/b"]);
    assert_eq!(list("/registry/core/pods/", Some("/registry/a")).await, ["pods/a", "pods/b"]);
    assert_eq!(list("/registry/core/pods/", Some("/registry/core/podsx")).await, Vec::<String>::new());
    assert_eq!(list("/registry/core/none/", None).await, Vec::<String>::new());
}

/// Created, replaced, deleted and created again: each revision shows what it was.
pub async fn a_list_at_a_past_revision_shows_the_past(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let r = write(&*store, vec![put("/registry/a", "1"), put("/registry/b", "1")]).await;
    write(&*store, vec![put("/registry/a", "2"), put("/registry/c", "1")]).await;
    write(&*store, vec![delete("/registry/a")]).await;
    write(&*store, vec![put("/registry/a", "4"), delete("/registry/b")]).await;
    let table: [(_, &[&str]); 4] = [
        (r, &["/registry/a=1", "/registry/b=1"]),
        (r + 1, &["/registry/a=2", "/registry/b=1", "/registry/c=1"]),
        (r + 2, &["/registry/b=1", "/registry/c=1"]),
        (r + 3, &["/registry/a=4", "/registry/c=1"]),
    ];
    for (revision, expected) in table {
        assert_eq!(contents(&*store, Some(revision)).await, expected, "at {revision}");
    }
    let listing = store.list("/registry/", None, 1, Some(r + 1)).await.expect("answered");
    assert_eq!((listing.items, listing.more), (vec![kv("/registry/a", "2", r + 1, r)], true));
}

/// By a list and by a watch, with the oldest that may be asked for; the current values stay.
pub async fn a_compacted_revision_is_refused(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let r = write(&*store, vec![put("/registry/a", "1")]).await;
    write(&*store, vec![put("/registry/a", "2")]).await;
    write(&*store, vec![put("/registry/a", "3")]).await;
    store.compact(r + 1).await.expect("answered");
    store.compact(r + 1).await.expect("compacting twice is no error");
    store.compact(r).await.expect("nor is compacting less");
    let is_compacted = |error: &StoreError| matches!(error, StoreError::Compacted { requested, oldest } if (*requested, *oldest) == (r, r + 1));
    let error = store.list("/registry/", None, 0, Some(r)).await.expect_err("compacted");
    assert!(is_compacted(&error), "{error:?}");
    let error = watch_error(&*store, r).await;
    assert!(is_compacted(&error), "{error:?}");
    assert_eq!(contents(&*store, Some(r + 1)).await, ["/registry/a=2"]);
    assert_eq!(contents(&*store, None).await, ["/registry/a=3"]);
}

/// By a list, a watch and a compaction, with where the store is.
pub async fn a_future_revision_is_refused(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let r = write(&*store, vec![put("/registry/a", "1")]).await;
    let is_future = |error: &StoreError| matches!(error, StoreError::Future { requested, current } if (*requested, *current) == (r + 1, r));
    let error = store.list("/registry/", None, 0, Some(r + 1)).await.expect_err("in the future");
    assert!(is_future(&error), "{error:?}");
    let error = watch_error(&*store, r + 1).await;
    assert!(is_future(&error), "{error:?}");
    let error = store.compact(r + 1).await.expect_err("in the future");
    assert!(is_future(&error), "{error:?}");
}

/// What is written is found in the size, as soon as the store has put it where it lasts.
pub async fn the_size_covers_what_was_written(fixture: &dyn Fixture) {
    const BYTES: usize = 400 * 1024;
    let store = fixture.open().await;
    write(&*store, vec![put("/registry/large", &"x".repeat(BYTES))]).await;
    let told = async {
        loop {
            let sizes = store.sizes().await.expect("answered");
            assert!(!sizes.is_empty() && sizes.iter().all(|(name, _)| !name.is_empty()), "{sizes:?}");
            if sizes.iter().all(|(_, bytes)| *bytes >= BYTES as u64) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), told).await.expect("the size grows");
}
