//! The embedded store passes the contract suite; and what is its own: its folder, its end, its bounded past, and that
//! it answers as the model does.

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use keelson_store::{
    HistoryLimits, Store, StoreError, Txn, TxnOutcome, Write, contract_suite,
    embedded::{Embedded, EmbeddedConfig},
    suite::Fixture,
};
use std::{
    io::{BufRead, BufReader, Read as _},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};
use tempfile::TempDir;

/// Where a test that runs itself as another process finds its folder.
const CHILD_FOLDER: &str = "KEELSON_STORE_TEST_FOLDER";

struct InFolder(TempDir);

#[async_trait]
impl Fixture for InFolder {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(open(self.0.path()))
    }
}

contract_suite!(Some(InFolder(tempfile::tempdir().unwrap())));

fn open(folder: &Path) -> Embedded {
    Embedded::open(folder, &EmbeddedConfig::default()).unwrap()
}

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

/// This test binary, about to run one ignored test in `folder`, after what `shell` sets up.
fn child(test: &str, folder: &Path, shell: &str) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("{shell} exec \"$0\" \"$@\"")])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env(CHILD_FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

#[tokio::test]
async fn a_folder_in_use_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path());
    let error = Embedded::open(folder.path(), &EmbeddedConfig::default()).err().unwrap();
    assert!(matches!(error, StoreError::Locked { .. }), "{error:?}");
    assert!(error.to_string().contains(&folder.path().display().to_string()), "{error}");
    drop(first);
    open(folder.path());
}

type Damage = fn(&Path);

#[tokio::test]
async fn a_foreign_or_damaged_folder_is_corrupt() {
    let damage: [(&str, Damage); 4] = [
        ("written by an earlier build", |folder| std::fs::create_dir(folder.join("engine")).unwrap()),
        ("00000001.log at byte 0: the file's head is damaged", |folder| {
            std::fs::write(folder.join("log/00000001.log"), [b'?'; 100]).unwrap()
        }),
        (
            "00000001.log at byte 40: a group of transactions is damaged, the next one begins at byte",
            |folder| flip(&folder.join("log/00000001.log"), 60),
        ),
        ("00000001.log is missing", |folder| {
            std::fs::rename(folder.join("log/00000001.log"), folder.join("log/00000002.log")).unwrap()
        }),
    ];
    for (expected, damage) in damage {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        commit(&store, put("/registry/a", "1", None)).await;
        drop(store);
        damage(folder.path());
        let error = Embedded::open(folder.path(), &EmbeddedConfig::default()).err().unwrap();
        assert!(matches!(error, StoreError::Corrupt(_)), "{error:?}");
        assert!(error.to_string().contains(expected), "{error}");
    }
}

fn flip(path: &Path, byte: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[byte] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn each_expiry_is_a_transaction_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for n in 0..20 {
        commit(&store, put(&format!("/registry/{n:02}"), "1", Some(Duration::from_secs(1)))).await;
    }
    let mut watch = store.watch(20).await.unwrap();
    for revision in 21..=40 {
        let next = tokio::time::timeout(Duration::from_secs(30), watch.next()).await;
        let expiry = next.unwrap().unwrap().unwrap();
        assert_eq!((expiry.revision, expiry.events.len()), (revision, 1));
    }
}

#[tokio::test]
async fn a_watcher_that_lags_behind_the_ring_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let history = HistoryLimits { commits_max: 10, ..HistoryLimits::default() };
    let store =
        Embedded::open(folder.path(), &EmbeddedConfig { history, ..EmbeddedConfig::default() }).unwrap();
    let mut watch = store.watch(0).await.unwrap();
    for n in 0..10 {
        commit(&store, put("/registry/a", &n.to_string(), None)).await;
    }
    assert_eq!(watch.next().await.unwrap().unwrap().revision, 1);
    // The first ten were taken together; the next is behind the ring by then.
    for n in 0..11 {
        commit(&store, put("/registry/a", &n.to_string(), None)).await;
    }
    for revision in 2..=10 {
        assert_eq!(watch.next().await.unwrap().unwrap().revision, revision);
    }
    let end = watch.next().await.unwrap();
    assert!(matches!(end, Err(StoreError::Lagged { commits_max: 10 })), "{end:?}");
    assert!(watch.next().await.is_none());
    let early = store.list("/registry/", None, 0, Some(10)).await;
    assert!(matches!(early, Err(StoreError::Compacted { requested: 10, oldest: 11 })), "{early:?}");
    assert_eq!(store.list("/registry/", None, 0, Some(11)).await.unwrap().items[0].mod_revision, 11);
}

#[tokio::test]
async fn the_past_is_bounded_by_bytes_and_by_age() {
    let bytes = HistoryLimits { bytes_max: 10_000, ..HistoryLimits::default() };
    let age = HistoryLimits { age_max: Duration::ZERO, ..HistoryLimits::default() };
    for (history, kept) in [(bytes, 4), (age, 0)] {
        let folder = tempfile::tempdir().unwrap();
        let store =
            Embedded::open(folder.path(), &EmbeddedConfig { history, ..EmbeddedConfig::default() }).unwrap();
        for _ in 0..20 {
            // A thousand bytes, and the thousand that they replace.
            commit(&store, put("/registry/a", &"x".repeat(1_000), None)).await;
        }
        let list = async |at| store.list("/registry/", None, 0, Some(at)).await;
        assert!(list(20 - kept).await.is_ok());
        let forgotten = list(20 - kept - 2).await;
        assert!(matches!(forgotten, Err(StoreError::Compacted { .. })), "{forgotten:?}");
    }
}

#[tokio::test]
async fn watches_end_with_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut watch = store.watch(0).await.unwrap();
    drop(store);
    let end = watch.next().await.unwrap();
    assert!(matches!(end, Err(StoreError::Unavailable { .. })), "{end:?}");
    open(folder.path());
}

#[tokio::test]
#[ignore = "run as a process of its own by a_killed_process_loses_no_answered_commit"]
async fn child_commits_until_killed() {
    let store = Arc::new(open(Path::new(&std::env::var(CHILD_FOLDER).unwrap())));
    for n in 0_u64.. {
        let writes = (0..8).map(|writer| {
            let store = store.clone();
            async move { commit(&*store, put(&format!("/registry/{writer}"), &n.to_string(), None)).await }
        });
        for revision in futures::future::join_all(writes).await {
            println!("answered {revision} round {n}");
        }
    }
}

/// Chooses the moments of kills; a soak gives another one each time.
const SEED: &str = "KEELSON_STORE_TEST_SEED";

/// How many answers a process gives before its `kill`th end: a whole round at least. Mixed by splitmix64
/// (<https://prng.di.unimi.it/splitmix64.c>).
fn answers_before(kill: u64) -> usize {
    let seed = std::env::var(SEED).map_or(0, |text| text.parse().expect("a seed is a number"));
    let state = (kill + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(seed);
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    8 + ((mixed ^ (mixed >> 31)) % 800) as usize
}

#[tokio::test]
async fn a_killed_process_loses_no_answered_commit() {
    let folder = tempfile::tempdir().unwrap();
    let (mut revision_before, mut kills) = (0, 0);
    while kills < 3 {
        let mut child = child("child_commits_until_killed", folder.path(), "").spawn().unwrap();
        let mut answered = (0, 0);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        for line in lines.filter(|line| line.contains("answered")).take(answers_before(kills)) {
            let words: Vec<_> = line.split(' ').collect();
            let at = words.iter().position(|word| *word == "answered").unwrap();
            answered = (words[at + 1].parse::<u64>().unwrap(), words[at + 3].parse::<u64>().unwrap());
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let store = open(folder.path());
        let listing = store.list("/registry/", None, 0, None).await.unwrap();
        assert!(
            listing.revision >= answered.0 && answered.0 > revision_before,
            "{} < {answered:?}",
            listing.revision
        );
        assert_eq!(listing.items.len(), 8);
        for kv in listing.items {
            let round: u64 = String::from_utf8_lossy(&kv.value).parse().unwrap();
            // All eight of a round are answered before the next begins.
            assert!(round + 1 >= answered.1, "{}: {round} < {}", kv.key, answered.1);
        }
        revision_before = store.revision().await.unwrap();
        kills += 1;
    }
}

#[tokio::test]
#[ignore = "run as a process of its own by a_write_that_cannot_be_made_durable_ends_the_process"]
async fn child_commits_until_it_cannot() {
    let store = open(Path::new(&std::env::var(CHILD_FOLDER).unwrap()));
    println!("opened");
    loop {
        let outcome = store.commit(put("/registry/a", &"x".repeat(100_000), None)).await;
        println!("answered {outcome:?}");
        assert!(matches!(outcome, Ok(TxnOutcome::Committed(_))), "an answer after a failed write");
    }
}

#[test]
fn a_write_that_cannot_be_made_durable_ends_the_process() {
    use std::os::unix::process::ExitStatusExt as _;
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    // Blocks of 512 bytes.
    let shell = "trap '' XFSZ; ulimit -f 1024;";
    let mut child = child("child_commits_until_it_cannot", folder.path(), shell).spawn().unwrap();
    let status = child.wait().unwrap();
    let (mut out, mut err) = (String::new(), String::new());
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    const SIGABRT: i32 = 6;
    assert_eq!(status.signal(), Some(SIGABRT), "{out}\n{err}");
    assert!(out.contains("opened") && err.contains("cannot make a write durable"), "{out}\n{err}");
}

/// A file system of so few pages that it is soon full, in a mount namespace of this process's own.
#[tokio::test]
#[ignore = "run as a process of its own by a_full_disk_refuses_writes_until_there_is_space"]
async fn child_fills_its_disk() {
    let folder = std::env::var(CHILD_FOLDER).unwrap();
    let folder = Path::new(&folder);
    let store = open(&folder.join("store"));
    let mut kept = 0;
    let error = loop {
        match store.commit(put(&format!("/registry/{kept:04}"), &"x".repeat(10_000), None)).await {
            Ok(_) => kept += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(&error, StoreError::Full { .. }), "{error:?}");
    println!("refused: {error}");
    assert_eq!(store.list("/registry/", None, 0, None).await.unwrap().items.len(), kept);
    assert_eq!(store.revision().await.unwrap(), kept as u64);
    std::fs::remove_file(folder.join("ballast")).unwrap();
    commit(&store, put("/registry/after", "1", None)).await;
    drop(store);
    let store = open(&folder.join("store"));
    assert_eq!(store.list("/registry/", None, 0, None).await.unwrap().items.len(), kept + 1);
    println!("kept {kept}");
}

#[test]
fn a_full_disk_refuses_writes_until_there_is_space() {
    let folder = tempfile::tempdir().unwrap();
    // Undone by the kernel when the process ends.
    let shell = format!(
        "unshare --user --map-root-user --mount true 2>/dev/null || {{ echo skipped; exit 0; }}; \
         exec unshare --user --map-root-user --mount sh -c 'mount -t tmpfs -o size=2m tmpfs {0} && \
         head -c 500000 /dev/zero > {0}/ballast && exec \"$0\" \"$@\"' \"$0\" \"$@\";",
        folder.path().display()
    );
    let child = child("child_fills_its_disk", folder.path(), &shell).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    if out.contains("skipped") {
        eprintln!("skipped: this kernel gives no user namespace, and so no file system of one's own");
        return;
    }
    assert!(child.status.success() && out.contains("kept 1"), "{out}\n{err}");
    assert!(out.contains("refused: the store's disk is full, nothing was written: make space in"), "{out}");
}
