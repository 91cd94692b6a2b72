//! The generic object store: every verb once, for all kinds.
//!
//! Writes: default, admit, prepare, validate, admit, commit with a compare on the key's revision, wait until the caches
//! show it. Reads: the caches at a revision that is at least the store's at the time of the request.

mod binding;
mod carry;
mod collection;
pub(crate) mod commit;
mod create;
mod delete;
mod eviction;
mod page;
mod patch;
mod read;
pub(crate) mod scale;
mod update;
mod wanted;

pub use collection::DeletedCollection;
pub(crate) use commit::encode;
pub use delete::{Deleted, FOREGROUND_FINALIZER, ORPHAN_FINALIZER};
pub use read::ListResult;

use crate::{
    admit::{Admission, AdmitAll, Attributes, Operation, Options},
    cache::{
        ResourceCache,
        feed::{Caches, Feed},
        progress::Progress,
    },
    context::{Context, RegistryConfig},
    convert::Converter,
    entry::Entry,
    kind::Kind,
    meta,
    status::Status,
    strategy::Call,
    table::KindTable,
};
use arc_swap::ArcSwap;
use bytes::{BufMut, BytesMut};
use keelson_store::{Revision, Store};
use serde_json::Value;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// The control plane's one door to the store.
pub struct Registry {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) caches: Arc<Caches>,
    pub(crate) progress: Arc<Progress>,
    admission: ArcSwap<Arc<dyn Admission>>,
    pub(crate) converter: Arc<Converter>,
    pub(crate) config: RegistryConfig,
    feed: JoinHandle<()>,
}

/// What a write left behind.
#[derive(Debug)]
pub struct Stored {
    /// The object as it is now.
    pub body: StoredBody,
    /// 201 for what was created, else 200.
    pub code: u16,
}

/// The body of an answer to a write.
#[derive(Debug)]
pub enum StoredBody {
    /// As stored.
    Entry(Arc<Entry>),
    /// Made for the answer: a dry run, a subresource's own form, a Status.
    Value(Value),
}

impl StoredBody {
    /// Writes the answer as JSON.
    pub fn write_json(&self, out: &mut BytesMut) {
        match self {
            Self::Entry(entry) => entry.write_json(entry.mod_revision(), out),
            Self::Value(value) => out.put_slice(value.to_string().as_bytes()),
        }
    }

    /// Parses the answer.
    pub fn to_value(&self) -> Value {
        match self {
            Self::Entry(entry) => entry.to_value(),
            Self::Value(value) => value.clone(),
        }
    }
}

/// One object of a request.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) kind: &'a Arc<Kind>,
    /// "" for a cluster-scoped kind.
    pub(crate) namespace: &'a str,
    /// "" on create before the name is known.
    pub(crate) name: &'a str,
    /// "" for the object itself.
    pub(crate) sub: &'a str,
}

impl<'a> Target<'a> {
    fn new(kind: &'a Arc<Kind>, namespace: Option<&'a str>, name: &'a str, sub: Option<&'a str>) -> Self {
        let namespace = if kind.namespaced { namespace.unwrap_or_default() } else { "" };
        Self { kind, namespace, name, sub: sub.unwrap_or_default() }
    }

    fn key(&self) -> String {
        self.kind.key(Some(self.namespace), self.name)
    }

    fn not_found(&self) -> Status {
        Status::not_found(&self.kind.group_resource(), self.name)
    }

    fn attributes(
        &self,
        context: &'a Context,
        operation: Operation,
        old: Option<&'a Value>,
    ) -> Attributes<'a> {
        Attributes {
            user: &context.user,
            kind: self.kind,
            subresource: self.sub,
            namespace: self.namespace,
            name: self.name,
            operation,
            dry_run: context.dry_run,
            old,
            options: Options {
                field_manager: &context.field_manager,
                field_validation: Some(context.field_validation),
                deletion: None,
            },
            warnings: &context.warnings,
            annotations: &context.annotations,
            now: context.now,
        }
    }

    fn call(&self, context: &'a Context) -> Call<'a> {
        Call {
            kind: self.kind,
            sub: self.sub,
            user: &context.user,
            now: context.now,
            warnings: &context.warnings,
        }
    }
}

impl Registry {
    /// Fills the caches from the store, then follows it until the registry is dropped.
    pub async fn open(
        store: Arc<dyn Store>,
        table: KindTable,
        config: RegistryConfig,
    ) -> Result<Arc<Self>, Status> {
        let caches = Arc::new(Caches::new(table));
        let progress = Arc::new(Progress::new(0));
        let mut feed = Feed::new(store.clone(), caches.clone(), progress.clone());
        let revision = feed.load().await.map_err(Status::internal)?;
        let feed = tokio::spawn(feed.run(revision));
        let admission = ArcSwap::from_pointee(Arc::new(AdmitAll) as Arc<dyn Admission>);
        let converter = Arc::default();
        Ok(Arc::new(Self { store, caches, progress, admission, converter, config, feed }))
    }

    /// Puts the chain of plugins in place; until then everything is admitted.
    pub fn set_admission(&self, admission: Arc<dyn Admission>) {
        self.admission.store(Arc::new(admission));
    }

    /// All kinds that are served now. The table is replaced whole when that changes.
    pub fn table(&self) -> Arc<KindTable> {
        self.caches.world().table.clone()
    }

    /// The kind that the objects of a definition of custom kinds are stored as, served or not; none while the definition is
    /// not established.
    pub fn custom_kind(&self, definition: &str) -> Option<Arc<Kind>> {
        self.caches.world().stored_of(definition).cloned()
    }

    /// The revision that every read shows at least.
    pub fn revision(&self) -> Revision {
        self.progress.reached()
    }

    /// Err once the caches can no longer follow the store; for readiness.
    pub fn check(&self) -> Result<(), Status> {
        self.progress.check()
    }

    /// The store's newest revision: asked of the store itself, so that it fails where that does not answer.
    pub async fn store_revision(&self) -> Result<Revision, Status> {
        self.store.revision().await.map_err(store_error)
    }

    /// What the store takes where it lasts: a name and bytes for each copy that could be asked.
    pub async fn store_sizes(&self) -> Result<Vec<(String, u64)>, Status> {
        self.store.sizes().await.map_err(store_error)
    }

    /// Waits until the caches show all that the store had committed when this was called; fails where they do not get there.
    pub async fn caught_up(&self) -> Result<Revision, Status> {
        self.fresh().await
    }

    fn admission(&self) -> Arc<dyn Admission> {
        Arc::clone(&self.admission.load())
    }

    fn cache(&self, kind: &Kind) -> Result<Arc<ResourceCache>, Status> {
        self.caches
            .of_kind(kind)
            .filter(|_| kind.is_stored())
            .ok_or_else(|| Status::method_not_allowed(&kind.group_resource(), "reading or writing"))
    }

    /// Waits until the caches show all that the store had committed when this was called.
    pub(crate) async fn fresh(&self) -> Result<Revision, Status> {
        let revision = self.store.revision().await.map_err(store_error)?;
        self.progress.wait(revision).await?;
        Ok(revision)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.feed.abort();
        // Watches that outlive the registry end with an error, not in silence.
        self.progress.fail("the server is shutting down".to_owned());
        self.caches.wake_all();
    }
}

/// The store's failure as the API tells it.
pub(crate) fn store_error(error: keelson_store::StoreError) -> Status {
    use keelson_store::StoreError;
    match &error {
        StoreError::Compacted { requested, oldest } => Status::too_old(*requested, *oldest),
        StoreError::Invalid(why) => Status::too_large(why.clone()),
        StoreError::Unavailable { .. } => {
            tracing::warn!(error = &error as &dyn std::error::Error, "the store is unavailable");
            Status::unavailable(error.to_string())
        }
        _ => Status::internal(error),
    }
}

/// The namespace of a body must be that of the request; absent, it becomes it.
pub(crate) fn match_namespace(target: &Target<'_>, body: &mut Value) -> Result<(), Status> {
    let own = meta::field(body, "namespace");
    if own == target.namespace {
        if own.is_empty() {
            meta::set(body, "namespace", None);
        }
        return Ok(());
    }
    if !own.is_empty() && !target.namespace.is_empty() {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    let namespace = (!target.namespace.is_empty()).then(|| Value::String(target.namespace.to_owned()));
    meta::set(body, "namespace", namespace);
    Ok(())
}
