//! What was asked of the server and is not yet seen on the watch. While something is expected of a ReplicaSet, nothing
//! is created or deleted for it: a cache that lags must not lead to a second pod.

use keelson_harness::ObjectKey;
use parking_lot::Mutex;
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

/// After this long an expectation is given up: its event was missed, and the cache is the truth again.
pub(super) const EXPIRE: Duration = Duration::from_secs(300);

#[derive(Default)]
pub(super) struct Expectations(Mutex<HashMap<ObjectKey, Expected>>);

struct Expected {
    creates: usize,
    deletes: HashSet<Arc<str>>,
    since: Instant,
}

impl Expectations {
    /// Is everything that was asked for seen?
    pub(super) fn satisfied(&self, set: &ObjectKey, now: Instant) -> bool {
        let mut all = self.0.lock();
        let Some(expected) = all.get(set) else { return true };
        let done = expected.creates == 0 && expected.deletes.is_empty();
        if done || now >= expected.since + EXPIRE {
            all.remove(set);
            return true;
        }
        false
    }

    pub(super) fn expect_creates(&self, set: &ObjectKey, creates: usize, now: Instant) {
        self.0.lock().insert(set.clone(), Expected { creates, deletes: HashSet::new(), since: now });
    }

    pub(super) fn expect_deletes(&self, set: &ObjectKey, uids: impl Iterator<Item = Arc<str>>, now: Instant) {
        self.0.lock().insert(set.clone(), Expected { creates: 0, deletes: uids.collect(), since: now });
    }

    /// Pods were seen, or their creation failed or was given up.
    pub(super) fn created(&self, set: &ObjectKey, number: usize) {
        if let Some(expected) = self.0.lock().get_mut(set) {
            expected.creates = expected.creates.saturating_sub(number);
        }
    }

    /// The pod was seen going, or its deletion failed.
    pub(super) fn deleted(&self, set: &ObjectKey, uid: &str) {
        if let Some(expected) = self.0.lock().get_mut(set) {
            expected.deletes.remove(uid);
        }
    }

    /// The ReplicaSet is gone.
    pub(super) fn forget(&self, set: &ObjectKey) {
        self.0.lock().remove(set);
    }
}
