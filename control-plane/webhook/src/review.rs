//! A review of authentication or authorization, asked until it is answered: a request of a user waits for it, so that a
//! passing fault should not become his.

use crate::{CallError, Limits, Remote, TransportError};
use bytes::Bytes;
use serde_json::Value;
use std::time::{Duration, Instant};

/// Attempts at one question; upstream's number.
const ATTEMPTS_MAX: u32 = 5;
/// Before the second attempt; each following pause is half as long again.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Of an answer.
const ANSWER_BYTES_MAX: usize = 1 << 20;

impl Remote {
    /// Posts a review until it is answered, within `timeout` altogether. Attempts are repeated that another may mend: not
    /// where nobody listens, as upstream.
    pub async fn review(&self, review: &Value, timeout: Duration) -> Result<Bytes, CallError> {
        let body = Bytes::from(review.to_string());
        let (deadline, mut pause) = (Instant::now() + timeout, FIRST_PAUSE);
        let mut attempt = 1;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let limits = Limits { timeout: left, answer_bytes_max: ANSWER_BYTES_MAX };
            let error = match self.post(body.clone(), limits).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if !is_passing(&error) || attempt == ATTEMPTS_MAX || Instant::now() + pause >= deadline {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
            pause = pause * 3 / 2;
            attempt += 1;
        }
    }
}

fn is_passing(error: &CallError) -> bool {
    match error {
        CallError::Status { code, .. } => *code == 429 || *code >= 500,
        CallError::Transport { source: TransportError::Broken(_), .. } | CallError::Broken { .. } => true,
        _ => false,
    }
}
