//! From events to the kernel, for network policies; as [`crate::follower`] does for Services, and beside it: neither waits for
//! the other.
//!
//! ```text
//!  listing ──all lists complete──▶ replace all ──▶ following: changes as they come
//!     ▲                                                │ a change fails
//!     └──────── after a pause, replace all ◀───────────┘
//! ```
//! Until the lists are complete, pods are policed as an earlier daemon left them, and new ones are closed.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::{FutureExt, Stream, StreamExt, stream};
use kube::{Client, runtime::watcher};
use tokio::sync::mpsc;

use super::{
    Changes, Index, Planner, PolicySeen, Question, Shortage,
    objects::{NamespaceObject, PodObject, PolicyObject, RuntimeClassObject},
};
use crate::{
    Dataplane, Error,
    follower::chain,
    handle::{PolicyStatus, Shared},
    index::{Notice, Subject},
    notices::Notices,
    run::watched,
};

/// Events applied in one go at most: bounds how long the first of them waits.
const EVENTS_TOGETHER_MAX: usize = 4096;
/// Pause before everything is tried again after a failure; doubled up to the longest.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_LONGEST: Duration = Duration::from_secs(30);
/// Reason of the events about pods that may do less than policies allow.
const NOT_PROGRAMMED: &str = "NetworkPolicyNotProgrammed";
/// Reason of the events about annotations that say what is no value.
const UNKNOWN_ANNOTATION: &str = "UnknownAnnotationValue";

/// All pods of the cluster, as any may be a peer; those that have ended are none.
pub(crate) fn events(client: &Client) -> impl Stream<Item = PolicySeen> + Send + Unpin + use<> {
    let all = watcher::Config::default;
    let living = all().fields("status.phase!=Succeeded,status.phase!=Failed");
    let pods = watched::<PodObject, _>(client, living, "pods", PolicySeen::Pod);
    let namespaces = watched::<NamespaceObject, _>(client, all(), "namespaces", PolicySeen::Namespace);
    let policies = watched::<PolicyObject, _>(client, all(), "networkpolicies", PolicySeen::Policy);
    let classes = watched::<RuntimeClassObject, _>(client, all(), "runtimeclasses", PolicySeen::RuntimeClass);
    stream::select(stream::select(pods, namespaces), stream::select(policies, classes))
}

pub(crate) struct Follower {
    shared: Arc<Shared>,
    notices: Notices,
    index: Index,
    planner: Planner,
    /// The maps hold everything up to the last change: the next needs only what differs.
    whole: bool,
    /// Whether pods may speak with their own addresses alone, as the programs know it.
    own_sources: Option<bool>,
    /// Pods whose users know that they may do less than policies allow.
    told: BTreeSet<Box<str>>,
    /// Pods whose users know that an annotation says what is no value.
    told_unknown: BTreeSet<Box<str>>,
    /// Before the next try, when the last failed.
    pause: Duration,
}

impl Follower {
    pub(crate) fn new(shared: Arc<Shared>, notices: Notices, node: &str) -> Self {
        Self {
            shared,
            notices,
            index: Index::new(node),
            planner: Planner::default(),
            whole: false,
            own_sources: None,
            told: BTreeSet::new(),
            told_unknown: BTreeSet::new(),
            pause: PAUSE_FIRST,
        }
    }

    pub(crate) async fn follow(
        mut self,
        mut events: impl Stream<Item = PolicySeen> + Unpin,
        mut questions: mpsc::Receiver<Question>,
    ) {
        let mut failed = false;
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                Some((connection, direction, answer)) = questions.recv() => {
                    // Who asked may be gone.
                    let _ = answer.send(self.index.explain(&connection, direction));
                    continue;
                }
                () = tokio::time::sleep(self.pause), if failed => {
                    self.pause = (self.pause * 2).min(PAUSE_LONGEST);
                    failed = !self.bring_up_to_date().await;
                    continue;
                }
            };
            let Some(event) = event else { return };
            self.index.see(event);
            for _ in 1..EVENTS_TOGETHER_MAX {
                let Some(Some(event)) = events.next().now_or_never() else { break };
                self.index.see(event);
            }
            if self.index.complete() {
                failed = !self.bring_up_to_date().await;
            }
        }
    }

    /// Whether it succeeded.
    async fn bring_up_to_date(&mut self) -> bool {
        // Before anybody hears that a pod is known.
        if let Some(wishes) = self.index.take_wishes() {
            self.shared.progress.send_modify(|progress| progress.wishes = wishes);
        }
        self.tell_unknown();
        let done = self.apply_all().await;
        let error = done.as_ref().err().map(|e| chain(e));
        match &error {
            Some(error) => {
                self.whole = false;
                tracing::error!(%error, "the network policies could not be brought up to date");
            }
            None => self.pause = PAUSE_FIRST,
        }
        self.publish(error);
        done.is_ok()
    }

    /// Changes until there is nothing more to do.
    async fn apply_all(&mut self) -> Result<(), Error> {
        let own_sources = self.index.policies() > 0;
        if self.own_sources != Some(own_sources) {
            self.to_packets(move |packets| packets.require_own_sources(own_sources)).await?;
            self.own_sources = Some(own_sources);
        }
        loop {
            let changes = self.planner.plan(&mut self.index);
            let nothing = self.whole && changes.is_empty();
            if !self.whole {
                let whole = Arc::new(self.planner.whole());
                let wanted = whole.clone();
                self.to_packets(move |packets| packets.replace_policies(&wanted)).await?;
                self.whole = true;
                self.announce(&whole, true);
            } else if !nothing {
                let changes = Arc::new(changes);
                let wanted = changes.clone();
                self.to_packets(move |packets| packets.change_policies(&wanted)).await?;
                self.announce(&changes, false);
            }
            if !self.planner.confirm() && nothing {
                return Ok(());
            }
        }
    }

    async fn to_packets(
        &self,
        act: impl FnOnce(&mut crate::packet::Packets) -> Result<(), Error> + Send + 'static,
    ) -> Result<(), Error> {
        let act = move |dataplane: &mut Dataplane| dataplane.packets().map_or(Ok(()), act);
        self.shared.clone().blocking(act).await
    }

    /// Tells whoever waits for a pod that it is policed as it is to be.
    fn announce(&self, changes: &Changes, all: bool) {
        self.shared.progress.send_modify(|progress| {
            if all {
                progress.policed_pods.clear();
            }
            for (key, known) in &changes.endpoints {
                match known {
                    Some((uid, _)) => progress.policed_pods.insert(key.clone(), uid.clone()),
                    None => progress.policed_pods.remove(key),
                };
            }
        });
    }

    fn publish(&mut self, error: Option<String>) {
        let shortages = self.planner.shortages(&self.index);
        self.tell_pods(&shortages);
        let [groups, peers, classes, addresses, verdicts] = self.planner.sizes();
        let status = PolicyStatus {
            ready: self.whole,
            error,
            policies: self.index.policies(),
            groups,
            peers,
            classes,
            addresses,
            verdicts,
            without_room: shortages.iter().map(ToString::to_string).collect(),
        };
        let departed = self.index.take_departed();
        self.shared.progress.send_if_modified(|progress| {
            let changed = progress.policies.as_ref() != Some(&status) || !departed.is_empty();
            progress.policies = Some(status);
            progress.departed_pods.add(departed);
            changed
        });
    }

    fn tell_unknown(&mut self) {
        let mut told = BTreeSet::new();
        for (key, uid, note) in self.index.unknown_wishes() {
            if !self.told_unknown.contains(&uid) {
                tracing::warn!(namespace = %key.0, pod = %key.1, "{note}");
                let about = Subject { kind: "Pod", key, uid: uid.clone() };
                self.notices.tell(Notice { about, reason: UNKNOWN_ANNOTATION, note });
            }
            told.insert(uid);
        }
        self.told_unknown = told;
    }

    fn tell_pods(&mut self, shortages: &[Shortage]) {
        let mut told = BTreeSet::new();
        for shortage in shortages {
            let Shortage::Verdicts(key, uid) = shortage else { continue };
            if !self.told.contains(uid) {
                let about = Subject { kind: "Pod", key: key.clone(), uid: uid.clone() };
                tracing::error!(%shortage, "network policies");
                self.notices.tell(Notice { about, reason: NOT_PROGRAMMED, note: shortage.to_string() });
            }
            told.insert(uid.clone());
        }
        self.told = told;
    }
}
