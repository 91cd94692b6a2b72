//! The check `log`: whether lines can still be logged. Where nobody reads standard error any longer whoever logs is stuck,
//! requests with him; a thread that flushes it now and then is stuck first.

use std::{
    io::Write,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// How often it is tried, as upstream's.
const INTERVAL: Duration = Duration::from_secs(60);
/// Without success for this long, nothing can be logged.
const BLOCKED_AFTER: Duration = Duration::from_secs(120);

/// When it was last known to work.
struct Flushed {
    epoch: Instant,
    last_s: AtomicU64,
}

/// Err where nothing can be logged. The first call of a process begins to look.
pub(super) fn check() -> Result<(), String> {
    static FLUSHED: OnceLock<Arc<Flushed>> = OnceLock::new();
    let flushed = FLUSHED.get_or_init(|| {
        let flushed = Arc::new(Flushed { epoch: Instant::now(), last_s: AtomicU64::new(0) });
        let own = flushed.clone();
        let look = move || {
            loop {
                // Waits for whoever writes; an error says that nobody reads, which keeps nobody waiting.
                let _ = std::io::stderr().lock().flush();
                own.last_s.store(own.epoch.elapsed().as_secs(), Relaxed);
                std::thread::sleep(INTERVAL);
            }
        };
        // Without the thread the check fails two minutes on, and says so.
        if let Err(error) = std::thread::Builder::new().name("log-check".to_owned()).spawn(look) {
            tracing::warn!(%error, "the check of the log cannot be started");
        }
        flushed
    });
    judge(flushed.epoch.elapsed(), Duration::from_secs(flushed.last_s.load(Relaxed)))
}

fn judge(now: Duration, last: Duration) -> Result<(), String> {
    if now.saturating_sub(last) < BLOCKED_AFTER { Ok(()) } else { Err("logging blocked".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_was_not_flushed_for_long_is_blocked() {
        let s = Duration::from_secs;
        assert_eq!(judge(s(119), s(0)), Ok(()));
        assert_eq!(judge(s(200), s(100)), Ok(()));
        assert_eq!(judge(s(220), s(100)), Err("logging blocked".to_owned()));
        assert_eq!(check(), Ok(()));
    }
}
