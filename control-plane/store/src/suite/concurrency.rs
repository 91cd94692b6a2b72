//! Many at once: nothing lost, nothing twice, and compares that see what is accepted but not yet on disk.

use super::{Fixture, helpers::*};
use crate::{Revision, TxnOutcome};
use futures::future::join_all;
use std::collections::BTreeMap;

const WRITERS: u64 = 8;
const WRITES_EACH: u64 = 40;

/// Watchers that begin at different times see every revision once, and end with what a list shows.
pub async fn watchers_miss_nothing_while_many_write(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let start = store.revision().await.expect("answered");
    let end = start + WRITERS * WRITES_EACH;
    let writers = (0..WRITERS).map(|writer| {
        let store = store.clone();
        async move {
            for n in 0..WRITES_EACH {
                write(&*store, vec![put(&format!("/registry/{writer}"), &n.to_string())]).await;
            }
        }
    });
    let watchers = (0..3).map(|delay| {
        let store = store.clone();
        async move {
            while store.revision().await.expect("answered") < start + delay * 50 {
                tokio::task::yield_now().await;
            }
            let mut watch = store.watch(start).await.expect("answered");
            let mut seen = BTreeMap::new();
            for revision in start + 1..=end {
                let commit = next(&mut watch).await;
                assert_eq!((commit.revision, commit.events.len()), (revision, 1));
                let text = show(&commit);
                let (key, value) = text.split_once('=').expect("a put");
                let key = key.split_once('+').expect("a put").1.to_owned();
                seen.insert(key, value.to_owned());
            }
            seen.into_iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>()
        }
    });
    let watchers: Vec<_> = watchers.map(tokio::spawn).collect();
    let writers: Vec<_> = writers.map(tokio::spawn).collect();
    for writer in join_all(writers).await {
        writer.expect("the writer ends well");
    }
    let expected = contents(&*store, None).await;
    for watcher in join_all(watchers).await {
        assert_eq!(watcher.expect("the watcher ends well"), expected);
    }
}

/// Sent together, so that most compare with a write that is not on disk yet.
pub async fn concurrent_creates_have_one_winner(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    for round in 0..10 {
        let key = format!("/registry/{round}");
        let attempts = (0..16)
            .map(|n| run(&*store, vec![absent(&key)], vec![put(&key, &n.to_string())]))
            .collect::<Vec<_>>();
        let outcomes = join_all(attempts).await;
        let won: Vec<_> =
            outcomes.iter().enumerate().filter(|(_, o)| matches!(o, TxnOutcome::Committed(_))).collect();
        assert_eq!(won.len(), 1, "{outcomes:?}");
        let (winner, TxnOutcome::Committed(revision)) = won[0] else { unreachable!() };
        let stored = kv(&key, &winner.to_string(), *revision, *revision);
        for outcome in outcomes {
            if let TxnOutcome::Conflict(states) = outcome {
                assert_eq!(states, [Some(stored.clone())]);
            }
        }
    }
}

/// Compare and swap in a loop, by many: the sum is right and every win has its own revision.
pub async fn concurrent_increments_lose_nothing(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let key = "/registry/counter";
    let created = write(&*store, vec![put(key, "0")]).await;
    let incrementers = (0..WRITERS).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut wins: Vec<Revision> = Vec::new();
            let mut seen = store.get(key).await.expect("answered").expect("found");
            while wins.len() < 20 {
                let count: u64 = String::from_utf8_lossy(&seen.value).parse().expect("a number");
                let compare = vec![at(key, seen.mod_revision)];
                seen = match run(&*store, compare, vec![put(key, &(count + 1).to_string())]).await {
                    TxnOutcome::Committed(revision) => {
                        wins.push(revision);
                        store.get(key).await.expect("answered").expect("found")
                    }
                    TxnOutcome::Conflict(mut states) => states.remove(0).expect("the counter stays"),
                };
            }
            wins
        })
    });
    let mut wins = Vec::new();
    for task in join_all(incrementers).await {
        wins.extend(task.expect("the task ends well"));
    }
    wins.sort_unstable();
    assert_eq!(wins, (created + 1..=created + WRITERS * 20).collect::<Vec<_>>());
    assert_eq!(contents(&*store, None).await, [format!("{key}={}", WRITERS * 20)]);
}

/// Whoever asks after an answer learns at least that revision, and can read at it.
pub async fn the_revision_covers_every_answered_commit(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let tasks = (0..WRITERS).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            let key = format!("/registry/{writer}");
            for n in 0..20 {
                let written = write(&*store, vec![put(&key, &n.to_string())]).await;
                assert!(store.revision().await.expect("answered") >= written);
                let found = store.get(&key).await.expect("answered").expect("found");
                assert_eq!(found.mod_revision, written);
                let listing = store.list(&key, None, 0, None).await.expect("answered");
                assert!(listing.revision >= written && listing.items[0].mod_revision == written);
            }
        })
    });
    for task in join_all(tasks).await {
        task.expect("the task ends well");
    }
}
