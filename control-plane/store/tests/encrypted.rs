//! An encrypted store passes the contract suite: whoever uses it sees no difference; what lies beneath it is sealed, and is
//! sealed anew when the keys change.

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt as _;
use keelson_store::{
    Exported, Store, StoreError, Txn, TxnOutcome, Write, contract_suite,
    embedded::{Embedded, EmbeddedConfig},
    encrypted::{Algorithm, Encrypted, Keyring, Provider, Rule},
    model::Model,
    suite::Fixture,
};
use std::{sync::Arc, time::Duration};

struct InFolder(tempfile::TempDir);

#[async_trait]
impl Fixture for InFolder {
    async fn open(&self) -> Arc<dyn Store> {
        let inner = Embedded::open(self.0.path(), &EmbeddedConfig::default()).unwrap();
        Arc::new(Encrypted::new(Arc::new(inner), ring("*.*", vec![key("one", 1)])))
    }
}

contract_suite!(Some(InFolder(tempfile::tempdir().unwrap())));

fn ring(resource: &str, providers: Vec<Provider>) -> Keyring {
    Keyring::new(vec![Rule { resources: vec![resource.to_owned()], providers }])
}

fn key(name: &str, byte: u8) -> Provider {
    Provider::key(Algorithm::AesGcm, name, &[byte; 32]).unwrap()
}

async fn put(store: &dyn Store, key: &str, value: &str, ttl: Option<Duration>) {
    let write = Write::Put { key: key.into(), value: Bytes::copy_from_slice(value.as_bytes()), ttl };
    let outcome = store.commit(Txn { compares: vec![], writes: vec![write] }).await.unwrap();
    assert!(matches!(outcome, TxnOutcome::Committed(_)), "{outcome:?}");
}

/// Keys, what their values begin with, and whether they end.
async fn beneath(store: &dyn Store) -> Vec<(String, String, bool)> {
    let items: Vec<Exported> = store.export().await.unwrap().items.try_collect().await.unwrap();
    let shown = |value: &[u8]| String::from_utf8_lossy(&value[..value.len().min(25)]).into_owned();
    items.iter().map(|item| (item.kv.key.to_string(), shown(&item.kv.value), item.ttl.is_some())).collect()
}

const SECRET: &str = "/registry/core/secrets/ns/a";
const EVENT: &str = "/registry/core/secrets/ns/ends";
const OTHER: &str = "/registry/core/configmaps/ns/a";

#[tokio::test]
async fn what_lies_beneath_is_sealed_and_follows_the_keys() {
    let inner: Arc<dyn Store> = Arc::new(Model::default());
    put(&*inner, SECRET, "{\"plain\":1}", None).await;
    let store = Encrypted::new(inner.clone(), ring("secrets", vec![key("one", 1), Provider::Identity]));
    assert_eq!(&store.get(SECRET).await.unwrap().unwrap().value[..], b"{\"plain\":1}");
    put(&store, EVENT, "{}", Some(Duration::from_secs(3_600))).await;
    put(&store, OTHER, "{}", None).await;
    let expect = |expected: [(&str, &str, bool); 3], found: Vec<(String, String, bool)>| {
        for ((key, begin, ends), found) in expected.into_iter().zip(found) {
            assert_eq!((key, ends), (&*found.0, found.2));
            assert!(found.1.starts_with(begin), "{key}: {} should begin with {begin}", found.1);
        }
    };
    let one = "k8s:enc:aesgcm:v1:one:";
    expect([(OTHER, "{}", false), (SECRET, "{", false), (EVENT, one, true)], beneath(&*inner).await);
    assert_eq!(store.rewrite().await.unwrap(), 1);
    expect([(OTHER, "{}", false), (SECRET, one, false), (EVENT, one, true)], beneath(&*inner).await);
    assert_eq!(store.rewrite().await.unwrap(), 0);
    store.set(ring("secrets", vec![key("two", 2), key("one", 1)]));
    assert_eq!(store.rewrite().await.unwrap(), 2);
    let two = "k8s:enc:aesgcm:v1:two:";
    expect([(OTHER, "{}", false), (SECRET, two, false), (EVENT, two, true)], beneath(&*inner).await);
    // The old key may go.
    store.set(ring("secrets", vec![key("two", 2)]));
    assert_eq!(&store.get(SECRET).await.unwrap().unwrap().value[..], b"{\"plain\":1}");
    store.set(ring("secrets", vec![Provider::Identity, key("two", 2)]));
    assert_eq!(store.rewrite().await.unwrap(), 2);
    expect([(OTHER, "{}", false), (SECRET, "{", false), (EVENT, "{}", true)], beneath(&*inner).await);
}

#[tokio::test]
async fn a_missing_key_is_an_error_and_ends_a_watch() {
    use futures::StreamExt as _;
    let inner: Arc<dyn Store> = Arc::new(Model::default());
    let store = Encrypted::new(inner.clone(), ring("secrets", vec![key("one", 1)]));
    put(&store, SECRET, "{}", None).await;
    put(&store, OTHER, "{}", None).await;
    store.set(ring("secrets", vec![key("two", 2)]));
    assert!(matches!(store.get(SECRET).await, Err(StoreError::Corrupt(_))));
    assert!(matches!(store.list("/registry/", None, 0, None).await, Err(StoreError::Corrupt(_))));
    let mut watch = store.watch(0).await.unwrap();
    assert!(matches!(watch.next().await, Some(Err(StoreError::Corrupt(_)))));
    assert!(watch.next().await.is_none());
    assert!(store.rewrite().await.is_err());
}
