//! The etcd backend passes the contract suite on a real etcd; and what is its own: resuming, sharing, leases.

mod support;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use keelson_store::{
    Commit, Event, Store, StoreError, Txn, TxnOutcome, WatchStream, Write, contract_suite,
    etcd::{Etcd, EtcdConfig},
    suite::Fixture,
};
use std::{sync::Arc, time::Duration};
use support::EtcdProcess;

struct OnEtcd(EtcdProcess);

impl OnEtcd {
    fn start() -> Option<Self> {
        EtcdProcess::start().map(Self)
    }
}

#[async_trait]
impl Fixture for OnEtcd {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(Etcd::connect(EtcdConfig::new(vec![self.0.endpoint()])).await.unwrap())
    }
}

contract_suite!(OnEtcd::start());

fn put(key: &str, value: &str, ttl: Option<Duration>) -> Txn {
    let write = Write::Put { key: key.into(), value: Bytes::copy_from_slice(value.as_bytes()), ttl };
    Txn { compares: vec![], writes: vec![write] }
}

async fn commit(store: &dyn Store, txn: Txn) -> u64 {
    match store.commit(txn).await.unwrap() {
        TxnOutcome::Committed(revision) => revision,
        conflict @ TxnOutcome::Conflict(_) => panic!("{conflict:?}"),
    }
}

async fn next(watch: &mut WatchStream) -> Commit {
    tokio::time::timeout(Duration::from_secs(30), watch.next()).await.unwrap().unwrap().unwrap()
}

#[tokio::test]
async fn a_watch_goes_on_where_it_was_when_etcd_comes_back() {
    let Some(OnEtcd(mut process)) = OnEtcd::start() else { return };
    let store = Etcd::connect(EtcdConfig::new(vec![process.endpoint()])).await.unwrap();
    let mut watch = store.watch(store.revision().await.unwrap()).await.unwrap();
    let first = commit(&store, put("/registry/a", "1", None)).await;
    assert_eq!(next(&mut watch).await.revision, first);
    let second = commit(&store, put("/registry/a", "2", None)).await;
    process.kill();
    let refused = store.commit(put("/registry/a", "lost", None)).await;
    assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
    process.spawn();
    let other = Etcd::connect(EtcdConfig::new(vec![process.endpoint()])).await.unwrap();
    let third = commit(&other, put("/registry/a", "3", None)).await;
    assert_eq!(next(&mut watch).await.revision, second);
    assert_eq!(next(&mut watch).await.revision, third);
    assert_eq!(store.revision().await.unwrap(), third);
}

#[tokio::test]
async fn revisions_of_others_are_commits_without_events() {
    let Some(OnEtcd(process)) = OnEtcd::start() else { return };
    let store = Etcd::connect(EtcdConfig::new(vec![process.endpoint()])).await.unwrap();
    let mut watch = store.watch(store.revision().await.unwrap()).await.unwrap();
    let mut other = etcd_client::Client::connect([process.endpoint()], None).await.unwrap();
    other.put("/other/key", "1", None).await.unwrap();
    let waited_for = store.revision().await.unwrap();
    assert_eq!(next(&mut watch).await, Commit { revision: waited_for, events: vec![] });
    assert_eq!(store.list("/", None, 0, None).await.unwrap().items, []);
    let ours = commit(&store, put("/registry/a", "1", None)).await;
    assert_eq!(ours, waited_for + 1);
    assert_eq!(next(&mut watch).await.events.len(), 1);
}

#[tokio::test]
async fn a_key_outside_the_prefix_is_refused() {
    let Some(OnEtcd(process)) = OnEtcd::start() else { return };
    let store = Etcd::connect(EtcdConfig::new(vec![process.endpoint()])).await.unwrap();
    let refused = store.commit(put("/other/key", "1", None)).await.unwrap_err();
    assert!(refused.to_string().contains("\"/other/key\" is not under \"/registry/\""), "{refused}");
    assert!(matches!(store.get("/other/key").await, Err(StoreError::Invalid(_))));
    assert!(matches!(store.list("/other/", None, 0, None).await, Err(StoreError::Invalid(_))));
}

#[tokio::test]
async fn keys_written_together_share_a_lease() {
    let Some(OnEtcd(process)) = OnEtcd::start() else { return };
    let store = Etcd::connect(EtcdConfig::new(vec![process.endpoint()])).await.unwrap();
    for n in 0..50 {
        commit(&store, put(&format!("/registry/{n}"), "1", Some(Duration::from_secs(3_600)))).await;
    }
    let mut other = etcd_client::Client::connect([process.endpoint()], None).await.unwrap();
    assert_eq!(other.leases().await.unwrap().leases().len(), 1);
}

#[tokio::test]
async fn a_write_gets_a_new_lease_when_its_lease_is_gone() {
    let Some(OnEtcd(process)) = OnEtcd::start() else { return };
    let store = Etcd::connect(EtcdConfig::new(vec![process.endpoint()])).await.unwrap();
    let hour = Some(Duration::from_secs(3_600));
    commit(&store, put("/registry/a", "1", hour)).await;
    let mut other = etcd_client::Client::connect([process.endpoint()], None).await.unwrap();
    let lease = other.leases().await.unwrap().leases()[0].id();
    let mut watch = store.watch(store.revision().await.unwrap()).await.unwrap();
    other.lease_revoke(lease).await.unwrap();
    assert_eq!(next(&mut watch).await.events, [Event::Delete { key: "/registry/a".into() }]);
    let revision = commit(&store, put("/registry/a", "2", hour)).await;
    assert_eq!(store.get("/registry/a").await.unwrap().unwrap().mod_revision, revision);
}

#[tokio::test]
async fn the_past_is_compacted_by_itself() {
    let Some(OnEtcd(process)) = OnEtcd::start() else { return };
    let config = EtcdConfig {
        compact_after: Some(Duration::from_millis(300)),
        ..EtcdConfig::new(vec![process.endpoint()])
    };
    let store = Etcd::connect(config).await.unwrap();
    let first = commit(&store, put("/registry/a", "1", None)).await;
    let oldest = tokio::time::timeout(Duration::from_secs(30), async {
        loop {
            commit(&store, put("/registry/a", "2", None)).await;
            match store.list("/registry/", None, 0, Some(first)).await {
                Err(StoreError::Compacted { oldest, .. }) => return oldest,
                other => assert!(other.is_ok(), "{other:?}"),
            }
        }
    });
    assert!(oldest.await.unwrap() > first);
}

#[tokio::test]
async fn an_etcd_that_is_not_there_is_an_error_that_names_the_step() {
    let config = EtcdConfig {
        request_timeout: Duration::from_millis(300),
        connect_patience: Duration::from_millis(500),
        ..EtcdConfig::new(vec!["http://127.0.0.1:1".to_owned()])
    };
    let error = Etcd::connect(config).await.err().unwrap();
    assert!(error.to_string().contains("while connecting to etcd"), "{error}");
}

#[tokio::test]
async fn a_dead_endpoint_beside_a_live_one_is_passed_over() {
    let Some(OnEtcd(process)) = OnEtcd::start() else { return };
    let dead = "http://127.0.0.1:1".to_owned();
    let store = Etcd::connect(EtcdConfig::new(vec![dead, process.endpoint()])).await.unwrap();
    let mut watch = store.watch(store.revision().await.unwrap()).await.unwrap();
    for n in 0..100 {
        let revision = commit(&store, put("/registry/a", &n.to_string(), None)).await;
        assert_eq!(next(&mut watch).await.revision, revision);
    }
}
