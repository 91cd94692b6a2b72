//! Measures the embedded store: commits a second and their latency, by one writer and by many, start, and memory.
//!
//! `cargo run --release -p keelson-store --example commit_bench -- FOLDER [WRITERS] [VALUE_BYTES] [SECONDS] [KEYS]`

use bytes::Bytes;
use keelson_store::{
    Store, Txn, Write,
    embedded::{Embedded, EmbeddedConfig},
};
use std::{
    io::Write as _,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

type Failure = Box<dyn std::error::Error + Send + Sync>;

struct Load {
    writers: usize,
    value_bytes: usize,
    keys: usize,
    duration: Duration,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let folder =
        arguments.first().ok_or("usage: commit_bench FOLDER [WRITERS] [VALUE_BYTES] [SECONDS] [KEYS]")?;
    let number = |at: usize, usual: usize| arguments.get(at).map_or(Ok(usual), |text| text.parse());
    let (writers, value_bytes) = (number(1, 64)?, number(2, 3_000)?);
    let duration = Duration::from_secs(number(3, 5)?.try_into()?);
    let keys = number(4, 10_000)?;
    fsyncs(Path::new(folder), value_bytes)?;
    memory("before opening");
    let store = Arc::new(Embedded::open(Path::new(folder), &EmbeddedConfig::default())?);
    memory("opened");
    run(&store, &Load { writers: 1, value_bytes, keys, duration }).await?;
    run(&store, &Load { writers, value_bytes, keys, duration }).await?;
    memory("after writing");
    drop(store);
    let started = Instant::now();
    let store = Embedded::open(Path::new(folder), &EmbeddedConfig::default())?;
    println!("reopened in {:.1} ms", ms(started.elapsed()));
    memory("reopened");
    let started = Instant::now();
    let count = store.list("", None, 0, None).await?.items.len();
    println!("listed {count} keys in {:.1} ms", ms(started.elapsed()));
    Ok(())
}

/// What the disk itself takes for an append of one value and its fdatasync.
fn fsyncs(folder: &Path, value_bytes: usize) -> Result<(), Failure> {
    std::fs::create_dir_all(folder)?;
    let path = folder.join("fsync-probe");
    let mut file = std::fs::File::create(&path)?;
    let mut took = Vec::new();
    for _ in 0..500 {
        let started = Instant::now();
        file.write_all(&vec![b'x'; value_bytes])?;
        file.sync_data()?;
        took.push(started.elapsed());
    }
    report("write + fdatasync alone", 1, took, None);
    std::fs::remove_file(path)?;
    Ok(())
}

async fn run(store: &Arc<Embedded>, load: &Load) -> Result<(), Failure> {
    let started = Instant::now();
    let end = started + load.duration;
    let tasks: Vec<_> = (0..load.writers)
        .map(|writer| {
            let (store, value_bytes, keys, writers) =
                (store.clone(), load.value_bytes, load.keys, load.writers);
            tokio::spawn(async move {
                let mut took = Vec::new();
                for n in (writer..).step_by(writers) {
                    if Instant::now() >= end {
                        break;
                    }
                    let value = Bytes::from(vec![b'a' + u8::try_from(n % 26)?; value_bytes]);
                    let key = format!("/registry/core/pods/default/pod-{:06}", n % keys).into();
                    let txn = Txn { compares: vec![], writes: vec![Write::Put { key, value, ttl: None }] };
                    let sent = Instant::now();
                    store.commit(txn).await?;
                    took.push(sent.elapsed());
                }
                Ok::<_, Failure>(took)
            })
        })
        .collect();
    let mut took = Vec::new();
    for task in tasks {
        took.extend(task.await??);
    }
    report("commit", load.writers, took, Some(started.elapsed()));
    Ok(())
}

fn report(what: &str, writers: usize, mut took: Vec<Duration>, elapsed: Option<Duration>) {
    took.sort_unstable();
    let at = |share: f64| took.get((took.len() as f64 * share) as usize).map_or(0.0, |took| ms(*took));
    let elapsed = elapsed.unwrap_or_else(|| took.iter().sum());
    let rate = took.len() as f64 / elapsed.as_secs_f64();
    println!(
        "{what}, {writers} at once: {rate:.0}/s, p50 {:.3} ms, p99 {:.3} ms, max {:.3} ms",
        at(0.5),
        at(0.99),
        at(0.9999)
    );
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

fn memory(when: &str) {
    let smaps = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = |name: &str| smaps.lines().find(|line| line.starts_with(name)).unwrap_or("?").to_owned();
    println!("{when}: {} | {}", line("Pss:"), line("Anonymous:"));
}
