//! A registry on an empty model store, and short ways to call it.

use futures::{StreamExt, stream::BoxStream};
use keelson_auth::UserInfo;
use keelson_registry::kind::Storage;
use keelson_registry::{
    Context, DeleteOptions, Deleted, Entry, Kind, KindTable, ListOptions, ListResult, PatchType, Registry,
    RegistryConfig, Status, Stored, WatchEvent, WatchOptions,
};
use keelson_store::{Store, model::Model};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

pub(crate) struct Fixture {
    pub(crate) registry: Arc<Registry>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) context: Context,
}

pub(crate) async fn fixture() -> Fixture {
    let store: Arc<dyn Store> = Arc::new(Model::default());
    on(store).await
}

/// With ranges of both families, IPv4 first, and few node ports.
pub(crate) async fn dual() -> Fixture {
    let ranges = ["10.96.0.0/24", "fd00:96::/112"].map(|range| range.parse().expect("a network"));
    let config = RegistryConfig {
        service_cidrs: ranges.to_vec(),
        node_ports: "30000-30019".parse().expect("a range of ports"),
    };
    with(Arc::new(Model::default()), config).await
}

pub(crate) async fn on(store: Arc<dyn Store>) -> Fixture {
    let config = RegistryConfig {
        service_cidrs: vec!["10.96.0.0/24".parse().expect("a network")],
        ..RegistryConfig::default()
    };
    with(store, config).await
}

pub(crate) async fn with(store: Arc<dyn Store>, config: RegistryConfig) -> Fixture {
    let registry =
        Registry::open(store.clone(), KindTable::builtin(), config).await.expect("the store is there");
    let user = UserInfo { name: "test".to_owned(), ..UserInfo::default() };
    Fixture { registry, store, context: Context::new(Arc::new(user)) }
}

/// The sample of a kind, as the fixtures have it.
pub(crate) fn sample(plural: &str) -> Value {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures");
    let files = std::fs::read_dir(folder).expect("there are fixtures").filter_map(Result::ok);
    let is_of = |name: &str| name.split('.').any(|part| part == plural);
    let named = files
        .map(|file| file.path())
        .filter(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(is_of));
    // Of two versions the later one, which has the longer name, is what objects are stored as.
    let file = named.max_by_key(|path| path.as_os_str().len());
    let text = std::fs::read_to_string(file.expect("the kind has a fixture")).expect("it can be read");
    let object = text.split("\n---\n").next().expect("splitting gives at least one part");
    serde_saphyr::from_str(object).expect("a fixture is YAML")
}

/// An object with a merge patch (RFC 7386) applied.
pub(crate) fn changed(object: &Value, patch: &Value) -> Value {
    let Value::Object(changes) = patch else { return patch.clone() };
    let mut merged = object.as_object().cloned().unwrap_or_default();
    for (key, change) in changes {
        match change {
            Value::Null => drop(merged.remove(key)),
            change => {
                let next = changed(merged.get(key).unwrap_or(&Value::Null), change);
                merged.insert(key.clone(), next);
            }
        }
    }
    Value::Object(merged)
}

/// Each change makes the kind's sample one that is refused with this among its message.
pub(crate) async fn refused<const N: usize>(plural: &str, rows: [(Value, &str); N]) {
    let f = fixture().await;
    let good = sample(plural);
    f.create_with(&f.dry(), plural, good.clone()).await.expect("the sample is valid");
    for (change, message) in rows {
        let outcome = f.create(plural, changed(&good, &change)).await;
        let status = outcome.map(|_| ()).expect_err(&format!("{change} is wrong"));
        assert!(status.code == 422 && status.message.contains(message), "{change}: {status}");
    }
}

/// Each change of the kind's sample is taken (None) or refused with this among its message.
pub(crate) async fn changes<const N: usize>(plural: &str, rows: [(Value, Option<&str>); N]) {
    for (change, expected) in rows {
        let f = fixture().await;
        let made = f.made(plural, sample(plural)).await;
        let outcome = f.update(plural, None, changed(&made, &change)).await;
        match (outcome, expected) {
            (Ok(_), None) => {}
            (Err(status), Some(part)) => assert!(status.message.contains(part), "{change}: {status}"),
            (Ok(_), Some(_)) => panic!("{plural}: {change} is taken"),
            (Err(status), None) => panic!("{plural}: {change} is refused: {status}"),
        }
    }
}

/// Each status of the kind's sample is taken (None) or refused with this among its message.
pub(crate) async fn statuses<const N: usize>(plural: &str, rows: [(Value, Option<&str>); N]) {
    for (status, expected) in rows {
        let f = fixture().await;
        let made = f.made(plural, sample(plural)).await;
        let name = made["metadata"]["name"].as_str().expect("a name");
        let outcome = f.patch(plural, name, Some("status"), json!({"status": status})).await;
        match (outcome, expected) {
            (Ok(_), None) => {}
            (Err(error), Some(part)) => assert!(error.message.contains(part), "{status}: {error}"),
            (Ok(_), Some(_)) => panic!("{plural}: {status} is taken"),
            (Err(error), None) => panic!("{plural}: {status} is refused: {error}"),
        }
    }
}

impl Fixture {
    pub(crate) fn kind(&self, plural: &str) -> Arc<Kind> {
        // Of two groups or versions, the one whose objects are stored.
        let table = self.registry.table();
        let mut kinds = table.iter().filter(|kind| kind.plural == plural);
        kinds.find(|kind| matches!(kind.storage, Storage::Own)).expect("the kind is served").clone()
    }

    pub(crate) fn dry(&self) -> Context {
        Context { dry_run: true, ..self.context.clone() }
    }

    pub(crate) async fn create(&self, plural: &str, body: Value) -> Result<Stored, Status> {
        self.create_with(&self.context, plural, body).await
    }

    pub(crate) async fn create_with(
        &self,
        context: &Context,
        plural: &str,
        body: Value,
    ) -> Result<Stored, Status> {
        self.registry.create(context, &self.kind(plural), Some("ns"), None, None, body).await
    }

    pub(crate) async fn made(&self, plural: &str, body: Value) -> Value {
        self.create(plural, body).await.expect("the object is valid").body.to_value()
    }

    pub(crate) async fn update(
        &self,
        plural: &str,
        sub: Option<&str>,
        body: Value,
    ) -> Result<Stored, Status> {
        let name = body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        self.registry.update(&self.context, &self.kind(plural), Some("ns"), &name, sub, body).await
    }

    pub(crate) async fn patch(
        &self,
        plural: &str,
        name: &str,
        sub: Option<&str>,
        patch: Value,
    ) -> Result<Value, Status> {
        let body = patch.to_string().into();
        let kind = self.kind(plural);
        let form = PatchType::Merge;
        let stored = self.registry.patch(&self.context, &kind, Some("ns"), name, sub, form, body).await?;
        Ok(stored.body.to_value())
    }

    /// The same fixture's context for another writer, some seconds later.
    pub(crate) fn by(&self, manager: &str, seconds: i64) -> Context {
        let now = self.context.now + Duration::from_secs(seconds.unsigned_abs());
        Context { field_manager: manager.to_owned(), now, ..self.context.clone() }
    }

    /// Server-side apply; the code and the object.
    pub(crate) async fn apply(
        &self,
        context: &Context,
        plural: &str,
        sub: Option<&str>,
        config: &Value,
        force: bool,
    ) -> Result<(u16, Value), Status> {
        let name = config["metadata"]["name"].as_str().unwrap_or_default();
        let (kind, body) = (self.kind(plural), config.to_string().into());
        let form = PatchType::Apply { force };
        let stored = self.registry.patch(context, &kind, Some("ns"), name, sub, form, body).await?;
        Ok((stored.code, stored.body.to_value()))
    }

    /// A patch of any form by somebody.
    pub(crate) async fn patch_by(
        &self,
        context: &Context,
        plural: &str,
        name: &str,
        sub: Option<&str>,
        form: PatchType,
        patch: Value,
    ) -> Result<Value, Status> {
        let (kind, body) = (self.kind(plural), patch.to_string().into());
        let stored = self.registry.patch(context, &kind, Some("ns"), name, sub, form, body).await?;
        Ok(stored.body.to_value())
    }

    pub(crate) async fn delete(
        &self,
        plural: &str,
        name: &str,
        options: DeleteOptions,
    ) -> Result<Deleted, Status> {
        self.registry.delete(&self.context, &self.kind(plural), Some("ns"), name, &options).await
    }

    pub(crate) async fn get(&self, plural: &str, name: &str) -> Result<Value, Status> {
        let entry = self.registry.get(&self.kind(plural), Some("ns"), name, None).await?;
        Ok(entry.to_value())
    }

    pub(crate) async fn list(&self, plural: &str, options: ListOptions) -> Result<ListResult, Status> {
        self.registry.list(&self.kind(plural), Some("ns"), &options).await
    }

    pub(crate) async fn names(&self, plural: &str, options: ListOptions) -> Vec<String> {
        let list = self.list(plural, options).await.expect("the list can be made");
        list.items.iter().map(|entry| entry.head.name().to_owned()).collect()
    }

    pub(crate) async fn watch(&self, plural: &str, options: WatchOptions) -> BoxStream<'static, WatchEvent> {
        self.registry.watch(&self.kind(plural), Some("ns"), &options).await.expect("the watch begins")
    }
}

pub(crate) fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": "v"}})
}

pub(crate) fn labelled(name: &str, value: &str) -> Value {
    let mut object = config_map(name);
    object["metadata"]["labels"] = json!({"l": value});
    object
}

pub(crate) fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": "busybox:1"}]},
    })
}

pub(crate) fn deployment(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "c", "image": "busybox:1"}]},
            },
        },
    })
}

pub(crate) fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"]
        .as_str()
        .and_then(|text| text.parse().ok())
        .expect("a resourceVersion")
}

/// The entries of managedFields in short: who, by what, on which subresource, and which fields.
pub(crate) fn owners(object: &Value) -> Vec<(String, Value)> {
    let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    entries
        .map(|entry| {
            let text = |key: &str| entry[key].as_str().unwrap_or_default();
            assert_eq!(text("fieldsType"), "FieldsV1");
            let who = [text("manager"), text("operation"), text("apiVersion"), text("subresource")];
            (who.join(" ").trim_end().to_owned(), entry["fieldsV1"].clone())
        })
        .collect()
}

/// The next event in short: what, name, revision.
pub(crate) async fn next(watch: &mut BoxStream<'static, WatchEvent>) -> (String, u64) {
    let event = tokio::time::timeout(Duration::from_secs(5), watch.next()).await.expect("an event comes");
    let of = |word: &str, entry: &Entry, revision| (format!("{word} {}", entry.head.name()), revision);
    match event.expect("the watch goes on") {
        WatchEvent::Added(entry, revision) => of("ADDED", &entry, revision),
        WatchEvent::Modified(entry, revision) => of("MODIFIED", &entry, revision),
        WatchEvent::Deleted(entry, revision) => of("DELETED", &entry, revision),
        WatchEvent::Bookmark { revision, initial_events_end: true } => ("END".to_owned(), revision),
        WatchEvent::Bookmark { revision, .. } => ("BOOKMARK".to_owned(), revision),
        WatchEvent::Error(status) => (format!("ERROR {}", status.code), 0),
    }
}
