//! Keys that end by themselves.

use super::{Fixture, helpers::*};
use crate::Event;
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

const TTL: Duration = Duration::from_secs(2);

/// Not before its time, and nothing else is in that transaction.
pub async fn a_key_with_a_ttl_is_deleted_by_a_transaction_of_expiries(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let mut watch = store.watch(store.revision().await.expect("answered")).await.expect("answered");
    let started = Instant::now();
    let r = write(&*store, vec![put("/registry/stays", "1"), put_for("/registry/a", "1", TTL)]).await;
    write(&*store, vec![put_for("/registry/b", "1", TTL)]).await;
    assert_eq!(contents(&*store, None).await.len(), 3);
    assert_eq!(next(&mut watch).await.revision, r);
    assert_eq!(next(&mut watch).await.revision, r + 1);
    let mut expired = BTreeSet::new();
    while expired.len() < 2 {
        let commit = next(&mut watch).await;
        for event in commit.events {
            let Event::Delete { key } = event else { panic!("not an expiry: {event:?}") };
            assert!(expired.insert(key.to_string()), "{key} expired twice");
        }
    }
    assert!(started.elapsed() >= TTL, "early, after {:?}", started.elapsed());
    assert_eq!(expired.into_iter().collect::<Vec<_>>(), ["/registry/a", "/registry/b"]);
    assert_eq!(contents(&*store, None).await, ["/registry/stays=1"]);
    assert_eq!(contents(&*store, Some(r + 1)).await.len(), 3, "the past keeps them");
}

/// With a longer life, or with none that ends.
pub async fn a_later_put_starts_the_time_anew(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let mut watch = store.watch(store.revision().await.expect("answered")).await.expect("answered");
    write(&*store, vec![put_for("/registry/kept", "1", TTL), put_for("/registry/longer", "1", TTL)]).await;
    write(
        &*store,
        vec![put("/registry/kept", "2"), put_for("/registry/longer", "2", Duration::from_secs(600))],
    )
    .await;
    write(&*store, vec![put_for("/registry/again", "1", TTL)]).await;
    write(&*store, vec![delete("/registry/again")]).await;
    write(&*store, vec![put("/registry/again", "2")]).await;
    write(&*store, vec![put_for("/registry/last", "1", TTL)]).await;
    for _ in 0..6 {
        next(&mut watch).await;
    }
    let commit = next(&mut watch).await;
    assert!(show(&commit).ends_with(" -/registry/last"), "{}", show(&commit));
    assert_eq!(
        contents(&*store, None).await,
        ["/registry/again=2", "/registry/kept=2", "/registry/longer=2"]
    );
}
