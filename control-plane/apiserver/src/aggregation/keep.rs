//! The loop that keeps APIServices: those of our own there, and of each whether it is available.
//!
//! Looks again when an APIService, its Service or its endpoints change, and at upstream's interval in any case. Several
//! servers do so side by side, as upstream's: what they write of one server is the same.

use super::{
    check::{self, Availability},
    register::{self, Change},
    routes::{self, Found, Remote},
};
use crate::{ServiceResolver, server::ApiServer};
use futures::{StreamExt, stream};
use keelson_auth::UserInfo;
use keelson_registry::{Context, DeleteOptions, Kind, KindTable, Registry, Status, WatchEvent, WatchOptions};
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// How often everything is looked at again.
const INTERVAL: Duration = Duration::from_secs(30);
/// How often the table of kinds is looked at: custom groups come and go with it.
const TABLE_INTERVAL: Duration = Duration::from_secs(1);
/// Before a lost watch is begun again.
const RETRY: Duration = Duration::from_millis(500);
/// Changes taken in before servers are looked at.
const BATCH_MAX: usize = 512;
const SLICE_OF: &str = "kubernetes.io/service-name";

/// Which servers have to be looked at.
#[derive(Debug)]
enum Dirty {
    Nobody,
    All,
    /// Those behind one of these Services, by namespace and name, and those of these names.
    Some {
        services: Vec<(String, String)>,
        names: Vec<String>,
    },
}

/// Runs until the server shuts down.
pub(crate) async fn keep(server: ApiServer) {
    let shutdown = server.inner.shutdown.clone();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            Err(status) = follow(&server) => tracing::warn!(%status, "following APIServices; starting over"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

fn context() -> Context {
    let user = UserInfo::authenticated("system:apiserver", ["system:masters"]);
    Context { field_manager: "kube-aggregator".to_owned(), ..Context::new(Arc::new(user)) }
}

async fn follow(server: &ApiServer) -> Result<(), Status> {
    let registry = &server.inner.registry;
    let everything = WatchOptions { resource_version: "0".to_owned(), ..WatchOptions::default() };
    let mut watches = Vec::new();
    for (group, plural) in
        [(routes::GROUP, "apiservices"), ("", "services"), ("discovery.k8s.io", "endpointslices")]
    {
        let Some(kind) = registry.table().by_resource(group, "v1", plural).cloned() else { continue };
        let events = registry.watch(&kind, None, &everything).await?;
        watches.push(events.map(move |event| (kind.clone(), event)));
    }
    let mut batches = stream::select_all(watches).ready_chunks(BATCH_MAX);
    let (mut all, mut table_tick) = (tokio::time::interval(INTERVAL), tokio::time::interval(TABLE_INTERVAL));
    let mut registered: Option<Arc<KindTable>> = None;
    loop {
        let dirty = tokio::select! {
            _ = all.tick() => Dirty::All,
            _ = table_tick.tick() => Dirty::Nobody,
            batch = batches.next() => match batch {
                Some(batch) => changed(batch)?,
                None => return Err(Status::internal("the watch ended")),
            },
        };
        let table = registry.table();
        if matches!(dirty, Dirty::All) || registered.as_ref().is_none_or(|known| !Arc::ptr_eq(known, &table))
        {
            register(registry, &table).await;
            server.inner.steps.api_services.finish();
            registered = Some(table);
        }
        let all = matches!(dirty, Dirty::All);
        look(server, &dirty).await;
        if all {
            server.inner.steps.api_services_checked.finish();
        }
    }
}

fn changed(batch: Vec<(Arc<Kind>, WatchEvent)>) -> Result<Dirty, Status> {
    let (mut services, mut names) = (Vec::new(), Vec::new());
    for (kind, event) in batch {
        let entry = match event {
            WatchEvent::Added(entry, _) | WatchEvent::Modified(entry, _) | WatchEvent::Deleted(entry, _) => {
                entry
            }
            WatchEvent::Bookmark { .. } => continue,
            WatchEvent::Error(status) => return Err(status),
        };
        let head = &entry.head;
        match &*kind.plural {
            "apiservices" => names.push(head.name().to_owned()),
            "services" => services.push((head.namespace().to_owned(), head.name().to_owned())),
            _ => services
                .extend(head.label(SLICE_OF).map(|name| (head.namespace().to_owned(), name.to_owned()))),
        }
    }
    Ok(Dirty::Some { services, names })
}

impl Dirty {
    fn has(&self, name: &str, remote: Option<&Remote>) -> bool {
        match self {
            Self::Nobody => false,
            Self::All => true,
            Self::Some { services, names } => {
                let behind = |remote: &Remote| {
                    let own = (&remote.service.namespace, &remote.service.name);
                    services.iter().any(|(namespace, name)| (namespace, name) == own)
                };
                names.iter().any(|changed| changed == name) || remote.is_some_and(behind)
            }
        }
    }
}

async fn register(registry: &Arc<Registry>, table: &KindTable) {
    let Some(kind) = routes::kind(registry) else { return };
    let existing: Vec<Value> =
        registry.cached_all(&kind, None).iter().map(|entry| entry.to_value()).collect();
    for change in register::plan(table, &existing) {
        let outcome = match &change {
            Change::Create(object) => {
                registry.create(&context(), &kind, None, None, None, object.clone()).await.map(drop)
            }
            Change::Delete(name) => {
                registry.delete(&context(), &kind, None, name, &DeleteOptions::default()).await.map(drop)
            }
        };
        match outcome {
            // Another server was faster.
            Err(status) if matches!(status.code, 404 | 409) => {}
            Err(status) => tracing::warn!(%status, ?change, "an APIService cannot be kept"),
            Ok(()) => {}
        }
    }
}

/// Looks at the servers that may have changed, and writes down what was found.
async fn look(server: &ApiServer, dirty: &Dirty) {
    let inner = &server.inner;
    let registry = &inner.registry;
    let Some(kind) = routes::kind(registry).filter(|_| !matches!(dirty, Dirty::Nobody)) else { return };
    let resolve = ServiceResolver::over(registry);
    let (known, metrics) = (inner.aggregation.found(), &inner.aggregation.metrics);
    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    let mut available: BTreeMap<String, bool> = BTreeMap::new();
    for entry in registry.cached_all(&kind, None) {
        let (name, object) = (entry.head.name().to_owned(), entry.to_value());
        let remote = Remote::read(&object);
        if !dirty.has(&name, remote.as_ref()) {
            available.extend(metrics.is_available(&name).map(|own| (name.clone(), own)));
            found.extend(known.get(&name).map(|own| (name, own.clone())));
            continue;
        }
        let availability = match &remote {
            None => Availability::local(),
            Some(remote) => {
                let (availability, own) =
                    check::check(registry, &*resolve, &inner.calls, remote, known.get(&name)).await;
                found.insert(name.clone(), own);
                availability
            }
        };
        let was = routes::condition(&object).is_some_and(|condition| condition["status"] == "True");
        if was && !availability.available {
            metrics.lost(&name, availability.reason);
        }
        available.insert(name.clone(), availability.available);
        let now = context();
        let Some(wanted) = check::with_condition(&object, &availability, now.now) else { continue };
        match registry.update(&now, &kind, None, &name, Some("status"), wanted).await {
            // Its change, or that it is gone, wakes us again.
            Err(status) if matches!(status.code, 404 | 409) => {}
            Err(status) => tracing::warn!(%status, api_service = name, "a condition cannot be written"),
            Ok(_) => {}
        }
    }
    metrics.set_available(available);
    inner.aggregation.set_found(found);
}
