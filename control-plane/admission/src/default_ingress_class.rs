//! DefaultIngressClass: an Ingress that names no class gets the one that is marked as default.

use async_trait::async_trait;
use keelson_registry::{Attributes, Operation, Status};
use serde_json::{Value, json};

use crate::plugin::{Plugin, annotation, is, text};
use crate::{Lookup, Wanted};

/// On the class.
const IS_DEFAULT: &str = "ingressclass.kubernetes.io/is-default-class";
/// On the Ingress, from before there were classes: whoever has it has chosen.
const CHOSEN: &str = "kubernetes.io/ingress.class";

pub(crate) struct DefaultIngressClass;

#[async_trait]
impl Plugin for DefaultIngressClass {
    fn name(&self) -> &'static str {
        "DefaultIngressClass"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        is(attributes, "networking.k8s.io", "ingresses")
            && attributes.subresource.is_empty()
            && attributes.operation == Operation::Create
    }

    async fn mutate(
        &self,
        _: &Attributes<'_>,
        ingress: &mut Value,
        lookup: &dyn Lookup,
    ) -> Result<(), Status> {
        let has_class = ingress.pointer("/spec/ingressClassName").is_some_and(|class| !class.is_null());
        if has_class || annotation(ingress, CHOSEN).is_some() {
            return Ok(());
        }
        let mut classes = lookup.list(Wanted::IngressClass, "").await?;
        classes.retain(|class| annotation(class, IS_DEFAULT) == Some("true"));
        // Of several the newest, of those made in the same second the first by name.
        classes.sort_by(|a, b| {
            let made = |class| text(class, "/metadata/creationTimestamp");
            made(b).cmp(made(a)).then_with(|| text(a, "/metadata/name").cmp(text(b, "/metadata/name")))
        });
        if let (Some(class), Some(spec)) =
            (classes.first(), ingress.get_mut("spec").and_then(Value::as_object_mut))
        {
            spec.insert("ingressClassName".to_owned(), json!(text(class, "/metadata/name")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Cluster, Request};

    fn class(name: &str, made: &str, default: &str) -> Value {
        json!({"metadata": {"name": name, "creationTimestamp": made, "annotations": {IS_DEFAULT: default}}})
    }

    #[tokio::test]
    async fn the_newest_default_is_taken_by_whoever_has_not_chosen() {
        let cluster = || {
            Cluster::default()
                .with(Wanted::IngressClass, class("old", "2026-01-01T00:00:00Z", "true"))
                .with(Wanted::IngressClass, class("b", "2026-01-02T00:00:00Z", "true"))
                .with(Wanted::IngressClass, class("a", "2026-01-02T00:00:00Z", "true"))
                .with(Wanted::IngressClass, class("newer", "2026-01-03T00:00:00Z", "false"))
        };
        let rows = [
            (cluster(), json!({"spec": {}}), json!("a")),
            (cluster(), json!({"spec": {"ingressClassName": "mine"}}), json!("mine")),
            (cluster(), json!({"metadata": {"annotations": {CHOSEN: "x"}}, "spec": {}}), Value::Null),
            (Cluster::default(), json!({"spec": {}}), Value::Null),
        ];
        for (cluster, ingress, expected) in rows {
            let request = Request::create("networking.k8s.io", "ingresses", "ns", ingress.clone());
            let admitted = request.mutate(&DefaultIngressClass, &cluster).await.unwrap();
            assert_eq!(admitted["spec"]["ingressClassName"], expected, "{ingress}");
        }
    }
}
