//! Pods that wait for a node.
//!
//! ```text
//!   new, changed ──▶ Active ──pop──▶ InFlight ──bound──▶ gone
//!                      ▲  ▲             │ unschedulable        │ binding failed
//!              backoff │  │ an event    ▼                      ▼
//!               over   │  └──────── Unschedulable           Backoff
//!                      │                │ event that may help, while backing off
//!                    Backoff ◀──────────┘
//! ```
//! Active is ordered by priority, then by how long the pod waits. The backoff is 1 s, doubled at each attempt up to 10 s.
//! A pod leaves Unschedulable when an event may help a plugin that refused it, at the latest after 5 minutes; events that
//! come while it is in flight count too, so that none is lost between the snapshot and the verdict.
//!
//! Every unscheduled pod is here once: the API's own limits bound the queue.

use crate::{
    cluster::PodInfo,
    metrics::{self, Levels},
    plugins::Plugins,
};
use parking_lot::Mutex;
use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

const BACKOFF_MIN: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// Longest stay in Unschedulable.
const UNSCHEDULABLE_MAX: Duration = Duration::from_secs(300);

type Uid = Arc<str>;
/// Higher priority first, then the older, then by uid to be unique.
type Order = (Reverse<i32>, u64, Uid);

struct Entry {
    info: Arc<PodInfo>,
    /// When it came first, as a number that only grows.
    arrival: u64,
    /// When it came, or changed, so that it started anew.
    since: Instant,
    attempts: u32,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Active,
    /// Until then.
    Backoff(Instant),
    /// Refused by; not to be tried before; to be tried again at the latest.
    Unschedulable(Plugins, Instant, Instant),
    /// Events that came meanwhile.
    InFlight(Plugins),
}

#[derive(Default)]
struct State {
    entries: HashMap<Uid, Entry>,
    active: BTreeSet<Order>,
    /// Deadlines of Backoff and Unschedulable.
    timed: BTreeSet<(Instant, Uid)>,
    arrivals: u64,
    closed: bool,
}

impl Entry {
    fn order(&self, uid: &Uid) -> Order {
        (Reverse(self.info.pod.spec.priority), self.arrival, uid.clone())
    }

    fn backoff(&self) -> Duration {
        BACKOFF_MIN.saturating_mul(1 << self.attempts.saturating_sub(1).min(10)).min(BACKOFF_MAX)
    }
}

impl State {
    /// Takes an entry out of the index of its place.
    fn unlink(&mut self, uid: &Uid) {
        let Some(entry) = self.entries.get(uid) else { return };
        match entry.place {
            Place::Active => _ = self.active.remove(&entry.order(uid)),
            Place::Backoff(at) | Place::Unschedulable(_, _, at) => _ = self.timed.remove(&(at, uid.clone())),
            Place::InFlight(_) => {}
        }
    }

    /// Puts an entry where it belongs because of an event, and counts that.
    fn enter(&mut self, uid: &Uid, place: Place, event: &str) {
        let queue = match place {
            Place::Active => "active",
            Place::Backoff(_) => "backoff",
            Place::Unschedulable(..) => "unschedulable",
            Place::InFlight(_) => return self.put(uid, place),
        };
        metrics::incoming(queue, event);
        self.put(uid, place);
    }

    fn put(&mut self, uid: &Uid, place: Place) {
        self.unlink(uid);
        let Some(entry) = self.entries.get_mut(uid) else { return };
        entry.place = place;
        match place {
            Place::Active => _ = self.active.insert(entry.order(uid)),
            Place::Backoff(at) | Place::Unschedulable(_, _, at) => _ = self.timed.insert((at, uid.clone())),
            Place::InFlight(_) => {}
        }
    }

    /// A new pod, or a changed one, which starts anew.
    fn add(&mut self, info: Arc<PodInfo>) {
        let uid = info.uid().clone();
        self.unlink(&uid);
        let known = self.entries.remove(&uid);
        let arrival = known.as_ref().map_or(self.arrivals, |e| e.arrival);
        self.arrivals += 1;
        let in_flight = known.as_ref().is_some_and(|e| matches!(e.place, Place::InFlight(_)));
        let event = if known.is_some() { POD_UPDATE } else { POD_ADD };
        // In flight it is scheduled as it was; the change counts as an event that may help with everything.
        let place = if in_flight { Place::InFlight(Plugins::ALL) } else { Place::Active };
        let before = known.filter(|_| in_flight);
        let attempts = before.as_ref().map_or(0, |e| e.attempts);
        let since = before.map_or_else(Instant::now, |e| e.since);
        self.entries.insert(uid.clone(), Entry { info, arrival, since, attempts, place });
        self.enter(&uid, place, event);
    }

    fn promote(&mut self, now: Instant) {
        while let Some((at, uid)) = self.timed.first().cloned() {
            if at > now {
                return;
            }
            let waited_in_vain =
                matches!(self.entries.get(&uid), Some(Entry { place: Place::Unschedulable(..), .. }));
            let event = if waited_in_vain { UNSCHEDULABLE_TIMEOUT } else { BACKOFF_COMPLETE };
            self.enter(&uid, Place::Active, event);
        }
    }

    fn pop(&mut self, now: Instant) -> Option<Arc<PodInfo>> {
        self.promote(now);
        let (_, _, uid) = self.active.first().cloned()?;
        self.put(&uid, Place::InFlight(Plugins::default()));
        let entry = self.entries.get_mut(&uid)?;
        entry.attempts += 1;
        Some(entry.info.clone())
    }

    fn refused(&mut self, uid: &Uid, by: Plugins, now: Instant) {
        let Some(entry) = self.entries.get(uid) else { return };
        let Place::InFlight(events) = entry.place else { return };
        let ready = now + entry.backoff();
        let helped = events.meets(by) || (by.is_empty() && !events.is_empty());
        let place = match helped {
            true => Place::Backoff(ready),
            false => Place::Unschedulable(by, ready, now + UNSCHEDULABLE_MAX),
        };
        self.enter(uid, place, ATTEMPT_FAILURE);
    }

    fn event(&mut self, helps: Plugins, event: &str, now: Instant) {
        let mut moved = Vec::new();
        for (uid, entry) in &mut self.entries {
            match &mut entry.place {
                Place::InFlight(events) => *events = events.union(helps),
                // Refused by nobody: there was no node at all, and anything may have changed that.
                Place::Unschedulable(by, ready, _) if helps.meets(*by) || by.is_empty() => {
                    moved.push((
                        uid.clone(),
                        if *ready > now { Place::Backoff(*ready) } else { Place::Active },
                    ));
                }
                _ => {}
            }
        }
        for (uid, place) in moved {
            self.enter(&uid, place, event);
        }
    }
}

/// Events by which pods come into a queue, in upstream's words; those of the cluster are `watch`'s.
const POD_ADD: &str = "UnschedulablePodAdd";
const POD_UPDATE: &str = "UnschedulablePodUpdate";
const ATTEMPT_FAILURE: &str = "ScheduleAttemptFailure";
const BACKOFF_COMPLETE: &str = "BackoffComplete";
const UNSCHEDULABLE_TIMEOUT: &str = "UnschedulableTimeout";

/// The queue.
#[derive(Default)]
pub(crate) struct PodQueue {
    state: Mutex<State>,
    changed: Notify,
}

impl PodQueue {
    /// A pod that waits for a node, new or changed.
    pub(crate) fn add(&self, info: Arc<PodInfo>) {
        self.state.lock().add(info);
        self.changed.notify_one();
    }

    /// The pod is gone, or has a node.
    pub(crate) fn remove(&self, uid: &Uid) {
        let mut state = self.state.lock();
        state.unlink(uid);
        state.entries.remove(uid);
    }

    /// Of a pod that waits or is in flight: its attempts, and since when it has been here.
    pub(crate) fn history(&self, uid: &Uid) -> Option<(u32, Instant)> {
        self.state.lock().entries.get(uid).map(|entry| (entry.attempts, entry.since))
    }

    /// How many pods are where.
    pub(crate) fn levels(&self) -> Levels {
        let state = self.state.lock();
        let places = || state.entries.values().map(|entry| entry.place);
        let refused = places().filter_map(|place| match place {
            Place::Unschedulable(by, ..) => Some(by),
            _ => None,
        });
        Levels {
            active: state.active.len(),
            backoff: places().filter(|place| matches!(place, Place::Backoff(_))).count(),
            unschedulable: places().filter(|place| matches!(place, Place::Unschedulable(..))).count(),
            refused_by: metrics::by_plugin(refused),
        }
    }

    /// Something happened, by upstream's name of it, that may help pods which these plugins refused.
    pub(crate) fn event(&self, helps: Plugins, event: &str) {
        self.state.lock().event(helps, event, Instant::now());
        self.changed.notify_one();
    }

    /// The next pod, then in flight until [`Self::refused`], [`Self::failed`] or [`Self::remove`]; `None` once closed.
    pub(crate) async fn pop(&self) -> Option<Arc<PodInfo>> {
        loop {
            let changed = self.changed.notified();
            let deadline = {
                let mut state = self.state.lock();
                if state.closed {
                    return None;
                }
                if let Some(info) = state.pop(Instant::now()) {
                    return Some(info);
                }
                state.timed.first().map(|(at, _)| *at)
            };
            match deadline {
                Some(at) => tokio::select! { () = changed => {}, () = tokio::time::sleep_until(at) => {} },
                None => changed.await,
            }
        }
    }

    /// There is no node for it now.
    pub(crate) fn refused(&self, uid: &Uid, by: Plugins) {
        self.state.lock().refused(uid, by, Instant::now());
        self.changed.notify_one();
    }

    /// There was a node, but binding failed: again after its backoff.
    pub(crate) fn failed(&self, uid: &Uid) {
        let mut state = self.state.lock();
        if let Some(entry) = state.entries.get(uid) {
            let at = Instant::now() + entry.backoff();
            state.enter(uid, Place::Backoff(at), ATTEMPT_FAILURE);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Ends all waiting.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
