//! The namespace that a request is in: looked for once, and only where a selector or an expression is about it.

use crate::matching::{Criteria, Resource, Subject};
use keelson_registry::{
    Attributes, Entry, Registry, Status,
    status::{GroupResource, Reason},
};
use serde_json::{Map, Value};
use std::sync::Arc;

/// The namespace of a request, as far as it was looked for.
#[derive(Default)]
pub(crate) struct Surroundings {
    namespace: Option<Option<Arc<Entry>>>,
}

impl Surroundings {
    /// The Namespace that `name` names, as the caches have it, or the store where they have none.
    async fn namespace(&mut self, registry: &Registry, name: &str) -> Result<Option<Arc<Entry>>, Status> {
        if let Some(known) = &self.namespace {
            return Ok(known.clone());
        }
        let kind = registry.table().by_resource("", "v1", "namespaces").cloned();
        let kind = kind.ok_or_else(|| Status::internal("namespaces are not served"))?;
        let found = match registry.cached(&kind, None, name) {
            Some(entry) => Some(entry),
            None => match registry.get(&kind, None, name, None).await {
                Ok(entry) => Some(entry),
                Err(status) if status.reason == Reason::NotFound => None,
                Err(status) => return Err(status),
            },
        };
        self.namespace = Some(found.clone());
        Ok(found)
    }

    /// Whether the criteria are about the request, and in which form the objects are to be looked at.
    ///
    /// # Errors
    /// 404 where a selector is about a namespace that is not there, as upstream.
    pub(crate) async fn wanted<'a>(
        &mut self,
        registry: &Registry,
        criteria: &Criteria,
        subject: &Subject<'a>,
    ) -> Result<Option<Resource<'a>>, Status> {
        let Some(resource) = criteria.matches(subject) else { return Ok(None) };
        let labels = match subject.namespace_name() {
            Some(name) if criteria.needs_namespace(subject) => {
                let entry = self.namespace(registry, name).await?;
                let missing = || Status::not_found(&GroupResource::new("", "namespaces"), name);
                Some(labels(&*entry.ok_or_else(missing)?))
            }
            _ => None,
        };
        Ok(criteria.matches_namespace(subject, labels.as_ref()).then_some(resource))
    }

    /// `namespaceObject`: Null for what lives in no namespace, Namespaces included.
    pub(crate) async fn namespace_object(
        &mut self,
        registry: &Registry,
        attributes: &Attributes<'_>,
    ) -> Result<Value, Status> {
        let itself = attributes.kind.resource() == ("", "namespaces");
        if attributes.namespace.is_empty() || itself {
            return Ok(Value::Null);
        }
        let entry = self.namespace(registry, attributes.namespace).await?;
        Ok(entry.map_or(Value::Null, |entry| entry.to_value()))
    }
}

fn labels(namespace: &Entry) -> Map<String, Value> {
    let labels = namespace.head.labels.iter();
    labels.map(|(key, value)| (key.to_string(), Value::from(value.as_ref()))).collect()
}
