//! pods/binding: gives a pod its node.
//!
//! Rules: upstream's `pkg/registry/core/pod/storage` (`setPodNodeAndMetadata`).

use super::{
    Registry, Stored, StoredBody, Target,
    commit::{ATTEMPTS_MAX, Outcome, encode},
};
use crate::{
    admit::Operation,
    context::Context,
    meta,
    status::{GroupKind, GroupResource, Status, success},
};
use keelson_schema::FieldError;
use keelson_store::{Compare, Write};
use serde_json::{Value, json};

impl Registry {
    /// Binds the pod that the path or the body names to the node in `target`.
    pub(crate) async fn bind(
        &self,
        context: &Context,
        target: Target<'_>,
        mut body: Value,
    ) -> Result<Stored, Status> {
        super::match_namespace(&target, &mut body)?;
        let own_name = meta::field(&body, "name").to_owned();
        let name = if target.name.is_empty() { own_name.as_str() } else { target.name };
        if !own_name.is_empty() && own_name != name {
            return Err(Status::bad_request("name in URL does not match name in Binding object"));
        }
        let target = Target { name, ..target };
        let admission = self.admission();
        let attributes = target.attributes(context, Operation::Create, None);
        admission.mutate(&attributes, Some(&mut body)).await?;
        validate(name, &body)?;
        admission.validate(&attributes, Some(&body)).await?;
        let cache = self.cache(target.kind)?;
        let key = target.key();
        for _ in 0..ATTEMPTS_MAX {
            self.fresh().await?;
            let entry = cache.get(&key).ok_or_else(|| target.not_found())?;
            let bound = bound(context, &target, entry.to_unmanaged_value(), &body)?;
            if context.dry_run {
                return Ok(done());
            }
            let key = entry.head.key().clone();
            let own = Compare::ModRevision(key.clone(), entry.mod_revision());
            // What a binding sets is nobody's, as upstream.
            let value = encode(&bound, &entry.managed())?.bytes;
            let write = Write::Put { key, value, ttl: None };
            if let Outcome::Committed(revision) = self.run(own, write, Vec::new()).await? {
                self.progress.wait(revision).await?;
                return Ok(done());
            }
        }
        Err(Status::modified(&target.kind.group_resource(), target.name))
    }
}

fn done() -> Stored {
    Stored { body: StoredBody::Value(success(201, None)), code: 201 }
}

fn validate(name: &str, body: &Value) -> Result<(), Status> {
    let mut errors = Vec::new();
    let kind = meta::text(body, &["target", "kind"]);
    if !kind.is_empty() && kind != "Node" {
        errors.push(FieldError::not_supported(&"target.kind".into(), kind, &["Node", "<empty>"]));
    }
    if meta::text(body, &["target", "name"]).is_empty() {
        errors.push(FieldError::required(&"target.name".into(), ""));
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Status::invalid(&GroupKind::new("", "Binding"), name, errors))
    }
}

/// The pod on its node, with the condition that says so.
fn bound(context: &Context, target: &Target<'_>, mut pod: Value, body: &Value) -> Result<Value, Status> {
    let refuse =
        |why: String| Err(Status::conflict(&GroupResource::new("", "pods/binding"), target.name, why));
    let name = target.name;
    let (asked, uid) = (meta::field(body, "uid"), meta::field(&pod, "uid"));
    if !asked.is_empty() && asked != uid {
        return refuse(format!(
            "Precondition failed: UID in precondition: {asked}, UID in object meta: {uid}"
        ));
    }
    let (asked, version) = (meta::field(body, "resourceVersion"), meta::field(&pod, "resourceVersion"));
    if !asked.is_empty() && asked != version {
        return refuse(format!(
            "Precondition failed: ResourceVersion in precondition: {asked}, ResourceVersion in object meta: {version}"
        ));
    }
    if meta::deleting(&pod) {
        return refuse(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    let node = meta::text(&pod, &["spec", "nodeName"]);
    if !node.is_empty() {
        return refuse(format!("pod {name} is already assigned to node \"{node}\""));
    }
    if !meta::items(&pod, &["spec", "schedulingGates"]).is_empty() {
        return refuse(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    let spec = meta::map_of(meta::map_of(&mut pod).entry("spec").or_insert_with(|| json!({})));
    spec.insert("nodeName".to_owned(), json!(meta::text(body, &["target", "name"])));
    let generation = meta::generation(&pod);
    meta::set(&mut pod, "generation", Some(json!(generation + 1)));
    for (map, key) in [("annotations", "annotations"), ("labels", "labels")] {
        for (name, value) in meta::entries(body, &["metadata", map]) {
            let own = meta::metadata(&mut pod).entry(key).or_insert_with(|| json!({}));
            meta::map_of(own).insert(name.clone(), value.clone());
        }
    }
    set_scheduled(context, &mut pod);
    Ok(pod)
}

fn set_scheduled(context: &Context, pod: &mut Value) {
    let status = meta::map_of(meta::map_of(pod).entry("status").or_insert_with(|| json!({})));
    let conditions = status.entry("conditions").or_insert_with(|| json!([]));
    let Some(conditions) = conditions.as_array_mut() else { return };
    conditions.retain(|condition| meta::text(condition, &["type"]) != "PodScheduled");
    conditions.push(json!({
        "type": "PodScheduled", "status": "True", "lastProbeTime": null,
        "lastTransitionTime": meta::time_text(context.now),
    }));
}
