//! Names that are not the cluster's: who is asked for them, what is remembered, and how many may be asked for at once.
//!
//! ```text
//!  query ──route: the longest zone──▶ servers, in order ──exchange: UDP, then TCP──▶ reply ──▶ cache
//! ```
//! A server that does not answer, or says that it cannot, is followed by the next; see `pool`. A server whose questions
//! come back to us is not asked; see `probe`.

mod exchange;
mod pool;
mod probe;
mod resolv_conf;

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;

use crate::{
    cache::{Cache, Question},
    message::Reply,
    metrics::Metrics,
};
use exchange::{ExchangeError, exchange};
use hickory_proto::{
    op::{Query, ResponseCode},
    rr::Name,
};
use parking_lot::Mutex;
use pool::{Pool, Server};
pub(crate) use probe::Probe;
use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Questions that may wait for other servers at once. One more is answered SERVFAIL at once: better than that all wait.
pub const IN_FLIGHT_MAX: usize = 512;
/// Servers for one zone; more are not read.
pub const SERVERS_MAX: usize = 8;
/// Servers tried for one question, or one server so many times: with [`TRY_MAX`] less than the five seconds that clients wait.
const TRIES_MAX: usize = 3;
/// How long one try may take.
const TRY_MAX: Duration = Duration::from_millis(1500);

/// Who is asked for names that are not the cluster's.
#[derive(Clone, Debug)]
pub enum Upstream {
    /// Nobody: they are refused.
    Nobody,
    /// These, in this order.
    Servers(Vec<SocketAddr>),
    /// The `nameserver`s of a resolv.conf(5), read at the start; itself left out.
    ResolvConf(PathBuf),
}

/// A zone that has servers of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stub {
    /// The zone.
    pub zone: Name,
    /// Its servers, in this order.
    pub servers: Vec<SocketAddr>,
}

/// Why the settings cannot work.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// The server would ask itself.
    #[error("the upstream server {0} is this server itself: every question would go round in a circle")]
    Itself(SocketAddr),
    /// A stub zone without servers, or with too many.
    #[error("{zone} has {count} servers: 1 to {SERVERS_MAX} are possible")]
    Servers {
        /// The zone, `.` for all.
        zone: Name,
        /// How many.
        count: usize,
    },
    /// The cluster domain would never be answered from the cluster.
    #[error("the stub zone {0} is the cluster's own domain")]
    ClusterDomain(Name),
    /// resolv.conf is there and cannot be read.
    #[error("reading {path}")]
    ResolvConf {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ForwardError {
    /// Nobody can be asked without the question coming back.
    #[error("every server sends the questions back")]
    Looping,
    /// All were asked.
    #[error("no server answered")]
    Unanswered(#[source] ExchangeError),
}

/// A zone and who is asked about it.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) zone: Name,
    pool: Pool,
}

/// The right to ask others, as long as it is held.
#[derive(Debug)]
pub(crate) struct Permit(#[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

/// Asks others.
pub(crate) struct Forwarder {
    /// The longest zone first.
    routes: Vec<Route>,
    cache: Mutex<Cache>,
    in_flight: Arc<Semaphore>,
    pub(crate) probe: Probe,
    metrics: Arc<Metrics>,
}

impl Forwarder {
    /// `own`: where this server answers.
    pub(crate) fn new(
        upstream: &Upstream,
        stubs: &[Stub],
        domain: &Name,
        own: &[SocketAddr],
        metrics: Arc<Metrics>,
    ) -> Result<Self, UpstreamError> {
        let mut zones: Vec<(Name, Vec<SocketAddr>)> = Vec::new();
        for stub in stubs {
            if stub.zone == *domain {
                return Err(UpstreamError::ClusterDomain(stub.zone.clone()));
            }
            zones.push((stub.zone.clone(), stub.servers.clone()));
        }
        match upstream {
            Upstream::Nobody => {}
            Upstream::Servers(servers) => zones.push((Name::root(), servers.clone())),
            Upstream::ResolvConf(path) => match resolv_conf::servers(path, own) {
                Ok(servers) if servers.is_empty() => tracing::warn!(
                    path = %path.display(),
                    "no upstream server there: names outside the cluster are refused"
                ),
                Ok(servers) => zones.push((Name::root(), servers)),
                Err(source) => return Err(UpstreamError::ResolvConf { path: path.clone(), source }),
            },
        }
        for (zone, servers) in &zones {
            if let Some(itself) = servers.iter().find(|server| own.contains(server)) {
                return Err(UpstreamError::Itself(*itself));
            }
            if servers.is_empty() || servers.len() > SERVERS_MAX {
                return Err(UpstreamError::Servers { zone: zone.clone(), count: servers.len() });
            }
        }
        zones.sort_by_key(|(zone, _)| std::cmp::Reverse(zone.num_labels()));
        let routes: Vec<Route> =
            zones.into_iter().map(|(zone, servers)| Route { zone, pool: Pool::new(&servers) }).collect();
        let servers: Vec<Arc<Server>> =
            routes.iter().flat_map(|route| route.pool.servers()).cloned().collect();
        Ok(Self {
            routes,
            cache: Mutex::new(Cache::new()),
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
            probe: Probe::new(servers),
            metrics,
        })
    }

    /// Whether anybody can be asked about anything.
    pub(crate) fn is_any(&self) -> bool {
        !self.routes.is_empty()
    }

    /// Who knows about a name.
    pub(crate) fn route(&self, name: &Name) -> Option<&Route> {
        self.routes.iter().find(|route| route.zone.zone_of(name))
    }

    /// What was answered before, if it may be believed still.
    pub(crate) fn remembered(&self, question: &Question) -> Option<Reply> {
        let found = self.cache.lock().get(question, Instant::now());
        self.metrics.cache(found.is_some());
        found
    }

    /// Entries of the cache, and their bytes.
    pub(crate) fn cache_size(&self) -> (usize, u64) {
        self.cache.lock().size()
    }

    /// The right to ask, unless too many are waiting: then somebody may be sending us our own questions.
    pub(crate) fn permit(&self) -> Option<Permit> {
        let permit = self.in_flight.clone().try_acquire_owned().ok().map(Permit);
        if permit.is_none() {
            self.probe.suspect();
        }
        permit
    }

    /// Asks one server after the other, and remembers the answer.
    pub(crate) async fn ask(
        &self,
        route: &Route,
        query: &Query,
        question: Question,
        wants: Wants,
    ) -> Result<Reply, ForwardError> {
        let mut failure = None;
        let mut refusal = None;
        for server in route.pool.tries(Instant::now(), TRIES_MAX) {
            let asked = Instant::now();
            match exchange(server.address, query, wants, TRY_MAX).await {
                Ok(message) => {
                    let reply = Reply::from(message);
                    if is_unable(reply.code) {
                        self.metrics.forwarded(server.address, "unable", asked.elapsed());
                        refusal = Some(reply);
                        continue;
                    }
                    server.answered();
                    self.metrics.forwarded(server.address, "answered", asked.elapsed());
                    self.cache.lock().put(question, &reply, Instant::now());
                    return Ok(reply);
                }
                Err(error) => {
                    tracing::debug!(server = %server.address, %error, "no answer");
                    server.failed(Instant::now());
                    self.metrics.forwarded(server.address, error.kind(), asked.elapsed());
                    failure = Some(error);
                }
            }
        }
        match (refusal, failure) {
            (Some(reply), _) => Ok(reply),
            (None, Some(error)) => Err(ForwardError::Unanswered(error)),
            (None, None) => Err(ForwardError::Looping),
        }
    }
}

/// What a client wants to know beside the answer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wants {
    /// Signatures.
    pub(crate) dnssec_ok: bool,
    /// What could not be verified, too.
    pub(crate) checking_disabled: bool,
}

/// Codes that say something about the server, not about the name: another may know.
fn is_unable(code: ResponseCode) -> bool {
    matches!(
        code,
        ResponseCode::ServFail | ResponseCode::Refused | ResponseCode::NotImp | ResponseCode::FormErr
    )
}
