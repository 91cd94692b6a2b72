//! DefaultStorageClass and PersistentVolumeClaimResize: a claim that names no class gets the one that is marked as
//! default; a claim grows only where its class lets volumes grow.
//!
//! Rules: upstream's `plugin/pkg/admission/storage/{storageclass/setdefault,persistentvolume/resize}`.

use async_trait::async_trait;
use keelson_registry::{Attributes, Operation, Status};
use keelson_semantics::Quantity;
use serde_json::{Value, json};

use crate::plugin::{Plugin, annotation, forbidden, is, text};
use crate::{Lookup, Wanted};

/// On the class; the second from before there was a first.
const IS_DEFAULT: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
/// On the claim, from before there was a field: whoever has it has chosen.
const CHOSEN: &str = "volume.beta.kubernetes.io/storage-class";

pub(crate) struct DefaultStorageClass;

#[async_trait]
impl Plugin for DefaultStorageClass {
    fn name(&self) -> &'static str {
        "DefaultStorageClass"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        is(attributes, "", "persistentvolumeclaims")
            && attributes.subresource.is_empty()
            && attributes.operation == Operation::Create
    }

    async fn mutate(&self, _: &Attributes<'_>, claim: &mut Value, lookup: &dyn Lookup) -> Result<(), Status> {
        // An empty name is a choice, too: no class.
        let has_class = claim.pointer("/spec/storageClassName").is_some_and(|class| !class.is_null());
        if has_class || annotation(claim, CHOSEN).is_some() {
            return Ok(());
        }
        let mut classes = lookup.list(Wanted::StorageClass, "").await?;
        classes.retain(|class| IS_DEFAULT.iter().any(|key| annotation(class, key) == Some("true")));
        // Of several the newest, of those made in the same second the first by name.
        classes.sort_by(|a, b| {
            let made = |class| text(class, "/metadata/creationTimestamp");
            made(b).cmp(made(a)).then_with(|| text(a, "/metadata/name").cmp(text(b, "/metadata/name")))
        });
        if let (Some(class), Some(spec)) =
            (classes.first(), claim.get_mut("spec").and_then(Value::as_object_mut))
        {
            spec.insert("storageClassName".to_owned(), json!(text(class, "/metadata/name")));
        }
        Ok(())
    }
}

pub(crate) struct PersistentVolumeClaimResize;

#[async_trait]
impl Plugin for PersistentVolumeClaimResize {
    fn name(&self) -> &'static str {
        "PersistentVolumeClaimResize"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        is(attributes, "", "persistentvolumeclaims")
            && attributes.subresource.is_empty()
            && attributes.operation == Operation::Update
    }

    async fn validate(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
        lookup: &dyn Lookup,
    ) -> Result<(), Status> {
        let (Some(new), Some(old)) = (object, attributes.old) else { return Ok(()) };
        if size(new) <= size(old) {
            return Ok(());
        }
        let name = class_of(new);
        if !name.is_empty() && name == class_of(old) {
            let class = lookup.find(Wanted::StorageClass, "", name).await?;
            if class.is_some_and(|class| class["allowVolumeExpansion"] == Value::Bool(true)) {
                return Ok(());
            }
        }
        let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must \
                   support resize";
        Err(forbidden(attributes, Some(new), why))
    }
}

fn size(claim: &Value) -> Quantity {
    text(claim, "/spec/resources/requests/storage").parse().unwrap_or_default()
}

fn class_of(claim: &Value) -> &str {
    annotation(claim, CHOSEN).unwrap_or_else(|| text(claim, "/spec/storageClassName"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Cluster, Request};

    fn class(name: &str, made: &str, default: &str, grows: bool) -> Value {
        json!({"metadata": {"name": name, "creationTimestamp": made, "annotations": {IS_DEFAULT[0]: default}},
               "allowVolumeExpansion": grows})
    }

    fn cluster() -> Cluster {
        Cluster::default()
            .with(Wanted::StorageClass, class("old", "2026-01-01T00:00:00Z", "true", false))
            .with(Wanted::StorageClass, class("new", "2026-01-02T00:00:00Z", "true", true))
            .with(Wanted::StorageClass, class("plain", "2026-01-03T00:00:00Z", "false", true))
    }

    #[tokio::test]
    async fn a_claim_without_a_class_gets_the_newest_default() {
        let rows = [
            (json!({}), json!({}), json!("new")),
            (json!({"storageClassName": "old"}), json!({}), json!("old")),
            (json!({"storageClassName": ""}), json!({}), json!("")),
            (json!({}), json!({CHOSEN: "x"}), Value::Null),
        ];
        for (spec, annotations, expected) in rows {
            let claim = json!({"metadata": {"name": "c", "annotations": annotations}, "spec": spec});
            let request = Request::create("", "persistentvolumeclaims", "ns", claim);
            let admitted = request.mutate(&DefaultStorageClass, &cluster()).await.unwrap();
            assert_eq!(admitted["spec"]["storageClassName"], expected, "{spec}");
        }
    }

    #[tokio::test]
    async fn a_claim_grows_where_its_class_lets_it() {
        let claim = |class: &str, size: &str| json!({"metadata": {"name": "c"}, "spec": {"storageClassName": class, "resources": {"requests": {"storage": size}}}});
        let rows = [
            ("new", "1Gi", "2Gi", true),
            ("old", "1Gi", "2Gi", false),
            ("old", "1Gi", "1024Mi", true),
            ("none", "1Gi", "2Gi", false),
            ("", "1Gi", "2Gi", false),
        ];
        for (class, from, to, admitted) in rows {
            let request = Request::create("", "persistentvolumeclaims", "ns", claim(class, to))
                .update(claim(class, from));
            let outcome = request.validate(&PersistentVolumeClaimResize, &cluster()).await;
            assert_eq!(outcome.is_ok(), admitted, "{class} {from} {to}: {outcome:?}");
        }
    }
}
