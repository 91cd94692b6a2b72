//! One watch over the whole cluster's keys, resumed for as long as anybody reads it.
//!
//! It begins **at** the last revision that was seen, not after it, and drops what it has seen: etcd then refuses a start
//! that is compacted, where a start one later would pass although the compaction may have dropped a deletion made there.

use super::{
    Calls,
    config::{RETRY_DELAY_MAX, RETRY_DELAY_MIN},
    convert::{self, Refusal},
    endpoints::{Member, Repeat},
};
use crate::contract::{Commit, Revision, StoreError};
use etcd_client::{WatchOptions, WatchResponse, WatchStream};
use std::{collections::VecDeque, time::Duration};

/// A watch that is read.
pub(super) struct Watcher {
    calls: Calls,
    /// The revision that was taken from etcd last.
    seen: Revision,
    ready: VecDeque<Commit>,
    state: State,
}

enum State {
    /// Next: a message, or lost.
    Open(Box<WatchStream>),
    /// Next: open, or lost for longer.
    Lost { delay: Duration },
    /// After the error that ended it; nothing follows.
    Ended,
}

impl Watcher {
    /// Opens the watch after `after`; that etcd refuses it shows in the first item.
    pub(super) async fn open(calls: &Calls, after: Revision) -> Result<Self, StoreError> {
        let mut watcher = Self {
            calls: calls.clone(),
            seen: after,
            ready: VecDeque::new(),
            state: State::Lost { delay: RETRY_DELAY_MIN },
        };
        let stream = watcher.connect().await.map_err(|refusal| refusal.unavailable("watching etcd"))?;
        watcher.state = State::Open(stream);
        Ok(watcher)
    }

    /// The next commit. Waits as long as there is none, also while etcd is away.
    pub(super) async fn next(&mut self) -> Option<Result<Commit, StoreError>> {
        loop {
            if let Some(commit) = self.ready.pop_front() {
                return Some(Ok(commit));
            }
            match &mut self.state {
                State::Ended => return None,
                State::Open(stream) => {
                    let message = stream.message().await;
                    if let Err(error) = self.take(message) {
                        self.state = State::Ended;
                        return Some(Err(error));
                    }
                }
                State::Lost { delay } => {
                    let delay = *delay;
                    tokio::time::sleep(delay).await;
                    self.state = match self.connect().await {
                        Ok(stream) => State::Open(stream),
                        Err(refusal) => {
                            tracing::warn!(reason = %refusal, after = self.seen, "etcd cannot be watched; trying again");
                            State::Lost { delay: (delay * 2).min(RETRY_DELAY_MAX) }
                        }
                    };
                }
            }
        }
    }

    /// Open => Open with commits ready, Lost when the connection or the member is, or an error that ends the watch.
    fn take(&mut self, message: Result<Option<WatchResponse>, etcd_client::Error>) -> Result<(), StoreError> {
        let reason = match message {
            Ok(Some(response)) if !response.canceled() => return self.keep(&response),
            Ok(Some(response)) if response.compact_revision() > 0 => {
                let oldest = convert::unsigned(response.compact_revision());
                return Err(StoreError::Compacted { requested: self.seen, oldest });
            }
            Ok(Some(response)) => response.cancel_reason().to_owned(),
            Ok(None) => "the stream ended".to_owned(),
            Err(error) => error.to_string(),
        };
        tracing::warn!(reason, after = self.seen, "the watch on etcd broke; resuming");
        self.state = State::Lost { delay: RETRY_DELAY_MIN };
        Ok(())
    }

    fn keep(&mut self, response: &WatchResponse) -> Result<(), StoreError> {
        self.ready.extend(convert::commits(response.events(), self.seen, &self.calls.prefix)?);
        if let Some(last) = self.ready.back() {
            self.seen = last.revision;
        }
        Ok(())
    }

    async fn connect(&self) -> Result<Box<WatchStream>, Refusal> {
        // Zero would mean "from now"; the first revision of an etcd is 1.
        let start = convert::signed(self.seen.max(1));
        let options = WatchOptions::new().with_all_keys().with_start_revision(start);
        let watch = |mut member: Member| {
            let options = options.clone();
            async move { member.watch.watch("", Some(options)).await }
        };
        self.calls.endpoints.call(Repeat::Harmless, watch).await.map(Box::new)
    }
}
