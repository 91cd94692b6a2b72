//! Flow control's objects: the gate follows them, those that are built in are kept, and each FlowSchema is told whether its level
//! is there. What is written is planned by keelson-flow; every server does this, and what several write is the same.

use super::{GROUP, read};
use crate::server::{ApiServer, Inner};
use futures::{StreamExt, stream};
use keelson_auth::UserInfo;
use keelson_flow::{builtin, dangling, ensure, ensure::Change};
use keelson_registry::{
    Context, DeleteOptions, Kind, PatchType, Preconditions, Registry, Status, WatchEvent, WatchOptions, meta,
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// How often everything is looked at though nothing has changed: what could not be written is tried again. As upstream's.
const INTERVAL: Duration = Duration::from_secs(60);
/// Before a lost watch is begun again.
const RETRY: Duration = Duration::from_millis(200);
/// Changes taken in at once.
const BATCH_MAX: usize = 512;
const PRODUCER: &str = "api-priority-and-fairness-config-producer-v1";
const CONSUMER: &str = "api-priority-and-fairness-config-consumer-v1";

/// Both kinds.
struct Kinds {
    schemas: Arc<Kind>,
    levels: Arc<Kind>,
}

/// All objects, as the caches have them.
#[derive(Default)]
struct Objects {
    schemas: Vec<Value>,
    levels: Vec<Value>,
}

/// What the gate was told last: uid and spec of each object.
type Told = Vec<(Value, Value)>;

/// Runs until the server shuts down.
pub(crate) async fn keep(server: ApiServer) {
    let shutdown = server.inner.shutdown.clone();
    let table = server.inner.table();
    let kind = |plural| table.by_resource(GROUP, "v1", plural).cloned();
    let (Some(schemas), Some(levels)) = (kind("flowschemas"), kind("prioritylevelconfigurations")) else {
        return;
    };
    let kinds = Kinds { schemas, levels };
    let work = async {
        loop {
            if let Err(status) = follow(&server.inner, &kinds).await {
                tracing::warn!(%status, "following the objects of flow control; starting over");
            }
            tokio::time::sleep(RETRY).await;
        }
    };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = work => {}
    }
}

async fn follow(inner: &Inner, kinds: &Kinds) -> Result<(), Status> {
    let everything = WatchOptions { resource_version: "0".to_owned(), ..WatchOptions::default() };
    let registry = &inner.registry;
    let schemas = registry.watch(&kinds.schemas, None, &everything).await?;
    let levels = registry.watch(&kinds.levels, None, &everything).await?;
    let mut batches = stream::select(schemas, levels).ready_chunks(BATCH_MAX);
    let mut all = tokio::time::interval(INTERVAL);
    let mut told = None;
    loop {
        tokio::select! {
            _ = all.tick() => {}
            batch = batches.next() => {
                let batch = batch.ok_or_else(|| Status::internal("the watch ended"))?;
                for event in batch {
                    if let WatchEvent::Error(status) = event {
                        return Err(status);
                    }
                }
            }
        }
        settle(inner, kinds, &mut told).await;
    }
}

/// Looks at everything: the objects are few.
async fn settle(inner: &Inner, kinds: &Kinds, told: &mut Option<Told>) {
    let registry = &inner.registry;
    let of = |kind| registry.cached_all(kind, None).iter().map(|entry| entry.to_value()).collect();
    let objects = Objects { schemas: of(&kinds.schemas), levels: of(&kinds.levels) };
    let mut is_kept = true;
    for (kind, existing, wanted) in [
        (&kinds.schemas, &objects.schemas, builtin::flow_schemas()),
        (&kinds.levels, &objects.levels, builtin::priority_levels()),
    ] {
        for change in ensure::plan(existing, &wanted) {
            is_kept &= write(registry, kind, change).await;
        }
    }
    // Before there are any, as in a store that is new, the gate has what is built in.
    if !objects.levels.is_empty() && !objects.schemas.is_empty() {
        let seen = objects.schemas.iter().chain(&objects.levels);
        let seen = seen.map(|object| (object["metadata"]["uid"].clone(), object["spec"].clone())).collect();
        if told.as_ref() != Some(&seen) {
            inner.gate.configure(
                read(objects.schemas.iter(), "FlowSchema", keelson_flow::FlowSchema::read),
                read(objects.levels.iter(), "PriorityLevelConfiguration", keelson_flow::PriorityLevel::read),
            );
            *told = Some(seen);
        }
        inner.steps.flow_followed.finish();
    }
    tell(registry, kinds, &objects).await;
    if is_kept {
        inner.steps.flow_objects.finish();
    }
}

fn context(manager: &str) -> Context {
    let user = UserInfo::authenticated("system:apiserver", ["system:masters"]);
    Context { field_manager: manager.to_owned(), ..Context::new(Arc::new(user)) }
}

/// Whether it is done, be it by another server.
async fn write(registry: &Arc<Registry>, kind: &Arc<Kind>, change: Change) -> bool {
    let context = context(PRODUCER);
    let outcome = match &change {
        Change::Create(object) => {
            registry.create(&context, kind, None, None, None, object.clone()).await.map(drop)
        }
        Change::Update(object) => {
            let name = meta::field(object, "name");
            registry.update(&context, kind, None, name, None, object.clone()).await.map(drop)
        }
        Change::Delete { name, resource_version } => {
            let preconditions = Preconditions {
                resource_version: Some(resource_version.clone()),
                ..Preconditions::default()
            };
            let options = DeleteOptions { preconditions, ..DeleteOptions::default() };
            registry.delete(&context, kind, None, name, &options).await.map(drop)
        }
    };
    match outcome {
        Ok(()) => true,
        // Its change, or that it is gone, wakes us again.
        Err(status) if matches!(status.code, 404 | 409) => true,
        Err(status) => {
            tracing::warn!(%status, ?change, "a built-in object of flow control cannot be kept");
            false
        }
    }
}

/// Tells each schema whether its level is there.
async fn tell(registry: &Arc<Registry>, kinds: &Kinds, objects: &Objects) {
    let context = context(CONSUMER);
    for schema in &objects.schemas {
        let has = |level: &str| objects.levels.iter().any(|known| meta::field(known, "name") == level);
        let Some(conditions) = dangling::conditions(schema, has, &meta::time_text(context.now)) else {
            continue;
        };
        let (name, version) = (meta::field(schema, "name"), meta::field(schema, "resourceVersion"));
        let patch = json!({"metadata": {"resourceVersion": version}, "status": {"conditions": conditions}});
        let body = patch.to_string().into();
        let form = PatchType::Merge;
        let kind = &kinds.schemas;
        match registry.patch(&context, kind, None, name, Some("status"), form, body).await {
            Err(status) if !matches!(status.code, 404 | 409) => {
                tracing::warn!(%status, name, "the condition of a FlowSchema cannot be written");
            }
            _ => {}
        }
    }
}
