//! Which groups and versions others serve: APIServices, compiled once a change of theirs, and what each was found to serve.

use super::metrics::Metrics;
use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use keelson_registry::{Kind, Registry, meta};
use keelson_webhook::{ClientConfig, Peer, Scheme, ServiceReference, Trust};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// The group of APIServices.
pub(super) const GROUP: &str = "apiregistration.k8s.io";

/// A group and version that another server serves.
#[derive(Debug)]
pub(crate) struct Remote {
    /// The APIService's name.
    pub(crate) name: String,
    pub(super) group: String,
    pub(super) version: String,
    /// spec.groupPriorityMinimum.
    pub(super) group_priority: i64,
    /// spec.versionPriority.
    pub(super) version_priority: i64,
    pub(super) service: ServiceReference,
    /// The Service behind it.
    pub(crate) peer: Peer,
    /// Whether it was found to answer.
    pub(crate) available: bool,
}

/// What a server was found to serve when it was last looked at.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Found {
    /// `resources` of its APIResourceList.
    pub(super) resources: Vec<Value>,
    /// Its OpenAPI v3 document of the group and version.
    pub(super) openapi: Option<OpenApi>,
}

/// A document of OpenAPI v3.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct OpenApi {
    /// As the server's index has it.
    pub(super) url: String,
    /// What it says of the group and version, compressed; None where it could not be read.
    pub(super) document: Option<Bytes>,
}

/// All of them.
#[derive(Default)]
pub(crate) struct Aggregation {
    compiled: ArcSwapOption<Compiled>,
    /// By the name of the APIService.
    found: ArcSwap<BTreeMap<String, Found>>,
    pub(crate) metrics: Metrics,
}

struct Compiled {
    revision: u64,
    remotes: Arc<[Arc<Remote>]>,
}

/// The kind APIService.
pub(super) fn kind(registry: &Registry) -> Option<Arc<Kind>> {
    registry.table().by_resource(GROUP, "v1", "apiservices").cloned()
}

impl Aggregation {
    /// Everything that others serve, as the caches have it now.
    pub(super) fn remotes(&self, registry: &Registry) -> Arc<[Arc<Remote>]> {
        let Some(kind) = kind(registry) else { return Arc::new([]) };
        // Taken before the objects are read: what is compiled is at least as new as it says.
        let revision = registry.cached_revision(&kind);
        if let Some(known) = self.compiled.load().as_ref().filter(|known| known.revision == revision) {
            return known.remotes.clone();
        }
        let all = registry.cached_all(&kind, None);
        let remotes = all.iter().filter_map(|entry| Remote::read(&entry.to_value()).map(Arc::new));
        let remotes: Arc<[Arc<Remote>]> = remotes.collect::<Vec<_>>().into();
        self.compiled.store(Some(Arc::new(Compiled { revision, remotes: remotes.clone() })));
        remotes
    }

    /// Who serves the group and version, where it is not us.
    pub(crate) fn remote(&self, registry: &Registry, group: &str, version: &str) -> Option<Arc<Remote>> {
        let remotes = self.remotes(registry);
        remotes.iter().find(|remote| remote.group == group && remote.version == version).cloned()
    }

    pub(super) fn found(&self) -> Arc<BTreeMap<String, Found>> {
        self.found.load_full()
    }

    /// Remembers what a server serves. The loop's alone.
    pub(super) fn set_found(&self, found: BTreeMap<String, Found>) {
        self.found.store(Arc::new(found));
    }
}

impl Remote {
    /// None for a local one, and for one that names no usable Service.
    pub(super) fn read(object: &Value) -> Option<Self> {
        let spec = &object["spec"];
        let reference = meta::at(spec, &["service"])?;
        let service = ServiceReference::parse(reference).ok()?;
        let trust = if spec["insecureSkipTLSVerify"] == json!(true) {
            Trust::Anybody
        } else {
            ClientConfig::parse(&json!({"service": reference, "caBundle": spec["caBundle"]})).ok()?.trust
        };
        let text = |key: &str| meta::text(spec, &[key]).to_owned();
        Some(Self {
            name: meta::field(object, "name").to_owned(),
            group: text("group"),
            version: text("version"),
            group_priority: meta::number(spec, &["groupPriorityMinimum"]).unwrap_or_default(),
            version_priority: meta::number(spec, &["versionPriority"]).unwrap_or_default(),
            peer: Peer { scheme: Scheme::Https(trust), host: service.as_host(), identified: true },
            service,
            available: condition(object).is_some_and(|condition| condition["status"] == "True"),
        })
    }

    /// `apis/GROUP/VERSION`.
    pub(super) fn path(&self) -> String {
        format!("apis/{}/{}", self.group, self.version)
    }
}

/// The condition Available.
pub(super) fn condition(object: &Value) -> Option<&Value> {
    meta::items(object, &["status", "conditions"]).iter().find(|condition| condition["type"] == "Available")
}
