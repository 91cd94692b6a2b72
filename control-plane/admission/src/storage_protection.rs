//! StorageObjectInUseProtection: claims, volumes and VolumeAttributesClasses are made with the finalizer that holds them while they
//! are in use. Who takes it away is a controller.
//!
//! Rules: upstream's `plugin/pkg/admission/storage/storageobjectinuseprotection`.

use async_trait::async_trait;
use keelson_registry::{Attributes, Operation, Status};
use serde_json::{Value, json};

use crate::Lookup;
use crate::plugin::Plugin;

pub(crate) struct StorageObjectInUseProtection;

fn finalizer(resource: (&str, &str)) -> Option<&'static str> {
    match resource {
        ("", "persistentvolumeclaims") => Some("kubernetes.io/pvc-protection"),
        ("", "persistentvolumes") => Some("kubernetes.io/pv-protection"),
        ("storage.k8s.io", "volumeattributesclasses") => Some("kubernetes.io/vac-protection"),
        _ => None,
    }
}

#[async_trait]
impl Plugin for StorageObjectInUseProtection {
    fn name(&self) -> &'static str {
        "StorageObjectInUseProtection"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        attributes.operation == Operation::Create
            && attributes.subresource.is_empty()
            && finalizer(attributes.kind.resource()).is_some()
    }

    async fn mutate(
        &self,
        attributes: &Attributes<'_>,
        object: &mut Value,
        _lookup: &dyn Lookup,
    ) -> Result<(), Status> {
        let Some(ours) = finalizer(attributes.kind.resource()) else { return Ok(()) };
        let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return Ok(()) };
        let finalizers = metadata.entry("finalizers").or_insert_with(|| json!([]));
        if finalizers.is_null() {
            *finalizers = json!([]);
        }
        if let Some(list) = finalizers.as_array_mut()
            && !list.iter().any(|name| name == ours)
        {
            list.push(json!(ours));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Cluster, Request};

    #[tokio::test]
    async fn what_is_made_has_its_finalizer_once() {
        let ours = "kubernetes.io/pvc-protection";
        for (present, expected) in [
            (Value::Null, json!([ours])),
            (json!(["a"]), json!(["a", ours])),
            (json!([ours, "a"]), json!([ours, "a"])),
        ] {
            let claim = json!({"metadata": {"name": "c", "finalizers": present}});
            let request = Request::create("", "persistentvolumeclaims", "ns", claim);
            let admitted = request.mutate(&StorageObjectInUseProtection, &Cluster::default()).await.unwrap();
            assert_eq!(admitted["metadata"]["finalizers"], expected);
        }
        let pod = Request::create("", "pods", "ns", json!({"metadata": {"name": "p"}}));
        let admitted = pod.mutate(&StorageObjectInUseProtection, &Cluster::default()).await.unwrap();
        assert!(admitted["metadata"]["finalizers"].is_null());
    }
}
