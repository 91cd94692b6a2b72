//! Keeps the graph up to date: subscribes to shared informers, watches the metadata of all other resources.

use super::{Collector, graph::Graph};
use keelson_harness::{
    Api, Informer, Meta, Resource,
    api::chain,
    discovery::{self, Discovery},
    informer::{Collection, METADATA, Sink, reflect},
    views::{MetaOnly, View},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Between two looks at discovery, as upstream.
const REDISCOVER: Duration = Duration::from_secs(30);

/// Returns once every resource was listed, so that no owner looks absent only because it was not listed yet; false at
/// shutdown. Following goes on in the background.
pub(super) async fn start(this: &Arc<Collector>) -> bool {
    let mut follower = Follower { this: this.clone(), shared: BTreeSet::new(), watched: BTreeMap::new() };
    follower.hear_shared().await;
    let shutdown = this.shared.shutdown.clone();
    let (ready, mut is_ready) = watch::channel(false);
    tokio::spawn(async move { follower.run(ready).await });
    tokio::select! {
        () = shutdown.cancelled() => false,
        result = is_ready.wait_for(|ready| *ready) => result.is_ok(),
    }
}

struct Follower {
    this: Arc<Collector>,
    /// Heard through an informer.
    shared: BTreeSet<Resource>,
    /// Watched here.
    watched: BTreeMap<Resource, CancellationToken>,
}

impl Follower {
    async fn hear_shared(&mut self) {
        let informers = self.this.shared.informers.clone();
        self.hear(informers.pods()).await;
        self.hear(informers.nodes()).await;
        self.hear(informers.namespaces()).await;
        self.hear(informers.services()).await;
        self.hear(informers.service_accounts()).await;
        self.hear(informers.deployments()).await;
        self.hear(informers.replica_sets()).await;
        self.hear(informers.replication_controllers()).await;
        self.hear(informers.endpoint_slices()).await;
        self.hear(informers.leases()).await;
        self.hear(informers.cluster_roles()).await;
    }

    async fn hear<T: View>(&mut self, informer: Arc<Informer<T>>) {
        let resource = Arc::new(T::RESOURCE);
        self.shared.insert(T::RESOURCE);
        let this = self.this.clone();
        informer.subscribe(&self.this.shared.shutdown, move |change| {
            let look = match &change.new {
                Some(new) => this.graph.lock().apply(&resource, new.meta()),
                None => this.graph.lock().delete(&change.latest().meta().uid),
            };
            this.look_at(look);
        });
        informer.synced().await;
    }

    async fn run(mut self, ready: watch::Sender<bool>) {
        let shutdown = self.this.shared.shutdown.clone();
        let mut first = Some(ready);
        loop {
            match discovery::discover(&self.this.shared.api).await {
                Ok(found) => {
                    let listed = self.adjust(found);
                    if let Some(ready) = first.take() {
                        tokio::spawn(async move {
                            for mut one in listed {
                                // A resource that is taken away while it is listed is not waited for.
                                let _ = one.wait_for(|done| *done).await;
                            }
                            ready.send_replace(true);
                        });
                    }
                }
                Err(e) => {
                    tracing::warn!(error = chain(&e), "discovery failed; the collector follows what it knows")
                }
            }
            let pause = if first.is_some() { Duration::from_millis(500) } else { REDISCOVER };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Starts watches for resources that are new, ends those of resources that are gone. Groups that did not answer
    /// keep theirs. Answers when each new resource was listed.
    fn adjust(&mut self, found: Discovery) -> Vec<watch::Receiver<bool>> {
        let mut listed = Vec::new();
        for served in found.resources.iter().filter(|s| s.allows(&["delete", "list", "watch"])) {
            let resource = &served.resource;
            let is_event = resource.plural == "events" && matches!(&*resource.group, "" | "events.k8s.io");
            if is_event || self.shared.contains(resource) || self.watched.contains_key(resource) {
                continue;
            }
            let end = self.this.shared.shutdown.child_token();
            self.watched.insert(resource.clone(), end.clone());
            listed.push(self.watch(resource.clone(), end));
        }
        if found.failed.is_empty() {
            self.watched.retain(|resource, end| {
                let keep = found.serves(resource);
                if !keep {
                    end.cancel();
                }
                keep
            });
        }
        *self.this.served.write() = Some(Arc::new(found));
        listed
    }

    fn watch(&self, resource: Resource, end: CancellationToken) -> watch::Receiver<bool> {
        let (listed, is_listed) = watch::channel(false);
        let sink = Feed { this: self.this.clone(), resource: Arc::new(resource.clone()), listed };
        let api: Api = self.this.shared.api.clone();
        tokio::spawn(async move {
            let source = Collection { resource, accept: METADATA, fields: "" };
            reflect::<MetaOnly>(&api, &source, &sink, &end).await;
        });
        is_listed
    }
}

/// Feeds one watched resource into the graph.
struct Feed {
    this: Arc<Collector>,
    resource: Arc<Resource>,
    listed: watch::Sender<bool>,
}

impl Feed {
    fn tell(&self, verb: impl FnOnce(&mut Graph) -> Vec<super::Uid>) {
        let look = verb(&mut self.this.graph.lock());
        self.this.look_at(look);
    }
}

impl Sink<MetaOnly> for Feed {
    fn reset(&self, objects: Vec<MetaOnly>) {
        let present: Vec<Meta> = objects.into_iter().map(|o| o.metadata).collect();
        self.tell(|graph| graph.reset(&self.resource, &present));
        self.listed.send_replace(true);
    }

    fn apply(&self, object: MetaOnly) {
        self.tell(|graph| graph.apply(&self.resource, &object.metadata));
    }

    fn delete(&self, object: MetaOnly) {
        self.tell(|graph| graph.delete(&object.metadata.uid));
    }
}
