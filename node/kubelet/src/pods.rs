//! Which pods are on this node: follows the API, keeps one worker a pod, hands runtime events on.
//!
//! A pod leaves only when a complete list or a watch event says so: an API that cannot be reached, or a
//! connection that is made again, changes nothing on the node.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use keelson_runtime::RuntimeEvent;
use kube::Api;
use kube::runtime::watcher;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::adopt::Found;
use crate::allocation::ByContainer;
use crate::context::Context;
use crate::machine::{Adopted, Event, PodShape};
use crate::pod::{self, Stored};
use crate::worker::{self, Message};

/// How often the runtime's lists are read although its events came (they are the fast path, not the only one).
const RESYNC: Duration = Duration::from_secs(60);

/// The pods that have a worker.
#[derive(Clone, Debug, Default)]
pub struct Pods {
    workers: Arc<Mutex<HashMap<String, Handle>>>,
}

#[derive(Clone, Debug)]
struct Handle {
    stored: Arc<Stored>,
    outbox: mpsc::Sender<Message>,
}

impl Pods {
    /// The objects of all pods on the node.
    pub fn list(&self) -> Vec<Arc<Stored>> {
        self.workers.lock().values().map(|handle| Arc::clone(&handle.stored)).collect()
    }

    /// How many pods are on the node.
    pub fn count(&self) -> usize {
        self.workers.lock().len()
    }

    /// Follows API and runtime until the process ends.
    pub(crate) async fn run(self, ctx: Arc<Context>, found: Found, mut events: mpsc::Receiver<RuntimeEvent>) {
        let api: Api<Pod> = Api::all(ctx.client.clone());
        let mine = watcher::Config::default().fields(&format!("spec.nodeName={}", ctx.config.node_name));
        let mut objects = keelson_watch::watch(api, mine);
        let mut resync = tokio::time::interval(RESYNC);
        let mut found = Some(found);
        let mut listed = HashSet::new();
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => self.runtime_event(&ctx, event).await,
                    None => return,
                },
                _ = resync.tick() => self.resync(&ctx).await,
                event = objects.next() => match event {
                    Some(Ok(watcher::Event::Init)) => listed.clear(),
                    Some(Ok(watcher::Event::InitApply(pod))) => {
                        listed.extend(pod.metadata.uid.clone());
                        self.apply(&ctx, found.as_ref(), pod).await;
                    }
                    Some(Ok(watcher::Event::InitDone)) => {
                        self.vanish_all_but(&listed).await;
                        if let Some(found) = found.take() {
                            let (ctx, listed) = (Arc::clone(&ctx), listed.clone());
                            tokio::spawn(async move { found.remove_orphans(&ctx, &listed).await });
                        }
                    }
                    Some(Ok(watcher::Event::Apply(pod))) => self.apply(&ctx, None, pod).await,
                    Some(Ok(watcher::Event::Delete(pod))) => {
                        self.vanish(pod.metadata.uid.as_deref().unwrap_or_default()).await;
                    }
                    Some(Err(error)) => tracing::warn!(%error, "the watch of pods broke; it is made again"),
                    None => return,
                },
            }
        }
    }

    async fn apply(&self, ctx: &Arc<Context>, found: Option<&Found>, pod: Pod) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let deletion = pod.metadata.deletion_timestamp.as_ref().map(|_| {
            let seconds = pod.metadata.deletion_grace_period_seconds.unwrap_or(0).max(0);
            Duration::from_secs(seconds.unsigned_abs())
        });
        let shape = Arc::new(PodShape::of(&pod));
        let known = self.workers.lock().get(&uid).filter(|h| !h.outbox.is_closed()).map(|h| h.outbox.clone());
        let terminal = pod::is_terminal(pod.status.as_ref());
        let admit = || if terminal { HashMap::new() } else { ctx.allocations.admit(&ctx.config, &pod) };
        let adopted = match (&known, found) {
            (None, Some(found)) => self.adopted(ctx, found, &pod, admit()).await,
            (None, None) => Some(Adopted { finished: terminal, given: admit(), ..Adopted::default() }),
            (Some(_), _) => None,
        };
        let stored = match Stored::new(pod) {
            Ok(stored) => Arc::new(stored),
            Err(error) => return tracing::error!(%error, "a pod is left alone"),
        };
        if let Some(outbox) = known {
            if let Some(handle) = self.workers.lock().get_mut(&uid) {
                handle.stored = Arc::clone(&stored);
            }
            let _ = outbox.send(Message::Object(stored, shape, deletion)).await;
            return;
        }
        // What has ended and only waits for its finalizers has no worker.
        if terminal && deletion == Some(Duration::ZERO) && found.is_none() {
            return;
        }
        let first = adopted.map(Event::Adopt);
        let outbox = worker::spawn(Arc::clone(ctx), Arc::clone(&stored), Arc::clone(&shape), terminal, first);
        for id in found.map(|found| found.ids(&uid)).unwrap_or_default() {
            ctx.routes.add(&id, &outbox);
        }
        self.insert(uid, Handle { stored: Arc::clone(&stored), outbox: outbox.clone() });
        if deletion.is_some() {
            let _ = outbox.send(Message::Object(stored, shape, deletion)).await;
        }
    }

    fn insert(&self, uid: String, handle: Handle) {
        let mut workers = self.workers.lock();
        workers.retain(|_, handle| !handle.outbox.is_closed());
        workers.insert(uid, handle);
    }

    /// Reads what is there of a pod until the runtime answers: guessing would restart what runs.
    async fn adopted(&self, ctx: &Context, found: &Found, pod: &Pod, given: ByContainer) -> Option<Adopted> {
        let mut pause = Duration::from_millis(50);
        loop {
            match found.of(ctx, pod, &given).await {
                Ok(adopted) => return Some(adopted),
                Err(error) => tracing::warn!(%error, "the runtime does not say what is left of a pod"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(5));
        }
    }

    async fn vanish(&self, uid: &str) {
        let handle = self.workers.lock().remove(uid);
        if let Some(handle) = handle {
            // A closed inbox: the worker has removed the object itself.
            let _ = handle.outbox.send(Message::Event(Event::Vanished)).await;
        }
    }

    async fn vanish_all_but(&self, listed: &HashSet<String>) {
        let gone: Vec<String> =
            self.workers.lock().keys().filter(|uid| !listed.contains(*uid)).cloned().collect();
        for uid in gone {
            self.vanish(&uid).await;
        }
    }

    async fn runtime_event(&self, ctx: &Arc<Context>, event: RuntimeEvent) {
        let id = match &event {
            RuntimeEvent::Resync => return self.resync(ctx).await,
            RuntimeEvent::Exited { id, .. } | RuntimeEvent::OutOfMemory { id } => id,
        };
        if let Some(worker) = ctx.routes.get(id) {
            let _ = worker.send(Message::Runtime(event)).await;
        }
    }

    async fn resync(&self, ctx: &Arc<Context>) {
        let outboxes: Vec<_> = self.workers.lock().values().map(|handle| handle.outbox.clone()).collect();
        if outboxes.is_empty() {
            return;
        }
        let lists = async { Ok((ctx.runtime.containers().await?, ctx.runtime.sandboxes().await?)) };
        let (containers, sandboxes) = match lists.await {
            Ok((containers, sandboxes)) => (Arc::new(containers), Arc::new(sandboxes)),
            Err(error) => {
                let error: keelson_runtime::RuntimeError = error;
                return tracing::warn!(%error, "cannot compare with the runtime; tried again later");
            }
        };
        for outbox in outboxes {
            let _ = outbox.send(Message::Resync(Arc::clone(&containers), Arc::clone(&sandboxes))).await;
        }
    }
}
