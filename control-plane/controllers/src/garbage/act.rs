//! The collector's reads and writes. Every write names the uid, and the resourceVersion that the decision rests on.

use super::{
    Collector,
    graph::{FOREGROUND, Node, ORPHAN, Uid},
    plan::{Dependents, Owner, Verdict, verdict},
};
use keelson_harness::{
    ApiError, Meta, ObjectKey, OwnerReference, Resource,
    api::{DeleteOptions, PatchKind},
    controller::ReconcileError,
    events::Involved,
    views::MetaOnly,
};
use serde_json::{Value, json};

#[derive(Debug, thiserror::Error)]
#[error("owner kind {kind:?} of group {group:?} is not served: whether {name:?} exists cannot be known")]
struct UnknownKind {
    group: String,
    kind: String,
    name: String,
}

impl Collector {
    /// The object as the server has it now; `None` if this uid is gone, which the graph then learns.
    async fn live(&self, uid: &Uid, node: &Node) -> Result<Option<Meta>, ApiError> {
        let (ns, name) = (node.key.ns(), &*node.key.name);
        let found = self.shared.api.find::<MetaOnly>(&node.resource, ns, name).await?;
        let live = found.map(|o| o.metadata).filter(|m| m.uid == *uid);
        if live.is_none() {
            let look = self.graph.lock().delete(uid);
            self.look_at(look);
        }
        Ok(live)
    }

    /// Does the object still have an owner?
    pub(super) async fn judge(&self, uid: &Uid, node: &Node) -> Result<(), ReconcileError> {
        let Some(live) = self.live(uid, node).await? else { return Ok(()) };
        if live.is_deleting() {
            return Ok(());
        }
        let mut owners = Vec::with_capacity(live.owner_references.len());
        for reference in &live.owner_references {
            match self.owner(node, &live, reference).await? {
                Some(owner) => owners.push(owner),
                None => return Ok(()),
            }
        }
        let dependents = self.graph.lock().dependents(uid);
        let dependents = match dependents.as_slice() {
            [] => Dependents::None,
            some if some.iter().any(|(_, dependent)| dependent.foreground) => Dependents::Waiting,
            _ => Dependents::Some,
        };
        match verdict(&live, &owners, dependents) {
            Verdict::Keep => Ok(()),
            Verdict::DropReferences(gone) => {
                let left = live.owner_references.iter().filter(|r| !gone.contains(r)).cloned().collect();
                Ok(self.write_owners(node, &live, left).await?)
            }
            // The watch then brings both back, the object and the owner that has waited for it.
            Verdict::StopBlocking(references) => Ok(self.write_owners(node, &live, references).await?),
            Verdict::Delete(propagation) => {
                let options = DeleteOptions {
                    uid: Some(live.uid.to_string()),
                    resource_version: Some(live.resource_version.to_string()),
                    grace_period_seconds: None,
                    propagation: Some(propagation),
                };
                tracing::debug!(resource = %node.resource, object = %node.key, ?propagation, "no owner left; deleting");
                let key = &node.key;
                Ok(self.shared.api.ensure_deleted(&node.resource, key.ns(), &key.name, &options).await?)
            }
        }
    }

    /// What the server says of an owner; `None` if the reference cannot mean anything (a namespaced owner of a
    /// cluster-scoped object): such an object is left alone, and an Event says so.
    async fn owner(
        &self,
        node: &Node,
        live: &Meta,
        reference: &OwnerReference,
    ) -> Result<Option<Owner>, ReconcileError> {
        let Some(resource) = self.resource_of(reference.group(), &reference.kind) else {
            let (group, kind) = (reference.group().to_owned(), reference.kind.to_string());
            return Err(UnknownKind { group, kind, name: reference.name.to_string() }.into());
        };
        if resource.namespaced && live.namespace.is_empty() {
            self.tell_invalid(node, live, reference);
            return Ok(None);
        }
        let ns = resource.namespaced.then_some(&*live.namespace);
        let found = self.shared.api.find::<MetaOnly>(&resource, ns, &reference.name).await?;
        Ok(Some(match found.map(|o| o.metadata) {
            Some(owner) if owner.uid == reference.uid => {
                match owner.is_deleting() && owner.has_finalizer(FOREGROUND) {
                    true => Owner::Waiting,
                    false => Owner::Solid,
                }
            }
            _ => Owner::Absent,
        }))
    }

    fn tell_invalid(&self, node: &Node, live: &Meta, reference: &OwnerReference) {
        let involved: Involved = Involved::new(&node.resource, live);
        let message = format!(
            "ownerRef {}/{} {:?}: a namespaced object cannot own a cluster-scoped one",
            reference.api_version, reference.kind, reference.name
        );
        let severity = keelson_harness::events::Severity::Warning;
        self.recorder.note(involved, severity, "OwnerRefInvalidNamespace", message);
    }

    async fn write_owners(
        &self,
        node: &Node,
        live: &Meta,
        left: Vec<OwnerReference>,
    ) -> Result<(), ApiError> {
        // An empty list is written as null: the field is then absent, as for an object that never had owners.
        let owners = if left.is_empty() { Value::Null } else { json!(left) };
        self.patch_meta(&node.resource, &node.key, live, json!({"ownerReferences": owners})).await
    }

    async fn patch_meta(
        &self,
        resource: &Resource,
        key: &ObjectKey,
        live: &Meta,
        mut change: Value,
    ) -> Result<(), ApiError> {
        change["uid"] = (&*live.uid).into();
        change["resourceVersion"] = (&*live.resource_version).into();
        let patch = json!({"metadata": change});
        let api = &self.shared.api;
        match api.patch::<MetaOnly>(resource, key.ns(), &key.name, None, PatchKind::Merge, &patch).await {
            Err(e) if e.is_not_found() => Ok(()),
            other => other.map(drop),
        }
    }

    async fn remove_finalizer(&self, uid: &Uid, node: &Node, finalizer: &str) -> Result<(), ApiError> {
        let Some(live) = self.live(uid, node).await? else { return Ok(()) };
        if !live.has_finalizer(finalizer) {
            return Ok(());
        }
        let left: Vec<&str> = live.finalizers.iter().map(|f| &**f).filter(|f| *f != finalizer).collect();
        let left = if left.is_empty() { Value::Null } else { json!(left) };
        self.patch_meta(&node.resource, &node.key, &live, json!({"finalizers": left})).await
    }

    /// Foreground: the owner goes when no dependent blocks it any more; those that do are deleted, each in its turn.
    pub(super) async fn advance_foreground(&self, uid: &Uid, node: &Node) -> Result<(), ReconcileError> {
        let blocking = self.graph.lock().blocking(uid);
        if blocking.is_empty() {
            self.remove_finalizer(uid, node, FOREGROUND).await?;
            return Ok(());
        }
        // Each dependent is judged by itself: it may have another owner, and then only loses the reference.
        let rest =
            blocking.into_iter().filter(|(_, n)| !n.deleting).map(|(dependent, _)| dependent).collect();
        self.look_at(rest);
        Ok(())
    }

    /// Orphan: the dependents lose the reference, then the owner its finalizer.
    pub(super) async fn orphan_dependents(&self, uid: &Uid, node: &Node) -> Result<(), ReconcileError> {
        let dependents = self.graph.lock().dependents(uid);
        for (dependent, its) in dependents {
            let Some(live) = self.live(&dependent, &its).await? else { continue };
            let left: Vec<_> = live.owner_references.iter().filter(|r| r.uid != *uid).cloned().collect();
            if left.len() != live.owner_references.len() {
                self.write_owners(&its, &live, left).await?;
            }
        }
        self.remove_finalizer(uid, node, ORPHAN).await?;
        Ok(())
    }
}
