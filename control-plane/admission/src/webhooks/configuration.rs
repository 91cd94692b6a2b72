//! Webhook configurations, compiled: read once a change of theirs, in the order in which they are asked.

use crate::{
    matching::{Criteria, CriteriaError},
    policies::{FailurePolicy, MatchConditions},
};
use arc_swap::ArcSwapOption;
use keelson_registry::{Registry, meta};
use keelson_webhook::{ClientConfig, ConfigError};
use serde_json::Value;
use std::{sync::Arc, time::Duration};

/// How long a webhook may take that does not say (the API's default).
const TIMEOUT_S: u64 = 10;

/// The AdmissionReview that a webhook understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReviewVersion {
    V1,
    V1beta1,
}

/// One webhook.
pub(super) struct Hook {
    /// `CONFIGURATION/WEBHOOK`.
    pub(super) id: String,
    /// The configuration's name.
    pub(super) configuration: String,
    /// The webhook's name.
    pub(super) name: String,
    /// An unreadable one fails whatever it might be about.
    pub(super) criteria: Result<Criteria, CriteriaError>,
    /// What the request must be like beyond that.
    pub(super) conditions: MatchConditions,
    pub(super) config: Result<ClientConfig, ConfigError>,
    pub(super) failure: FailurePolicy,
    pub(super) timeout: Duration,
    pub(super) version: ReviewVersion,
    /// Whether it may be asked about a dry run.
    pub(super) dry_run: bool,
    /// Whether it wants to see what came after it.
    pub(super) reinvoke: bool,
}

/// All webhooks of one kind of configuration.
pub(super) struct Configurations {
    plural: &'static str,
    compiled: ArcSwapOption<Compiled>,
}

struct Compiled {
    revision: u64,
    hooks: Arc<[Hook]>,
}

impl Configurations {
    pub(super) fn new(plural: &'static str) -> Self {
        Self { plural, compiled: ArcSwapOption::empty() }
    }

    /// The webhooks as the caches have them now: a configuration whose write was answered counts.
    pub(super) fn hooks(&self, registry: &Registry) -> Arc<[Hook]> {
        let table = registry.table();
        let Some(kind) = table.by_resource(crate::matching::GROUP, "v1", self.plural) else {
            return Arc::new([]);
        };
        // Taken before the objects are read: what is compiled is at least as new as it says.
        let revision = registry.cached_revision(kind);
        if let Some(known) = self.compiled.load().as_ref().filter(|known| known.revision == revision) {
            return known.hooks.clone();
        }
        let objects = registry.cached_all(kind, None);
        let hooks: Arc<[Hook]> =
            objects.iter().flat_map(|entry| compile(&entry.to_value())).collect::<Vec<_>>().into();
        self.compiled.store(Some(Arc::new(Compiled { revision, hooks: hooks.clone() })));
        hooks
    }
}

/// The webhooks of a configuration, in its order. The caches have configurations by name.
fn compile(configuration: &Value) -> Vec<Hook> {
    let own = meta::field(configuration, "name");
    meta::items(configuration, &["webhooks"]).iter().map(|hook| Hook::read(own, hook)).collect()
}

impl Hook {
    fn read(configuration: &str, hook: &Value) -> Self {
        let text = |key: &str| meta::text(hook, &[key]);
        let name = text("name").to_owned();
        let seconds = hook["timeoutSeconds"].as_u64().unwrap_or(TIMEOUT_S);
        let versions = meta::items(hook, &["admissionReviewVersions"]).iter();
        let first = versions.filter_map(Value::as_str).find(|version| matches!(*version, "v1" | "v1beta1"));
        Self {
            id: format!("{configuration}/{name}"),
            configuration: configuration.to_owned(),
            name,
            criteria: Criteria::of_webhook(hook),
            conditions: MatchConditions::read(hook),
            config: ClientConfig::parse(&hook["clientConfig"]),
            failure: if text("failurePolicy") == "Ignore" {
                FailurePolicy::Ignore
            } else {
                FailurePolicy::Fail
            },
            timeout: Duration::from_secs(seconds),
            version: if first == Some("v1beta1") { ReviewVersion::V1beta1 } else { ReviewVersion::V1 },
            dry_run: matches!(text("sideEffects"), "None" | "NoneOnDryRun"),
            reinvoke: text("reinvocationPolicy") == "IfNeeded",
        }
    }
}
