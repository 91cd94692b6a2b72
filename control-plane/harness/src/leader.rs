//! Leader election by a Lease: at most one of several copies of a component works at a time.
//!
//! ```text
//!   Follower ── lease free, or its holder silent for lease_duration (by our clock) ──▶ write ──▶ Leader
//!   Leader ── renewed every retry_period; not for renew_deadline, or another holder ──▶ Follower (its work is cancelled)
//! ```
//! As client-go: expiry is judged by when *we* saw the lease change, never by comparing two machines' clocks.
//! A leader stops working before the lease can be taken: renew_deadline is shorter than lease_duration.

use crate::{
    Api, ApiError, Timestamp,
    api::{LEASES, PatchKind, chain},
    views::Lease,
};
use keelson_metrics::{Group, IntGauge, IntGaugeVec, Stability::Alpha};
use parking_lot::Mutex;
use serde_json::json;
use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Which lease, who we are, and the times.
#[derive(Clone, Debug)]
pub struct LeaderElection {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease, for example `kube-scheduler`.
    pub name: String,
    /// Unique to this process.
    pub identity: String,
    /// After this long without renewal another may take over.
    pub lease_duration: Duration,
    /// After this long without a successful renewal the leader stops.
    pub renew_deadline: Duration,
    /// Time between attempts.
    pub retry_period: Duration,
    /// Whether we lead.
    pub leadership: Leadership,
}

/// For how long a leader may go on after its lease has ended before it counts as stuck (upstream's 20 s).
const EXPIRED_MAX: Duration = Duration::from_secs(20);

/// Whether we lead, for whoever asks how the process is. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Leadership(Arc<Mutex<Option<Instant>>>);

impl Leadership {
    /// Upstream's check `leaderElection`: Err where the work of a leader goes on though its lease has ended long since.
    ///
    /// # Errors
    /// In upstream's words.
    pub fn check(&self, election: &LeaderElection) -> Result<(), String> {
        let renewed = *self.0.lock();
        match renewed {
            Some(at) if at.elapsed() > election.lease_duration + EXPIRED_MAX => {
                Err(format!("failed election to renew leadership on lease {}", election.name))
            }
            _ => Ok(()),
        }
    }

    fn renewed(&self) {
        *self.0.lock() = Some(Instant::now());
    }

    /// The work that only a leader does has ended.
    fn ended(&self) {
        *self.0.lock() = None;
    }
}

static MASTERS: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    Group::process().gauges(
        Alpha,
        "leader_election_master_status",
        "Gauge of if the reporting system is master of the relevant lease, 0 indicates backup, 1 indicates master. 'name' is the string used to identify the lease. Please make sure to group by name.",
        &["name"],
    )
});

impl LeaderElection {
    /// Upstream's names and times: 15 s, 10 s, 2 s, in kube-system.
    pub fn new(name: &str, identity: &str) -> Self {
        Self {
            namespace: "kube-system".to_owned(),
            name: name.to_owned(),
            identity: identity.to_owned(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
            leadership: Leadership::default(),
        }
    }

    /// 1 while we lead.
    fn gauge(&self) -> IntGauge {
        MASTERS.with_label_values(&[&self.name])
    }
}

/// The lease as last seen, and when we saw it change.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    holder: String,
    version: String,
    transitions: i64,
    at: Instant,
}

/// What to do about the lease now.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Attempt {
    Create,
    Renew,
    TakeOver,
    Stay,
}

fn attempt(seen: Option<&Seen>, identity: &str, lease_duration: Duration, now: Instant) -> Attempt {
    match seen {
        None => Attempt::Create,
        Some(s) if s.holder == identity => Attempt::Renew,
        Some(s) if s.holder.is_empty() || now >= s.at + lease_duration => Attempt::TakeOver,
        Some(_) => Attempt::Stay,
    }
}

struct Elector<'a> {
    api: &'a Api,
    config: &'a LeaderElection,
    seen: Option<Seen>,
}

impl Elector<'_> {
    /// One look and, if due, one write. True: we hold the lease.
    async fn try_once(&mut self) -> Result<bool, ApiError> {
        let (ns, name) = (Some(&*self.config.namespace), &*self.config.name);
        self.observe(self.api.find::<Lease>(&LEASES, ns, name).await?);
        let action =
            attempt(self.seen.as_ref(), &self.config.identity, self.config.lease_duration, Instant::now());
        let now = Timestamp::now().micro();
        let seconds = self.config.lease_duration.as_secs();
        let written: Lease = match action {
            Attempt::Stay => return Ok(false),
            Attempt::Create => {
                let lease = json!({
                    "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                    "metadata": {"namespace": ns, "name": name},
                    "spec": {"holderIdentity": self.config.identity, "leaseDurationSeconds": seconds,
                             "acquireTime": now, "renewTime": now, "leaseTransitions": 0},
                });
                self.api.create(&LEASES, ns, &lease).await?
            }
            Attempt::Renew | Attempt::TakeOver => {
                let seen = self.seen.as_ref().expect("renewing what was seen");
                let mut spec = json!({"holderIdentity": self.config.identity, "renewTime": now,
                                      "leaseDurationSeconds": seconds});
                if action == Attempt::TakeOver {
                    spec["acquireTime"] = now.into();
                    spec["leaseTransitions"] = (seen.transitions + 1).into();
                }
                let patch = json!({"metadata": {"resourceVersion": seen.version}, "spec": spec});
                self.api.patch(&LEASES, ns, name, None, PatchKind::Merge, &patch).await?
            }
        };
        self.observe(Some(written));
        Ok(true)
    }

    fn observe(&mut self, lease: Option<Lease>) {
        let Some(lease) = lease else {
            self.seen = None;
            return;
        };
        let version = lease.metadata.resource_version.to_string();
        if self.seen.as_ref().is_none_or(|s| s.version != version) {
            let holder = lease.spec.holder_identity.unwrap_or_default();
            let transitions = lease.spec.lease_transitions;
            self.seen = Some(Seen { holder, version, transitions, at: Instant::now() });
        }
    }
}

/// Waits until this process leads. The answer is cancelled when it no longer does (or at `shutdown`, after which the
/// lease is released for the next one); the caller then stops its work and calls again.
pub async fn acquire(
    api: &Api,
    config: &LeaderElection,
    shutdown: &CancellationToken,
) -> Option<CancellationToken> {
    let mut elector = Elector { api, config, seen: None };
    config.gauge().set(0);
    loop {
        match elector.try_once().await {
            Ok(true) => break,
            Ok(false) => {}
            Err(e) => tracing::debug!(lease = config.name, error = chain(&e), "not elected"),
        }
        tokio::select! {
            () = shutdown.cancelled() => return None,
            () = tokio::time::sleep(config.retry_period) => {}
        }
    }
    tracing::info!(lease = config.name, identity = config.identity, "leading");
    config.gauge().set(1);
    config.leadership.renewed();
    let leading = shutdown.child_token();
    tokio::spawn(hold(api.clone(), config.clone(), elector.seen, leading.clone()));
    Some(leading)
}

/// Runs `work` until `shutdown`, anew whenever this process leads; without an election at once and all the time. The
/// token that `work` is given is cancelled when it is to stop.
///
/// # Errors
/// The first of `work`.
pub async fn run<W, E>(
    api: &Api,
    election: Option<&LeaderElection>,
    shutdown: &CancellationToken,
    mut work: impl FnMut(CancellationToken) -> W,
) -> Result<(), E>
where
    W: Future<Output = Result<(), E>>,
{
    while !shutdown.is_cancelled() {
        let working = match election {
            None => shutdown.child_token(),
            Some(election) => match acquire(api, election, shutdown).await {
                Some(leading) => leading,
                None => break,
            },
        };
        work(working).await?;
        if let Some(election) = election {
            election.leadership.ended();
        }
    }
    Ok(())
}

async fn hold(api: Api, config: LeaderElection, seen: Option<Seen>, leading: CancellationToken) {
    let mut elector = Elector { api: &api, config: &config, seen };
    let mut renewed = Instant::now();
    loop {
        tokio::select! {
            () = leading.cancelled() => break,
            () = tokio::time::sleep(config.retry_period) => {}
        }
        let deadline = renewed + config.renew_deadline;
        match tokio::time::timeout_at(deadline, elector.try_once()).await {
            Ok(Ok(true)) => {
                renewed = Instant::now();
                config.leadership.renewed();
            }
            Ok(Ok(false)) => break,
            Ok(Err(e)) => tracing::warn!(lease = config.name, error = chain(&e), "the lease was not renewed"),
            Err(_) => break,
        }
        if Instant::now() >= renewed + config.renew_deadline {
            break;
        }
    }
    let orderly = leading.is_cancelled();
    leading.cancel();
    config.gauge().set(0);
    tracing::info!(lease = config.name, orderly, "no longer leading");
    if let (true, Some(seen)) = (orderly, &elector.seen) {
        let patch = json!({"metadata": {"resourceVersion": seen.version}, "spec": {"holderIdentity": ""}});
        let ns = Some(&*config.namespace);
        let released = api.patch::<Lease>(&LEASES, ns, &config.name, None, PatchKind::Merge, &patch).await;
        if let Err(e) = released {
            tracing::debug!(lease = config.name, error = chain(&e), "the lease was not released");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_works_on_without_its_lease_is_not_healthy() {
        let election = LeaderElection::new("kube-scheduler", "me");
        let leadership = &election.leadership;
        assert_eq!(leadership.check(&election), Ok(()), "who does not lead need not renew");
        leadership.renewed();
        tokio::time::advance(Duration::from_secs(35)).await;
        assert_eq!(leadership.check(&election), Ok(()));
        tokio::time::advance(Duration::from_millis(1)).await;
        let why = "failed election to renew leadership on lease kube-scheduler";
        assert_eq!(leadership.check(&election), Err(why.to_owned()));
        leadership.ended();
        assert_eq!(leadership.check(&election), Ok(()));
    }

    #[test]
    fn a_lease_is_taken_only_when_free_or_silent_for_its_duration() {
        let (now, d) = (Instant::now(), Duration::from_secs(15));
        let seen =
            |holder: &str| Seen { holder: holder.into(), version: "1".into(), transitions: 0, at: now };
        let rows = [
            (None, now, Attempt::Create),
            (Some(seen("me")), now, Attempt::Renew),
            (Some(seen("me")), now + d * 2, Attempt::Renew),
            (Some(seen("other")), now + d / 2, Attempt::Stay),
            (Some(seen("other")), now + d, Attempt::TakeOver),
            (Some(seen("")), now, Attempt::TakeOver),
        ];
        for (seen, at, expected) in rows {
            assert_eq!(attempt(seen.as_ref(), "me", d, at), expected, "{seen:?}");
        }
    }
}
