//! Five verbs on objects that say themselves what they are. For the few kinds of the bootstrap.

use anyhow::{Context, bail};
use http::{Method, Request};
use serde_json::Value;

/// Kind to resource, for the kinds that are made here; the flag says namespaced.
const RESOURCES: [(&str, &str, bool); 12] = [
    ("ConfigMap", "configmaps", true),
    ("Namespace", "namespaces", false),
    ("ClusterRole", "clusterroles", false),
    ("ClusterRoleBinding", "clusterrolebindings", false),
    ("Role", "roles", true),
    ("RoleBinding", "rolebindings", true),
    ("PriorityClass", "priorityclasses", false),
    ("ServiceCIDR", "servicecidrs", false),
    ("Service", "services", true),
    ("Endpoints", "endpoints", true),
    ("EndpointSlice", "endpointslices", true),
    ("Lease", "leases", true),
];

/// Objects by themselves.
pub(super) struct Api {
    client: kube::Client,
}

impl Api {
    pub(super) fn new(client: kube::Client) -> Self {
        Self { client }
    }

    /// The object of the same kind and name as it is now.
    pub(super) async fn get(&self, like: &Value) -> anyhow::Result<Option<Value>> {
        match self.send(Method::GET, &named(like)?, None).await {
            Ok(found) => Ok(Some(found)),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
            Err(error) => Err(error).with_context(|| format!("reading {}", named(like).unwrap_or_default())),
        }
    }

    /// Creates; that somebody else was faster is no error.
    pub(super) async fn create(&self, object: &Value) -> anyhow::Result<()> {
        let path = collection(object)?;
        match self.send(Method::POST, &path, Some(object)).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
            Err(error) => {
                Err(error).with_context(|| format!("creating {}", named(object).unwrap_or_default()))
            }
        }
    }

    /// Creates what is absent and leaves what is there.
    pub(super) async fn ensure(&self, object: &Value) -> anyhow::Result<()> {
        match self.get(object).await? {
            Some(_) => Ok(()),
            None => self.create(object).await,
        }
    }

    /// Replaces; the object carries the resourceVersion that was read.
    pub(super) async fn update(&self, object: &Value) -> anyhow::Result<()> {
        let path = named(object)?;
        self.send(Method::PUT, &path, Some(object)).await.with_context(|| format!("updating {path}"))?;
        Ok(())
    }

    /// Deletes; absence is no error.
    pub(super) async fn delete(&self, object: &Value) -> anyhow::Result<()> {
        let path = named(object)?;
        match self.send(Method::DELETE, &path, None).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(error).with_context(|| format!("deleting {path}")),
        }
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, kube::Error> {
        let bytes = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(bytes)
            .map_err(kube::Error::HttpError)?;
        self.client.request::<Value>(request).await
    }
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn collection(object: &Value) -> anyhow::Result<String> {
    let kind = text(object, "/kind");
    let Some((_, plural, namespaced)) = RESOURCES.iter().find(|(known, _, _)| *known == kind) else {
        bail!("the bootstrap knows no resource for kind {kind:?}");
    };
    let version = text(object, "/apiVersion");
    let prefix = if version.contains('/') { "apis" } else { "api" };
    Ok(if *namespaced {
        format!("/{prefix}/{version}/namespaces/{}/{plural}", text(object, "/metadata/namespace"))
    } else {
        format!("/{prefix}/{version}/{plural}")
    })
}

fn named(object: &Value) -> anyhow::Result<String> {
    Ok(format!("{}/{}", collection(object)?, text(object, "/metadata/name")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_object_says_where_it_lives() {
        let rows = [
            (
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}}),
                "/api/v1/namespaces/n",
            ),
            (
                json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "s", "namespace": "d"}}),
                "/apis/discovery.k8s.io/v1/namespaces/d/endpointslices/s",
            ),
        ];
        for (object, path) in rows {
            assert_eq!(named(&object).unwrap(), path);
        }
        assert!(named(&json!({"kind": "Other"})).is_err());
    }

    #[test]
    fn every_default_role_has_a_place() {
        for object in keelson_auth::bootstrap::rbac_objects() {
            named(&object).unwrap();
        }
    }
}
