//! The log backend: one event a line, to a file that is rotated or to standard output.
//!
//! One thread writes, everything that is queued by one call, and then tells all who wait for it: requests of a busy server share
//! what a write costs, and none of the runtime's threads waits for a disk.

mod rotate;

use crate::{
    batch::{Batching, Bucket, Throttle},
    metrics::{Metrics, Plugin},
    queue::{Item, Mode, Truncate},
};
use rotate::{Rotated, Rotation};
use std::{
    io::{self, Write},
    path::PathBuf,
    sync::Arc,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};

/// Events written by one call at most, where nothing is said.
pub const BATCH_EVENTS_MAX: usize = 256;

/// What the log is told.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// The file; `-` is standard output.
    pub path: PathBuf,
    /// How requests wait.
    pub mode: Mode,
    /// Events that may wait to be written.
    pub queue_events_max: usize,
    /// How they are written together, in [`Mode::Batch`]; in other modes what is queued is.
    pub batching: Batching,
    /// Of what is written together, in [`Mode::Batch`].
    pub throttle: Option<Throttle>,
    /// What becomes of long events.
    pub truncate: Truncate,
    /// Bytes of a file before the next one is begun.
    pub file_bytes_max: u64,
    /// Days that a file that is no longer written to is kept; 0 for ever.
    pub age_days_max: u32,
    /// How many of them are kept; 0 for all.
    pub backups_max: usize,
    /// Whether they are compressed.
    pub compress: bool,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file.
    #[error("cannot open the audit log {path}")]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The thread.
    #[error("cannot start the audit log's thread")]
    Thread(#[source] io::Error),
}

/// Writes whole lines: all of them or none.
trait Lines: Send {
    fn write(&mut self, lines: &[u8]) -> io::Result<()>;
}

struct Stdout;

impl Lines for Stdout {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(lines)?;
        out.flush()
    }
}

/// Starts the thread, which ends with the other end of the queue; in [`Mode::Batch`], for which this is to be called within a runtime, also
/// once `closing` is true and what is queued is written. Then the answer is told.
pub(crate) fn start(
    config: LogConfig,
    mut events: mpsc::Receiver<Item>,
    mut closing: watch::Receiver<bool>,
    metrics: Arc<Metrics>,
) -> Result<oneshot::Receiver<()>, LogError> {
    let mut lines: Box<dyn Lines> = if config.path.as_os_str() == "-" {
        Box::new(Stdout)
    } else {
        let rotation = Rotation {
            file_bytes_max: config.file_bytes_max,
            age_days_max: config.age_days_max,
            backups_max: config.backups_max,
            compress: config.compress,
        };
        let opened = Rotated::open(config.path.clone(), rotation);
        Box::new(opened.map_err(|source| LogError::Open { path: config.path.clone(), source })?)
    };
    let runtime = (config.mode == Mode::Batch).then(tokio::runtime::Handle::current);
    let (ended, end) = oneshot::channel();
    let run = move || {
        let mut batch = Vec::with_capacity(BATCH_EVENTS_MAX);
        let mut bucket = config.throttle.map(Bucket::new);
        while let Some(runtime) = &runtime {
            let more = runtime.block_on(config.batching.collect(&mut events, &mut closing, &mut batch));
            if let Some(bucket) = bucket.as_mut().filter(|_| more && !batch.is_empty()) {
                std::thread::sleep(bucket.take(Instant::now()));
            }
            write(&mut *lines, batch.drain(..), config.truncate, &metrics);
            if !more {
                // Whoever waited may have gone.
                let _ = ended.send(());
                return;
            }
        }
        while events.blocking_recv_many(&mut batch, BATCH_EVENTS_MAX) > 0 {
            write(&mut *lines, batch.drain(..), config.truncate, &metrics);
        }
    };
    std::thread::Builder::new().name("audit-log".to_owned()).spawn(run).map_err(LogError::Thread)?;
    Ok(end)
}

fn write(lines: &mut dyn Lines, batch: impl Iterator<Item = Item>, truncate: Truncate, metrics: &Metrics) {
    let mut text = Vec::new();
    let mut waiting = Vec::new();
    for item in batch {
        match item.event.line(truncate.event_bytes_max) {
            Some(line) => {
                text.extend_from_slice(&line);
                text.push(b'\n');
                waiting.push(item);
            }
            None => {
                metrics.lost(Plugin::Truncate, 1);
                tracing::error!(
                    audit_id = item.event.facts.audit_id,
                    "an audit event is too long and was lost"
                );
                item.finish(false);
            }
        }
    }
    let written = lines.write(&text);
    if let Err(error) = &written {
        metrics.lost(Plugin::Log, waiting.len() as u64);
        tracing::error!(%error, events = waiting.len(), "the audit log cannot be written: events are lost");
    }
    waiting.into_iter().for_each(|item| item.finish(written.is_ok()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Auditor, Event, Level, Policy, Rejected, Stage, event::tests::event};
    use std::time::Duration;

    const POLICY: &str = "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: Metadata}]}";

    fn config(path: PathBuf, mode: Mode) -> LogConfig {
        LogConfig {
            path,
            mode,
            queue_events_max: 8,
            batching: Batching { events_max: BATCH_EVENTS_MAX, wait: Duration::ZERO },
            throttle: None,
            truncate: Truncate::default(),
            file_bytes_max: 1 << 20,
            age_days_max: 0,
            backups_max: 0,
            compress: false,
        }
    }

    fn auditor(path: PathBuf, mode: Mode) -> Auditor {
        Auditor::new(Policy::parse(POLICY).unwrap()).with_log(config(path, mode)).unwrap()
    }

    fn received() -> Event {
        Event { stage: Stage::RequestReceived, ..event(Level::Metadata) }
    }

    #[tokio::test]
    async fn what_was_waited_for_is_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let auditor = auditor(path.clone(), Mode::Blocking);
        for _ in 0..3 {
            auditor.record(received()).await.unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap().lines().count(), 3);
    }

    #[tokio::test]
    async fn a_full_disk_stops_requests_only_where_that_is_wished() {
        let full = || PathBuf::from("/dev/full");
        let metrics = |auditor: &Auditor| {
            let mut text = String::new();
            auditor.render(&mut text);
            text
        };
        let strict = auditor(full(), Mode::BlockingStrict);
        assert_eq!(strict.record(received()).await, Err(Rejected));
        // Whoever has been let in is not refused later on.
        assert_eq!(strict.record(event(Level::Metadata)).await, Ok(()));
        let seen = metrics(&strict);
        assert!(seen.contains("apiserver_audit_error_total{plugin=\"log\"} 2"), "{seen}");
        assert!(seen.contains("apiserver_audit_requests_rejected_total 1"), "{seen}");
        let lax = auditor(full(), Mode::Blocking);
        assert_eq!(lax.record(received()).await, Ok(()));
        assert!(metrics(&lax).contains("apiserver_audit_error_total{plugin=\"log\"} 1"));
    }

    #[tokio::test]
    async fn in_batches_events_wait_for_each_other_and_for_the_end_at_most() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let batching = Batching { events_max: 2, wait: Duration::from_secs(3600) };
        let config = LogConfig { batching, ..config(path.clone(), Mode::Batch) };
        let auditor = Auditor::new(Policy::parse(POLICY).unwrap()).with_log(config).unwrap();
        let lines = || std::fs::read_to_string(&path).unwrap().lines().count();
        for _ in 0..3 {
            auditor.record(received()).await.unwrap();
        }
        let two = async {
            while lines() < 2 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), two).await.expect("a full batch is written");
        assert_eq!(lines(), 2, "the third waits for a fourth");
        auditor.close(Duration::from_secs(20)).await;
        assert_eq!(lines(), 3);
    }

    #[tokio::test]
    async fn a_full_queue_loses_events_and_says_so() {
        let metrics = Arc::new(Metrics::default());
        let (queue, taken) = crate::queue::Queue::new(Mode::Batch, 2, metrics.clone());
        for _ in 0..5 {
            assert!(queue.put(&Arc::new(received())).await);
        }
        let mut text = String::new();
        metrics.render(&mut text);
        assert!(text.contains("apiserver_audit_error_total{plugin=\"buffered\"} 3"), "{text}");
        assert_eq!(taken.len(), 2);
    }
}
