//! The servers of a zone: which are tried, in which order. The order is the one that was given; who failed lately is last.

use parking_lot::Mutex;
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// Failures one after another that make a server the last to be asked...
const FAILURES_TO_REST: u32 = 2;
/// ...for this long after the last of them. A server alone is asked whatever it did.
const REST: Duration = Duration::from_secs(10);

/// A server and how it did.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    failures: Mutex<Failures>,
    /// What it is asked comes back to us: it is not asked.
    looping: AtomicBool,
}

/// Failures since the last answer.
#[derive(Clone, Copy, Debug, Default)]
struct Failures {
    count: u32,
    last: Option<Instant>,
}

impl Server {
    pub(super) fn answered(&self) {
        *self.failures.lock() = Failures::default();
    }

    pub(super) fn failed(&self, now: Instant) {
        let mut failures = self.failures.lock();
        failures.count = failures.count.saturating_add(1);
        failures.last = Some(now);
    }

    pub(super) fn is_looping(&self) -> bool {
        self.looping.load(Ordering::Relaxed)
    }

    /// Whether that is news.
    pub(super) fn set_looping(&self, looping: bool) -> bool {
        self.looping.swap(looping, Ordering::Relaxed) != looping
    }

    fn rests(&self, now: Instant) -> bool {
        let failures = *self.failures.lock();
        failures.count >= FAILURES_TO_REST
            && failures.last.is_some_and(|last| now.saturating_duration_since(last) < REST)
    }
}

/// The servers of a zone.
#[derive(Debug)]
pub(super) struct Pool {
    servers: Vec<Arc<Server>>,
}

impl Pool {
    pub(super) fn new(addresses: &[SocketAddr]) -> Self {
        let server = |address: &SocketAddr| {
            Arc::new(Server { address: *address, failures: Mutex::default(), looping: false.into() })
        };
        Self { servers: addresses.iter().map(server).collect() }
    }

    pub(super) fn servers(&self) -> &[Arc<Server>] {
        &self.servers
    }

    /// Whom to ask, one after the other: `tries` times in all, unless nobody can be asked.
    pub(super) fn tries(&self, now: Instant, tries: usize) -> impl Iterator<Item = Arc<Server>> + use<> {
        let mut order: Vec<_> = self.servers.iter().filter(|server| !server.is_looping()).cloned().collect();
        order.sort_by_key(|server| server.rests(now));
        order.into_iter().cycle().take(tries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ports of whom is asked.
    fn order(pool: &Pool, now: Instant) -> Vec<u16> {
        pool.tries(now, 3).map(|server| server.address.port()).collect()
    }

    fn pool(ports: &[u16]) -> Pool {
        Pool::new(&ports.iter().map(|port| SocketAddr::from(([127, 0, 0, 1], *port))).collect::<Vec<_>>())
    }

    #[test]
    fn the_given_order_is_kept_until_a_server_fails_twice_and_again_after_its_rest() {
        let (pool, now) = (pool(&[1, 2, 3, 4]), Instant::now());
        assert_eq!(order(&pool, now), [1, 2, 3]);
        pool.servers[0].failed(now);
        assert_eq!(order(&pool, now), [1, 2, 3], "once is nothing");
        pool.servers[0].failed(now);
        assert_eq!(order(&pool, now), [2, 3, 4]);
        assert_eq!(order(&pool, now + REST), [1, 2, 3]);
        pool.servers[0].failed(now + REST);
        assert_eq!(order(&pool, now + REST), [2, 3, 4], "not rested until it answers");
        pool.servers[0].answered();
        assert_eq!(order(&pool, now + REST), [1, 2, 3]);
    }

    #[test]
    fn a_server_alone_is_asked_again_and_one_that_sends_questions_back_never() {
        let (pool, now) = (pool(&[1, 2]), Instant::now());
        assert!(pool.servers[1].set_looping(true) && !pool.servers[1].set_looping(true));
        assert_eq!(order(&pool, now), [1, 1, 1]);
        pool.servers[0].failed(now);
        pool.servers[0].failed(now);
        assert_eq!(order(&pool, now), [1, 1, 1]);
        pool.servers[0].set_looping(true);
        assert!(order(&pool, now).is_empty());
    }
}
