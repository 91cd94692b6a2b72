//! Events that go together: how many, how long they wait for each other, and how often they go.

use crate::queue::Item;
use std::time::Duration;
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

/// How many batches are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Throttle {
    /// In the long run.
    pub per_second: f64,
    /// At once.
    pub burst: u32,
}

/// How events are taken together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batching {
    /// Events of a batch.
    pub events_max: usize,
    /// How long a batch that is not full waits for more.
    pub wait: Duration,
}

impl Batching {
    /// Fills a batch; false when there will be no other.
    pub(crate) async fn collect(
        &self,
        events: &mut mpsc::Receiver<Item>,
        closing: &mut watch::Receiver<bool>,
        batch: &mut Vec<Item>,
    ) -> bool {
        let most = self.events_max.max(1);
        let mut until = None;
        while batch.len() < most {
            let room = most - batch.len();
            let over = async {
                match until {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                taken = events.recv_many(batch, room) => if taken == 0 { return false },
                // Also where whoever could say so is gone.
                _ = closing.wait_for(|closing| *closing) => return !events.is_empty(),
                () = over => return true,
            }
            until = until.or(Some(Instant::now() + self.wait));
        }
        true
    }
}

/// Tokens that come back with time.
pub(crate) struct Bucket {
    throttle: Throttle,
    tokens: f64,
    at: Option<Instant>,
}

impl Bucket {
    pub(crate) fn new(throttle: Throttle) -> Self {
        Self { throttle, tokens: f64::from(throttle.burst), at: None }
    }

    /// Takes a token, on credit where there is none: how long its taker has to wait.
    pub(crate) fn take(&mut self, now: Instant) -> Duration {
        let elapsed = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.at = Some(now);
        let full = f64::from(self.throttle.burst);
        self.tokens = (self.tokens + elapsed.as_secs_f64() * self.throttle.per_second).min(full) - 1.0;
        Duration::from_secs_f64((-self.tokens).max(0.0) / self.throttle.per_second)
    }
}
