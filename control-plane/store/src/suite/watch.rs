//! Watches: whole transactions, in order, without a gap.

use super::{Fixture, helpers::*};

/// With all its keys and one revision.
pub async fn a_watch_delivers_each_transaction_as_one_commit(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let start = store.revision().await.expect("answered");
    let mut watch = store.watch(start).await.expect("answered");
    let r = write(&*store, vec![put("/registry/a", "1"), put("/registry/b", "1")]).await;
    write(&*store, vec![delete("/registry/a"), put("/registry/b", "2"), put("/registry/c", "1")]).await;
    conflict(run(&*store, vec![absent("/registry/b")], vec![put("/registry/b", "x")]).await);
    write(&*store, vec![put("/registry/b", "3")]).await;
    let mut first = next(&mut watch).await;
    first.events.sort_by_key(|event| format!("{event:?}"));
    assert_eq!(show(&first), format!("{r} +/registry/a=1 +/registry/b=1"));
    let second = next(&mut watch).await;
    assert_eq!((second.revision, second.events.len()), (r + 1, 3));
    assert!(show(&second).contains(" -/registry/a") && show(&second).contains(" +/registry/b=2"));
    let third = next(&mut watch).await;
    assert_eq!(third.events, [crate::Event::Put(kv("/registry/b", "3", r + 2, r))]);
}

/// What happened before the call and what happens after it join without a seam.
pub async fn a_watch_from_the_past_has_no_gap(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let r = write(&*store, vec![put("/registry/a", "0")]).await;
    for n in 1..=300 {
        write(&*store, vec![put("/registry/a", &n.to_string())]).await;
    }
    let mut watch = store.watch(r + 100).await.expect("answered");
    for n in 301..=320 {
        write(&*store, vec![put("/registry/a", &n.to_string())]).await;
    }
    for n in 101..=320 {
        assert_eq!(show(&next(&mut watch).await), format!("{} +/registry/a={n}", r + n));
    }
}

/// One that began early and one that began late.
pub async fn two_watchers_see_the_same(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let r = write(&*store, vec![put("/registry/a", "0")]).await;
    let mut early = store.watch(r).await.expect("answered");
    for n in 0..20 {
        write(&*store, vec![put(&format!("/registry/{n}"), "1")]).await;
    }
    let mut late = store.watch(r).await.expect("answered");
    for _ in 0..20 {
        assert_eq!(next(&mut early).await, next(&mut late).await);
    }
}

/// The oldest revision that is kept can be watched after; also by one who was there before.
pub async fn a_watch_after_compaction_begins_where_it_may(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let r = write(&*store, vec![put("/registry/a", "1")]).await;
    write(&*store, vec![delete("/registry/a")]).await;
    write(&*store, vec![put("/registry/b", "3")]).await;
    store.compact(r + 1).await.expect("answered");
    let mut watch = store.watch(r + 1).await.expect("answered");
    assert_eq!(show(&next(&mut watch).await), format!("{} +/registry/b=3", r + 2));
    store.compact(r + 2).await.expect("answered");
    write(&*store, vec![put("/registry/c", "4")]).await;
    assert_eq!(show(&next(&mut watch).await), format!("{} +/registry/c=4", r + 3));
}
