//! How token verification sees the cluster: fresh reads through the registry, absence kept apart from failure.

use async_trait::async_trait;
use keelson_auth::authn::token::{Bound, Found, Lookup, LookupError};
use keelson_registry::{Registry, status::Reason};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Finds what tokens are bound to.
pub(crate) struct RegistryLookup<'a>(pub(crate) &'a Registry);

#[async_trait]
impl Lookup for RegistryLookup<'_> {
    async fn find(&self, kind: Bound, namespace: &str, name: &str) -> Result<Option<Found>, LookupError> {
        let plural = match kind {
            Bound::ServiceAccount => "serviceaccounts",
            Bound::Pod => "pods",
            Bound::Secret => "secrets",
            Bound::Node => "nodes",
        };
        let kind = self
            .0
            .table()
            .by_resource("", "v1", plural)
            .cloned()
            .ok_or_else(|| LookupError(format!("{plural} are not served")))?;
        let namespace = kind.namespaced.then_some(namespace);
        match self.0.get(&kind, namespace, name, None).await {
            Err(status) if status.reason == Reason::NotFound => Ok(None),
            Err(status) => Err(LookupError(status.message)),
            Ok(entry) => {
                let deletion = if entry.head.deleting { deletion_time(&entry.to_value()) } else { None };
                Ok(Some(Found { uid: entry.head.uid.to_string(), deletion }))
            }
        }
    }
}

fn deletion_time(object: &serde_json::Value) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(object["metadata"]["deletionTimestamp"].as_str()?, &Rfc3339).ok()
}
