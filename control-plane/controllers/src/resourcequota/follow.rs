//! Hears of objects that take less than they did: through the shared informers where there is one, else by watching the
//! metadata of what some quota counts.

use super::{Quotas, plan};
use keelson_harness::{
    Meta, Resource,
    api::{PODS, SERVICES},
    discovery,
    informer::{Collection, METADATA, Sink, reflect},
    views::MetaOnly,
};
use keelson_quota::source_of;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// Between two looks for a resource that is counted and not served yet.
const REDISCOVER: Duration = Duration::from_secs(30);

/// Watches by group and plural; each ends when no quota counts its resource.
pub(super) type Counted = BTreeMap<(String, String), CancellationToken>;

/// Pods that went, or ended.
pub(super) fn pods(this: &Arc<Quotas>) {
    let me = this.clone();
    this.shared.informers.pods().subscribe(&this.shared.shutdown, move |change| {
        let ended = |pod: &Arc<keelson_harness::views::Pod>| pod.is_finished();
        let less = match (&change.old, &change.new) {
            (_, None) => true,
            (Some(old), Some(new)) => ended(new) && !ended(old),
            (None, Some(_)) => false,
        };
        if less {
            me.hint(&PODS.group, &PODS.plural, &change.latest().metadata.namespace);
        }
    });
}

/// Services that went or changed.
pub(super) fn services(this: &Arc<Quotas>) {
    let me = this.clone();
    this.shared.informers.services().subscribe(&this.shared.shutdown, move |change| {
        if change.old.is_some() {
            me.hint(&SERVICES.group, &SERVICES.plural, &change.latest().metadata.namespace);
        }
    });
}

impl Quotas {
    /// Starts and ends watches, so that they are those that the quotas need.
    pub(super) fn follow(self: &Arc<Self>) {
        let mut wanted = BTreeSet::new();
        for quota in self.quotas.all() {
            let all = quota.spec.hard.keys().filter_map(|name| source_of(name));
            wanted.extend(all.map(|source| (source.group.to_owned(), source.plural.to_owned())));
        }
        for heard in [&PODS, &SERVICES] {
            wanted.remove(&(heard.group.to_string(), heard.plural.to_string()));
        }
        let mut counted = self.counted.lock();
        counted.retain(|source, end| {
            let keep = wanted.contains(source);
            if !keep {
                end.cancel();
            }
            keep
        });
        for source in wanted {
            if !counted.contains_key(&source) {
                let end = self.shared.shutdown.child_token();
                counted.insert(source.clone(), end.clone());
                tokio::spawn(self.clone().watch(source, end));
            }
        }
    }

    async fn watch(self: Arc<Self>, (group, plural): (String, String), end: CancellationToken) {
        let Some(resource) = self.place_of(&group, &plural, &end).await else { return };
        let sink = Feed { this: self.clone(), resource: resource.clone() };
        let source = Collection { resource, accept: METADATA, fields: "" };
        reflect::<MetaOnly>(&self.shared.api, &source, &sink, &end).await;
    }

    /// Waits until the resource is served: a quota may count a custom kind before there is one.
    async fn place_of(&self, group: &str, plural: &str, end: &CancellationToken) -> Option<Resource> {
        if let Some(resource) = plan::usual(group, plural) {
            return Some(resource);
        }
        loop {
            if let Ok(found) = discovery::discover(&self.shared.api).await {
                let mut all = found.resources.into_iter().map(|served| served.resource);
                if let Some(resource) = all.find(|one| one.group == group && one.plural == plural) {
                    return Some(resource);
                }
            }
            tokio::select! {
                () = end.cancelled() => return None,
                () = tokio::time::sleep(REDISCOVER) => {}
            }
        }
    }
}

/// Hints at what goes or changes. A list that begins anew may have missed what went.
struct Feed {
    this: Arc<Quotas>,
    resource: Resource,
}

impl Feed {
    fn hint(&self, meta: &Meta) {
        self.this.hint(&self.resource.group, &self.resource.plural, &meta.namespace);
    }
}

impl Sink<MetaOnly> for Feed {
    fn reset(&self, _objects: Vec<MetaOnly>) {
        self.this.hint_everywhere(&self.resource.group, &self.resource.plural);
    }

    /// A new object was charged; a claim that grew as well.
    fn apply(&self, _object: MetaOnly) {}

    fn delete(&self, object: MetaOnly) {
        self.hint(&object.metadata);
    }
}
