//! What health checks answer with.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use k8s_openapi::jiff::Timestamp;
use parking_lot::Mutex;

use crate::index::Key;

/// Changes may wait this long before load balancers are told to go elsewhere: kube-proxy's two periods of 30 s.
const PENDING_MAX: Duration = Duration::from_secs(60);

/// Shared by the follower, which writes, and the servers, which read.
#[derive(Debug, Default)]
pub(crate) struct State(Mutex<Facts>);

#[derive(Debug)]
struct Facts {
    endpoints: HashMap<Key, usize>,
    eligible: bool,
    /// Since when changes wait to be made.
    pending_since: Option<Instant>,
    updated: Option<Timestamp>,
}

impl Default for Facts {
    fn default() -> Self {
        Self { endpoints: HashMap::new(), eligible: true, pending_since: None, updated: None }
    }
}

/// The data plane as a whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProxyHealth {
    /// The maps follow the API, or are not late yet; a data plane that starts is well.
    pub(super) healthy: bool,
    /// Load balancers may send new connections here.
    pub(super) eligible: bool,
    /// When the maps followed last.
    pub(super) updated: Option<Timestamp>,
}

impl State {
    pub(super) fn set_endpoints(&self, endpoints: impl Iterator<Item = (Key, usize)>) {
        self.0.lock().endpoints = endpoints.collect();
    }

    pub(crate) fn set_eligible(&self, eligible: bool) {
        self.0.lock().eligible = eligible;
    }

    /// An attempt to follow the API ended.
    pub(crate) fn attempted(&self, succeeded: bool) {
        let mut facts = self.0.lock();
        if succeeded {
            facts.pending_since = None;
            facts.updated = Some(Timestamp::now());
        } else {
            facts.pending_since.get_or_insert_with(Instant::now);
        }
    }

    /// Ready endpoints of this node; `None` for a Service that is not checked any more.
    pub(super) fn endpoints(&self, service: &Key) -> Option<usize> {
        self.0.lock().endpoints.get(service).copied()
    }

    pub(super) fn proxy(&self, now: Instant) -> ProxyHealth {
        let facts = self.0.lock();
        let late = facts.pending_since.is_some_and(|since| now.duration_since(since) >= PENDING_MAX);
        ProxyHealth { healthy: !late, eligible: facts.eligible, updated: facts.updated }
    }
}
