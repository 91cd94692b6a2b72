//! The keyed work queue: a key is worked on by one worker at a time, and never waits twice.
//!
//! Rules as client-go's workqueue: a key added while it is being worked on runs again afterwards; a failing key waits
//! 5 ms, doubled each time up to 1,000 s, and all failing keys together are let through at 10 a second after a burst of
//! 100. Delayed keys wait here too, without a task of their own.
//!
//! The number of keys is that of objects: each key is here at most once, so the API's own limits bound the queue.

use crate::metrics::{self, Series};
use parking_lot::Mutex;
use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    hash::Hash,
    sync::Arc,
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// First wait of a failing key.
pub const BACKOFF_MIN: Duration = Duration::from_millis(5);
/// Longest wait of a failing key.
pub const BACKOFF_MAX: Duration = Duration::from_secs(1000);
/// Failing keys let through per second once the burst is used up.
pub const RETRY_RATE_PER_SECOND: f64 = 10.0;
/// Failing keys let through at once.
pub const RETRY_BURST: f64 = 100.0;

/// A queue of keys.
pub struct WorkQueue<K> {
    state: Mutex<State<K>>,
    changed: Notify,
}

/// The queue without its waiting, so that time is a parameter.
struct State<K> {
    ready: VecDeque<K>,
    /// Waiting in `ready`, or to be put there when its worker is done; since when.
    dirty: HashMap<K, Instant>,
    /// Since when.
    working: HashMap<K, Instant>,
    delayed: BTreeSet<(Instant, K)>,
    deadline: HashMap<K, Instant>,
    failures: HashMap<K, u32>,
    bucket: Bucket,
    closed: bool,
    /// None until the queue has a name.
    series: Option<Series>,
}

struct Bucket {
    tokens: f64,
    at: Option<Instant>,
}

impl Bucket {
    /// Takes a token, on credit if there is none: returns how long its taker has to wait.
    fn take(&mut self, now: Instant) -> Duration {
        let elapsed = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.at = Some(now);
        self.tokens = (self.tokens + elapsed.as_secs_f64() * RETRY_RATE_PER_SECOND).min(RETRY_BURST) - 1.0;
        Duration::from_secs_f64((-self.tokens).max(0.0) / RETRY_RATE_PER_SECOND)
    }
}

impl<K: Clone + Eq + Hash + Ord> State<K> {
    fn add(&mut self, key: K) {
        if let Some(at) = self.deadline.remove(&key) {
            self.delayed.remove(&(at, key.clone()));
        }
        if self.dirty.contains_key(&key) {
            return;
        }
        self.dirty.insert(key.clone(), Instant::now());
        if !self.working.contains_key(&key) {
            self.ready.push_back(key);
        }
        if let Some(series) = &self.series {
            series.adds.inc();
        }
        self.show_depth();
    }

    fn show_depth(&self) {
        if let Some(series) = &self.series {
            series.depth.set(i64::try_from(self.ready.len()).unwrap_or(i64::MAX));
        }
    }

    /// The earliest of several deadlines counts.
    fn add_at(&mut self, key: K, at: Instant) {
        if self.dirty.contains_key(&key) && !self.working.contains_key(&key) {
            return;
        }
        match self.deadline.get(&key) {
            Some(&earlier) if earlier <= at => return,
            Some(&later) => _ = self.delayed.remove(&(later, key.clone())),
            None => {}
        }
        self.deadline.insert(key.clone(), at);
        self.delayed.insert((at, key));
    }

    fn promote(&mut self, now: Instant) {
        while let Some((at, key)) = self.delayed.first().cloned() {
            if at > now {
                return;
            }
            self.add(key);
        }
    }

    fn take(&mut self, now: Instant) -> Option<K> {
        self.promote(now);
        let key = self.ready.pop_front()?;
        let since = self.dirty.remove(&key).unwrap_or(now);
        self.working.insert(key.clone(), now);
        if let Some(series) = &self.series {
            series.queued.observe(now.saturating_duration_since(since).as_secs_f64());
        }
        self.show_depth();
        Some(key)
    }

    fn done(&mut self, key: &K) {
        let began = self.working.remove(key);
        if let (Some(series), Some(began)) = (&self.series, began) {
            series.worked.observe(began.elapsed().as_secs_f64());
        }
        if self.dirty.contains_key(key) {
            self.ready.push_back(key.clone());
            self.show_depth();
        }
    }

    fn backoff(&mut self, key: &K, now: Instant) -> Duration {
        let failures = self.failures.entry(key.clone()).or_default();
        let own = BACKOFF_MIN.saturating_mul(1 << (*failures).min(30)).min(BACKOFF_MAX);
        *failures += 1;
        own.max(self.bucket.take(now))
    }
}

impl<K: Clone + Eq + Hash + Ord> Default for WorkQueue<K> {
    fn default() -> Self {
        let state = State {
            ready: VecDeque::new(),
            dirty: HashMap::new(),
            working: HashMap::new(),
            delayed: BTreeSet::new(),
            deadline: HashMap::new(),
            failures: HashMap::new(),
            bucket: Bucket { tokens: RETRY_BURST, at: None },
            closed: false,
            series: None,
        };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }
}

impl<K: Send + Sync + 'static> metrics::Busy for WorkQueue<K> {
    fn since(&self) -> Vec<Instant> {
        self.state.lock().working.values().copied().collect()
    }
}

impl<K: Clone + Eq + Hash + Ord + Send + Sync + 'static> WorkQueue<K> {
    /// From now on the queue is counted under this name.
    pub fn set_name(self: &Arc<Self>, name: &str) {
        metrics::watch(name, self);
        let series = Series::of(name);
        let mut state = self.state.lock();
        state.series = Some(series);
        state.show_depth();
    }
}

impl<K: Clone + Eq + Hash + Ord> WorkQueue<K> {
    /// Work on this key, now.
    pub fn add(&self, key: K) {
        self.state.lock().add(key);
        self.changed.notify_one();
    }

    /// Work on this key after `delay`, unless it comes up earlier for another reason.
    pub fn add_after(&self, key: K, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        self.state.lock().add_at(key, Instant::now() + delay);
        self.changed.notify_one();
    }

    /// The key failed: again after its backoff, which is returned.
    pub fn retry(&self, key: K) -> Duration {
        let now = Instant::now();
        let mut state = self.state.lock();
        let delay = state.backoff(&key, now);
        if let Some(series) = &state.series {
            series.retries.inc();
        }
        state.add_at(key, now + delay);
        drop(state);
        self.changed.notify_one();
        delay
    }

    /// The key succeeded: its backoff starts anew.
    pub fn forget(&self, key: &K) {
        self.state.lock().failures.remove(key);
    }

    /// The next key, now being worked on by the caller, who calls [`WorkQueue::done`]; `None` once closed.
    pub async fn next(&self) -> Option<K> {
        loop {
            let changed = self.changed.notified();
            let deadline = {
                let mut state = self.state.lock();
                if state.closed {
                    return None;
                }
                if let Some(key) = state.take(Instant::now()) {
                    if !state.ready.is_empty() {
                        self.changed.notify_one();
                    }
                    return Some(key);
                }
                state.delayed.first().map(|(at, _)| *at)
            };
            match deadline {
                Some(at) => tokio::select! { () = changed => {}, () = tokio::time::sleep_until(at) => {} },
                None => changed.await,
            }
        }
    }

    /// The caller is done with a key from [`WorkQueue::next`].
    pub fn done(&self, key: &K) {
        self.state.lock().done(key);
        self.changed.notify_one();
    }

    /// Ends all waiting; what is queued is dropped.
    pub fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_waiters();
    }

    /// Keys that are waiting to be worked on now.
    pub fn depth(&self) -> usize {
        self.state.lock().ready.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State<u32> {
        WorkQueue::default().state.into_inner()
    }

    #[test]
    fn a_key_waits_once_and_runs_again_if_added_while_it_runs() {
        let (mut q, now) = (state(), Instant::now());
        q.add(1);
        q.add(1);
        assert_eq!(q.take(now), Some(1));
        q.add(1);
        assert_eq!(q.take(now), None, "one worker at a time");
        q.done(&1);
        assert_eq!(q.take(now), Some(1));
        q.done(&1);
        assert_eq!(q.take(now), None);
    }

    #[test]
    fn the_earliest_deadline_counts_and_an_add_supersedes_it() {
        let (mut q, now) = (state(), Instant::now());
        let s = Duration::from_secs;
        q.add_at(1, now + s(10));
        q.add_at(1, now + s(5));
        q.add_at(1, now + s(20));
        assert_eq!(q.take(now + s(4)), None);
        assert_eq!(q.take(now + s(5)), Some(1));
        q.done(&1);
        assert_eq!(q.take(now + s(60)), None);
        q.add_at(2, now + s(5));
        q.add(2);
        assert_eq!(q.take(now), Some(2));
        q.done(&2);
        assert_eq!(q.take(now + s(60)), None, "the deadline went with the add");
    }

    #[test]
    fn a_failing_key_backs_off_to_a_limit_and_the_crowd_is_slowed() {
        let (mut q, now) = (state(), Instant::now());
        assert_eq!(q.backoff(&1, now), BACKOFF_MIN);
        assert_eq!(q.backoff(&1, now), BACKOFF_MIN * 2);
        for _ in 0..30 {
            q.backoff(&1, now);
        }
        assert_eq!(q.backoff(&1, now), BACKOFF_MAX);
        let later = now + Duration::from_secs(60);
        for key in 100..200 {
            assert_eq!(q.backoff(&key, later), BACKOFF_MIN);
        }
        assert!(q.backoff(&200, later) > Duration::from_millis(90));
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_with_a_name_is_counted() {
        let q = Arc::new(WorkQueue::<u32>::default());
        q.set_name("own");
        q.add(1);
        q.add(1);
        tokio::time::advance(Duration::from_secs(2)).await;
        let key = q.next().await.expect("a key");
        q.add(2);
        q.next().await.expect("another one");
        tokio::time::advance(Duration::from_secs(3)).await;
        let told = || {
            let mut text = String::new();
            keelson_metrics::Group::process().render(&mut text);
            text
        };
        let busy = told();
        assert!(busy.contains("workqueue_unfinished_work_seconds{name=\"own\"} 6\n"), "{busy}");
        assert!(busy.contains("workqueue_longest_running_processor_seconds{name=\"own\"} 3\n"), "{busy}");
        q.retry(key);
        q.done(&key);
        q.done(&2);
        let text = told();
        for line in [
            "workqueue_unfinished_work_seconds{name=\"own\"} 0",
            "workqueue_longest_running_processor_seconds{name=\"own\"} 0",
            "workqueue_adds_total{name=\"own\"} 2",
            "workqueue_depth{name=\"own\"} 0",
            "workqueue_queue_duration_seconds_sum{name=\"own\"} 2",
            "workqueue_work_duration_seconds_sum{name=\"own\"} 6",
            "workqueue_retries_total{name=\"own\"} 1",
        ] {
            assert!(text.lines().any(|own| own == line), "{line}: {text}");
        }
    }

    #[tokio::test]
    async fn a_closed_queue_ends_its_workers() {
        let q = std::sync::Arc::new(WorkQueue::<u32>::default());
        let worker = tokio::spawn({
            let q = q.clone();
            async move { q.next().await }
        });
        tokio::task::yield_now().await;
        q.close();
        assert_eq!(worker.await.unwrap(), None);
    }
}
