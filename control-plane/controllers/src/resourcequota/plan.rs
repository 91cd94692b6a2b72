//! What a quota's status should say: a sum over the objects that it is about.

use keelson_harness::{
    Resource,
    api::{CONFIG_MAPS, PERSISTENT_VOLUME_CLAIMS, PODS, RESOURCE_QUOTAS, SERVICES},
    views::QuotaSpec,
};
use keelson_quota::{amounts, source_of};
use keelson_semantics::{Quantity, ResourceList, resources};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use time::OffsetDateTime;

/// Secrets, by metadata alone anywhere else.
const SECRETS: Resource = Resource::namespaced("", "v1", "secrets", "Secret");

/// Resources whose place is known without asking the server.
pub(super) fn usual(group: &str, plural: &str) -> Option<Resource> {
    [PODS, SERVICES, PERSISTENT_VOLUME_CLAIMS, CONFIG_MAPS, SECRETS, RESOURCE_QUOTAS]
        .into_iter()
        .find(|one| one.group == group && one.plural == plural)
}

/// Whether a quota counts objects of a resource.
pub(super) fn counts(spec: &QuotaSpec, group: &str, plural: &str) -> bool {
    spec.hard
        .keys()
        .filter_map(|name| source_of(name))
        .any(|source| (source.group, source.plural) == (group, plural))
}

/// A sum under way.
pub(super) struct Recount<'a> {
    quota: &'a Value,
    hard: ResourceList,
    used: ResourceList,
}

impl<'a> Recount<'a> {
    /// Of no object yet: zero of everything that something is counted under.
    pub(super) fn new(quota: &'a Value) -> Self {
        let hard = amounts(quota, "spec", "hard");
        let counted = hard.keys().filter(|name| source_of(name).is_some());
        let used = counted.map(|name| (name.clone(), Quantity::ZERO)).collect();
        Self { quota, hard, used }
    }

    /// The resources that are to be listed, by group and plural.
    pub(super) fn sources(&self) -> BTreeSet<(String, String)> {
        let all = self.hard.keys().filter_map(|name| source_of(name));
        all.map(|source| (source.group.to_owned(), source.plural.to_owned())).collect()
    }

    /// Whether discovery is needed to find them.
    pub(super) fn is_of_unusual_kinds(&self) -> bool {
        self.sources().iter().any(|(group, plural)| usual(group, plural).is_none())
    }

    /// One object more.
    pub(super) fn add(&mut self, group: &str, plural: &str, object: &Value, now: OffsetDateTime) {
        if !keelson_quota::matches(self.quota, group, plural, object) {
            return;
        }
        let mut usage = keelson_quota::usage(group, plural, object, now);
        usage.retain(|name, _| self.used.contains_key(name));
        resources::add(&mut self.used, &usage);
    }

    /// The status to write, as a merge patch; None when it says so already.
    pub(super) fn status(&self) -> Option<Value> {
        let (hard, used) = (amounts(self.quota, "status", "hard"), amounts(self.quota, "status", "used"));
        if hard == self.hard && used == self.used {
            return None;
        }
        Some(json!({"hard": replacing(&hard, &self.hard), "used": replacing(&used, &self.used)}))
    }
}

/// A merge patch from one list to another: what is no longer there becomes null.
fn replacing(old: &ResourceList, new: &ResourceList) -> Value {
    let gone = old.keys().filter(|name| !new.contains_key(*name)).map(|name| (name.clone(), Value::Null));
    let all: Map<String, Value> =
        gone.chain(new.iter().map(|(name, amount)| (name.clone(), json!(amount)))).collect();
    Value::Object(all)
}
