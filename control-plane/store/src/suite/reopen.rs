//! What a store that is closed and opened again still knows.

use super::{Fixture, helpers::*};
use crate::Event;
use std::time::{Duration, Instant};

/// Values, their revisions, and the counter, also where the newest transaction was a deletion.
pub async fn reopening_keeps_values_and_revisions(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let r = write(&*store, vec![put("/registry/a", "1"), put("/registry/b", "1")]).await;
    write(&*store, vec![put("/registry/a", "2")]).await;
    write(&*store, vec![delete("/registry/b")]).await;
    drop(store);
    let store = fixture.open().await;
    assert_eq!(store.revision().await.expect("answered"), r + 2);
    let listing = store.list("/registry/", None, 0, None).await.expect("answered");
    assert_eq!((listing.revision, listing.items), (r + 2, vec![kv("/registry/a", "2", r + 1, r)]));
    let mut watch = store.watch(r + 2).await.expect("answered");
    assert_eq!(write(&*store, vec![put("/registry/b", "3")]).await, r + 3);
    assert_eq!(show(&next(&mut watch).await), format!("{} +/registry/b=3", r + 3));
}

/// A deadline that passes while the store is closed is met when it opens, one that does not is kept.
pub async fn reopening_keeps_deadlines(fixture: &dyn Fixture) {
    let ttl = Duration::from_secs(2);
    let store = fixture.open().await;
    let started = Instant::now();
    let r = write(&*store, vec![put_for("/registry/a", "1", ttl), put("/registry/stays", "1")]).await;
    write(&*store, vec![put_for("/registry/later", "1", Duration::from_secs(600))]).await;
    drop(store);
    let store = fixture.open().await;
    let mut watch = store.watch(r + 1).await.expect("answered");
    let commit = next(&mut watch).await;
    assert_eq!(commit.events, [Event::Delete { key: "/registry/a".into() }]);
    assert!(started.elapsed() >= ttl, "early, after {:?}", started.elapsed());
    assert_eq!(contents(&*store, None).await, ["/registry/later=1", "/registry/stays=1"]);
}
