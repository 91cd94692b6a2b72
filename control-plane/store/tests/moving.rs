//! Snapshots: made while writes go on, checked to the last bit, restored with every revision; and moved to another store.

mod support;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use keelson_store::{
    Exported, MoveError, Store, StoreError, Txn, TxnOutcome, Write,
    embedded::{Embedded, EmbeddedConfig, Snapshot, encode},
    etcd::{Etcd, EtcdConfig},
    import,
    model::Model,
};
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use support::EtcdProcess;

const HOUR: Duration = Duration::from_secs(3_600);

async fn put(store: &dyn Store, key: &str, value: &str, ttl: Option<Duration>) -> u64 {
    let write = Write::Put { key: key.into(), value: Bytes::copy_from_slice(value.as_bytes()), ttl };
    match store.commit(Txn { compares: vec![], writes: vec![write] }).await.unwrap() {
        TxnOutcome::Committed(revision) => revision,
        conflict @ TxnOutcome::Conflict(_) => panic!("{conflict:?}"),
    }
}

fn open(folder: &Path) -> Embedded {
    Embedded::open(folder, &EmbeddedConfig::default()).unwrap()
}

async fn save(store: &dyn Store, folder: &Path) -> PathBuf {
    let pieces: Vec<Bytes> = encode(store.export().await.unwrap()).try_collect().await.unwrap();
    let path = folder.join("a.snap");
    std::fs::write(&path, pieces.concat()).unwrap();
    path
}

async fn items(store: &dyn Store) -> Vec<Exported> {
    store.export().await.unwrap().items.try_collect().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_is_one_revision_while_writes_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let config = EmbeddedConfig { segment_bytes_max: 20_000, ..EmbeddedConfig::default() };
    let store = Arc::new(Embedded::open(&folder.path().join("from"), &config).unwrap());
    put(&*store, "/registry/ends", "1", Some(HOUR)).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (store, stop) = (store.clone(), stop.clone());
        async move {
            // Each key holds the round in which it was written; so much is replaced that files of the log go.
            for n in 0.. {
                put(&*store, &format!("/registry/{:03}", n % 600), &format!("{n:01000}"), None).await;
                if stop.load(Ordering::Relaxed) && n > 2_000 {
                    break;
                }
            }
        }
    });
    while store.revision().await.unwrap() < 700 {
        tokio::task::yield_now().await;
    }
    for round in 0..3 {
        let export = store.export().await.unwrap();
        let revision = export.revision;
        // Read slowly: writes go on between the pieces.
        let mut pieces = Vec::new();
        let mut stream = encode(export);
        while let Some(piece) = stream.next().await {
            pieces.push(piece.unwrap());
            let now = store.revision().await.unwrap();
            while store.revision().await.unwrap() < now + 50 {
                tokio::task::yield_now().await;
            }
        }
        let path = folder.path().join(format!("{round}.snap"));
        std::fs::write(&path, pieces.concat()).unwrap();
        let snapshot = Snapshot::open(&path).unwrap();
        assert_eq!((snapshot.revision(), snapshot.keys()), (revision, 601));
        let restored = folder.path().join(format!("restored-{round}"));
        snapshot.restore(&restored).unwrap();
        let restored = open(&restored);
        assert_eq!(restored.revision().await.unwrap(), revision);
        for kv in restored.list("/registry/0", None, 0, None).await.unwrap().items {
            // The write of round n has revision n + 2.
            let n: u64 = String::from_utf8_lossy(&kv.value).parse().unwrap();
            assert_eq!(kv.mod_revision, n + 2);
            assert!(
                n + 2 <= revision && n + 2 + 600 > revision,
                "{} is of another time than {revision}",
                n + 2
            );
        }
        assert_eq!(put(&restored, "/registry/new", "1", None).await, revision + 1);
    }
    stop.store(true, Ordering::Relaxed);
    writer.await.unwrap();
}

#[tokio::test]
async fn a_damaged_snapshot_is_refused_and_nothing_is_restored() {
    let folder = tempfile::tempdir().unwrap();
    let model = Model::default();
    for n in 0..20 {
        put(&model, &format!("/registry/{n:02}"), "some value", (n % 2 == 0).then_some(HOUR)).await;
    }
    let path = save(&model, folder.path()).await;
    let whole = std::fs::read(&path).unwrap();
    for byte in 0..whole.len() {
        // The rest of the head has no meaning.
        if (36..40).contains(&byte) {
            continue;
        }
        let mut damaged = whole.clone();
        damaged[byte] ^= 4;
        std::fs::write(&path, damaged).unwrap();
        let error = Snapshot::open(&path).err().unwrap_or_else(|| panic!("byte {byte} was changed"));
        assert!(matches!(&error, StoreError::Corrupt(text) if text.contains("a.snap")), "{byte}: {error}");
    }
    for bytes in 0..whole.len() {
        std::fs::write(&path, &whole[..bytes]).unwrap();
        assert!(Snapshot::open(&path).is_err(), "{bytes} of {} bytes were taken for all", whole.len());
    }
    std::fs::write(&path, &whole).unwrap();
    let there = folder.path().join("there");
    drop(open(&there));
    let refused = Snapshot::open(&path).unwrap().restore(&there).unwrap_err();
    assert!(refused.to_string().contains("has a store already"), "{refused}");
}

#[tokio::test]
async fn all_of_it_moves_from_embedded_to_etcd_and_back() {
    let Some(process) = EtcdProcess::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let from = open(&folder.path().join("from"));
    for n in [3, 1, 2, 0] {
        put(&from, &format!("/registry/{n}"), &format!("value {n}"), (n == 1).then_some(HOUR)).await;
    }
    put(&from, "/registry/3", "again", None).await;
    let etcd = Etcd::connect(EtcdConfig::new(vec![process.endpoint()])).await.unwrap();
    let told = std::cell::Cell::new(0);
    let snapshot = Snapshot::open(&save(&from, folder.path()).await).unwrap();
    assert_eq!(import(&etcd, "/registry/", snapshot.export(), |done| told.set(done)).await.unwrap(), 4);
    assert_eq!(told.get(), 4);
    let by_age = |mut items: Vec<Exported>| {
        items.sort_by_key(|item| item.kv.mod_revision);
        items.into_iter().map(|item| (item.kv.key, item.kv.value, item.ttl.is_some())).collect::<Vec<_>>()
    };
    let moved = items(&etcd).await;
    for ttl in moved.iter().filter_map(|item| item.ttl) {
        // Windows of leases and rounding make it longer, time makes it shorter.
        assert!(ttl > HOUR - Duration::from_secs(60) && ttl < HOUR + Duration::from_secs(200), "{ttl:?}");
    }
    assert_eq!(by_age(moved.clone()), by_age(items(&from).await));
    let again = import(&etcd, "/registry/", snapshot.export(), |_| ()).await.unwrap_err();
    assert!(matches!(&again, MoveError::NotEmpty { key } if key == "/registry/0"), "{again}");

    std::fs::remove_file(folder.path().join("a.snap")).unwrap();
    let back = folder.path().join("back");
    Snapshot::open(&save(&etcd, folder.path()).await).unwrap().restore(&back).unwrap();
    let back = items(&open(&back)).await;
    let revisions = |items: &[Exported]| items.iter().map(|item| item.kv.mod_revision).collect::<Vec<_>>();
    assert_eq!(revisions(&back), revisions(&moved));
    assert_eq!(by_age(back), by_age(moved));
}
