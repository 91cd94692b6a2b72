//! How long a watch that failed waits before it is tried again.
//!
//! kube's own backoff doubles up to half a minute and begins anew only with the next event. A watch in which nothing happens, as
//! EndpointSlices of Services that stay, has none: each restart of the API server would double what the next one costs,
//! until a node hears of no change for half a minute after the server is back.

use kube::runtime::{utils::Backoff, watcher::DefaultBackoff};
use std::time::Duration;

/// The longest wait. Nodes stay apart in time by the jitter of the waits before it.
const LONGEST: Duration = Duration::from_secs(3);

/// kube's, but never longer than [`LONGEST`].
#[derive(Default)]
pub(super) struct Bounded(DefaultBackoff);

impl Iterator for Bounded {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0.next().map(|pause| pause.min(LONGEST))
    }
}

impl Backoff for Bounded {
    fn reset(&mut self) {
        self.0.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_is_tried_every_few_seconds_however_often_it_failed() {
        let pauses: Vec<Duration> = Bounded::default().take(50).collect();
        assert_eq!(pauses.len(), 50, "it never gives up");
        assert!(pauses.iter().all(|pause| *pause <= LONGEST) && pauses[0] < pauses[49], "{pauses:?}");
    }
}
