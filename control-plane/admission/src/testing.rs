//! A cluster and requests for the plugins' tests, as rows can state them.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use keelson_auth::UserInfo;
use keelson_registry::{Annotations, Attributes, KindTable, Operation, Options, Status, Warnings};
use keelson_semantics::ResourceList;
use parking_lot::Mutex;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::plugin::Plugin;
use crate::{Lookup, NamespaceState, Wanted};

/// Objects by kind, namespace and name.
#[derive(Default)]
pub(crate) struct Cluster {
    objects: HashMap<(Wanted, String, String), Value>,
    /// status.used by the quota's name.
    charged: Mutex<HashMap<String, Value>>,
    /// How many charges meet another writer.
    contended: AtomicUsize,
    namespaces: HashMap<String, NamespaceState>,
}

impl Cluster {
    pub(crate) fn namespace(mut self, name: &str, state: NamespaceState) -> Self {
        self.namespaces.insert(name.to_owned(), state);
        self
    }

    pub(crate) fn contended(self, times: usize) -> Self {
        self.contended.store(times, Ordering::Relaxed);
        self
    }

    /// What was written as status.used of a quota; Null when nothing was.
    pub(crate) fn charged(&self, quota: &str) -> Value {
        self.charged.lock().get(quota).cloned().unwrap_or_default()
    }

    pub(crate) fn with(mut self, wanted: Wanted, object: Value) -> Self {
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        self.objects.insert((wanted, text("namespace"), text("name")), object);
        self
    }
}

#[async_trait]
impl Lookup for Cluster {
    async fn find(&self, wanted: Wanted, namespace: &str, name: &str) -> Result<Option<Value>, Status> {
        Ok(self.objects.get(&(wanted, namespace.to_owned(), name.to_owned())).cloned())
    }

    async fn await_object(
        &self,
        wanted: Wanted,
        namespace: &str,
        name: &str,
        _: Duration,
    ) -> Result<Option<Value>, Status> {
        let appeared = format!("{name}, once awaited");
        match self.find(wanted, namespace, name).await? {
            Some(object) => Ok(Some(object)),
            None => self.find(wanted, namespace, &appeared).await,
        }
    }

    async fn namespace(&self, name: &str) -> Result<NamespaceState, Status> {
        Ok(self.namespaces.get(name).copied().unwrap_or(NamespaceState::Missing))
    }

    async fn list(&self, wanted: Wanted, namespace: &str) -> Result<Vec<Value>, Status> {
        let all = self.objects.iter().filter(|((kind, own, _), _)| *kind == wanted && own == namespace);
        Ok(all.map(|(_, object)| object.clone()).collect())
    }

    async fn charge(&self, quota: &Value, used: &ResourceList) -> Result<bool, Status> {
        let taken = |left: usize| left.checked_sub(1);
        if self.contended.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_ok() {
            return Ok(false);
        }
        let name = quota["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        self.charged.lock().insert(name, json!(used));
        Ok(true)
    }
}

/// One request.
#[derive(Clone)]
pub(crate) struct Request {
    user: UserInfo,
    group: &'static str,
    plural: &'static str,
    subresource: &'static str,
    namespace: String,
    name: String,
    operation: Operation,
    object: Value,
    old: Option<Value>,
    warnings: Warnings,
    annotations: Annotations,
}

impl Request {
    pub(crate) fn create(group: &'static str, plural: &'static str, namespace: &str, object: Value) -> Self {
        Self {
            user: UserInfo::authenticated("jane", ["dev"]),
            group,
            plural,
            subresource: "",
            namespace: namespace.to_owned(),
            name: String::new(),
            operation: Operation::Create,
            object,
            old: None,
            warnings: Warnings::default(),
            annotations: Annotations::kept(true),
        }
    }

    pub(crate) fn delete(group: &'static str, plural: &'static str, namespace: &str, name: &str) -> Self {
        let request = Self::create(group, plural, namespace, json!({}));
        Self { operation: Operation::Delete, name: name.to_owned(), ..request }
    }

    /// The same object, written over `old`.
    pub(crate) fn update(self, old: Value) -> Self {
        let name = self.object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        Self { operation: Operation::Update, name, old: Some(old), ..self }
    }

    pub(crate) fn with_old(self, old: Value) -> Self {
        Self { old: Some(old), ..self }
    }

    pub(crate) fn by(self, user: &str, group: &str) -> Self {
        Self { user: UserInfo::authenticated(user, [group]), ..self }
    }

    pub(crate) fn at(self, subresource: &'static str, name: &str) -> Self {
        Self { subresource, name: name.to_owned(), ..self }
    }

    /// What plugins warned of since the last call.
    pub(crate) fn warned(&self) -> Vec<String> {
        self.warnings.take()
    }

    /// What plugins noted for the audit log.
    pub(crate) fn noted(&self) -> BTreeMap<String, String> {
        self.annotations.all()
    }

    fn call<T>(&self, call: impl FnOnce(&Attributes<'_>) -> T) -> T {
        let table = KindTable::builtin();
        let kind = table.by_resource(self.group, "v1", self.plural).expect("a kind that is served").clone();
        call(&Attributes {
            user: &self.user,
            kind: &kind,
            subresource: self.subresource,
            namespace: &self.namespace,
            name: &self.name,
            operation: self.operation,
            dry_run: false,
            old: self.old.as_ref(),
            options: Options::default(),
            warnings: &self.warnings,
            annotations: &self.annotations,
            now: OffsetDateTime::UNIX_EPOCH,
        })
    }

    /// The object after the plugin. Runs on the spot: the cluster of tests never waits.
    pub(crate) async fn mutate(&self, plugin: &dyn Plugin, cluster: &Cluster) -> Result<Value, Status> {
        let mut object = self.object.clone();
        self.call(|attributes| {
            if !plugin.handles(attributes) {
                return Ok(());
            }
            now(plugin.mutate(attributes, &mut object, cluster))
        })?;
        Ok(object)
    }

    pub(crate) async fn admit_delete(&self, plugin: &dyn Plugin, cluster: &Cluster) -> Result<(), Status> {
        assert_eq!(self.operation, Operation::Delete);
        self.call(|attributes| {
            if !plugin.handles(attributes) {
                return Ok(());
            }
            now(plugin.admit_delete(attributes, cluster))
        })
    }

    pub(crate) async fn validate(&self, plugin: &dyn Plugin, cluster: &Cluster) -> Result<(), Status> {
        let object = (self.operation != Operation::Delete).then_some(&self.object);
        self.call(|attributes| {
            if !plugin.handles(attributes) {
                return Ok(());
            }
            now(plugin.validate(attributes, object, cluster))
        })
    }
}

fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("a plugin waited for something that a lookup does not give"),
    }
}
