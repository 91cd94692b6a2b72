//! A cluster of three etcd members, with certificates, as it loses some: writes go on without one, fail in bounded time
//! without two, and nothing that was answered is ever lost.

#[path = "support/cluster.rs"]
mod support;

use bytes::Bytes;
use futures::StreamExt as _;
use keelson_store::{
    Commit, Event, Store, StoreError, Txn, TxnOutcome, WatchStream, Write,
    etcd::{Etcd, EtcdConfig, EtcdTls},
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use support::EtcdCluster;

/// Longer than etcd needs for an election.
const PATIENCE: Duration = Duration::from_secs(60);
/// A call that cannot be answered says so within this: a time limit a member.
const BOUND: Duration = Duration::from_secs(30);

/// Revisions that are kept, so that a watch which looks for another member is not overtaken.
const COMPACTION_LAG: u64 = 20_000;

fn txn(key: &str, value: &str) -> Txn {
    let write = Write::Put { key: key.into(), value: Bytes::copy_from_slice(value.as_bytes()), ttl: None };
    Txn { compares: vec![], writes: vec![write] }
}

async fn connect(cluster: &EtcdCluster) -> Etcd {
    Etcd::connect(config(cluster)).await.unwrap()
}

fn config(cluster: &EtcdCluster) -> EtcdConfig {
    let identity = Some((cluster.client_pem.clone(), cluster.client_key_pem.clone()));
    let tls = Some(EtcdTls { ca_pem: cluster.ca_pem.clone(), identity });
    EtcdConfig { tls, ..EtcdConfig::new(cluster.endpoints()) }
}

/// Writes until it is answered; what failed may have happened.
async fn write(store: &Etcd, key: &str, value: &str) -> u64 {
    let give_up = Instant::now() + PATIENCE;
    loop {
        match store.commit(txn(key, value)).await {
            Ok(TxnOutcome::Committed(revision)) => return revision,
            Err(StoreError::Unavailable { .. }) if Instant::now() < give_up => (),
            other => panic!("{other:?}"),
        }
    }
}

/// Reads the watch up to a revision; every commit is the one after the last.
async fn follow(watch: &mut WatchStream, last: &mut u64, until: u64) -> Vec<Commit> {
    let mut commits = Vec::new();
    while *last < until {
        let next = tokio::time::timeout(PATIENCE, watch.next()).await;
        let commit = next.expect("a commit within the time").unwrap().unwrap();
        assert_eq!(commit.revision, *last + 1);
        *last = commit.revision;
        commits.push(commit);
    }
    commits
}

#[tokio::test]
async fn a_member_wants_our_certificate_and_shows_its_own() {
    let Some(cluster) = EtcdCluster::start(1) else { return };
    let store = connect(&cluster).await;
    write(&store, "/registry/a", "1").await;
    let quick = |tls| EtcdConfig {
        tls: Some(tls),
        request_timeout: Duration::from_secs(2),
        connect_patience: Duration::from_millis(200),
        ..EtcdConfig::new(cluster.endpoints())
    };
    let anonymous = EtcdTls { ca_pem: cluster.ca_pem.clone(), identity: None };
    assert!(Etcd::connect(quick(anonymous)).await.is_err());
    let identity = Some((cluster.client_pem.clone(), cluster.client_key_pem.clone()));
    let stranger = EtcdTls { ca_pem: EtcdCluster::other_ca(), identity };
    assert!(Etcd::connect(quick(stranger)).await.is_err());
}

#[tokio::test]
async fn writes_go_on_without_one_of_three_and_fail_cleanly_without_two() {
    let Some(mut cluster) = EtcdCluster::start(3) else { return };
    let store = connect(&cluster).await;
    let mut last = write(&store, "/registry/a", "0").await;
    let mut watch = store.watch(last).await.unwrap();
    write(&store, "/registry/a", "1").await;
    // The first is the one that serves writes and the watch.
    cluster.kill(0);
    let newest = write(&store, "/registry/a", "2").await;
    store.compact(last).await.unwrap();
    follow(&mut watch, &mut last, newest).await;
    assert_eq!(&store.get("/registry/a").await.unwrap().unwrap().value[..], b"2");

    cluster.kill(1);
    for _ in 0..2 {
        let started = Instant::now();
        let refused = store.commit(txn("/registry/lost", "3")).await.unwrap_err();
        assert!(started.elapsed() < BOUND, "{:?}", started.elapsed());
        assert!(matches!(refused, StoreError::Unavailable { .. }), "{refused:?}");
        assert!(refused.to_string().contains("is a majority of its members up"), "{refused}");
    }
    let started = Instant::now();
    assert!(store.get("/registry/a").await.is_err());
    assert!(store.revision().await.is_err());
    assert!(started.elapsed() < 2 * BOUND, "{:?}", started.elapsed());

    cluster.spawn(0);
    cluster.spawn(1);
    let newest = write(&store, "/registry/a", "4").await;
    let seen = follow(&mut watch, &mut last, newest).await;
    let Event::Put(kv) = &seen[seen.len() - 1].events[0] else { panic!("{seen:?}") };
    assert_eq!(&kv.value[..], b"4");
}

fn number(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).map_or(usual, |text| text.parse().expect("a number"))
}

/// Writers write while members are killed one after another, with compactions between. `KEELSON_STORE_TEST_SEED` decides
/// which and when, `KEELSON_STORE_TEST_KILLS` how often.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_members_lose_no_answered_commit() {
    use rand::{Rng as _, SeedableRng as _};
    let Some(mut cluster) = EtcdCluster::start(3) else { return };
    let mut rng = rand::rngs::StdRng::seed_from_u64(number("KEELSON_STORE_TEST_SEED", 0));
    let store = Arc::new(connect(&cluster).await);
    let first = write(&store, "/registry/first", "0").await;
    let mut watch = store.watch(first).await.unwrap();
    // Read as it goes: one that is not may be overtaken by a compaction.
    let watcher = tokio::spawn(async move {
        let (mut last, mut seen) = (first, BTreeMap::new());
        while seen.get(&last).is_none_or(|key| key != "/registry/end") {
            let until = last + 1;
            for commit in follow(&mut watch, &mut last, until).await {
                for event in commit.events {
                    let Event::Put(kv) = event else { panic!("nothing was deleted") };
                    seen.insert(commit.revision, kv.key.to_string());
                }
            }
        }
        seen
    });
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let (store, stop) = (store.clone(), stop.clone());
            tokio::spawn(async move {
                let mut answered = BTreeMap::new();
                for n in 0_u64.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    match store.commit(txn(&format!("/registry/{writer}/{n}"), &n.to_string())).await {
                        Ok(TxnOutcome::Committed(revision)) => drop(answered.insert(revision, (writer, n))),
                        Err(StoreError::Unavailable { .. }) => (),
                        other => panic!("{other:?}"),
                    }
                }
                answered
            })
        })
        .collect();
    for kill in 0..number("KEELSON_STORE_TEST_KILLS", 3) {
        println!("kill {kill}");
        let victim = rng.random_range(0..3);
        cluster.kill(victim);
        // So many writes without it.
        let until = write(&store, "/registry/during", "1").await + rng.random_range(0..300);
        while store.revision().await.unwrap_or(0) < until {
            tokio::task::yield_now().await;
        }
        cluster.spawn(victim);
        let back = write(&store, "/registry/back", "1").await;
        store.compact(first.max(back.saturating_sub(COMPACTION_LAG))).await.unwrap();
        cluster.wait_member(victim).await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut answered = BTreeMap::new();
    for writer in writers {
        answered.extend(writer.await.unwrap());
    }
    write(&store, "/registry/end", "1").await;
    let seen = watcher.await.unwrap();
    for (revision, (writer, n)) in &answered {
        let key = format!("/registry/{writer}/{n}");
        assert_eq!(seen.get(revision), Some(&key), "the watch missed an answered commit");
    }
    let stored = store.list("/registry/", None, 0, None).await.unwrap();
    let stored: BTreeMap<u64, String> =
        stored.items.into_iter().map(|kv| (kv.mod_revision, kv.key.to_string())).collect();
    for (revision, (writer, n)) in &answered {
        assert_eq!(
            stored.get(revision),
            Some(&format!("/registry/{writer}/{n}")),
            "an answered commit is lost"
        );
    }
    println!("{} commits answered", answered.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_replaced_while_it_runs_and_what_is_under_way_goes_on() {
    let Some(cluster) = EtcdCluster::start(1) else { return };
    let store = connect(&cluster).await;
    let mut last = write(&store, "/registry/a", "1").await;
    let mut watch = store.watch(last).await.unwrap();
    let good = config(&cluster).tls.unwrap();

    // What no member believes is shown from the next call on: so it is the new one that is shown.
    store.set_tls(EtcdTls { identity: None, ..good.clone() }).await.unwrap();
    let refused = tokio::time::timeout(BOUND, store.commit(txn("/registry/a", "2"))).await.expect("in time");
    assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{refused:?}");

    let unusable = EtcdTls { identity: Some(("x".to_owned(), "y".to_owned())), ..good.clone() };
    store.set_tls(unusable).await.unwrap_err();
    store.set_tls(good).await.unwrap();
    let until = write(&store, "/registry/a", "3").await;
    follow(&mut watch, &mut last, until).await;
}
