//! Leases for keys that expire. A lease a key would double the cost of an Event, so keys of the same time to live that
//! are written within one window share one, as upstream does; they expire together, up to a window late, never early.

use super::{
    convert::Refusal,
    endpoints::{Endpoints, Member, Repeat},
};
use crate::contract::StoreError;
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};
use tokio::sync::Mutex;

/// Keys on a lease: bounds the transaction that their expiry is (upstream's `LeaseMaxObjectCount` has the same default).
const LEASE_KEYS_MAX: usize = 1_000;
/// Times to live that are remembered at once; the next one forgets those whose window is over.
const BUCKETS_MAX: usize = 64;
const WINDOW_S_MAX: u64 = 60;
/// For the time between the choice of a lease and the write that uses it.
const SLACK_S: u64 = 1;

/// Leases that still take keys.
pub(super) struct Leases {
    endpoints: Endpoints,
    /// By seconds to live. Held while a lease is granted, so that many writers ask for one.
    buckets: Mutex<HashMap<u64, Bucket>>,
}

struct Bucket {
    lease: i64,
    granted: Instant,
    window: Duration,
    keys: usize,
}

impl Bucket {
    fn serves(&self, now: Instant) -> bool {
        self.keys < LEASE_KEYS_MAX && now.duration_since(self.granted) < self.window
    }
}

impl Leases {
    pub(super) fn new(endpoints: Endpoints) -> Self {
        Self { endpoints, buckets: Mutex::new(HashMap::new()) }
    }

    /// A lease that lasts at least `ttl` from now.
    pub(super) async fn lease(&self, ttl: Duration) -> Result<i64, StoreError> {
        let ttl_s = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        let mut buckets = self.buckets.lock().await;
        let now = Instant::now();
        if let Some(bucket) = buckets.get_mut(&ttl_s).filter(|bucket| bucket.serves(now)) {
            bucket.keys += 1;
            return Ok(bucket.lease);
        }
        let lease =
            self.grant(ttl_s).await.map_err(|refusal| refusal.unavailable("getting a lease from etcd"))?;
        if buckets.len() >= BUCKETS_MAX {
            buckets.retain(|_, bucket| bucket.serves(now));
        }
        if buckets.len() < BUCKETS_MAX {
            let window = Duration::from_secs(window_s(ttl_s));
            buckets.insert(ttl_s, Bucket { lease, granted: now, window, keys: 1 });
        }
        Ok(lease)
    }

    /// Uses these no more: etcd does not know them.
    pub(super) async fn forget(&self, leases: &[i64]) {
        self.buckets.lock().await.retain(|_, bucket| !leases.contains(&bucket.lease));
    }

    async fn grant(&self, ttl_s: u64) -> Result<i64, Refusal> {
        let asked = i64::try_from(ttl_s + window_s(ttl_s) + SLACK_S).unwrap_or(i64::MAX);
        // A lease that is granted twice and used once expires unused.
        let grant = |mut member: Member| async move { member.lease.grant(asked, None).await };
        self.endpoints.call(Repeat::Harmless, grant).await.map(|granted| granted.id())
    }
}

/// How long a lease takes keys: a twentieth of their life.
fn window_s(ttl_s: u64) -> u64 {
    (ttl_s / 20).clamp(1, WINDOW_S_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_a_twentieth_within_limits() {
        for (ttl_s, expected) in [(0, 1), (2, 1), (40, 2), (600, 30), (3_600, 60), (86_400, 60)] {
            assert_eq!(window_s(ttl_s), expected, "{ttl_s}");
        }
    }

    #[test]
    fn a_bucket_serves_until_its_window_or_its_keys_end() {
        let granted = Instant::now();
        let window = Duration::from_secs(3);
        let table = [(0, 0, true), (2_999, 999, true), (3_000, 1, false), (0, LEASE_KEYS_MAX, false)];
        for (ms, keys, expected) in table {
            let bucket = Bucket { lease: 1, granted, window, keys };
            assert_eq!(bucket.serves(granted + Duration::from_millis(ms)), expected, "{ms} ms, {keys} keys");
        }
    }
}
