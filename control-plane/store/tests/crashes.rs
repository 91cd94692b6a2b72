//! Losses of power, thousands of them: the embedded store on a disk that forgets and tears what was not synced, with the
//! model as the judge of what must be there. And the same disk full, and with flipped bits.
//!
//! `KEELSON_STORE_TEST_SEED` is the first seed that is tried, `KEELSON_STORE_TEST_SEEDS` how many losses of power; a failure
//! names its seed, with which it happens again.

#[path = "crashes/disk.rs"]
mod disk;
#[path = "crashes/life.rs"]
mod life;

use bytes::Bytes;
use disk::{Image, SimDisk, cut_power};
use keelson_store::{Store, StoreError, Txn, TxnOutcome, Write, embedded::Embedded};
use life::{History, config, examine, live};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

/// Lives of a store that a seed has, each ended by a loss of power or by SIGKILL.
const LIVES: usize = 3;

fn number(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).map_or(usual, |text| text.parse().expect("a seed is a number"))
}

/// Runs the test for each seed, and names the one that fails.
fn for_seeds(seeds: u64, test: impl AsyncFn(StdRng)) {
    let first = number("KEELSON_STORE_TEST_SEED", 0);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for seed in (0..seeds).map(|n| first.wrapping_add(n)) {
        let run = || runtime.block_on(test(StdRng::seed_from_u64(seed)));
        if let Err(panic) = std::panic::catch_unwind(AssertUnwindSafe(run)) {
            eprintln!("again: KEELSON_STORE_TEST_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

fn segment_bytes_max(rng: &mut StdRng) -> u64 {
    [1_000, 4_000, 16_000, 100_000, 1_000_000][rng.random_range(0..5)]
}

#[test]
fn no_loss_of_power_loses_an_answered_transaction() {
    for_seeds(number("KEELSON_STORE_TEST_SEEDS", 400), async |mut rng| {
        let segment_bytes_max = segment_bytes_max(&mut rng);
        let (mut image, mut ops, mut history) = (Image::new(), Vec::new(), History::new());
        for life in 0..LIVES {
            let before = history.revision();
            let disk = SimDisk::resume(&image, &ops);
            live(&disk, segment_bytes_max, &mut history, &mut rng).await;
            let end = rng.random_range(ops.len()..=disk.ops().len());
            ops = disk.ops();
            ops.truncate(end);
            if life + 1 < LIVES && rng.random() {
                // The process alone ends; what it wrote is there, but not yet safe.
                let left = SimDisk::resume(&image, &ops).image();
                examine(&left, segment_bytes_max, &ops, &mut history, before).await;
            } else {
                image = cut_power(&image, &ops, &mut rng);
                examine(&image, segment_bytes_max, &ops, &mut history, before).await;
                ops.clear();
            }
        }
    });
}

#[test]
fn a_flipped_bit_is_refused_with_its_place_or_harmless() {
    for_seeds(8, async |mut rng| {
        let segment_bytes_max = segment_bytes_max(&mut rng).min(16_000);
        let mut history = History::new();
        let disk = SimDisk::new(&Image::new());
        live(&disk, segment_bytes_max, &mut history, &mut rng).await;
        let image = disk.image();
        let mut refused = 0;
        for name in image.keys() {
            let bytes = image[name].len();
            // Every bit of a segment's head, and a share of what follows.
            let head = 0..40.min(bytes);
            let others: Vec<_> = (0..60).map(|_| rng.random_range(0..bytes)).collect();
            for byte in head.chain(others) {
                let bit = rng.random_range(0..8);
                let mut damaged = image.clone();
                damaged.get_mut(name).unwrap()[byte] ^= 1 << bit;
                match Embedded::open_on(Arc::new(SimDisk::new(&damaged)), &config(segment_bytes_max)) {
                    Ok(store) => {
                        assert_eq!(
                            store.revision().await.unwrap(),
                            history.revision(),
                            "{name} {byte} {bit}"
                        );
                        let listing = store.list("", None, 0, None).await;
                        assert!(listing.is_ok(), "{name} {byte} {bit}: {listing:?}");
                    }
                    Err(StoreError::Corrupt(text)) => {
                        assert!(text.contains(name.as_str()), "{name} {byte} {bit}: {text}");
                        refused += 1;
                    }
                    Err(other) => panic!("{name} {byte} {bit}: {other}"),
                }
            }
        }
        assert!(refused > 0);
    });
}

#[test]
fn a_missing_file_is_refused_by_its_name() {
    for_seeds(20, async |mut rng| {
        let mut history = History::new();
        let disk = SimDisk::new(&Image::new());
        while disk.image().len() < 4 {
            live(&disk, 1_000, &mut history, &mut rng).await;
        }
        for name in disk.image().keys() {
            let mut damaged = disk.image();
            damaged.remove(name);
            let error = Embedded::open_on(Arc::new(SimDisk::new(&damaged)), &config(1_000)).err();
            let Some(StoreError::Corrupt(text)) = error else { panic!("{name}: {error:?}") };
            assert!(text.contains(&format!("{name} is missing")), "{text}");
        }
    });
}

fn put(key: &str, bytes: usize, ttl: Option<Duration>) -> Txn {
    let write = Write::Put { key: key.into(), value: Bytes::from(vec![b'x'; bytes]), ttl };
    Txn { compares: vec![], writes: vec![write] }
}

#[test]
fn a_full_disk_refuses_writes_and_nothing_of_them_is_there() {
    for_seeds(100, async |mut rng| {
        let segment_bytes_max = segment_bytes_max(&mut rng);
        let disk = SimDisk::default();
        let mut store = Embedded::open_on(Arc::new(disk.clone()), &config(segment_bytes_max)).unwrap();
        let mut expected = Vec::new();
        for n in 0..40_u64 {
            disk.set_free(rng.random_bool(0.6).then(|| rng.random_range(0..2_500)));
            let ttl = rng.random_bool(0.3).then_some(Duration::from_secs(3_600));
            let txn = put(&format!("/registry/{n:02}"), rng.random_range(0..2_000), ttl);
            match store.commit(txn).await {
                Ok(TxnOutcome::Committed(revision)) => {
                    expected.push(n);
                    assert_eq!(revision, expected.len() as u64);
                }
                Err(error @ StoreError::Full { .. }) => {
                    assert!(error.to_string().contains("disk is full"), "{error}");
                }
                other => panic!("{other:?}"),
            }
            if rng.random_bool(0.1) {
                drop(store);
                // A full disk may be found at start too.
                store = Embedded::open_on(Arc::new(disk.clone()), &config(segment_bytes_max)).unwrap();
            }
            let listing = store.list("", None, 0, None).await.unwrap();
            let found: Vec<u64> = listing.items.iter().map(|kv| kv.key[10..].parse().unwrap()).collect();
            assert_eq!(found, expected);
        }
        disk.set_free(None);
        assert!(matches!(store.commit(put("/registry/99", 10, None)).await, Ok(TxnOutcome::Committed(_))));
    });
}

#[test]
fn the_last_file_has_room_and_a_finished_one_has_none() {
    let zeros = |disk: &SimDisk| -> Vec<usize> {
        let behind = |file: &Vec<u8>| file.iter().rev().take_while(|byte| **byte == 0).count();
        disk.image().values().map(behind).collect()
    };
    for_seeds(1, async |_| {
        let disk = SimDisk::default();
        let store = Embedded::open_on(Arc::new(disk.clone()), &config(1_500_000)).unwrap();
        store.commit(put("/registry/a", 1_000, None)).await.unwrap();
        assert!(zeros(&disk)[0] > 30_000, "{:?}", zeros(&disk));
        let writes = disk.ops().len();
        store.commit(put("/registry/b", 1_000, None)).await.unwrap();
        assert_eq!(disk.ops().len() - writes, 2, "a write over the zeros and a sync");
        // A large group takes no room behind it, and the file is done with after it.
        store.commit(put("/registry/c", 1_500_000, None)).await.unwrap();
        assert_eq!(zeros(&disk).len(), 2);
        store.commit(put("/registry/d", 1_000, None)).await.unwrap();
        let (first, last) = (zeros(&disk)[0], zeros(&disk)[1]);
        assert!(first < 40 && last > 30_000, "{first} {last}");
        // As after SIGKILL: the zeros are no groups.
        let again = SimDisk::new(&disk.image());
        let store_again = Embedded::open_on(Arc::new(again), &config(1_500_000)).unwrap();
        assert_eq!(store_again.revision().await.unwrap(), 4);
        drop(store);
        assert!(zeros(&disk).into_iter().all(|zeros| zeros < 40), "{:?}", zeros(&disk));
    });
}

#[test]
fn space_of_what_was_replaced_comes_back() {
    for_seeds(4, async |mut rng| {
        let disk = SimDisk::default();
        let store = Embedded::open_on(Arc::new(disk.clone()), &config(16_000)).unwrap();
        let stays = store.commit(put("/registry/stays", 1_000, None)).await.unwrap();
        for _ in 0..1_000 {
            let key = format!("/registry/{}", rng.random_range(0..10));
            store.commit(put(&key, 1_000, None)).await.unwrap();
        }
        let bytes: usize = disk.image().values().map(Vec::len).sum();
        assert!(bytes < 120_000, "1,000,000 bytes were written over 11,000, {bytes} are kept");
        drop(store);
        let store = Embedded::open_on(Arc::new(disk), &config(16_000)).unwrap();
        assert_eq!(store.revision().await.unwrap(), 1_001);
        let kept = store.get("/registry/stays").await.unwrap().unwrap();
        assert_eq!(stays, TxnOutcome::Committed(kept.mod_revision));
    });
}

#[tokio::test]
#[ignore = "run as a process of its own by a_failed_fsync_ends_the_process"]
async fn child_whose_disk_breaks() {
    let disk = SimDisk::default();
    let store = Embedded::open_on(Arc::new(disk.clone()), &config(1_000_000)).unwrap();
    store.commit(put("/registry/a", 10, None)).await.unwrap();
    println!("one is safe");
    disk.fail();
    println!("answered {:?}", store.commit(put("/registry/b", 10, None)).await);
}

#[test]
fn a_failed_fsync_ends_the_process() {
    use std::os::unix::process::ExitStatusExt as _;
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "child_whose_disk_breaks", "--ignored", "--nocapture"]);
    let ended = child.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    const SIGABRT: i32 = 6;
    assert_eq!(ended.status.signal(), Some(SIGABRT), "{out}\n{err}");
    assert!(out.contains("one is safe") && !out.contains("answered"), "{out}");
    assert!(err.contains("cannot make a write durable, the process ends: the disk is broken"), "{err}");
}
