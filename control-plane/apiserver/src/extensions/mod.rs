//! Carries out what custom kinds need of the API server itself: names are accepted, conditions written, and a deleted
//! definition takes its objects with it. As upstream's apiextensions controllers, which run in its API server.
//!
//! ```text
//! watch of definitions ──> names::plan (pure, in the registry) ──> the definition's status
//!                      └─> deleted ──> cleanup: its objects, one task a definition ──> its finalizer
//! ```
//! Every API server does this; each write compares revisions, so that whoever comes second changes nothing. What is served
//! follows from the stored definition alone (the registry's caches), never from what is done here.

mod cleanup;

use crate::health::Step;
use futures::StreamExt;
use keelson_auth::UserInfo;
use keelson_registry::{
    Context, PatchType, Registry, WatchEvent, WatchOptions,
    custom::{CLEANUP_FINALIZER, Definition, names},
    entry::Entry,
    kind::Kind,
    meta,
    status::Status,
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use time::OffsetDateTime;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const GROUP: &str = "apiextensions.k8s.io";
/// Changes taken in before plans are made.
const BATCH_MAX: usize = 256;
/// Before a lost watch is begun again.
const RETRY: Duration = Duration::from_millis(200);

/// Follows the definitions until `shutdown`; `followed` is finished once it does.
pub(crate) fn follow(registry: &Arc<Registry>, followed: &Step, shutdown: &CancellationToken) {
    let Some(kind) = registry.table().by_resource(GROUP, "v1", "customresourcedefinitions").cloned() else {
        return;
    };
    let (registry, followed, shutdown) = (Arc::downgrade(registry), followed.clone(), shutdown.clone());
    tokio::spawn(async move {
        let work = async {
            // Held only while it works, so that a registry that nobody else has can go.
            while let Some(registry) = registry.upgrade() {
                let mut follower = Follower::new(registry, kind.clone());
                if let Err(status) = follower.run(&followed).await {
                    tracing::warn!(%status, "following definitions of custom kinds; starting over");
                }
                drop(follower);
                tokio::time::sleep(RETRY).await;
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = work => {}
        }
    });
}

/// A definition without its schemas, at the revision that it was seen at.
struct Seen {
    definition: Definition,
    version: String,
}

struct Follower {
    registry: Arc<Registry>,
    kind: Arc<Kind>,
    all: BTreeMap<String, Seen>,
    /// Deletions under way, by name.
    cleaning: BTreeSet<String>,
    cleanups: JoinSet<String>,
}

impl Follower {
    fn new(registry: Arc<Registry>, kind: Arc<Kind>) -> Self {
        Self { registry, kind, all: BTreeMap::new(), cleaning: BTreeSet::new(), cleanups: JoinSet::new() }
    }

    /// Until the watch ends or fails.
    async fn run(&mut self, followed: &Step) -> Result<(), Status> {
        let options = WatchOptions { resource_version: "0".to_owned(), ..WatchOptions::default() };
        let mut events = self.registry.watch(&self.kind, None, &options).await?.ready_chunks(BATCH_MAX);
        followed.finish();
        loop {
            tokio::select! {
                batch = events.next() => match batch {
                    Some(batch) => self.take(batch).await?,
                    None => return Ok(()),
                },
                Some(done) = self.cleanups.join_next() => {
                    if let Ok(name) = done {
                        self.cleaning.remove(&name);
                    }
                }
            }
        }
    }

    async fn take(&mut self, batch: Vec<WatchEvent>) -> Result<(), Status> {
        let mut groups = BTreeSet::new();
        for event in batch {
            match event {
                WatchEvent::Added(entry, _) | WatchEvent::Modified(entry, _) => {
                    groups.extend(self.see(&entry))
                }
                WatchEvent::Deleted(entry, _) => {
                    let gone = self.all.remove(entry.head.name());
                    groups.extend(gone.map(|seen| seen.definition.spec.group));
                }
                WatchEvent::Bookmark { .. } => {}
                WatchEvent::Error(status) => return Err(status),
            }
        }
        for group in groups {
            self.settle(&group).await?;
        }
        Ok(())
    }

    /// Its group, whose names are to be looked at.
    fn see(&mut self, entry: &Entry) -> Option<String> {
        let object = entry.to_value();
        let mut definition = Definition::read(&object)
            .inspect_err(
                |error| tracing::error!(name = entry.head.name(), %error, "a definition cannot be read"),
            )
            .ok()?;
        definition.spec.versions.iter_mut().for_each(|version| version.schema = None);
        let group = definition.spec.group.clone();
        let version = entry.mod_revision().to_string();
        self.all.insert(entry.head.name().to_owned(), Seen { definition, version });
        Some(group)
    }

    async fn settle(&mut self, group: &str) -> Result<(), Status> {
        let names: Vec<String> = self
            .all
            .iter()
            .filter(|(_, seen)| seen.definition.spec.group == group)
            .map(|(name, _)| name.clone())
            .collect();
        for name in names {
            let seen = &self.all[&name];
            if seen.definition.is_deleting() {
                if seen.definition.metadata.finalizers.iter().any(|own| own == CLEANUP_FINALIZER)
                    && self.cleaning.insert(name.clone())
                {
                    self.cleanups.spawn(cleanup::run(self.registry.clone(), self.kind.clone(), name));
                }
                continue;
            }
            let all: Vec<&Definition> = self.all.values().map(|seen| &seen.definition).collect();
            let now = meta::time_text(OffsetDateTime::now_utc());
            let Some(status) =
                names::plan(&seen.definition, &all, &self.registry.table(), now.as_str().unwrap_or_default())
            else {
                continue;
            };
            self.write(&name, status).await?;
        }
        Ok(())
    }

    /// Writes a status, and looks at it at once: the next plan is over what is accepted now.
    async fn write(&mut self, name: &str, status: Value) -> Result<(), Status> {
        let version = &self.all[name].version;
        let patch = json!({"metadata": {"resourceVersion": version}, "status": status});
        let patched = self
            .registry
            .patch(
                &context(),
                &self.kind,
                None,
                name,
                Some("status"),
                PatchType::Merge,
                patch.to_string().into(),
            )
            .await;
        match patched {
            Ok(stored) => {
                let object = stored.body.to_value();
                if let (Ok(definition), Some(seen)) = (Definition::read(&object), self.all.get_mut(name)) {
                    seen.definition.status = definition.status;
                    seen.version =
                        object["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
                }
                Ok(())
            }
            // Changed or gone meanwhile: an event tells.
            Err(status) if matches!(status.code, 404 | 409) => Ok(()),
            Err(status) => Err(status),
        }
    }
}

/// A write by the API server itself.
fn context() -> Context {
    let user = UserInfo::authenticated("system:apiserver", ["system:masters"]);
    Context { field_manager: "kube-apiserver".to_owned(), ..Context::new(Arc::new(user)) }
}
