//! The members of the cluster, and which of them is asked. One connection a member instead of the client library's
//! balanced channel: that one sends calls to members that are down, and the caller cannot tell what was never sent.
//!
//! All calls go to one member until it fails; then to the next. What may not happen twice is asked again only where
//! the connection was never made.

use super::{
    config::EtcdConfig,
    convert::{Refusal, refusal},
};
use crate::contract::StoreError;
use etcd_client::{Client, KvClient, LeaseClient, MaintenanceClient, WatchClient};
use parking_lot::RwLock;
use std::{
    error::Error,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// What one member is asked with.
#[derive(Clone)]
pub(super) struct Member {
    pub(super) kv: KvClient,
    pub(super) lease: LeaseClient,
    pub(super) watch: WatchClient,
    maintenance: MaintenanceClient,
}

/// Whether a call may reach etcd twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// It may: it reads, or doing it twice does no harm.
    Harmless,
    /// It may not.
    Never,
}

/// How a call that got no good answer goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    /// etcd's answer; another member would say the same.
    Answer,
    /// This member cannot be asked; the call may have arrived.
    Member,
    /// This member cannot be reached; the call did not arrive.
    Unsent,
}

/// The members.
#[derive(Clone)]
pub(super) struct Endpoints {
    members: Arc<RwLock<Arc<[Member]>>>,
    /// The one that is asked; grows at each failure, taken modulo their number.
    current: Arc<AtomicUsize>,
    timeout: Duration,
}

impl Endpoints {
    /// Prepares a connection to each; none is made yet.
    pub(super) async fn new(config: &EtcdConfig) -> Result<Self, StoreError> {
        let members = Arc::new(RwLock::new(Self::prepare(config).await?));
        Ok(Self { members, current: Arc::default(), timeout: config.request_timeout })
    }

    /// Asks on new connections, to the same members, from the next call on. What is under way ends on those that it has; so
    /// do watches, which come to the new ones when theirs break.
    pub(super) async fn replace(&self, config: &EtcdConfig) -> Result<(), StoreError> {
        *self.members.write() = Self::prepare(config).await?;
        Ok(())
    }

    async fn prepare(config: &EtcdConfig) -> Result<Arc<[Member]>, StoreError> {
        let mut members = Vec::with_capacity(config.endpoints.len());
        for endpoint in &config.endpoints {
            let client = Client::connect([endpoint], Some(config.options())).await;
            let client = client.map_err(|error| StoreError::unavailable("connecting to etcd", error))?;
            members.push(Member {
                kv: client.kv_client().max_decoding_message_size(usize::MAX),
                lease: client.lease_client(),
                watch: client.watch_client().max_decoding_message_size(usize::MAX),
                maintenance: client.maintenance_client(),
            });
        }
        Ok(members.into())
    }

    /// What each member's database takes on its disk, in bytes, in the order of the members; one that does not answer in time
    /// is left out.
    pub(super) async fn sizes(&self) -> Vec<(usize, u64)> {
        let members = self.members.read().clone();
        let asked = members.iter().enumerate().map(|(index, member)| async move {
            let mut maintenance = member.maintenance.clone();
            let status = tokio::time::timeout(self.timeout, maintenance.status()).await.ok()?.ok()?;
            Some((index, u64::try_from(status.db_size()).ok()?))
        });
        futures::future::join_all(asked).await.into_iter().flatten().collect()
    }

    /// Asks the current member, and each of the others at most once.
    pub(super) async fn call<T, F>(
        &self,
        repeat: Repeat,
        call: impl Fn(Member) -> F + Send,
    ) -> Result<T, Refusal>
    where
        F: Future<Output = Result<T, etcd_client::Error>> + Send,
    {
        let members = self.members.read().clone();
        let mut left = members.len();
        loop {
            left -= 1;
            let asked = self.current.load(Ordering::Relaxed);
            let member = members[asked % members.len()].clone();
            let (failure, error) = match tokio::time::timeout(self.timeout, call(member)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => (classify(&error), refusal(error)),
                Err(elapsed) => (Failure::Member, Refusal::Other(Arc::new(elapsed))),
            };
            if failure == Failure::Answer {
                return Err(error);
            }
            // Whoever failed at the same member at the same time has moved on already.
            let _ = self.current.compare_exchange(asked, asked + 1, Ordering::Relaxed, Ordering::Relaxed);
            if left == 0 || (failure == Failure::Member && repeat == Repeat::Never) {
                return Err(error);
            }
        }
    }
}

fn classify(error: &etcd_client::Error) -> Failure {
    /// gRPC's UNAVAILABLE: no connection, or a member without a leader.
    const UNAVAILABLE: i32 = 14;
    match error {
        etcd_client::Error::GRpcStatus(status) if status.code() as i32 == UNAVAILABLE => match unsent(status)
        {
            true => Failure::Unsent,
            false => Failure::Member,
        },
        etcd_client::Error::GRpcStatus(_) | etcd_client::Error::InvalidArgs(_) => Failure::Answer,
        _ => Failure::Member,
    }
}

/// Whether the connection was refused before anything could be sent.
fn unsent(error: &(dyn Error + 'static)) -> bool {
    use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
    let io = error.downcast_ref::<io::Error>().map(io::Error::kind);
    matches!(io, Some(ConnectionRefused | HostUnreachable | NetworkUnreachable))
        || error.source().is_some_and(unsent)
}
